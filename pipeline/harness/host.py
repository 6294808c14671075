"""Facts of this machine: what is installed, and what the machine is. Standard library only.

guard writes them to small files; a stage that depends on such a file reruns exactly when the fact changes.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

from pipeline.types import JSON

# device of a target → what a machine must have
DEVICES = {
    "cuda": "an NVIDIA GPU",
    "directml": "Windows with a DirectX 12 GPU",
    "webgpu": "a GPU with WebGPU",
    "intel-gpu": "an Intel GPU",
    "intel-npu": "an Intel NPU",
    "qnn-htp": "a Snapdragon with a Hexagon NPU",
    "apple-silicon": "Apple silicon",
    "android-arm64": "a 64-bit Android phone",
    "ios": "an iPhone or iPad",
    "iot-arm64": "a 64-bit Arm board on Linux",
}
INSTALL = "make install"  # what brings a missing tool
INTEL = "0x8086"  # PCI vendor
# features that choose kernels, in the words of Linux's /proc/cpuinfo: x86-64's, then Arm's (asimd is NEON)
INSTRUCTIONS = (
    *("sse4_2", "avx", "f16c", "fma", "avx2", "avx_vnni", "avx_vnni_int8", "avx512f", "avx512bw", "avx512_vnni"),
    *("avx512_bf16", "avx512_fp16", "amx_tile", "amx_int8", "amx_bf16", "amx_fp16", "avx10_1"),
    *("asimd", "asimdhp", "asimddp", "i8mm", "bf16", "sve", "sve2", "svei8mm", "sme", "sme2"),
)
DARWIN = {"dotprod": "asimddp", "fp16": "asimdhp", "advsimd": "asimd"}  # Apple's words for Linux's
REFERENCE_TOOLS = ("torch", "transformers", "tokenizers", "numpy")


def installed(package: str) -> str | None:
    """The installed version of a distribution, local part (+cpu) left out, or None."""
    try:
        return metadata.version(package).partition("+")[0]
    except metadata.PackageNotFoundError:
        return None


def tool_facts(requires: Mapping[str, str], install: str = INSTALL) -> JSON:
    """{usable, reason, missing, versions} of one backend's tools: missing ones make its cells skipped.

    A version other than the required one is listed under `wrong`; `install` is the command that helps.
    """
    versions = {name: installed(name) for name in sorted(requires)}
    missing = [name for name, version in versions.items() if version is None]
    wrong = {
        name: f"{version} is installed, {requires[name]} is required"
        for name, version in versions.items()
        if version is not None and version != requires[name]
    }
    reason = f"not installed: {', '.join(missing)}; run: {install}" if missing else ""
    return {
        "usable": not missing,
        "reason": reason,
        "missing": missing,
        "versions": versions,
        "wrong": wrong,
        "install": install,
    }


def machine_facts() -> JSON:
    """CPU, its instructions, cores, memory (GiB, rounded), system, accelerators: the same on every run here."""
    return {
        "system": platform.system(),
        "arch": platform.machine(),
        "cpu": _cpu_name(),
        "instructions": _instructions(),
        "cores": os.cpu_count() or 1,
        "memory_gib": _memory_gib(),
        "accelerators": _accelerators(),
    }


def python_facts() -> str:
    return f"Python {platform.python_version()} at {sys.executable}"


def threads() -> int:
    """Threads to run tools with: PHI_DEPLOY_THREADS, else the cores this process may use."""
    wanted = os.environ.get("PHI_DEPLOY_THREADS", "")
    if wanted.isdigit() and int(wanted) > 0:
        return int(wanted)
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _instructions() -> list[str]:
    """Which of INSTRUCTIONS this CPU has: kernels differ by them in speed, and in the last digits."""
    named = _cpu_flags()
    return sorted({name for name in INSTRUCTIONS if name in named})


def _cpu_flags() -> set[str]:
    """The CPU's features in Linux's words; none on a system that does not tell."""
    if platform.system() == "Darwin":
        return _darwin_flags()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return set()
    return {word for line in lines if line.lower().startswith(("flags", "features")) for word in line.split()}


def _darwin_flags() -> set[str]:
    """The same by sysctl: `hw.optional.arm.FEAT_I8MM: 1`, `machdep.cpu.leaf7_features: AVX2 …`."""
    command = ["/usr/sbin/sysctl", "hw.optional", "machdep.cpu"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=20).stdout.lower()  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return set()
    arm = {DARWIN.get(name, name) for name in re.findall(r"hw\.optional\.arm\.feat_(\w+): 1", said)}
    intel = {word for line in re.findall(r"machdep\.cpu\.\w*features: (.*)", said) for word in line.split()}
    return arm | intel


def _memory_gib() -> int:
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        return round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30)
    return 0


def _accelerators() -> list[str]:
    """Devices of DEVICES that this machine has, one entry each; of NVIDIA GPUs, one per card."""
    found = []
    system, arm = platform.system(), platform.machine().lower() in ("arm64", "aarch64")
    nvidia = Path("/proc/driver/nvidia/gpus")
    if nvidia.is_dir():
        found += ["cuda"] * len(list(nvidia.iterdir()))
    if any(_is_intel(path) for path in Path("/sys/class/drm").glob("renderD*")):
        found.append("intel-gpu")
    if any(_is_intel(path) for path in Path("/sys/class/accel").glob("accel*")):
        found.append("intel-npu")
    if system == "Darwin" and arm:
        found.append("apple-silicon")
    if system == "Windows":
        found += ["directml", "qnn-htp"] if arm else ["directml"]
    if system == "Linux" and arm:
        found.append("android-arm64" if "ANDROID_ROOT" in os.environ else "iot-arm64")
    return found


def _is_intel(device: Path) -> bool:
    try:
        return (device / "device" / "vendor").read_text(encoding="ascii").strip() == INTEL
    except OSError:
        return False
