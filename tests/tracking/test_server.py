"""A real MLflow server on this machine: away, cut off in the middle, there. And servers that only look like one."""

from __future__ import annotations

import http.server
import json
import logging
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import ToolError
from pipeline.tracking import track
from tests.tracking.results import CELLS, PARENT, Results, empty
from tests.tracking.server import Line, Server, free_port

FP32, INT4 = CELLS


@pytest.fixture
def server(tmp_path: Path, once: Results) -> Iterator[Server]:
    """On its way up."""
    folder = tmp_path / "server"
    folder.mkdir()
    shutil.copyfile(once.root / "mlflow.db", folder / "mlflow.db")
    empty(folder / "mlflow.db")
    made = Server(folder)
    made.start()
    yield made
    made.stop()


def test_results_reach_a_server_that_is_away_at_first_and_cut_off_in_the_middle(
    server: Server, results: Results, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from mlflow import MlflowClient

    line = Line(server.port)
    outcome = track(results.root, line.uri)
    assert (outcome.delivered, outcome.waiting) == ((), CELLS)
    assert len(caplog.messages) == 1
    assert f"MLflow at {line.uri} is away (Connection refused); the next run delivers 2 cells" in caplog.text

    server.wait()
    line.open()
    uploads = []
    upload = MlflowClient.log_artifact

    def cut_off(*args: Any, **kwargs: Any) -> None:
        uploads.append(args)
        if len(uploads) == 3:  # the second cell's first file
            line.cut()
        upload(*args, **kwargs)

    caplog.clear()
    monkeypatch.setattr(MlflowClient, "log_artifact", cut_off)
    outcome = track(results.root, line.uri)
    monkeypatch.undo()
    assert (outcome.delivered, outcome.waiting) == ((FP32,), (INT4,))
    assert [text.endswith("; the next run delivers 1 cell") for text in caplog.messages] == [True]

    line.open()
    done = results.stage(line.uri.replace("//", "//user:secret@"))
    line.cut()
    assert done.returncode == 0 and done.stdout.endswith("Report: reports/index.html\n")
    assert done.stderr == f"track: 1 cell delivered to {line.uri} (experiment phi-deploy)\n"
    runs = server.runs()
    assert set(runs) == {PARENT, *CELLS}
    assert {run["info"]["status"] for run in runs.values()} == {"FINISHED"}
    served = {path.relative_to(server.folder / "served").as_posix() for path in server.folder.glob("served/**/*.onnx")}
    assert served == {f"1/{runs[cell]['info']['run_id']}/artifacts/package/model.onnx" for cell in CELLS}
    assert "secret" not in json.dumps(runs)


def test_the_stage_ends_well_when_the_server_is_away_and_shows_no_password(results: Results) -> None:
    done = results.stage(f"http://user:secret@127.0.0.1:{free_port()}")
    assert done.returncode == 0 and done.stdout.endswith("Report: reports/index.html\n")
    assert done.stderr.startswith("track: warning: MLflow at http://127.0.0.1:")
    assert len(done.stderr.splitlines()) == 1
    assert "secret" not in "".join(path.read_text("utf-8") for path in results.root.glob("records/**/*.json"))


def test_an_address_where_nobody_answers_costs_two_seconds(results: Results) -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        for client in waiting:  # fills the queue, so that the next connection hangs
            client.setblocking(False)
            client.connect_ex(full.getsockname())
        begun = time.monotonic()
        outcome = track(results.root, f"http://127.0.0.1:{full.getsockname()[1]}")
        seconds = time.monotonic() - begun
        for client in waiting:
            client.close()
    assert outcome.waiting == CELLS
    assert seconds < 4


@pytest.fixture
def answering() -> Iterator[tuple[str, list[int]]]:
    """An address with credentials, where everything is answered with one status, which a test may set."""
    status = [401]

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # noqa: N802
            self.send_response(status[0])
            self.end_headers()
            self.wfile.write(b"no")

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_: Any) -> None:
            """Quiet."""

    serving = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=serving.serve_forever, args=(0.05,), daemon=True).start()
    yield f"http://user:secret@127.0.0.1:{serving.server_port}", status
    serving.shutdown()


def test_refused_credentials_are_an_error_that_does_not_repeat_them(
    answering: tuple[str, list[int]], results: Results, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with pytest.raises(ToolError, match=r"MLflow at http://127\.0\.0\.1:\d+: .*401.*MLFLOW_TRACKING_URI") as caught:
        track(results.root, answering[0])
    assert "secret" not in str(caught.value) + caplog.text


def test_a_server_in_trouble_is_away(answering: tuple[str, list[int]], results: Results) -> None:
    answering[1][0] = 503
    assert track(results.root, answering[0]).waiting == CELLS
