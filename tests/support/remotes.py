"""Servers that a DVC remote can lie on, on this machine: moto's S3, and asyncssh's SFTP."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.cluster import free_port
from tests.support.project import Project
from tests.support.sweeps import until

KEY, SECRET, BUCKET = "AKIATEST", "secret-of-the-test", "phi-deploy"

SSHD = """
import asyncio, sys
import asyncssh

class Server(asyncssh.SSHServer):
    def password_auth_supported(self):
        return True
    def validate_password(self, username, password):
        return (username, password) == ("phi", "deploy")

async def main():
    key = asyncssh.generate_private_key("ssh-ed25519")
    await asyncssh.create_server(
        Server, "127.0.0.1", int(sys.argv[1]), server_host_keys=[key], sftp_factory=True, allow_scp=False
    )
    print("up", flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


@contextmanager
def s3(project: Project) -> Iterator[subprocess.Popen[bytes]]:
    """moto's server with a bucket, and the remote `shared` in it; its keys are in .dvc/config.local."""
    import boto3

    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with _server([sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]) as server:
        client = boto3.client(
            "s3",
            endpoint_url=url,
            aws_access_key_id=KEY,
            aws_secret_access_key=SECRET,
            region_name="us-east-1",
        )
        until(lambda: _made(client))
        remote(project, f"s3://{BUCKET}/results", endpointurl=url, region="us-east-1")
        remote(project, "", local=True, access_key_id=KEY, secret_access_key=SECRET)
        yield server


@contextmanager
def sftp(project: Project, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A server for user `phi`, and the remote `shared` in `folder` behind it."""
    port = free_port()
    with _server([sys.executable, "-c", SSHD, str(port)]) as server:
        assert server.stdout and server.stdout.readline() == b"up\n"
        remote(project, f"ssh://phi@127.0.0.1:{port}{folder}", allow_agent="false")
        remote(project, "", local=True, password="deploy")
        yield server


def remote(project: Project, url: str, local: bool = False, **settings: str) -> None:
    """The remote `shared` with these settings; `local`: of this machine alone, in .dvc/config.local."""
    commands = [("add", "-q", "-f", "shared", url)] if url else []
    commands += [("modify", *(["--local"] if local else []), "shared", name, value) for name, value in settings.items()]
    for command in commands:
        done = project.dvc("remote", *command)
        assert done.returncode == 0, done.stderr


def _made(client: Any) -> bool:
    from botocore.exceptions import BotoCoreError

    try:
        client.create_bucket(Bucket=BUCKET)
    except BotoCoreError:  # it is not up yet
        return False
    return True


@contextmanager
def _server(command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as server:
        try:
            yield server
        finally:
            server.kill()
