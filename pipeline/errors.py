"""One root error. Each says what failed, where, and what to do next; a user's mistake is never a traceback."""

from __future__ import annotations

import difflib
import errno
import re
from collections.abc import Iterable

_TENSOR = re.compile(r"[\w.]+\.(weight|bias)\b")
_ROOM = "free some space and run again: finished stages are kept"
_DISK = {
    errno.ENOSPC: ("the disk is full", _ROOM),
    errno.EDQUOT: ("the disk quota is used up", _ROOM),
    errno.EROFS: ("the file system is read-only", "run in a folder that can be written"),
    errno.EACCES: ("no permission to write", "run in a folder that you can write"),
    errno.EPERM: ("no permission to write", "run in a folder that you can write"),
}


FREE = "are free"


def no_room(reason: str) -> bool:
    """Whether that is said of a disk that is full, or too small for what is to be made."""
    return any(_DISK[number][0] in reason for number in (errno.ENOSPC, errno.EDQUOT)) or FREE in reason


def printable(text: str) -> str:
    """One line: what a terminal would act on, and half characters, by their escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class PipelineError(Exception):
    """Root of all expected errors. `exit_code` is what a command ends with."""

    exit_code = 1

    def __init__(self, what: str, *, where: str = "", hint: str = "") -> None:
        self.what, self.where, self.hint = what, where, hint
        super().__init__(self.__str__())

    def __str__(self) -> str:
        where = f"{self.where}: " if self.where else ""
        hint = f"; {self.hint}" if self.hint else ""
        return printable(f"{where}{self.what}{hint}")


class ConfigError(PipelineError):
    """The configuration asks for something that is not there, or cannot be."""

    exit_code = 2


class StaleParamsError(ConfigError):
    """params.yaml no longer says what conf/ says."""


class CheckpointError(PipelineError):
    """A model folder is missing, incomplete, unsafe or of an unknown architecture."""

    exit_code = 2


class DataError(PipelineError):
    """Evaluation or calibration data cannot be used."""

    exit_code = 2


class ToolError(PipelineError):
    """A tool is missing, of the wrong version, or failed."""


class ArtifactError(PipelineError):
    """A produced file is incomplete, altered, or not what it claims."""


class QualityError(PipelineError):
    """A build runs, but what it produces is wrong."""


def explain(error: BaseException) -> tuple[str, int] | None:
    """What to say of an expected error, and the exit code; None for a mistake of ours, which keeps its traceback."""
    if isinstance(error, PipelineError):
        return str(error), error.exit_code
    if isinstance(error, KeyboardInterrupt):
        return "interrupted", 130
    if isinstance(error, MemoryError):
        return "out of memory: close other programs, or take a smaller model", 1
    if isinstance(error, OSError) and error.errno in _DISK:
        what, hint = _DISK[error.errno]
        return str(ArtifactError(what, where=str(error.filename or ""), hint=hint)), 1
    return None


def first_line(error: BaseException) -> str:
    """The first line of what an exception says, or its type's name where it says nothing."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def telling_line(error: BaseException) -> str:
    """The first line of what an exception says, and the line that names a tensor where that is another one."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    named = next((line for line in lines if _TENSOR.search(line)), "")
    first = first_line(error)
    return first if not named or named == first else f"{first} … {named}"


SHOWN = 16  # names, at most, in one line of an error


def suggest(word: str, known: Iterable[str]) -> str:
    """`did you mean 'x'?` when something is near, else the list of what is known."""
    options = sorted(known)
    near = difflib.get_close_matches(word, options, n=1, cutoff=0.5)
    if near:
        return f"did you mean '{near[0]}'?"
    more = f" … ({len(options)} in all)" if len(options) > SHOWN else ""
    return f"known: {', '.join(options[:SHOWN])}{more}" if options else "none is known"
