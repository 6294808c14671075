"""`python -m pipeline ui`: MLflow opened at the runs, with the columns that matter."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from pipeline.errors import ConfigError, DataError
from pipeline.tracking.ui import show
from pipeline.tracking.view import view_tags
from tests.support.tiny import ROOT
from tests.tracking.results import Results
from tests.tracking.server import Server, free_port


def test_a_served_store_has_the_view_that_the_links_name(delivered: Results, tmp_path: Path) -> None:
    (delivered.root / "conf").mkdir()
    (delivered.root / "conf/config.yaml").touch()
    delivered.query("delete from experiment_tags")
    port = free_port()
    command = [sys.executable, "-m", "pipeline", "ui", "--no-browser", "--port", str(port)]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, cwd=delivered.root, env=env, text=True, **pipes) as ui:
        watchdog = threading.Timer(120, ui.kill)
        watchdog.start()
        lines = [ui.stdout.readline() for _ in range(2)]
        tags = json.loads(Server(tmp_path, port).ask("GET", "/api/2.0/mlflow/experiments/get?experiment_id=1"))
        ui.send_signal(signal.SIGINT)
        assert ui.wait(30) == 0, ui.stderr.read()
        watchdog.cancel()
    assert f"http://127.0.0.1:{port}/#/experiments/1/runs?workflowType=machine_learning" in lines[1]
    held = {tag["key"]: tag["value"] for tag in tags["experiment"]["tags"]}
    assert held == view_tags()
    columns = json.loads(held["mlflow.sharedViewState.cells"])["selectedColumns"]
    assert {"params.`precision`", "metrics.`kl_nats_mean`", "metrics.`size_mb`", "tags.`gates`"} <= set(columns)
    with pytest.raises(OSError):  # noqa: PT011
        for _ in range(100):
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            time.sleep(0.1)


def test_every_column_and_chart_is_of_a_figure_that_is_logged() -> None:
    from pipeline.reporting.cells import METRICS
    from pipeline.rows import Figures
    from pipeline.tracking import words

    logged = words.figures(Figures(**dict.fromkeys(METRICS, 0.5)))
    view = json.loads(view_tags()["mlflow.sharedViewState.cells"])
    columns = {name[9:-1] for name in view["selectedColumns"] if name.startswith("metrics.")}
    drawn = [chart for chart in view["compareRunCharts"] if not chart["deleted"]]
    assert not view["orderByKey"].startswith("attributes"), "sorted by time, cells are folded into their parents"
    charted = {chart.get("metricKey") for chart in drawn} | {chart["xaxis"]["key"] for chart in drawn[:2]}
    assert columns | charted - {None} <= logged.keys()
    assert "perplexity" not in charted, "it does not rank quantizations"


def test_before_anything_was_delivered_and_where_a_port_is_taken_one_line_says_what_to_do(
    delivered: Results, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=r"nothing was delivered yet; run dvc repro"):
        show(tmp_path, "phi-deploy", ("127.0.0.1", 5000), False, print)
    with pytest.raises(DataError, match=r"there is no experiment 'other'; run dvc repro"):
        show(delivered.root, "other", ("127.0.0.1", 5000), False, print)
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(ConfigError, match="--port"):
        show(delivered.root, "phi-deploy", ("127.0.0.1", taken.getsockname()[1]), False, print)
