"""Windows are scored beside the runtime: in their order, one BLAS thread each, and a mistake is not lost."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from threadpoolctl import threadpool_info

from pipeline.errors import QualityError
from pipeline.metrics.divergence import Scores, score_window
from pipeline.metrics.scoring import Reference, score_windows

VOCAB, WIDTH, LENGTH, COUNT = 50, 8, 6, 11
random = np.random.default_rng(0)
HEAD = random.standard_normal((VOCAB, WIDTH)).astype(np.float32)
HIDDEN = random.standard_normal((COUNT, LENGTH, WIDTH)).astype(np.float32)
IDS = random.integers(0, VOCAB, (COUNT, LENGTH))
LOGITS = {row.tobytes(): random.standard_normal((LENGTH, VOCAB)).astype(np.float32) for row in IDS}


def logits(ids: NDArray[np.int64]) -> NDArray[np.float32]:
    return np.stack([LOGITS[row.tobytes()] for row in ids])


def same(found: list[Scores], wanted: list[Scores]) -> bool:
    return all(
        (own.nll == its.nll).all() and (own.kl == its.kl).all() and (own.top1 == its.top1).all()
        for own, its in zip(found, wanted, strict=True)
    )


@pytest.fixture
def reference(tmp_path: Path) -> Reference:
    np.save(tmp_path / "hidden.npy", HIDDEN)
    return Reference(tmp_path / "hidden.npy", HEAD, None)


@pytest.mark.parametrize("threads", ["1", "2", "16"])
@pytest.mark.parametrize("batch", [1, 4])
def test_sums_are_those_of_each_window_in_order(
    reference: Reference, monkeypatch: pytest.MonkeyPatch, threads: str, batch: int
) -> None:
    monkeypatch.setenv("PHI_DEPLOY_THREADS", threads)
    reported: list[int] = []
    found = score_windows(IDS, reference, logits, batch, reported.append)
    rows = zip(IDS, logits(IDS), HIDDEN, strict=True)
    assert same(found, [score_window(ids, ours, hidden, HEAD) for ids, ours, hidden in rows])
    assert reported == sorted(reported) and reported[-1] == COUNT


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_any_number_of_windows_in_any_batch_gives_the_same_sums(reference: Reference, count: int, batch: int) -> None:
    """Fewer windows than a batch, a rest behind one, and fewer than the reference has states of."""
    found = score_windows(IDS[:count], reference, logits, batch, lambda _: None)
    rows = zip(IDS[:count], logits(IDS[:count]), HIDDEN[:count], strict=True)
    assert same(found, [score_window(ids, ours, hidden, HEAD) for ids, ours, hidden in rows])


def test_numpy_keeps_to_one_thread_while_the_runtime_computes(reference: Reference) -> None:
    seen: set[int] = set()

    def watched(ids: NDArray[np.int64]) -> NDArray[np.float32]:
        seen.update(library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas")
        return logits(ids)

    score_windows(IDS, reference, watched, 1, lambda _: None)
    assert seen == {1}


@pytest.mark.parametrize("bad", [0, COUNT - 1])
def test_logits_that_are_not_finite_end_the_evaluation(reference: Reference, bad: int) -> None:
    def broken(ids: NDArray[np.int64]) -> NDArray[np.float32]:
        out = logits(ids)
        out[(ids == IDS[bad]).all(axis=1)] = np.nan
        return out

    with pytest.raises(QualityError, match="not finite"):
        score_windows(IDS, reference, broken, 4, lambda _: None)
