"""Rows of pictures with a question and an answer, as users write them. Standard library only."""

from __future__ import annotations

import re
from pathlib import Path

from pipeline.errors import DataError
from pipeline.types import JSON

PLACE, NAMED = "<|image_1|>", re.compile(r"<\|image_\d+\|>")
FIELDS = ("image", "question", "answer")


def images_of(path: Path) -> list[str]:
    """The images that a file names, each once, in its order. Raises DataError as `read_triples` does for rows."""
    from pipeline.model.texts import read_rows

    return list(dict.fromkeys(fields(row, where)[0] for row, where in read_rows(path)))


def fields(row: JSON, where: str) -> tuple[str, str, str]:
    """(image, question, answer) of a row. Raises DataError, which says `where`."""
    for field in FIELDS:
        if not isinstance(row.get(field), str) or not row[field].strip():
            raise DataError(f"`{field}` is missing or no text: a row has {', '.join(FIELDS)}", where=where)
    image, question = row["image"], row["question"]
    named = NAMED.findall(question)
    if len(named) > 1 or (named and named != [PLACE]):
        raise DataError(f"the question names {', '.join(named)}, a row has one picture: {PLACE}", where=where)
    if Path(image).is_absolute() or ".." in Path(image).parts:
        raise DataError(f"`image` {image} is not below the file's own folder", where=where)
    return image, question, row["answer"]
