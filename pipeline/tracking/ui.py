"""MLflow's user interface, opened where the results are: the runs, with columns and charts chosen."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
import webbrowser
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from pipeline.errors import ConfigError, DataError, ToolError
from pipeline.tracking.client import ENVIRONMENT, clear_errors
from pipeline.tracking.store import Store, StoreAwayError, main_root, open_store, probe
from pipeline.tracking.view import CELLS, SWEEPS, link, view_tags

START_S = 120.0  # a server's first start reads all of MLflow
SERVER = {**ENVIRONMENT, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
NOTHING = "run dvc repro (or make repro) first: its last stage delivers the results"


def show(
    root: Path, experiment: str, address: tuple[str, int], browser: bool, say: Callable[[Mapping[str, str]], None]
) -> int:
    """Serve the project's store at `address` (host, port) until interrupted, and say which links to open, by name.

    Where MLFLOW_TRACKING_URI names a server, nothing is served: its links are said. Raises DataError where nothing was
    delivered yet, ConfigError for a port in use, ToolError for a server that does not start or answer.
    """
    store = open_store(main_root(root), os.environ.get("MLFLOW_TRACKING_URI"))
    number = _experiment(store, experiment)
    if store.uri.startswith(("http://", "https://")):
        _open(store.shown, number, browser, say)
        return 0
    host, port = address
    _check_free(host, port)
    command = [sys.executable, "-m", "mlflow", "server", "--host", host, "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", store.uri]
    place, surroundings = main_root(root), {**os.environ, **SERVER}
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # the server ends with this process
    with subprocess.Popen(
        command, cwd=place, env=surroundings, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as server:
        try:
            shown = f"http://{'127.0.0.1' if host == '0.0.0.0' else host}:{port}"  # noqa: S104
            _wait(server, shown)
            _open(shown, number, browser, say)
            return int(_drain(server))
        except KeyboardInterrupt:
            return 0
        finally:
            server.terminate()


def _experiment(store: Store, name: str) -> str:
    """The experiment's number, with its views up to date."""
    if store.database is not None and not store.database.is_file():
        raise DataError("nothing was delivered yet", where=f"MLflow at {store.shown}", hint=NOTHING)
    try:
        probe(store.uri)
        store.prepare()
        with clear_errors(store):
            from mlflow import MlflowClient

            client = MlflowClient(tracking_uri=store.uri)
            found = client.get_experiment_by_name(name)
            if found is None:
                raise DataError(f"there is no experiment '{name}'", where=f"MLflow at {store.shown}", hint=NOTHING)
            for key, text in view_tags().items():
                if found.tags.get(key) != text:
                    client.set_experiment_tag(found.experiment_id, key, text)
            return str(found.experiment_id)
    except StoreAwayError as error:
        raise ToolError(f"is away ({error})", where=f"MLflow at {store.shown}", hint="start it, then again") from None


def _check_free(host: str, port: int) -> None:
    with socket.socket() as probe_:
        probe_.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe_.bind((host, port))
        except OSError as error:
            hint = "choose another with --port"
            raise ConfigError(f"{host}:{port} cannot be served: {error.strerror}", hint=hint) from None


def _wait(server: subprocess.Popen[bytes], shown: str) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        if server.poll() is not None:
            break
        try:
            with urlopen(f"{shown}/health", timeout=2):  # noqa: S310
                return
        except (URLError, OSError):
            time.sleep(0.2)
    if server.poll() is None:
        server.kill()
    said = server.stderr.read().decode(errors="replace").strip().splitlines() if server.stderr else []
    raise ToolError(f"the server did not start: {said[-1] if said else 'no answer'}", where="mlflow server")


def _drain(server: subprocess.Popen[bytes]) -> int:
    """Read what the server says, so that it never waits for us; its exit code."""
    for _ in server.stderr or ():
        pass
    return server.wait()


def _open(server: str, number: str, browser: bool, say: Callable[[Mapping[str, str]], None]) -> None:
    links = {
        "cells": link(server, number, CELLS),
        "charts": link(server, number, CELLS, "CHART"),
        "sweeps": link(server, number, SWEEPS),
        "models": f"{server.rstrip('/')}/#/models",
    }
    say(links)
    if browser:
        webbrowser.open(links["cells"])
