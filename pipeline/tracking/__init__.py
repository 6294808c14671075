"""track: MLflow as a projection of the files. What is missing there is delivered; nothing depends on it.

A *sweep* is what `reports/cells.json` says: the cells of one suite. It is a parent run, each cell a run
below the parent under which it was first seen. A run's key is its fingerprint, a digest of what went
in and what came out: an unchanged cell is never logged again, a changed one is a new run beside the
old, so that they can be compared. A changed sweep is a new parent; its tags `cell.<id>` name the
run of every cell, the unchanged ones included. Gates and winners, which may change without any figure,
are said of runs that stay.

What was delivered stands in receipts in the main project (`.tracking/`), also when DVC runs the stage
in another folder (`dvc exp run --temp`, `--queue`). With all receipts there, MLflow is not even
imported. A store that is away is no error: the results are in DVC's outs, the next run delivers them.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from pipeline.tracking.receipts import Receipts
from pipeline.tracking.store import StoreAwayError, main_root, open_store, probe
from pipeline.tracking.sweep import read_sweep

log = logging.getLogger(__name__)

__all__ = ["TrackOutcome", "track"]


@dataclass(frozen=True)
class TrackOutcome:
    """What one call of `track` did: cell ids that were delivered, and those that wait for the store."""

    store: str
    experiment: str
    delivered: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()


def track(root: Path, uri: str | None) -> TrackOutcome:
    """Deliver what the MLflow store at `uri` lacks of the results in `root`.

    Without a `uri` the store is mlflow.db in the main project. Says in one line what it did. Raises
    PipelineError for missing or broken reports, and for a store that answers but refuses.
    """
    sweep = read_sweep(root)
    main = main_root(root)
    store = open_store(main, uri)
    receipts = Receipts.read(main, store.shown, sweep.experiment)
    if receipts and store.forgot(receipts.runs()):
        receipts.clear()
    receipts.drop(store.lost(receipts.runs()))
    if not sweep.missing(receipts):
        log.info("track: nothing new")
        return TrackOutcome(store.shown, sweep.experiment)
    logged: set[str] = set()
    away = None
    try:
        probe(store.uri)
        from pipeline.tracking.delivery import deliver

        for fingerprint in deliver(sweep, store, receipts, root):
            logged.add(fingerprint)
    except StoreAwayError as error:
        away = error
    outcome = TrackOutcome(
        store.shown,
        sweep.experiment,
        delivered=tuple(cell.name for cell in sweep.cells if cell.fingerprint in logged),
        waiting=tuple(cell.name for cell in sweep.cells if cell.fingerprint not in receipts),
    )
    if away:
        rest = _cells(len(outcome.waiting)) if outcome.waiting else "the rest"
        log.warning("track: warning: MLflow at %s is away (%s); the next run delivers %s", store.shown, away, rest)
    elif logged:
        cells = len(outcome.delivered)
        new = f"a new selection of {_cells(len(sweep.cells))}"
        what = _cells(cells) if cells else new if sweep.fingerprint in logged else "gates and winners"
        log.info("track: %s delivered to %s (experiment %s)", what, store.shown, sweep.experiment)
    else:
        log.info("track: nothing new")
    return outcome


def _cells(count: int) -> str:
    return f"{count} cell" if count == 1 else f"{count} cells"
