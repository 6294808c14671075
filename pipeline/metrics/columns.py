"""Scores per token as what evaluate keeps: sums and percentiles for the JSON file, arrays for the file beside it."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.metrics.divergence import Scores
from pipeline.records import Tails, Windows

PERCENTILES = {"p50": 50.0, "p90": 90.0, "p99": 99.0, "p999": 99.9}


def delta_p(scores: Scores, reference_nll: NDArray[np.float64]) -> NDArray[np.float64]:
    """Δp [n] = q(token) - p(token): how much less or more likely the right token became.

    As llama.cpp's perplexity tool has it (`--kl-divergence`); `reference_nll` [n] is -ln p(token) in nats.
    """
    return np.exp(-scores.nll) - np.exp(-reference_nll)


def per_window(scores: Sequence[Scores], reference_nll: Sequence[NDArray[np.float64]]) -> Windows:
    """Sums per window; `reference_nll` of each window [n] in nats."""
    changes = [delta_p(own, nll) for own, nll in zip(scores, reference_nll, strict=True)]
    return Windows(
        tokens=tuple(len(own.kl) for own in scores),
        nll=tuple(float(own.nll.sum()) for own in scores),
        kl=tuple(float(own.kl.sum()) for own in scores),
        top1=tuple(int(own.top1.sum()) for own in scores),
        delta_p_squares=tuple(float(np.square(change).sum()) for change in changes),
        kl_max=tuple(_never_negative(own.kl.max()) for own in scores),
    )


def tails(scores: Sequence[Scores]) -> Tails:
    """Percentiles of the first window's KL, of the first two together, and so on.

    Linear between order statistics, as numpy and llama.cpp's perplexity tool have them (Hyndman and Fan 1996, type 7).
    """
    seen: list[NDArray[np.float64]] = []
    rows = []
    for own in scores:
        seen.append(own.kl)
        rows.append([_never_negative(value) for value in np.percentile(np.concatenate(seen), [*PERCENTILES.values()])])
    return Tails(**{name: tuple(column) for name, column in zip(PERCENTILES, zip(*rows, strict=True), strict=True)})


def archive(modes: Mapping[str, Sequence[Scores]], reference_nll: Sequence[NDArray[np.float64]]) -> bytes:
    """The arrays of each mode as an .npz: float32 `nll`, `kl`, `delta_p` and bool `top1`, each [windows, n].

    A mode's name is appended to theirs (`kl_default_mode`); that of the accuracy mode is empty. The same scores give
    the same bytes. Windows of several lengths lie one behind the other, and `tokens` [windows] says how long they are.
    """
    arrays: dict[str, Any] = {}
    lengths = [len(nll) for nll in reference_nll]
    stack: Any = np.stack
    if len(set(lengths)) > 1:
        stack, arrays["tokens"] = np.concatenate, np.asarray(lengths)
    for mode, scores in modes.items():
        changes = [delta_p(own, nll) for own, nll in zip(scores, reference_nll, strict=True)]
        arrays[f"nll{mode}"] = stack([own.nll for own in scores]).astype(np.float32)
        arrays[f"kl{mode}"] = stack([own.kl for own in scores]).astype(np.float32)
        arrays[f"delta_p{mode}"] = stack(changes).astype(np.float32)
        arrays[f"top1{mode}"] = stack([own.top1 for own in scores])
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def _never_negative(value: float) -> float:
    """KL is never negative; what is left of rounding below zero is zero."""
    return max(0.0, float(value))
