"""Texts and rows that users give: UTF-8 (a byte-order mark is taken off), plain or as JSONL, one row a line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import DataError
from pipeline.model.tokenizer import encode

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from tokenizers import Tokenizer

ROWS = (".jsonl", ".ndjson")


def read_raw(path: Path) -> str:
    """A file's text. Raises DataError for a missing one, and for what is no UTF-8."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise DataError("there is no such file", where=str(path)) from None
    except UnicodeDecodeError as error:
        raise DataError(f"no UTF-8 text: {error.reason} at byte {error.start}", where=str(path)) from None


def read_rows(path: Path) -> Iterator[tuple[dict[str, Any], str]]:
    """(row, `file:line`) of each line that is not empty: JSONL ends lines at "\\n" alone, and U+2028 is text.

    Raises DataError naming file and line for a line that is no JSON object.
    """
    for number, line in enumerate(read_raw(path).split("\n"), 1):
        if not line.strip(" \t\r"):
            continue
        where = f"{path}:{number}"
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"no valid JSON: {error}", where=where) from None
        if not isinstance(row, dict):
            raise DataError("no JSON object", where=where)
        yield row, where


def read_text(path: Path) -> str:
    """A text file, or the `text` fields of JSONL joined by blank lines. Raises DataError."""
    suffix = path.suffix.lower()
    if suffix == ".json":
        raise DataError(
            "JSON is not read as text", where=str(path), hint="save it as JSONL with a `text` field, or .txt"
        )
    if suffix not in ROWS:
        return read_raw(path)
    texts = []
    for row, where in read_rows(path):
        if not isinstance(row.get("text"), str):
            said = (
                "there is no `text`" if "text" not in row else f"`text` is {json.dumps(row['text'])[:40]}, not a text"
            )
            raise DataError(said, where=where)
        texts.append(row["text"])
    return "\n\n".join(texts)


def windows(tokenizer: Tokenizer, path: Path, window: int, tokens: int) -> NDArray[np.int64]:
    """Consecutive windows int64 [n, window] of a text; the incomplete last one is dropped.

    Raises DataError when the text is too short for one.
    """
    import numpy as np

    text = read_text(path)
    ids = encode(tokenizer, text)
    count = min(len(ids), tokens) // window
    if count == 0:
        few = "evaluate.tokens" if len(ids) >= window else "the text"
        raise DataError(
            f"{few} is too short for one window of {window} tokens ({len(ids)} tokens in the text, {tokens} asked for)",
            where=str(path),
            hint="take a longer text, more evaluate.tokens or a smaller evaluate.window",
        )
    return np.asarray(ids[: count * window], dtype=np.int64).reshape(count, window)
