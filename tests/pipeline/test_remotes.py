"""Results through remotes that are no folder: an S3 server and an SSH server, each a real one on this machine."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from benchmarks.placeholder import forget
from tests.support.cluster import Cluster
from tests.support.project import Project
from tests.support.remotes import s3, sftp
from tests.support.sweeps import files, locks

SERVERS: dict[str, Callable[[Project, Path], AbstractContextManager[object]]] = {
    "s3": lambda project, _: s3(project),
    "ssh": sftp,
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", SERVERS)
def test_a_sweep_goes_through_a_server(kind: str, placeholders: Project, tmp_path: Path) -> None:
    """Two workers, the server's keys in the driver's config.local alone; then a driver that has lost all."""
    with SERVERS[kind](placeholders, tmp_path / "behind"), Cluster(tmp_path / "cluster") as cluster:
        command = ("run", "--scheduler", cluster.address, "--remote", "shared")
        cluster.worker("w1")
        cluster.worker("w2")
        done = placeholders.pipeline(*command)
        assert done.returncode == 0, done.stderr + cluster.log("w1")
        expected = files(placeholders.root), locks(placeholders.root)
        forget(placeholders.root)
        done = placeholders.pipeline(*command)
        assert done.returncode == 0 and done.stderr.count("from the remote") == 11, done.stderr
        assert (files(placeholders.root), locks(placeholders.root)) == expected
    assert placeholders.repro() == ["guard", "track"]
