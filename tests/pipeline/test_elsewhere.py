"""In a subfolder of the project, and in a clone in which nothing was run."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys

from tests.support.project import SMOKE, Project


def test_a_subfolder_gives_what_the_root_gives(project: Project) -> None:
    expected = project.pipeline("plan", *SMOKE, env={"COLUMNS": "200"})
    assert expected.returncode == 0, expected.stderr
    command = [sys.executable, "-m", "pipeline", "plan", *SMOKE]
    below = project.root / "conf" / "model"
    done = subprocess.run(
        command,
        cwd=below,
        env={"PYTHONPATH": str(project.root), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    # what is free on the disk is the machine's, and other work changes it
    free = re.compile(r"[\d.]+ [MG]B free")
    assert free.search(expected.stdout)
    assert free.sub("", done.stdout) == free.sub("", expected.stdout)


def test_a_clone_that_pulled_a_report_shows_and_keeps_it(copy: Project) -> None:
    pulled = (copy.root / "reports" / "cells.json").read_bytes()
    page = (copy.root / "reports" / "summary.md").read_bytes()
    for name in ("artifacts", "packages", "records", "inputs", "host"):
        shutil.rmtree(copy.root / name, ignore_errors=True)
    done = copy.pipeline("report")
    assert done.returncode == 0, done.stderr
    assert "these are the figures of the report as it was pulled" in done.stdout
    assert copy.pipeline("report", "--json").stdout.encode() == pulled
    assert (copy.root / "reports" / "cells.json").read_bytes() == pulled
    assert (copy.root / "reports" / "summary.md").read_bytes() == page


def test_what_was_not_run_is_no_failure(copy: Project) -> None:
    metrics = copy.root / "reports/metrics.json"
    held = metrics.read_bytes()
    for name in ("reports", "artifacts", "packages", "records"):
        shutil.rmtree(copy.root / name, ignore_errors=True)
    metrics.parent.mkdir()
    metrics.write_bytes(held)  # it is in git
    done = copy.pipeline("report")
    assert done.returncode == 0, done.stderr
    assert "not run" in done.stdout and "failed" not in done.stdout
    assert {row["status"] for row in copy.json("reports/cells.json")} == {"not run"}
    assert metrics.read_bytes() == held
