"""One root error. Each says what failed, where, and what to do next; a user's mistake is never a traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class PipelineError(Exception):
    """Root of all expected errors. `exit_code` is what a command ends with."""

    exit_code = 1

    def __init__(self, what: str, *, where: str = "", hint: str = "") -> None:
        self.what, self.where, self.hint = what, where, hint
        super().__init__(self.__str__())

    def __str__(self) -> str:
        where = f"{self.where}: " if self.where else ""
        hint = f"; {self.hint}" if self.hint else ""
        return f"{where}{self.what}{hint}"


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


def first_line(error: BaseException) -> str:
    """The first line of what an exception says, or its type's name where it says nothing."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def suggest(word: str, known: Iterable[str]) -> str:
    """`did you mean 'x'?` when something is near, else the list of what is known."""
    options = sorted(known)
    near = difflib.get_close_matches(word, options, n=1, cutoff=0.5)
    if near:
        return f"did you mean '{near[0]}'?"
    return f"known: {', '.join(options)}" if options else "none is known"
