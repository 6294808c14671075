"""Speeds of other devices: measured beside nothing but the package, refused when they are of something else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline import layout
from pipeline.errors import PipelineError
from pipeline.files import write_json
from pipeline.packaging.benchmark_file import import_benchmark, read_benchmark_file, sealed
from tests.support.plans import measured

CELL = "phi-tiny_int4_llamacpp_android-arm64"
METRICS = {
    "load_s": 0.4,
    "ttft_ms_p50": 300.0,
    "ttft_ms_p95": 310.0,
    "prefill_tokens_per_s": 400.0,
    "decode_tokens_per_s": 12.5,
    "peak_rss_bytes": 3_000_000,
}


def content(**changes: Any) -> dict[str, Any]:
    origin = {"format": 1, "cell": CELL, "backend": "llamacpp", "device": "", "package_sha256": "ab" * 32}
    return {**origin, **measured(metrics=METRICS, machine={"cpu": "Snapdragon 8 Gen 3"}), **changes}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_json(layout.package_record(CELL), {"status": "ok", "sha256": "ab" * 32})
    return tmp_path


def test_a_file_of_the_cells_own_package_is_attached(here: Path) -> None:
    write_json(here / "phone.json", sealed(content()))
    import_benchmark(here / "phone.json")
    assert json.loads(layout.imported(CELL).read_text())["metrics"]["decode_tokens_per_s"] == 12.5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"package_sha256": "cd" * 32}, "measured on another package"),
        ({"cell": "phi-tiny_int4_mlx_ios"}, "no package of cell phi-tiny_int4_mlx_ios is here"),
        ({"format": 9}, "format 9 is not 1"),
        ({"metrics": {**METRICS, "decode_tokens_per_s": -1}}, "decode_tokens_per_s is no positive number"),
        ({"metrics": {}}, "no field 'metrics.load_s'"),
    ],
)
def test_a_file_of_something_else_is_refused(here: Path, change: dict[str, Any], message: str) -> None:
    write_json(here / "phone.json", sealed(content(**change)))
    with pytest.raises(PipelineError, match=message):
        import_benchmark(here / "phone.json")
    assert not layout.IMPORTS.exists()


def test_an_edited_file_is_refused(here: Path) -> None:
    made = sealed(content())
    made["metrics"] = {**METRICS, "decode_tokens_per_s": 99.0}
    write_json(here / "phone.json", made)
    with pytest.raises(PipelineError, match="edited or damaged"):
        import_benchmark(here / "phone.json")


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"format": 1}'])
def test_a_file_that_is_no_benchmark_is_one_clear_line(here: Path, text: str) -> None:
    (here / "phone.json").write_text(text)
    with pytest.raises(PipelineError) as caught:
        read_benchmark_file(here / "phone.json")
    assert len(str(caught.value).splitlines()) == 1
