"""Text → token ids: tokenizer.json through `tokenizers`, held against tokenizer.model where there is one.

Never transformers' rebuilt tokenizer: it may ignore the normalizer that tokenizer.json states.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import CheckpointError, DataError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

PROBES = (
    "Hello, world!",
    "  two spaces,\ttab and\n\na blank line ",
    "café naïve Ωmega 你好 🙂",
    "12 + 34 = 46; x_1 -> y[2]{3}",
    "The quick brown fox doesn't jump over 7 lazy dogs.",
)


def load_tokenizer(folder: Path) -> Tokenizer:
    """tokenizer.json of a model folder. Raises CheckpointError when it is missing or corrupt."""
    from tokenizers import Tokenizer

    path = folder / "tokenizer.json"
    if not path.is_file():
        raise CheckpointError(
            "it has no tokenizer.json", where=str(folder), hint="save the tokenizer with transformers"
        )
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises bare Exception
        raise CheckpointError(f"tokenizer.json is corrupt: {error}", where=str(folder)) from None


def check_tokenizer(folder: Path, vocab_size: int) -> None:
    """Raises CheckpointError when ids exceed the embedding, or tokenizer.model says otherwise than tokenizer.json."""
    tokenizer = load_tokenizer(folder)
    if tokenizer.get_vocab_size() > vocab_size:
        raise CheckpointError(
            f"the tokenizer has {tokenizer.get_vocab_size()} tokens, the model {vocab_size}",
            where=str(folder),
        )
    model = folder / "tokenizer.model"
    if not model.is_file():
        return
    from sentencepiece import SentencePieceProcessor

    try:
        pieces = SentencePieceProcessor(model_file=str(model))
    except Exception as error:
        raise CheckpointError(f"tokenizer.model is corrupt: {error}", where=str(folder)) from None
    for probe in PROBES:
        ours, theirs = tokenizer.encode(probe, add_special_tokens=False).ids, pieces.encode(probe)
        if ours != theirs:
            raise CheckpointError(
                f"tokenizer.json and tokenizer.model disagree on {probe!r}: {ours[:8]}… and {theirs[:8]}…",
                where=str(folder),
                hint="use the tokenizer files that the model was trained with",
            )


def encode(tokenizer: Tokenizer, text: str) -> list[int]:
    """Token ids of a text, without special tokens added."""
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False).ids
    return ids


def read_text(path: Path) -> str:
    """A text file, or the `text` fields of a JSONL file joined by blank lines. Raises DataError."""
    try:
        raw = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise DataError("there is no such file", where=str(path)) from None
    except UnicodeDecodeError as error:
        raise DataError(f"no UTF-8 text: {error.reason} at byte {error.start}", where=str(path)) from None
    if path.suffix != ".jsonl":
        return raw
    texts = []
    for number, line in enumerate(raw.splitlines(), 1):
        if line.strip():
            try:
                texts.append(json.loads(line)["text"])
            except (ValueError, KeyError, TypeError):
                raise DataError("no JSON object with a `text` field", where=f"{path}:{number}") from None
    return "\n\n".join(texts)


def windows(tokenizer: Tokenizer, path: Path, window: int, tokens: int) -> NDArray[np.int64]:
    """Consecutive windows int64 [n, window] of a text; the incomplete last one is dropped.

    Raises DataError when the text is too short for one.
    """
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
