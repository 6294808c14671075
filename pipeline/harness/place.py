"""Where a run is: how many stages there are to run, counted by guard (due.py), and how many have ended since."""

from __future__ import annotations

from contextlib import suppress

from pipeline import layout
from pipeline.errors import PipelineError
from pipeline.files import read_json, write_bytes, write_json


def begin(due: int, count: int) -> None:
    """Remember the count for this run's stages."""
    write_json(layout.RUN, {"due": due, "all": count})
    write_bytes(layout.ENDED, b"")


def end() -> None:
    """One more has ended: a byte more, since to count the records would take the longer the more there are."""
    with suppress(OSError), layout.ENDED.open("ab") as file:
        file.write(b".")


def place() -> str:
    """`12 of 87` for a stage that is running; empty where guard has not counted."""
    try:
        due, done = int(read_json(layout.RUN)["due"]), layout.ENDED.stat().st_size
    except (OSError, PipelineError, ValueError, TypeError, KeyError):
        return ""
    return f"{done + 1} of {max(due, done + 1)}"
