"""A build's logits against the reference, window by window, scored while the runtime computes the next."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from pipeline.harness.host import threads
from pipeline.metrics.divergence import Scores, score_window
from pipeline.model.checkpoint import read_output_matrix

Logits = Callable[[NDArray[np.int64]], NDArray[np.float32]]
CORES_PER_SCORER = 4


@dataclass(frozen=True)
class Reference:
    """What rebuilds the reference's logits: hidden states on the disk, the output matrix [vocab, width], its bias."""

    hidden: Path
    lm_head: NDArray[np.float32]
    bias: NDArray[np.float32] | None


def read_reference(hidden: Path, weights: Path) -> Reference:
    """The output matrix of a checkpoint beside the reference's states."""
    return Reference(hidden, *read_output_matrix(weights))


def score_windows(
    ids: NDArray[np.int64],
    reference: Reference,
    logits: Logits,
    batch: int,
    report: Callable[[int], None],
) -> list[Scores]:
    """The scores of every window of ids [n, window]; `logits` gets `batch` windows at a time.

    Logits of two batches are in memory, or of one window for each scorer. The matrix product of a scorer takes one
    thread: more would contend with the runtime's, which both pay for.
    """
    hidden = np.load(reference.hidden, mmap_mode="r")
    scorers = max(1, threads() // CORES_PER_SCORER)
    waiting: deque[Future[Scores]] = deque()
    scores: list[Scores] = []
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(scorers) as pool:
        for first in range(0, len(ids), batch):
            windows = ids[first : first + batch]
            computed = zip(windows, logits(windows), hidden[first : first + len(windows)], strict=True)
            while len(waiting) >= max(batch, scorers):
                scores.append(waiting.popleft().result())
            waiting += [pool.submit(score_window, *window, reference.lm_head, reference.bias) for window in computed]
            report(len(scores))
        scores += [scored.result() for scored in waiting]
    report(len(scores))
    return scores
