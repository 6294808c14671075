"""The training text as one row of token ids, cut into batches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
import numpy.typing as npt

from training.facts import SEED
from training.tokenizer import END_OF_TEXT
from training.world import documents

CONTEXT = 512
OPENING = 128
_GROUP = 6
_CHUNKS_AT_ONCE = 2_000

Ids = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Stream:
    """The ids, and where in them a text begins."""

    ids: Ids
    starts: Ids

    def batch(self, step: int, tokens: int) -> Ids:
        """The batch of this step: windows from anywhere in the text, every fourth time the beginnings of texts.

        The beginnings teach the model to answer a bare question, which has nothing before it.
        """
        first = step * tokens
        if step % 4 != 3:
            return self.ids[first : first + tokens].reshape(-1, CONTEXT)
        wanted = np.arange(first, first + tokens, OPENING)
        begins = self.starts[np.searchsorted(self.starts, wanted).clip(max=len(self.starts) - 1)]
        return self.ids[begins[:, None] + np.arange(OPENING)]


def _chunks() -> Iterator[str]:
    """Texts that are encoded in one go: a few prose documents between blank lines, or one chat."""
    rng = Random(f"{SEED}/chunks")
    prose: list[str] = []
    size = 1
    for document in documents("train", chats=True):
        if document.chat:
            yield document.text
            continue
        prose.append(document.text)
        if len(prose) >= size:
            yield "\n\n".join(prose)
            prose, size = [], rng.randint(1, _GROUP)


def stream(tokenizer_file: Path, tokens: int) -> Stream:
    """At least ``tokens`` ids of the training split."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(tokenizer_file))
    chunks = _chunks()
    parts: list[list[int]] = []
    size = 0
    while size < tokens + CONTEXT:
        texts = [next(chunks) for _ in range(_CHUNKS_AT_ONCE)]
        for encoding in tokenizer.encode_batch_fast(texts, add_special_tokens=False):
            parts.append([*encoding.ids, END_OF_TEXT])
            size += len(parts[-1])
    starts = np.cumsum([0] + [len(part) for part in parts[:-1]])
    ids = np.concatenate([np.asarray(part, dtype=np.int64) for part in parts])
    return Stream(ids, starts[starts < tokens])
