"""Where MLflow keeps its runs: the address, how it may be shown, whether it is there. Imports no MLflow."""

from __future__ import annotations

import os
import re
import socket
import sqlite3
import threading
from collections.abc import Collection
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from pipeline.errors import ConfigError, ToolError

DATABASE = "mlflow.db"
ARTIFACTS = "mlartifacts"
SQLITE = "sqlite:///"
PORTS = {"http": 80, "https": 443, "postgresql": 5432, "mysql": 3306, "mssql": 1433}
PROBE_S = 2.0
BUSY_S = 10.0  # for a SQLite store that another program writes to

_USER = re.compile(r"(?<=://)[^/\s'\"]*@")
_QUERY = re.compile(r"(?i)([?&;][^=&\s]*(?:password|passwd|pwd|token|secret|sig|signature|key)=)[^&\s'\"]+")


class StoreAwayError(Exception):
    """The store does not answer. The message is one line and free of credentials."""


@dataclass(frozen=True)
class Store:
    """`uri` is what MLflow gets, `shown` what people see.

    `database` is the file of a SQLite store. `artifacts` is where its experiments keep their files; empty
    where the server decides.
    """

    uri: str
    shown: str
    database: Path | None = None
    artifacts: str = ""

    def prepare(self) -> None:
        """Open a SQLite store before MLflow does, which takes minutes to find that it cannot.

        Raises ToolError when that fails, StoreAwayError when another program holds it.
        """
        if self.database is None:
            return
        try:
            self.database.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(self.database, timeout=BUSY_S)) as connection, connection:
                tables = {name for (name,) in connection.execute("select name from sqlite_master")}
                if "experiments" in tables:
                    self._move_in(connection)
        except (sqlite3.Error, OSError) as error:
            if "locked" in str(error):
                raise StoreAwayError("another program holds it") from error
            raise ToolError(
                f"cannot be opened: {error}",
                where=f"MLflow at {self.shown}",
                hint="move that file away, or name another in MLFLOW_TRACKING_URI; the next run delivers again",
            ) from error

    def _move_in(self, connection: sqlite3.Connection) -> None:
        """Where the project was moved or copied, say so in its store: MLflow keeps the full paths of all files."""
        if self.database is None or self.database.parent.as_uri() != self.artifacts.rpartition("/")[0]:
            return  # a store outside the project may serve others
        old = connection.execute(
            "select distinct artifact_location from experiments where artifact_location like ? "
            "and artifact_location != ?",
            (f"file://%/{ARTIFACTS}", self.artifacts),
        ).fetchall()
        for (location,) in old:
            part = len(location) + 1
            connection.execute(
                "update runs set artifact_uri = ? || substr(artifact_uri, ?) where substr(artifact_uri, 1, ?) = ?",
                (self.artifacts, part, part, f"{location}/"),
            )
            connection.execute(
                "update experiments set artifact_location = ? where artifact_location = ?",
                (self.artifacts, location),
            )

    def lost(self, runs: Collection[str]) -> set[str]:
        """Those of `runs` that a SQLite store no longer has, or that a person deleted there. Cheap: no MLflow."""
        if self.database is None or not self.database.is_file():
            return set()
        try:
            with closing(sqlite3.connect(f"{self.database.as_uri()}?mode=ro", uri=True, timeout=2)) as connection:
                active = connection.execute("select run_uuid from runs where lifecycle_stage = 'active'")
                return set(runs) - {run for (run,) in active}
        except sqlite3.DatabaseError:
            return set()  # MLflow says better what is wrong with it

    def forgot(self, runs: Collection[str]) -> bool:
        """Whether a SQLite store is gone, or another one than the one that got `runs`. Cheap: no MLflow."""
        if self.database is None:
            return False
        if not self.database.is_file():
            return True
        try:
            with closing(sqlite3.connect(f"{self.database.as_uri()}?mode=ro", uri=True, timeout=2)) as connection:
                kept = {row[0] for row in connection.execute("select run_uuid from runs")}
        except sqlite3.OperationalError as error:
            return "locked" not in str(error)  # a locked store is in use, and one without tables has no runs
        except sqlite3.DatabaseError:
            return False  # MLflow says better what is wrong with it
        return bool(kept.isdisjoint(runs))


def main_root(root: Path) -> Path:
    """The project itself, also when DVC runs this in `.dvc/tmp/exps/`: DVC_ROOT then names it."""
    here = root.resolve()
    named = os.environ.get("DVC_ROOT")
    if named and here.is_relative_to(Path(named).resolve() / ".dvc"):
        return Path(named).resolve()
    return here


def open_store(root: Path, uri: str | None) -> Store:
    """The store at `uri`, by default mlflow.db in `root`. Relative files are taken from `root`."""
    uri = uri or f"{SQLITE}{DATABASE}"
    _check(uri)
    scheme, separator, rest = uri.partition("://")
    artifacts = (root / ARTIFACTS).as_uri()
    if uri.startswith(SQLITE):
        path, question, options = rest[1:].partition("?")
        database = root / unquote(path)
        quoted = database.as_posix().replace("%", "%25").replace("?", "%3F")
        return Store(f"{SQLITE}{quoted}{question}{options}", clean(uri), database, artifacts)
    if not separator and not uri.startswith(("file:", "databricks", "uc:")):
        return Store((root / uri).as_uri(), uri)
    in_database = scheme.partition("+")[0] in PORTS and not scheme.startswith("http")
    return Store(uri, clean(uri), artifacts=artifacts if in_database else "")


def _check(uri: str) -> None:
    try:
        _ = urlsplit(uri).port
    except ValueError:  # its message holds parts of the address, which may be parts of a password
        raise ConfigError(
            "MLFLOW_TRACKING_URI is no valid address", hint="special characters of a password must be %-encoded"
        ) from None


def clean(text: str) -> str:
    """`text` without the credentials of the addresses in it."""
    return _QUERY.sub(r"\1***", _USER.sub("", text))


def probe(uri: str) -> None:
    """Raise StoreAwayError when nothing accepts a connection at a server's address. Takes two seconds at most.

    MLflow itself would retry for minutes. Behind a proxy nothing can be said beforehand.
    """
    parts = urlsplit(uri)
    scheme = parts.scheme.partition("+")[0]
    if scheme not in PORTS or not parts.hostname:
        return
    if scheme in getproxies() and not proxy_bypass(parts.hostname):
        return
    address = (parts.hostname, parts.port or PORTS[scheme])
    answer: list[str] = []
    thread = threading.Thread(target=_connect, args=(address, answer), daemon=True)  # name look-ups have no time-out
    thread.start()
    thread.join(PROBE_S)
    problem = answer[0] if answer else f"no answer in {PROBE_S:g} s"
    if problem:
        raise StoreAwayError(problem)


def _connect(address: tuple[str, int], answer: list[str]) -> None:
    try:
        socket.create_connection(address, timeout=PROBE_S).close()
    except OSError as error:
        answer.append(error.strerror or str(error) or type(error).__name__)
    else:
        answer.append("")
