"""A tower of 8-bit weights: tower and projector compressed by NNCF, as the decoder is."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from pipeline.backends.nncf import compress_weights
from pipeline.backends.openvino.files import PROJECTOR, TOWER, read_model, save_model, weights_of

MODES = {8: "int8_asym"}


def pack_tower(folder: Path, bits: int) -> None:
    """What sees, in a build's folder, with weights per channel. Raises ToolError with NNCF's words."""
    for name in (TOWER, PROJECTOR):
        with TemporaryDirectory(dir=folder, prefix="tower-") as place:
            made = compress_weights(read_model(folder, name), {"mode": MODES[bits]}, None, lambda ids: ids, str(folder))
            save_model(made, Path(place) / name)
            del made
            for file in (weights_of(name), name):
                (Path(place) / file).replace(folder / file)
