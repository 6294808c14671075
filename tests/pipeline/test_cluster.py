"""A sweep on workers: what comes home is what a run here leaves; on placeholder stages, on this machine's loopback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from benchmarks.placeholder import forget
from pipeline.engine.link import check_link
from tests.support.cluster import Cluster
from tests.support.project import Project
from tests.support.sweeps import files, locks, of_stage, started, until

BUILD, CELL = "m001_int4_onnxruntime", "m001_int4_onnxruntime_cpu"


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with Cluster(tmp_path / "cluster") as made:
        yield made


def with_remote(project: Project) -> tuple[str, str]:
    done = project.dvc("remote", "add", "-q", "shared", str(project.root.parent / "remote"))
    assert done.returncode == 0, done.stderr
    return "--remote", "shared"


def test_a_sweep_on_two_workers_leaves_what_a_run_here_leaves(placeholders: Project, cluster: Cluster) -> None:
    remote = with_remote(placeholders)
    failing = placeholders.root / "failing.json"
    failing.write_text(json.dumps([f"quantize@{BUILD}"]), encoding="utf-8")
    cluster.worker("w1")
    cluster.worker("w2")
    done = placeholders.pipeline("run", "--scheduler", cluster.address, *remote, "--json")
    assert done.returncode == 1, done.stderr + cluster.log("w1")
    assert f"error: quantize@{BUILD}: quantize@{BUILD} was told to (on w" in done.stderr
    rows = {row["id"]: row for row in json.loads(done.stdout)}
    assert rows[CELL]["status"] == "failed" and "was told to" in rows[CELL]["reason"]
    failing.unlink()
    assert placeholders.pipeline("run", "--scheduler", cluster.address, *remote).returncode == 0
    expected = files(placeholders.root), locks(placeholders.root)
    assert placeholders.repro() == ["guard", "track"]
    forget(placeholders.root)  # as in another clone, or after the driver's disk broke
    done = placeholders.pipeline("run", "--scheduler", cluster.address, *remote)
    assert done.returncode == 0 and done.stderr.count("from the remote") == 11, done.stderr
    assert (files(placeholders.root), locks(placeholders.root)) == expected
    assert placeholders.repro() == ["guard", "track"]


@pytest.mark.slow
def test_the_stage_of_a_worker_that_was_killed_goes_to_another(placeholders: Project, cluster: Cluster) -> None:
    slow = placeholders.root / "slow.json"
    slow.write_text(json.dumps({"quantize@": 10}), encoding="utf-8")
    remote = with_remote(placeholders)
    cluster.worker("w1")
    with subprocess.Popen(
        [sys.executable, "-m", "pipeline", "run", "--scheduler", cluster.address, *remote],
        cwd=placeholders.root,
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"},
        stderr=subprocess.PIPE,
        text=True,
    ) as child:
        stages = until(lambda: of_stage(cluster.processes["w1"].pid, "quantize"))
        cluster.worker("w2")  # late
        until(lambda: "Starting Worker plugin" in cluster.log("w2"))
        cluster.kill("w1")
        _, said = child.communicate(timeout=200)
    assert child.returncode == 0, said + cluster.log("w2")
    assert "quantize m001 int4 onnxruntime · on w2" in said
    assert not any(stage.is_running() and stage.status() != psutil.STATUS_ZOMBIE for stage in stages)
    assert {f"benchmark@{CELL}", f"package@{CELL}"} <= set(started(placeholders))
    assert placeholders.repro() == ["guard", "track"]


def test_what_cannot_be_asked_for_is_said_in_one_line(placeholders: Project) -> None:
    for words, said in (
        (["--remote", "shared"], "--remote and --like are of a cluster"),
        (["--scheduler", "tcp://127.0.0.1:1"], "a cluster's results go through a DVC remote"),
        (["--scheduler", "nowhere", "--remote", "shared"], "'nowhere' is no scheduler's address"),
        (["--scheduler", "tcp://192.0.2.1:8786", "--remote", "shared"], "TLS is required off this machine"),
    ):
        done = placeholders.pipeline("run", *words)
        assert done.returncode == 2 and said in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr
    done = placeholders.pipeline("run", "--scheduler", "tcp://127.0.0.1:1", "--remote", "shared")
    assert done.returncode == 2 and "DVC knows no remote 'shared'" in done.stderr


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:8786", "tcp://localhost:1"])
def test_a_link_that_is_kept_is_taken(address: str) -> None:
    check_link(address, {}, False)
    check_link("tcp://192.0.2.1:8786", {}, True)
