"""A build's answers to questions on pictures or sounds against the reference, question by question."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline import layout
from pipeline.errors import QualityError
from pipeline.files import read_json
from pipeline.metrics.divergence import Scores, score_window
from pipeline.metrics.scoring import Reference
from pipeline.pictures.media import Seen, read_medium
from pipeline.pictures.tower import kind_of
from pipeline.pictures.triples import Triple

Media = Mapping[str, Seen]
Logits = Callable[[NDArray[np.int64], Seen], NDArray[np.float32]]  # of ids [length]: [length, vocab]


def triples_of(source: Path, most: int = 0) -> list[Triple]:
    """The questions of a reference's folder; `most` 0 is all."""
    return [Triple.from_json(raw) for raw in read_json(source / layout.TRIPLES)][: most or None]


def files_of(source: Path, triples: Sequence[Triple]) -> dict[str, Path]:
    """What is asked about, each once, in the reference's folder."""
    return {file: source / layout.MEDIA / file for file in dict.fromkeys(triple.file for triple in triples)}


def media_of(model: Path, files: Mapping[str, Path]) -> dict[str, Seen]:
    """What the reference was given of the files, for the model in a canonical folder."""
    kind = kind_of(model)
    return {file: read_medium(path, kind) for file, path in files.items()}


def score_answers(
    triples: Sequence[Triple],
    hidden: Sequence[NDArray[np.float32]],
    reference: Reference,
    logits: Logits,
    media: Media,
    report: Callable[[int], None],
) -> tuple[list[Scores], list[list[int]]]:
    """Each answer's scores, and the most likely tokens in its places; `hidden` are the reference's states of it."""
    scores, said = [], []
    for done, (triple, states) in enumerate(zip(triples, hidden, strict=True), 1):
        rows = answered(logits, triple, media[triple.file], len(reference.lm_head))
        scores.append(score_window(triple.target, rows, states, reference.lm_head, reference.bias))
        said.append(rows[:-1].argmax(axis=-1).tolist())
        report(done)
    return scores, said


def answered(logits: Logits, triple: Triple, seen: Seen, vocab: int) -> NDArray[np.float32]:
    """Logits [answered + 1, vocab] from the token before the answer on."""
    if seen.tokens != triple.places:
        raise QualityError(f"{triple.file} takes {seen.tokens} places, in the reference {triple.places}")
    return logits(triple.ids, seen)[-triple.answered - 1 :, :vocab]


def hidden_of(source: Path, triples: Sequence[Triple]) -> list[NDArray[np.float32]]:
    """The reference's final hidden states of each answer and the token before it, mapped."""
    return split(np.load(source / layout.HIDDEN, mmap_mode="r"), [len(triple.target) for triple in triples])


def split(rows: NDArray, lengths: Sequence[int]) -> list[NDArray]:
    """Rows that lie one behind the other, apart; what is behind the last of `lengths` is left out."""
    ends = np.cumsum(lengths)
    return [rows[end - length : end] for end, length in zip(ends, lengths, strict=True)]
