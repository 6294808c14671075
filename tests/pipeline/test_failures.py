"""What a sweep on other machines does when something of it breaks: one line, nothing half, and the same command."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipeline.engine.link import check_link
from pipeline.errors import ConfigError
from tests.support.cluster import Cluster, drive
from tests.support.project import Project, copy_of
from tests.support.remotes import remote
from tests.support.sweeps import files, locks, of_stage, until

BUILD = "m001_int4_onnxruntime"


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with Cluster(tmp_path / "cluster") as made:
        yield made


@pytest.fixture
def slow(placeholders: Project, tmp_path: Path) -> Project:
    """Its quantizations take ten seconds; its results go through a folder."""
    (placeholders.root / "slow.json").write_text(json.dumps({"quantize@": 10}), encoding="utf-8")
    remote(placeholders, str(tmp_path / "remote" / "shared"))
    return placeholders


def lines(said: str) -> list[str]:
    return [line for line in said.splitlines() if line.startswith(("error:", "warning:")) or "Traceback" in line]


@contextmanager
def full(folder: Path, megabytes: int) -> Iterator[Path]:
    """A small disk at `folder` (root); to be filled by writing `filler` there."""
    folder.mkdir(parents=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "none", str(folder)]
    if sys.platform != "linux" or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("a small disk needs root on Linux")
    try:
        yield folder / "filler"
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False)


def fill(filler: Path) -> None:
    with pytest.raises(OSError, match="No space left"), filler.open("wb") as file:
        while True:
            file.write(bytes(2**16))
            file.flush()


@pytest.mark.slow
def test_a_scheduler_that_is_lost_ends_the_sweep_in_a_line(slow: Project, cluster: Cluster) -> None:
    cluster.worker("w1")
    with drive(slow, cluster) as child:
        until(lambda: of_stage(cluster.processes["w1"].pid, "quantize"), 200)
        cluster.kill("scheduler")
        _, said = child.communicate(timeout=300)
    assert child.returncode == 1
    assert lines(said) == ["error: the scheduler is gone; start it and its workers again; the same command goes on"]
    assert {"fetch@m001", "reference@m001"} <= set(locks(slow.root)) and f"quantize@{BUILD}" not in locks(slow.root)
    cluster.scheduler()
    cluster.worker("w2")
    with drive(slow, cluster) as child:
        _, said = child.communicate(timeout=300)
    assert child.returncode == 0 and "fetch" not in said and lines(said) == []
    assert slow.repro() == ["guard", "track"]


@pytest.mark.slow
def test_a_worker_whose_disk_is_full_leaves_its_stages_to_others(slow: Project, cluster: Cluster) -> None:
    with full(cluster.folder / "w1", 12) as filler:
        cluster.worker("w1")
        with drive(slow, cluster) as child:
            until(lambda: of_stage(cluster.processes["w1"].pid, "quantize"), 200)
            fill(filler)
            assert cluster.processes["w1"].wait(60) == 1
            cluster.worker("w2")
            _, said = child.communicate(timeout=300)
        assert child.returncode == 0, said
        (warning, gone) = (line for line in said.splitlines() if "worker" in line)
        assert warning.startswith(f"warning: worker w1 ends: {filler.parent} has 0.00 GB free; free some space")
        assert gone == "no worker is left: the sweep goes on with the first that joins"
        assert f"quantize {BUILD.replace('_', ' ')} · on w2" in said
        assert f"error: worker w1 ends: {filler.parent}" in cluster.log("w1")
    assert slow.repro() == ["guard", "track"]


@pytest.mark.slow
def test_a_remote_whose_disk_is_full_ends_the_sweep_in_a_line(slow: Project, cluster: Cluster, tmp_path: Path) -> None:
    with full(tmp_path / "remote", 1) as filler:
        cluster.worker("w1")
        with drive(slow, cluster) as child:
            until(lambda: of_stage(cluster.processes["w1"].pid, "quantize"), 200)
            fill(filler)
            _, said = child.communicate(timeout=300)
        assert child.returncode == 2 and len(lines(said)) == 1, said
        assert lines(said)[0].startswith("error: remote shared: the disk is full; free some space and run again")
        filler.unlink()
        with drive(slow, cluster) as child:
            _, said = child.communicate(timeout=300)
        assert child.returncode == 0 and "fetch" not in said and lines(said) == [], said
        assert not list((tmp_path / "remote").rglob("*.part"))
    assert slow.repro() == ["guard", "track"]


@pytest.mark.slow
def test_two_drivers_share_scheduler_workers_and_remote(slow: Project, cluster: Cluster, tmp_path: Path) -> None:
    other = copy_of(slow, tmp_path / "other")
    cluster.worker("w1")
    cluster.worker("w2")
    with drive(slow, cluster) as one, drive(other, cluster) as two:
        until((slow.root / ".dvc/tmp/phi-deploy.lock").exists)
        _, said_again = (again := drive(slow, cluster)).communicate(timeout=300)
        said = [child.communicate(timeout=300)[1] for child in (one, two)]
    assert again.returncode == 2
    assert lines(said_again) == ["error: another run is at work in this folder; wait for it, or end it"]
    assert (one.returncode, two.returncode) == (0, 0), said
    assert [lines(each) for each in said] == [[], []]
    assert files(slow.root) == files(other.root) and locks(slow.root) == locks(other.root)
    assert slow.repro() == other.repro() == ["guard", "track"]
    left = {path.name for name in ("w1", "w2") for path in (cluster.folder / name).iterdir()}
    assert left == {"cache", "dask"}  # no copy of either


@pytest.mark.slow
def test_a_stage_whose_process_is_killed_says_so_in_its_row(slow: Project, cluster: Cluster) -> None:
    """As by a machine that has less memory than it said."""
    cluster.worker("w1")
    with drive(slow, cluster) as child:
        one, _ = until(lambda: of_stage(cluster.processes["w1"].pid, "quantize"), 200)
        cell = f"{one.cmdline()[4]}_cpu"
        one.kill()
        _, said = child.communicate(timeout=300)
    killed = "its process was killed; did it run out of memory?"
    assert child.returncode == 1 and lines(said) == [f"error: quantize@{cell[:-4]}: {killed} (on w1)"]
    rows = {row["id"]: row for row in json.loads((slow.root / "reports/cells.json").read_text(encoding="utf-8"))}
    assert rows[cell]["status"] == "failed" and killed in rows[cell]["reason"]


def test_a_remote_that_is_away_is_said_before_anything_runs(placeholders: Project, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for url, why in (("s3://bucket/results", "Could not connect"), (str(tmp_path / "file/under"), "Not a directory")):
        settings = {"endpointurl": "http://127.0.0.1:9", "region": "us-east-1"} if url.startswith("s3") else {}
        remote(placeholders, url, **settings)
        env = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_MAX_ATTEMPTS": "1"}
        done = placeholders.pipeline("run", "--scheduler", "tcp://127.0.0.1:9", "--remote", "shared", env=env)
        assert done.returncode == 2 and len(lines(done.stderr)) == 1, done.stderr
        assert lines(done.stderr)[0].startswith("error: remote shared: ") and why in done.stderr
        placeholders.dvc("remote", "remove", "shared")


def certificate(folder: Path, name: str) -> tuple[str, ...]:
    """Dask's flags with a certificate that is its own authority."""
    folder.mkdir(exist_ok=True)
    pem, key = folder / f"{name}.pem", folder / f"{name}.key"
    words = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}"]
    subprocess.run(["openssl", *words, "-keyout", str(key), "-out", str(pem)], check=True, capture_output=True)
    return "--tls-ca-file", str(pem), "--tls-cert", str(pem), "--tls-key", str(key)


