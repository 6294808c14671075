"""A finished project as files: reports, packages, params.yaml and a dvc.lock, without running a pipeline."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pipeline.reporting.cells import METRICS
from tests.support.tiny import ROOT

PARENT = "phi-tiny · default"
CELLS = ("phi-tiny_fp32_onnxruntime_cpu", "phi-tiny_int4_onnxruntime_cpu")


@dataclass
class Results:
    """`root` holds what a run of the pipeline leaves for track."""

    root: Path

    @property
    def records(self) -> list[dict[str, Any]]:
        return json.loads((self.root / "reports/cells.json").read_text(encoding="utf-8"))

    def write(self, records: list[dict[str, Any]]) -> None:
        (self.root / "reports/cells.json").write_text(json.dumps(records, indent=2), encoding="utf-8")

    def change(self, cell: str, metric: str, value: float | None) -> None:
        records = self.records
        next(record for record in records if record["id"] == cell)["metrics"][metric] = value
        self.write(records)

    def set_params(self, *path: str, value: Any) -> None:
        file = self.root / "params.yaml"
        params = yaml.safe_load(file.read_text(encoding="utf-8"))
        inner = params
        for name in path[:-1]:
            inner = inner[name]
        inner[path[-1]] = value
        file.write_text(yaml.safe_dump(params, sort_keys=False), encoding="utf-8")

    def stage(self, uri: str = "", code: str = "", cwd: Path | None = None, **env: str) -> subprocess.CompletedProcess:
        """Run the stage as DVC does, in a process of its own; `code` runs before it."""
        door = "import runpy, sys; sys.argv = ['stages', 'track']; runpy.run_module('stages', run_name='__main__')"
        program = f"{code}\n{door}"
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("DVC_", "MLFLOW_"))}
        environment = {**kept, "PYTHONPATH": str(ROOT), **env}
        if uri:
            environment["MLFLOW_TRACKING_URI"] = uri
        return subprocess.run(
            [sys.executable, "-c", program],
            cwd=cwd or self.root,
            env=environment,
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=120,
        )

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        with sqlite3.connect(self.root / "mlflow.db") as store:
            return store.execute(sql).fetchall()

    def names(self) -> list[str]:
        """The runs in the default store, by name."""
        return [name for (name,) in self.query("select name from runs order by name")]


def make_results(root: Path, cells: tuple[str, ...] = CELLS) -> Results:
    """Two finished cells below `root`, or others."""
    (root / "reports").mkdir(parents=True)
    records, lock = [], {}
    for cell in cells:
        records.append(_record(cell, *cell.split("_")))
        folder = root / "packages" / cell
        folder.mkdir(parents=True)
        (folder / "manifest.json").write_text(json.dumps({"cell": cell}), encoding="utf-8")
        (folder / "README.md").write_text(f"# {cell}\n", encoding="utf-8")
        (folder / "model.onnx").write_bytes(b"weights of " + cell.encode())
        out = {"path": f"packages/{cell}", "hash": "md5", "md5": f"{len(lock):032x}.dir"}
        lock[f"package@{cell}"] = {"cmd": "x", "outs": [{"path": f"artifacts/packaged/{cell}.json", "md5": "0"}, out]}
    params = {
        "suite": "default",
        "seed": 0,
        "track": {"experiment": "phi-deploy", "max_package_mb": 1},
        "plan": "stages/plan.yaml",
    }
    (root / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False), encoding="utf-8")
    (root / "stages/package").mkdir(parents=True)
    (root / "stages/package/dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": lock}), encoding="utf-8")
    (root / "reports/summary.md").write_text("# Summary\n", encoding="utf-8")
    (root / "reports/quality_size.png").write_bytes(b"\x89PNG")
    results = Results(root)
    results.write(records)
    return results


def empty(database: Path) -> None:
    """Take all runs and the project's experiment out of a store, as if it had just been made."""
    with sqlite3.connect(database) as store:
        for table in ("tags", "params", "metrics", "latest_metrics", "experiment_tags", "runs"):
            store.execute(f"delete from {table}")
        store.execute("delete from experiments where name = 'phi-deploy'")


def _record(cell: str, model: str, precision: str, backend: str, target: str) -> dict[str, Any]:
    measured = {"perplexity": 12.5, "size_bytes": 1000, "decode_tokens_per_s": 80.25}
    return {
        "id": cell,
        "model": model,
        "precision": precision,
        "option": precision,
        "shown": precision,
        "backend": backend,
        "target": target,
        "recipe": "default",
        "status": "ok",
        "reason": None,
        "metrics": {**dict.fromkeys(METRICS), **measured},
        "reasons": {"load_s": "no such device"},
        "extra": {},
        "gates": [],
        "package": {"path": f"packages/{cell}", "size_bytes": 1000, "sha256": "ab" * 32},
        "measured_on": None,
        "noisy": False,
        "settings": {
            "source": {"path": "models/phi-tiny"},
            "convert": {"form": {"provider": "cpu"}, "requires": {"onnx": "1.23.2"}},
            "quantize": {"method": "rtn", "settings": {"bits": 4}},
            "evaluate": {"window": 512, "decode_tokens": 24},
            "package": {"license": "mit", "options": {}},
            "benchmark": {"runs": 5, "threads": 0},
        },
    }
