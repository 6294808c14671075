"""A package runs once more unless it holds what evaluate has run."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.packaging.manifest import digests
from stages.package.package import _same_bytes


@pytest.fixture
def build(tmp_path: Path) -> Path:
    folder = tmp_path / "build"
    folder.mkdir()
    for name in ("model.onnx", "model.onnx.data", "genai_config.json", "manifest.json"):
        (folder / name).write_text(name, encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("change", "same"),
    [({}, True), ({"model.onnx.data": "altered"}, False), ({"options.json": "more"}, False)],
)
def test_only_the_builds_own_bytes_need_no_second_run(build: Path, change: dict[str, str], same: bool) -> None:
    package = build.parent / "package"
    package.mkdir()
    for path in build.iterdir():
        (package / path.name).write_bytes(path.read_bytes())
    for name, text in change.items():
        (package / name).write_text(text, encoding="utf-8")
    assert _same_bytes(digests(package), digests(build)) is same
