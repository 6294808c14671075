"""A picture or a sound, whichever a kind of model takes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.pictures.kinds import Kind
from pipeline.pictures.processing import Picture, read_picture
from pipeline.pictures.rows import SPEECH
from pipeline.pictures.sound import Sound, read_sound

Seen = Picture | Sound


def read_medium(path: Path, kind: Kind) -> Seen:
    """What a model of the kind is given of a file. Raises DataError as `read_picture` and `read_sound` do."""
    return read_sound(path) if kind.modality == SPEECH else read_picture(path, kind)


def arrays_of(seen: Seen) -> dict[str, Any]:
    """What an .npz keeps of it."""
    return dict(vars(seen))


def of_arrays(held: Mapping[str, Any]) -> Seen:
    """The same again."""
    if "features" in held:
        return Sound(held["features"])
    return Picture(held["pixels"], held["mask"], int(held["height"]), int(held["width"]))
