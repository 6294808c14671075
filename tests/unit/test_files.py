"""Never half a file: full and read-only disks, errors in the middle, leftovers of a killed run."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

from pipeline import layout
from pipeline.errors import ArtifactError, PipelineError
from pipeline.files import fresh_folder, read_json, require_space, scratch_folder, write_json, write_text
from pipeline.harness.run import run_stage


def raising(number: int) -> Callable[..., NoReturn]:
    def fail(*_: object, **__: object) -> NoReturn:
        raise OSError(number, os.strerror(number), "somewhere")

    return fail


@pytest.mark.parametrize(
    ("number", "message"), [(errno.ENOSPC, "the disk is full"), (errno.EROFS, "the file system is read-only")]
)
def test_a_disk_that_takes_nothing_is_one_clear_line_and_a_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, number: int, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write_text(tmp_path / "out/kept.txt", "old")

    def work() -> None:
        with fresh_folder(tmp_path / "out") as folder:
            (folder / "new.txt").write_text("new", encoding="utf-8")
            raising(number)()

    assert run_stage("convert", "cell", work) == 1
    assert message in json.loads(layout.record("convert", "cell").read_text(encoding="utf-8"))["reason"]
    assert "Traceback" not in caplog.text and message in caplog.text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "records"]
    assert (tmp_path / "out/kept.txt").read_text(encoding="utf-8") == "old"


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_text(tmp_path / "a.txt", "old")
    monkeypatch.setattr(os, "replace", raising(errno.ENOSPC))
    with pytest.raises(OSError, match="somewhere"):
        write_text(tmp_path / "a.txt", "new")
    assert (tmp_path / "a.txt").read_text(encoding="utf-8") == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(PipelineError, match="no"), fresh_folder(out) as folder:
        (folder / "half").write_text("", encoding="utf-8")
        raise PipelineError("no")
    assert not list(tmp_path.iterdir())


def test_what_a_killed_run_left_is_removed(tmp_path: Path) -> None:
    left = tmp_path / ".out.abc.partial"
    left.mkdir()
    (left / "half").write_text("", encoding="utf-8")
    with fresh_folder(tmp_path / "out") as folder:
        (folder / "whole").write_text("", encoding="utf-8")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_too_little_space_names_both_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=10**9)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(ArtifactError, match=r"needs about 2\.50 GB, 1\.00 GB are free"):
        require_space(tmp_path / "not/yet/there", 2_500_000_000)


def test_nan_is_never_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"perplexity": float("nan")})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("text", "message"), [(None, "is missing"), ("{", "no valid JSON")])
def test_a_broken_file_is_named(tmp_path: Path, text: str | None, message: str) -> None:
    path = tmp_path / "a.json"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    with pytest.raises(ArtifactError, match=message):
        read_json(path)


def test_an_unexpected_error_keeps_its_traceback_and_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)

    def work() -> None:
        raise KeyError("a defect of ours")

    assert run_stage("quantize", "cell", work) == 1
    assert "Traceback" in capfd.readouterr().err
    assert json.loads(layout.record("quantize", "cell").read_text(encoding="utf-8"))["status"] == "failed"


def test_what_a_killed_run_left_on_the_way_is_removed(tmp_path: Path) -> None:
    with scratch_folder(tmp_path / "fits" / "build.json") as first:
        (first / "trial").write_text("half", encoding="utf-8")
        with scratch_folder(tmp_path / "fits" / "build.json") as second:
            assert not first.exists() and second.is_dir()
    assert not list((tmp_path / "fits").iterdir())
