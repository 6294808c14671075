"""Delivery: a sweep's runs into MLflow. The only module that imports it, and only when something is to deliver."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pipeline import layout
from pipeline.errors import ToolError
from pipeline.harness.params import load_yaml
from pipeline.tracking import registry
from pipeline.tracking.changes import what_changed
from pipeline.tracking.client import clear_errors
from pipeline.tracking.receipts import Receipts
from pipeline.tracking.store import Store, StoreAwayError
from pipeline.tracking.sweep import CellRun, Sweep
from pipeline.tracking.view import view_tags
from pipeline.types import Status

FINGERPRINT = "fingerprint"
PARENT = "mlflow.parentRunId"
LOCK_S = 600.0  # as long as another process's delivery of packages may take
BATCH = 100  # params or tags in one call, MLflow's limit
DONE = ("FINISHED", "FAILED")
SWEEP = "sweep"  # a parent's tag: its models
CONTENT, HOLDER = "package_content", "package_run"  # a digest of what is uploaded; the run that holds it
COMPARED = 20  # cells whose settings are fetched to say what changed
JUDGED = ("gate", "ships_to", "winner.")  # tags that may go


def deliver(sweep: Sweep, store: Store, receipts: Receipts, root: Path) -> Iterator[str]:
    """Log every run that has no receipt, the parent last; yields the fingerprint of each.

    A run that an earlier delivery left unfinished is completed. Raises StoreAwayError when the store does
    not answer, ToolError when it refuses.
    """
    from filelock import FileLock, Timeout

    receipts.path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(receipts.path.with_suffix(".lock"), timeout=LOCK_S):
            receipts.reload()
            store.prepare()
            with clear_errors(store):
                yield from _Delivery(sweep, store, root).run(receipts)
    except Timeout:
        raise StoreAwayError("another delivery is still running") from None


class _Delivery:
    def __init__(self, sweep: Sweep, store: Store, root: Path) -> None:
        from mlflow import MlflowClient

        self.sweep = sweep
        self.client = MlflowClient(tracking_uri=store.uri)
        self.experiment = self._experiment(store)
        self.provenance = _provenance(root)
        self.packages = _package_hashes(root)

    def run(self, receipts: Receipts) -> Iterator[str]:
        sweep = self.sweep
        if not sweep.missing(receipts):
            return
        parent = self._find(sweep.fingerprint) or self._parent(receipts)
        for cell in sweep.cells:
            if cell.fingerprint in receipts:
                continue
            run = self._find(cell.fingerprint)
            if not _done(run):
                run = self._cell(cell, run, parent.info.run_id)
                yield cell.fingerprint
            receipts.add(cell.fingerprint, run.info.run_id)
        if not _done(parent):
            self._finish_parent(parent, {cell.name: receipts[cell.fingerprint] for cell in sweep.cells})
            yield sweep.fingerprint
        receipts.add(sweep.fingerprint, parent.info.run_id)
        if receipts.verdict != sweep.verdict:
            self._judge(parent.info.run_id, {cell.name: receipts[cell.fingerprint] for cell in sweep.cells})
            receipts.judged(sweep.verdict)
            yield sweep.verdict
        self._give_up_leftovers()

    def _parent(self, receipts: Receipts) -> Any:
        """A new parent, named by its models, its suite, and what changed since the suite's last."""
        tags = {"suite": self.sweep.suite, SWEEP: ", ".join(self.sweep.models)}
        past = (
            f"tags.suite = '{self.sweep.suite}' and tags.{SWEEP} = '{tags[SWEEP]}' and attributes.status = 'FINISHED'"
        )
        found = self.client.search_runs([self.experiment], past, order_by=["start_time DESC"], max_results=1)
        if not found:
            return self._create(self.sweep.name, self.sweep.fingerprint, tags)
        runs = {name[5:]: run for name, run in found[0].data.tags.items() if name.startswith("cell.")}
        before: dict[str, Mapping[str, str]] = dict.fromkeys(runs, {})
        after: dict[str, Mapping[str, str]] = {cell.name: {} for cell in self.sweep.cells}
        fresh = [cell for cell in self.sweep.cells if cell.name in runs and cell.fingerprint not in receipts]
        for cell in fresh[:COMPARED]:
            before[cell.name] = self.client.get_run(runs[cell.name]).data.params
            after[cell.name] = cell.params
        name = f"{self.sweep.name} · {what_changed(before, after)}"
        return self._create(name, self.sweep.fingerprint, tags)

    def _cell(self, cell: CellRun, run: Any | None, parent: str) -> Any:
        """Log a cell, as the run that was left unfinished or as a new one."""
        tags = {**cell.tags, PARENT: parent}
        if cell.name in self.packages:
            tags["package_dvc_md5"] = self.packages[cell.name]
        holder = self._holder(cell) if cell.package else None
        if holder:
            tags[HOLDER] = holder
        run = run or self._create(cell.name, cell.fingerprint, tags)
        self._log(run, metrics=cell.metrics, params=cell.params, tags=tags)
        for path in cell.files:
            self.client.log_artifact(run.info.run_id, str(path))
        if cell.package and not holder:
            self.client.log_artifacts(run.info.run_id, str(cell.package), "package")
            self.client.set_tag(run.info.run_id, CONTENT, cell.content)
        self.client.set_terminated(run.info.run_id, "FAILED" if cell.status == Status.FAILED else "FINISHED")
        return run

    def _holder(self, cell: CellRun) -> str | None:
        """The run that has this very package already, card included."""
        if not cell.content:
            return None
        found = self.client.search_runs([self.experiment], f"tags.{CONTENT} = '{cell.content}'", max_results=10)
        return next((str(run.info.run_id) for run in found if _done(run)), None)

    def _finish_parent(self, run: Any, runs: Mapping[str, str]) -> None:
        tags = {f"cell.{name}": id_ for name, id_ in runs.items()}
        self._log(run, metrics={}, params={"suite": self.sweep.suite}, tags=tags)
        for path in self.sweep.files:
            self.client.log_artifact(run.info.run_id, str(path))
        self.client.set_terminated(run.info.run_id)

    def _judge(self, parent: str, runs: Mapping[str, str]) -> None:
        """Say how the gates judge every cell, and which are the winners: of runs that may be there for long."""
        for cell in self.sweep.cells:
            self._tell(runs[cell.name], cell.verdict)
        self._tell(parent, self.sweep.told)
        for winner in self.sweep.winners:
            if winner.cell:
                run = runs[winner.cell]
                registry.register(self.client, winner, self.client.get_run(run).data.tags.get(HOLDER, run))
            else:
                registry.withdraw(self.client, winner)

    def _tell(self, run: str, tags: Mapping[str, str]) -> None:
        """Set what changed of a run's tags, and take away those of earlier verdicts."""
        held = self.client.get_run(run).data.tags
        for name, text in tags.items():
            if held.get(name) != text:
                self.client.set_tag(run, name, text)
        for name in held:
            if name.startswith(JUDGED) and name not in tags:
                self.client.delete_tag(run, name)

    def _experiment(self, store: Store) -> str:
        name = self.sweep.experiment
        found = self.client.get_experiment_by_name(name)
        if found is None:
            tags = view_tags()
            return str(self.client.create_experiment(name, artifact_location=store.artifacts or None, tags=tags))
        if found.lifecycle_stage != "active":
            raise ToolError(
                f"the experiment '{name}' was deleted",
                where=f"MLflow at {store.shown}",
                hint=f"restore it: mlflow experiments restore -x {found.experiment_id}, or set track.experiment",
            )
        for key, text in view_tags().items():
            if found.tags.get(key) != text:
                self.client.set_experiment_tag(found.experiment_id, key, text)
        return str(found.experiment_id)

    def _find(self, fingerprint: str) -> Any:
        """The run with this fingerprint, a finished one before one that was left open, or None."""
        found = self.client.search_runs([self.experiment], f"tags.{FINGERPRINT} = '{fingerprint}'", max_results=10)
        return next((run for run in found if _done(run)), found[0] if found else None)

    def _create(self, name: str, fingerprint: str, tags: Mapping[str, str]) -> Any:
        tags = {FINGERPRINT: fingerprint, **tags, **self.provenance}
        return self.client.create_run(self.experiment, run_name=name, tags=tags)

    def _log(
        self, run: Any, *, metrics: Mapping[str, float], params: Mapping[str, str], tags: Mapping[str, str]
    ) -> None:
        """Log in batches. The run's start is every metric's time: logging twice is the same entry, not a series."""
        from mlflow.entities import Metric, Param, RunTag

        points = [Metric(name, value, run.info.start_time, 0) for name, value in metrics.items()]
        settings = [Param(*item) for item in params.items()]
        labels = [RunTag(*item) for item in {**tags, **self.provenance}.items()]
        for start in range(0, max(len(settings), len(labels)), BATCH):
            batch = slice(start, start + BATCH)
            self.client.log_batch(run.info.run_id, [] if start else points, settings[batch], labels[batch])

    def _give_up_leftovers(self) -> None:
        """End what a killed delivery left open and nobody will complete, as its results have changed since."""
        open_ones = f"attributes.status = 'RUNNING' and tags.suite = '{self.sweep.suite}'"
        for run in self.client.search_runs([self.experiment], open_ones):
            if FINGERPRINT in run.data.tags:
                self.client.set_terminated(run.info.run_id, "KILLED")


def _done(run: Any | None) -> bool:
    return run is not None and run.info.status in DONE


def _provenance(root: Path) -> dict[str, str]:
    """Tags: the git commit, and the DVC experiment where this is one."""
    tags = {}
    try:
        done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        done = None
    if done and done.returncode == 0:
        tags["git_commit"] = tags["mlflow.source.git.commit"] = done.stdout.strip()
    if os.environ.get("DVC_EXP_NAME"):
        tags["dvc_exp_name"] = os.environ["DVC_EXP_NAME"]
    return tags


def _package_hashes(root: Path) -> dict[str, str]:
    """cell → DVC's hash of its package, from the stage's dvc.lock."""
    path = root / layout.STAGES / "package/dvc.lock"
    if not path.is_file():
        return {}
    lock = load_yaml(path.read_text(encoding="utf-8"))
    return {
        Path(out["path"]).name: out["md5"]
        for stage, entry in (lock.get("stages") or {}).items()
        if stage.startswith("package@")
        for out in entry.get("outs", [])
        if Path(out["path"]).parent == layout.PACKAGES and "md5" in out
    }
