"""Text → token ids: tokenizer.json through `tokenizers`, held against tokenizer.model where there is one.

Never transformers' rebuilt tokenizer: it may ignore the normalizer that tokenizer.json states.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import CheckpointError

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
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises bare Exception
        raise CheckpointError(f"tokenizer.json is corrupt: {error}", where=str(folder)) from None
    tokenizer.no_truncation()  # a trainer's, which the file may keep
    tokenizer.no_padding()
    return tokenizer


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
