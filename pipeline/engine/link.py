"""The way to a scheduler, and how it is kept: a Dask port is remote code."""

from __future__ import annotations

import ipaddress
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from distributed import Client
from distributed.security import Security

from pipeline.engine.local import quiet
from pipeline.engine.workspace import RemoteAway
from pipeline.errors import ConfigError, ToolError, first_line

CONNECT_S = 20
HANDSHAKE_S = 5.0


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


def check_link(address: str, files: Mapping[str, str], insecure: bool) -> None:
    """Raises ConfigError for an address that is none, or that would carry code in the clear to another machine.

    files: of TLS, by their flag; each must be there, and they must fit together.
    """
    parts = urlsplit(address)
    try:
        there = bool(parts.hostname and parts.port)
    except ValueError:
        there = False
    if parts.scheme not in ("tcp", "tls") or not there:
        raise ConfigError(f"'{address}' is no scheduler's address", hint="tcp://HOST:PORT or tls://HOST:PORT")
    if parts.scheme == "tls":
        _check_files(address, files)
    elif any(files.values()):
        raise ConfigError("--tls-… is of tls://", where=address, hint=f"tls://{parts.netloc}")
    if parts.scheme == "tcp" and not insecure and not _loopback(str(parts.hostname)):
        raise ConfigError(
            "whoever reaches a Dask port runs code there: TLS is required off this machine",
            where=address,
            hint="tls:// with --tls-ca-file, --tls-cert and --tls-key; --insecure for a network that is yours alone",
        )


def _check_files(address: str, files: Mapping[str, str]) -> None:
    if without := [flag for flag, path in files.items() if not path]:
        raise ConfigError(f"tls:// needs {', '.join(without)} as well", where=address)
    for flag, path in files.items():
        if not Path(path).is_file():
            raise ConfigError("there is no such file", where=f"{flag} {path}")
    ca, cert, key = files.values()
    try:
        context = ssl.create_default_context(cafile=ca)
        context.load_cert_chain(cert, key)
    except ssl.SSLError as error:
        said = error.reason or first_line(error)
        raise ConfigError(f"certificate, key and authority do not fit together: {said}", where=address) from None


def _loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Care:
    """Looks after a sweep: is the scheduler there, is the remote, and has a worker that joined late its share?

    Dask asks which tasks a worker can take when it registers, and these declare what they have after that.
    """

    def __init__(self, client: Client, check_remote: Callable[[], None], say: Callable[[str], None]) -> None:
        self.client, self._check_remote, self._say = client, check_remote, say
        self._left = False

    def idle(self) -> None:
        """While nothing ends. Raises ToolError where the scheduler is away: Dask then knows nothing of the sweep."""
        if self.client.status != "running":
            raise gone()
        with suppress(OSError, TimeoutError):
            left = not self.client.run_on_scheduler(give_waiting)
            if left and not self._left:
                self._say("no worker is left: the sweep goes on with the first that joins")
            self._left = left

    def failed(self, error: BaseException | None) -> None:
        """Raises what ends the sweep: the scheduler took all tasks with it, or the remote is away from here as well."""
        if error is None or isinstance(error, CancelledError):
            raise gone()
        if isinstance(error, RemoteAway):
            self._check_remote()


def gone() -> ToolError:
    """What to say of a scheduler that went away."""
    return ToolError("the scheduler is gone", hint="start it and its workers again; the same command goes on")


@contextmanager
def if_there() -> Iterator[None]:
    """What is done for a scheduler's good, and of no use without it."""
    with suppress(OSError, TimeoutError, ValueError, RuntimeError, CancelledError):
        yield


def give_waiting(dask_scheduler: Any) -> int:
    """Runs in the scheduler: tasks that no worker could take go to those that can by now. How many there are."""
    for worker in list(dask_scheduler.running):
        found = dask_scheduler.bulk_schedule_unrunnable_after_adding_worker(worker)
        dask_scheduler.transitions(found, "phi-deploy")
    return len(dask_scheduler.workers)


def no_answer(address: str) -> ToolError:
    """What to say of a scheduler that is not there."""
    return ToolError(f"no scheduler answers at {address}", hint="start one: dask scheduler --host ADDRESS")


def shake_hands(address: str, files: Mapping[str, str]) -> None:
    """Raises ToolError where a scheduler answers that has other certificates; Dask would try until its time is up.

    One that does not answer, or has no TLS to show, is Dask's to wait for.
    """
    parts = urlsplit(address)
    if parts.scheme != "tls":
        return
    ca, cert, key = files.values()
    context = ssl.create_default_context(cafile=ca)
    context.check_hostname = False  # as Dask
    context.load_cert_chain(cert, key)
    try:
        with (
            socket.create_connection((str(parts.hostname), int(parts.port or 0)), timeout=HANDSHAKE_S) as plain,
            context.wrap_socket(plain) as kept,
        ):
            kept.recv(1)  # it says no to a certificate after the handshake
    except ssl.SSLError as error:
        said = error.reason or first_line(error)
        raise ToolError(
            f"the scheduler and this machine do not take each other's certificates: {said}", where=address
        ) from None
    except OSError:
        return


@contextmanager
def connected(link: Link) -> Iterator[Client]:
    """A client of the scheduler. Raises ToolError where none answers."""
    quiet()
    shake_hands(link.scheduler, {"ca": link.ca, "cert": link.cert, "key": link.key})
    security = None
    if link.ca:
        security = Security(
            tls_ca_file=link.ca, tls_client_cert=link.cert, tls_client_key=link.key, require_encryption=True
        )
    try:
        client = Client(link.scheduler, security=security, timeout=CONNECT_S)
    except (OSError, TimeoutError, ValueError) as error:
        raise no_answer(link.scheduler) from error
    with client:
        yield client