@pytest.mark.slow
def test_a_sweep_goes_over_tls_to_whom_one_knows(placeholders: Project, tmp_path: Path) -> None:
    remote(placeholders, str(tmp_path / "remote"))
    ours, others = (certificate(tmp_path / "tls", name) for name in ("ours", "others"))
    with Cluster(tmp_path / "cluster", tls=ours) as cluster:
        cluster.worker("w1")
        until(lambda: "Registered to" in cluster.log("w1"))
        command = ("run", "--scheduler", cluster.address, "--remote", "shared")
        refused = placeholders.pipeline(*command, *others)
        assert refused.returncode == 1 and len(lines(refused.stderr)) == 1
        assert "do not take each other's certificates: CERTIFICATE_VERIFY_FAILED" in refused.stderr
        cluster.tls = others
        cluster.worker("w2")
        assert cluster.processes["w2"].wait(60) == 1 and len(cluster.log("w2").splitlines()) == 1
        plain = placeholders.pipeline(*command[:2], cluster.address.replace("tls", "tcp"), *command[3:])
        assert plain.returncode == 1 and "error: no scheduler answers at tcp://127.0.0.1" in plain.stderr
        done = placeholders.pipeline(*command, *ours)
        assert done.returncode == 0 and done.stderr.count(" · on w1 · ") == 11, done.stderr


def test_files_of_tls_are_looked_at_first(tmp_path: Path) -> None:
    one, two = certificate(tmp_path, "one"), certificate(tmp_path, "two")
    flags = dict(zip(one[::2], one[1::2], strict=True))
    check_link("tls://192.0.2.1:8786", flags, False)
    for changed, said in (
        ({"--tls-key": ""}, "tls:// needs --tls-key as well"),
        ({"--tls-cert": "nowhere.pem"}, "--tls-cert nowhere.pem: there is no such file"),
        ({"--tls-key": two[5]}, "do not fit together: KEY_VALUES_MISMATCH"),
        ({"--tls-ca-file": one[5]}, "do not fit together"),
    ):
        with pytest.raises(ConfigError, match=said):
            check_link("tls://192.0.2.1:8786", flags | changed, False)
    with pytest.raises(ConfigError, match="TLS is required off this machine"):
        check_link("tcp://192.0.2.1:8786", dict.fromkeys(flags, ""), False)
    with pytest.raises(ConfigError, match="--tls-… is of tls://"):
        check_link("tcp://127.0.0.1:8786", flags, False)
