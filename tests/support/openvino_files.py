"""OpenVINO exports of random models."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.backends.openvino.backend import OpenVinoBackend
from pipeline.harness.run import setup
from pipeline.types import Checkpoint
from tests.support.tiny import tiny_config, write_checkpoint


def converted(root: Path, **changes: Any) -> Path:
    setup()
    folder = write_checkpoint(root / "model", **changes)
    out = root / "export"
    out.mkdir()
    OpenVinoBackend().convert(Checkpoint("tiny", folder, folder, tiny_config(**changes)), {"precision": "fp32"}, out)
    return out


def constants(folder: Path) -> Counter[str]:
    """How many matrices the IR holds in each element type."""
    import openvino

    model = openvino.Core().read_model(folder / "openvino_model.xml")
    found = [node for node in model.get_ops() if node.get_type_name() == "Constant"]
    return Counter(
        node.get_element_type().get_type_name()
        for node in found
        if np.prod(list(node.get_output_shape(0))) >= 256 * 256
    )
