"""The way to a scheduler, and how it is kept: a Dask port is remote code."""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from distributed import Client
from distributed.security import Security

from pipeline.engine.local import quiet
from pipeline.errors import ConfigError, ToolError

CONNECT_S = 20
AWAY_S = 60


@dataclass(frozen=True)
class Link:
    """Where the scheduler is, which remote results go through, and how the link is kept.

    like: a worker whose instruction set all stages are to have; without it, this machine's.
    """

    scheduler: str
    remote: str
    like: str = ""
    ca: str = ""
    cert: str = ""
    key: str = ""


def check_link(address: str, ca: str, insecure: bool) -> None:
    """Raises ConfigError for an address that is none, or that would carry code in the clear to another machine."""
    parts = urlsplit(address)
    try:
        there = bool(parts.hostname and parts.port)
    except ValueError:
        there = False
    if parts.scheme not in ("tcp", "tls") or not there:
        raise ConfigError(f"'{address}' is no scheduler's address", hint="tcp://HOST:PORT or tls://HOST:PORT")
    if parts.scheme == "tls" and not ca:
        raise ConfigError("tls:// needs --tls-ca-file, --tls-cert and --tls-key", where=address)
    if parts.scheme == "tcp" and not insecure and not _loopback(str(parts.hostname)):
        raise ConfigError(
            "whoever reaches a Dask port runs code there: TLS is required off this machine",
            where=address,
            hint="tls:// with --tls-ca-file, --tls-cert and --tls-key; --insecure for a network that is yours alone",
        )


def _loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Care:
    """Looks after a sweep while nothing ends: is the scheduler there, and has a worker that joined late its share?

    Dask asks which tasks a worker can take when it registers, and these declare what they have after that.
    """

    def __init__(self, client: Client) -> None:
        self.client, self._seen = client, time.monotonic()

    def __call__(self) -> None:
        """Raises ToolError where the scheduler has been away for AWAY_S."""
        if self.client.status == "running":
            self._seen = time.monotonic()
            with suppress(OSError, TimeoutError):
                self.client.run_on_scheduler(give_waiting)
        elif time.monotonic() - self._seen > AWAY_S or self.client.status == "closed":
            raise ToolError("the scheduler is gone", hint="start it again; the same command goes on from the remote")


def give_waiting(dask_scheduler: Any) -> None:
    """Runs in the scheduler: tasks that no worker could take go to those that can by now."""
    for worker in list(dask_scheduler.running):
        found = dask_scheduler.bulk_schedule_unrunnable_after_adding_worker(worker)
        dask_scheduler.transitions(found, "phi-deploy")


@contextmanager
def connected(link: Link) -> Iterator[Client]:
    """A client of the scheduler. Raises ToolError where none answers."""
    quiet()
    security = None
    if link.ca:
        security = Security(
            tls_ca_file=link.ca, tls_client_cert=link.cert, tls_client_key=link.key, require_encryption=True
        )
    try:
        client = Client(link.scheduler, security=security, timeout=CONNECT_S)
    except (OSError, TimeoutError, ValueError) as error:
        raise ToolError(
            f"no scheduler answers at {link.scheduler}", hint="start one: dask scheduler --host ADDRESS"
        ) from error
    with client:
        yield client
