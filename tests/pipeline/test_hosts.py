"""A sweep on hosts of their own (network and UTS namespaces; root), and a device that the driver lacks."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cluster import Cluster, drive
from tests.support.project import SMOKE, Project
from tests.support.sweeps import files, of_stage, until

pytestmark = pytest.mark.slow
BUILD, CELL = "m001_int4_onnxruntime", "m001_int4_onnxruntime_cpu"
BRIDGE, NET = "phi-test0", "10.77.9"


def why_no_hosts() -> str:
    if sys.platform != "linux" or os.geteuid():
        return "network namespaces need root on Linux"
    if not shutil.which("ip") or not shutil.which("unshare"):
        return "network namespaces need iproute2 and util-linux"
    made = subprocess.run(["ip", "netns", "add", "phi-probe"], capture_output=True, text=True, check=False)
    subprocess.run(["ip", "netns", "del", "phi-probe"], capture_output=True, check=False)
    return "" if made.returncode == 0 else f"no network namespaces here: {made.stderr.strip()}"


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Cluster]:
    """A scheduler on a bridge, and three hosts behind it: w1, w2, and w3 with another CPU and an NPU."""
    if why := why_no_hosts():
        pytest.skip(why)
    ip(f"link add {BRIDGE} type bridge", f"addr add {NET}.1/24 dev {BRIDGE}", f"link set {BRIDGE} up")
    try:
        for number in (1, 2, 3):
            name, link = f"phi-w{number}", f"phi-v{number}"
            ip(
                *(f"netns add {name}", f"link add {link} type veth peer name eth0 netns {name}"),
                *(f"link set {link} master {BRIDGE} up", f"-n {name} addr add {NET}.1{number}/24 dev eth0"),
                *(f"-n {name} link set eth0 up", f"-n {name} link set lo up"),
            )
        with Cluster(tmp_path / "cluster", f"{NET}.1") as made:
            yield made
    finally:
        for number in (1, 2, 3):
            subprocess.run(["ip", "netns", "del", f"phi-w{number}"], check=False)
        subprocess.run(["ip", "link", "del", BRIDGE], check=False)


def ip(*commands: str) -> None:
    for command in commands:
        subprocess.run(["ip", *command.split()], check=True)


def start(hosts: Cluster, number: int, before: str = "true") -> None:
    """A worker on a host; `before` runs there first, with mounts of its own."""
    script = f'hostname w{number}; {before}; exec "$@"'
    prefix = ("ip", "netns", "exec", f"phi-w{number}", "unshare", "-u", "-m", "bash", "-c", script, "bash")
    hosts.worker(f"w{number}", "--insecure", prefix=prefix)


def imaginary(folder: Path) -> str:
    """Another CPU, and an NPU by Intel, as Linux shows them."""
    info = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    changed = info.replace("avx2", "avx2 avx512f").replace("model name\t: ", "model name\t: Imaginary ")
    (folder / "cpuinfo").write_text(changed, encoding="utf-8")
    vendor = "/sys/class/accel/accel0/device"
    return (
        f"mount --bind {folder}/cpuinfo /proc/cpuinfo; mount -t tmpfs none /sys/class; "
        f"mkdir -p {vendor}; echo 0x8086 > {vendor}/vendor"
    )


def test_a_sweep_on_three_hosts_of_which_one_dies(placeholders: Project, hosts: Cluster, tmp_path: Path) -> None:
    """Killed worker, failing stage, driver started again, a late joiner, and a host that is unlike."""
    done = placeholders.dvc("remote", "add", "-q", "shared", str(tmp_path / "remote"))
    assert done.returncode == 0, done.stderr
    slow, failing = placeholders.root / "slow.json", placeholders.root / "failing.json"
    slow.write_text(json.dumps({"quantize@": 10, "evaluate@": 10}), encoding="utf-8")
    failing.write_text(json.dumps([f"evaluate@{BUILD}"]), encoding="utf-8")
    start(hosts, 1)
    start(hosts, 3, imaginary(tmp_path))
    until(lambda: "Registered to" in hosts.log("w1") and "Registered to" in hosts.log("w3"))
    with drive(placeholders, hosts, "--insecure") as child:
        until(lambda: of_stage(hosts.processes["w1"].pid, "quantize"), 120)
        start(hosts, 2)  # late
        hosts.kill("w1")
        until(lambda: of_stage(hosts.processes["w2"].pid, "evaluate"), 120)
        child.send_signal(signal.SIGKILL)  # the driver
        child.communicate()
    with drive(placeholders, hosts, "--insecure") as child:
        _, said = child.communicate(timeout=300)
    assert child.returncode == 1, said
    assert "fetch m001 · on w2 · from the remote" in said
    assert "quantize m001 int4 onnxruntime · on w2 · from the remote" in said
    assert f"error: evaluate@{BUILD}: evaluate@{BUILD} was told to (on w2)" in said and "on w3" not in said
    assert f"left out, as they stand on what failed: package@{CELL}, benchmark@{CELL}" in said
    failing.unlink()
    with drive(placeholders, hosts, "--insecure") as child:
        _, said = child.communicate(timeout=300)
    assert child.returncode == 0, said
    assert placeholders.repro() == ["guard", "track"] and len(files(placeholders.root)) > 10


def test_a_device_that_is_elsewhere_has_its_speed_from_there(copy: Project, tmp_path: Path) -> None:
    """A worker with a GPU that is none: that fails, in a line; then its code is told to take the CPU in its place."""
    shutil.copyfile(Path(__file__).parents[2] / ".gitignore", copy.root / ".gitignore")
    copy.edit("pipeline/harness/host.py", "    return found\n\n\ndef _is_intel", FAKE + "\n\ndef _is_intel")
    assert copy.dvc("remote", "add", "-q", "shared", str(tmp_path / "remote")).returncode == 0
    with Cluster(tmp_path / "cluster") as cluster:
        cluster.worker("plain")
        cluster.worker("gpu", env={"PHI_TEST_DEVICE": "webgpu"})
        until(lambda: all("Registered to" in cluster.log(name) for name in ("plain", "gpu")))
        words = ("run", "--scheduler", cluster.address, "--remote", "shared", *SMOKE)
        matrix = ("precision=[int4]", "target=[webgpu]", "benchmark.runs=1")
        lied = copy.pipeline(*words, *matrix)
        said = [line for line in lied.stderr.splitlines() if line.startswith("error:")]
        assert lied.returncode == 1 and len(said) == 1 and "Traceback" not in lied.stderr, lied.stderr
        assert said[0].startswith("error: benchmark@local_int4_onnxruntime_webgpu: ") and said[0].endswith("(on gpu)")
        copy.edit("pipeline/backends/speed.py", "device=settings.device,", "device='',")
        done = copy.pipeline(*words, *matrix, "--json")
        assert done.returncode == 0, done.stderr
        (row,) = json.loads(done.stdout)
        assert row["metrics"]["decode_tokens_per_s"] > 0, row["reasons"]
        assert " · on gpu · " in done.stderr and "tok/s" in done.stderr
        imported = copy.json(f"imports/{row['id']}.json")
        assert imported["machine"]["accelerators"] == ["webgpu"]
        again = copy.pipeline(*words, *matrix)
        assert again.returncode == 0 and "tok/s" not in again.stderr.partition("track:")[0], again.stderr
        changed = copy.pipeline(*words, *matrix, "benchmark.new_tokens=16")
        assert changed.returncode == 0 and " · on gpu · " in changed.stderr, changed.stderr


FAKE = '    return found + [name for name in [os.environ.get("PHI_TEST_DEVICE")] if name]\n'
