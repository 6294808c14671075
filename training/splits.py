"""Which split a document belongs to: decided by what it is about, so that no document is in two splits."""

from __future__ import annotations

from typing import Literal
from zlib import crc32

Split = Literal["train", "calibration", "evaluation", "questions"]

_SHARES: tuple[tuple[int, Split], ...] = (
    (90, "train"),
    (93, "calibration"),
    (97, "evaluation"),
    (100, "questions"),
)


def split_of(*key: object) -> Split:
    """The split of a document with this key: the same for ever, and independent of the order of drawing."""
    bucket = crc32("|".join(str(part) for part in key).encode()) % 100
    return next(split for bound, split in _SHARES if bucket < bound)
