"""Rows of a picture or a sound with a question and an answer, as users write them. Standard library only."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import DataError
from pipeline.types import JSON

VISION, SPEECH = "vision", "speech"


@dataclass(frozen=True)
class Medium:
    """What a modality's questions are on.

    option: of model.<name>, the file of rows. field: of a row, its file. word: what a person calls it.
    """

    option: str
    field: str
    word: str

    @property
    def place(self) -> str:
        """Where it stands in a prompt."""
        return f"<|{self.field}_1|>"

    @property
    def fields(self) -> tuple[str, str, str]:
        """Those of a row."""
        return self.field, "question", "answer"


MEDIA = {VISION: Medium("pictures", "image", "picture"), SPEECH: Medium("sounds", "audio", "sound")}
NAMED = re.compile(r"<\|(?:image|audio)_\d+\|>")


def files_of(path: Path, medium: Medium) -> list[str]:
    """The files that the rows name, each once, in their order. Raises DataError as `read_triples` does for rows."""
    from pipeline.model.texts import read_rows

    return list(dict.fromkeys(fields(row, medium, where)[0] for row, where in read_rows(path)))


def fields(row: JSON, medium: Medium, where: str) -> tuple[str, str, str]:
    """(file, question, answer) of a row. Raises DataError, which says `where`."""
    for field in medium.fields:
        if not isinstance(row.get(field), str) or not row[field].strip():
            raise DataError(f"`{field}` is missing or no text: a row has {', '.join(medium.fields)}", where=where)
    file, question = row[medium.field], row["question"]
    named = NAMED.findall(question)
    if named and named != [medium.place]:
        raise DataError(
            f"the question names {', '.join(named)}, a row has one {medium.word}: {medium.place}", where=where
        )
    if Path(file).is_absolute() or ".." in Path(file).parts:
        raise DataError(f"`{medium.field}` {file} is not below the file's own folder", where=where)
    return file, question, row["answer"]
