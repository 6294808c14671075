"""Room on the disk is asked for before the work, and copies share blocks where they can."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline import files
from pipeline.backends.llamacpp.backend import LlamaCppBackend
from pipeline.errors import ArtifactError
from pipeline.harness import disk
from pipeline.matrix import sizes
from pipeline.model.dimensions import Dimensions
from pipeline.types import Checkpoint, Family, Recipe
from tests.support.backends import order
from tests.support.plans import add_cell, empty_plan
from tests.support.tiny import tiny_config, write_checkpoint

GB = 10**9
MINI = Dimensions("Phi3ForCausalLM", 3072, 8192, 131072, 3_821_079_552)


def with_free(monkeypatch: pytest.MonkeyPatch, free: int, reflinks: bool) -> None:
    usage = shutil.disk_usage(Path())
    monkeypatch.setattr(files.shutil, "disk_usage", lambda _: usage._replace(free=free))
    monkeypatch.setattr(disk, "has_reflinks", lambda _: reflinks)


def test_a_result_needs_room_for_dvcs_copy_unless_blocks_are_shared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_free(monkeypatch, 3 * GB, reflinks=True)
    disk.require_result(tmp_path, 2 * GB, scratch=GB)
    with_free(monkeypatch, 3 * GB, reflinks=False)
    with pytest.raises(ArtifactError, match=r"needs about 4\.00 GB, 3\.00 GB are free"):
        disk.require_result(tmp_path, 2 * GB)


def test_a_package_needs_one_copy_or_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_free(monkeypatch, GB, reflinks=True)
    disk.require_copy(tmp_path, 2 * GB)
    with_free(monkeypatch, GB, reflinks=False)
    with pytest.raises(ArtifactError, match=r"needs about 2\.00 GB, 1\.00 GB are free"):
        disk.require_copy(tmp_path, 2 * GB)


@pytest.mark.parametrize(
    ("family", "measured"),  # bytes at Phi-3.5-mini's size, the largest of the backends (docs/performance.md)
    [("int4", 2_823_000_000), ("int8", 4_635_000_000), ("fp16", 7_669_000_000)],
)
def test_an_estimate_is_above_what_a_build_takes_and_not_far(family: str, measured: int) -> None:
    estimate = sizes.build_size(MINI.parameters, family, 32064 * 3072)
    assert measured <= estimate < 1.2 * measured


def test_a_plan_counts_builds_packages_and_dvcs_copies_and_no_large_export() -> None:
    plan = empty_plan()
    for target in ("cpu", "ios"):
        add_cell(plan, "m", "fp16", "onnxruntime", target)
    nothing = replace(plan.models["m"].reference, tokens=0)
    plan.models["m"] = replace(plan.models["m"], reference=nothing)
    build = sizes.build_size(MINI.parameters, "fp16", 0)
    assert sizes.plan_size(plan, {"m": MINI}, 2e9, kept=1) == build  # packages share the build's blocks
    assert sizes.plan_size(plan, {"m": MINI}, 2e9, kept=2) == 2 * build + 2 * build
    assert sizes.plan_size(plan, {"m": MINI}, 1e12, kept=2) == 4 * build + 2 * 4 * MINI.parameters


@pytest.mark.parametrize("clones", [True, False])
def test_a_copy_is_a_file_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clones: bool) -> None:
    if not clones:
        monkeypatch.setattr(files, "clone_file", lambda *_: False)
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(b"weights" * 10_000)
    target.write_bytes(b"what was there" * 20_000)
    files.copy_file(source, target)
    assert target.read_bytes() == source.read_bytes()
    target.write_bytes(b"changed")
    assert source.read_bytes() == b"weights" * 10_000
    with pytest.raises(FileNotFoundError):
        files.copy_file(tmp_path / "absent", tmp_path / "other")


def test_a_file_is_never_copied_onto_itself(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"weights")
    with pytest.raises(shutil.SameFileError):
        files.copy_file(source, source)
    assert source.read_bytes() == b"weights"


def test_a_refused_reflink_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "FICLONE", 0)  # no such request
    monkeypatch.setattr(files.sys, "platform", "linux")
    assert not files.has_reflinks(tmp_path) and list(tmp_path.iterdir()) == []


def test_an_export_that_a_method_needs_for_a_while_is_asked_for_before_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, recipe = write_checkpoint(tmp_path / "model"), Recipe("test", Family.INT4, "gguf", "fp32", {"type": "Q4_0"})
    checkpoint = Checkpoint("tiny", folder, folder, tiny_config())
    (tmp_path / "out").mkdir()
    with_free(monkeypatch, 1000, reflinks=True)
    with pytest.raises(ArtifactError, match="are free"):
        LlamaCppBackend().through_export(checkpoint, {"type": "F16"}, order(recipe, tmp_path / "out"))
    assert not list((tmp_path / "out").iterdir())
