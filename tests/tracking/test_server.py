"""A real MLflow server on this machine: there, away, and dying in the middle. And servers that only look like one."""

from __future__ import annotations

import http.server
import json
import logging
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import ToolError
from pipeline.tracking import track
from tests.tracking.results import CELLS, Results

FP32, INT4 = CELLS


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Server:
    """`mlflow server` with its own SQLite store, which serves the artifacts too."""

    folder: Path
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--workers", "1", "--backend-store-uri", f"sqlite:///{self.folder}/mlflow.db"]
        command += ["--artifacts-destination", str(self.folder / "served")]
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(command, cwd=self.folder, stdout=log, stderr=log, start_new_session=True)
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                with urllib.request.urlopen(f"{self.uri}/health", timeout=2):
                    return
            except OSError:
                time.sleep(0.2)
        pytest.fail((self.folder / "server.log").read_text(encoding="utf-8")[-2000:])

    def stop(self) -> None:
        if self.process:
            import os
            import signal

            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None

    def runs(self) -> dict[str, dict[str, Any]]:
        """All runs by name, as the server tells. Fails when there are two of a name."""
        body = json.dumps({"experiment_ids": ["1"], "max_results": 100}).encode()
        request = urllib.request.Request(f"{self.uri}/api/2.0/mlflow/runs/search", body)
        request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request, timeout=10) as answer:
            found = json.load(answer)["runs"]
        assert len({run["info"]["run_name"] for run in found}) == len(found)
        return {run["info"]["run_name"]: run for run in found}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, once: Results) -> Iterator[Server]:
    """Not started yet."""
    import shutil

    from tests.tracking.results import empty

    folder = tmp_path_factory.mktemp("server")
    shutil.copyfile(once.root / "mlflow.db", folder / "mlflow.db")
    empty(folder / "mlflow.db")
    made = Server(folder)
    yield made
    made.stop()


def test_results_survive_a_server_that_is_away_and_one_that_dies_in_the_middle(
    server: Server, results: Results, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from mlflow import MlflowClient

    outcome = track(results.root, server.uri)
    assert (outcome.delivered, outcome.waiting) == ((), CELLS)
    assert len(caplog.messages) == 1
    assert f"MLflow at {server.uri} is away (Connection refused); the next run delivers 2 cells" in caplog.text

    server.start()
    uploads = []
    upload = MlflowClient.log_artifact

    def dying(*args: Any, **kwargs: Any) -> None:
        uploads.append(args)
        if len(uploads) == 3:  # the second cell's first file
            server.stop()
        upload(*args, **kwargs)

    caplog.clear()
    monkeypatch.setattr(MlflowClient, "log_artifact", dying)
    outcome = track(results.root, server.uri)
    monkeypatch.undo()
    assert (outcome.delivered, outcome.waiting) == ((FP32,), (INT4,))
    assert [line.endswith("; the next run delivers 1 cell") for line in caplog.messages] == [True]

    server.start()
    done = results.stage(server.uri.replace("//", "//user:secret@"))
    assert done.returncode == 0
    assert done.stdout == ""
    assert done.stderr == f"track: 1 cell delivered to {server.uri} (experiment phi-deploy)\n"
    runs = server.runs()
    assert set(runs) == {"default", *CELLS}
    assert {run["info"]["status"] for run in runs.values()} == {"FINISHED"}
    served = {path.relative_to(server.folder / "served").as_posix() for path in server.folder.glob("served/**/*.onnx")}
    assert served == {f"1/{runs[cell]['info']['run_id']}/artifacts/package/model.onnx" for cell in CELLS}
    assert "secret" not in json.dumps(runs)


def test_the_stage_ends_well_when_the_server_is_away_and_shows_no_password(results: Results) -> None:
    done = results.stage(f"http://user:secret@127.0.0.1:{free_port()}")
    assert done.returncode == 0
    assert done.stdout == ""
    assert done.stderr.startswith("track: warning: MLflow at http://127.0.0.1:")
    assert len(done.stderr.splitlines()) == 1
    assert "secret" not in "".join(path.read_text("utf-8") for path in results.root.glob("records/**/*.json"))


def test_an_address_that_accepts_nothing_costs_two_seconds(results: Results) -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        for client in waiting:  # fills the queue, so that the next connection hangs
            client.setblocking(False)
            client.connect_ex(full.getsockname())
        begun = time.monotonic()
        outcome = track(results.root, f"http://127.0.0.1:{full.getsockname()[1]}")
        for client in waiting:
            client.close()
    assert outcome.waiting == CELLS
    assert time.monotonic() - begun < 4


@pytest.fixture
def refusing() -> Iterator[tuple[str, list[int]]]:
    """A server that answers everything with one status, which a test may set."""
    status = [401]

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # noqa: N802
            self.send_response(status[0])
            self.end_headers()
            self.wfile.write(b'{"error_code": "X", "message": "no"}')

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_: Any) -> None:
            """Quiet."""

    serving = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=serving.serve_forever, daemon=True).start()
    yield f"http://user:secret@127.0.0.1:{serving.server_port}", status
    serving.shutdown()


def test_refused_credentials_are_an_error_that_does_not_repeat_them(
    refusing: tuple[str, list[int]], results: Results, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with pytest.raises(ToolError, match=r"MLflow at http://127\.0\.0\.1:\d+: .*401.*MLFLOW_TRACKING_URI") as caught:
        track(results.root, refusing[0])
    assert "secret" not in str(caught.value) + caplog.text


def test_a_server_in_trouble_is_away(refusing: tuple[str, list[int]], results: Results) -> None:
    refusing[1][0] = 503
    assert track(results.root, refusing[0]).waiting == CELLS
