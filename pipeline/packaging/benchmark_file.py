"""Speeds measured on another device: written there beside nothing but the package, checked and kept here."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline import layout
from pipeline.errors import ArtifactError, DataError
from pipeline.files import read_json, write_json
from pipeline.packaging.manifest import SUMS, sha256
from pipeline.records import BenchmarkFile
from pipeline.strict import plain, read
from pipeline.types import JSON, Status

FORMAT = 1
MADE_BY = "python -m pipeline benchmark PACKAGE writes one"
FIGURES = ("load_s", "ttft_ms_p50", "prefill_tokens_per_s", "decode_tokens_per_s", "peak_rss_bytes")


def package_digest(package: Path) -> str:
    """SHA-256 of files.sha256, which covers the runtime's files."""
    return sha256(package / SUMS)


def sealed(content: Mapping[str, Any]) -> JSON:
    """The content with a digest of itself, so that an edited file is seen."""
    return {**content, "sha256": _digest(content)}


def read_benchmark_file(path: Path) -> BenchmarkFile:
    """A benchmark file. Raises DataError for one that is broken, edited or lacks figures."""
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError("there is no such file", where=str(path)) from None
    except (ValueError, UnicodeDecodeError) as error:
        raise DataError(f"no valid JSON: {error}", where=str(path)) from None
    if not isinstance(raw, dict) or "format" not in raw or "sha256" not in raw:
        raise DataError("this is no benchmark file", where=str(path), hint=MADE_BY)
    if raw["format"] != FORMAT:
        raise DataError(f"format {raw['format']} is not {FORMAT}", where=str(path), hint="use the same release on both")
    if _digest({name: value for name, value in raw.items() if name != "sha256"}) != raw["sha256"]:
        raise DataError("it was edited or damaged after it was measured", where=str(path), hint="measure again")
    try:
        found = read(BenchmarkFile, raw, str(path))
    except ArtifactError as error:
        raise DataError(error.what, where=str(path), hint=MADE_BY) from None
    wrong = [name for name in FIGURES if not _positive(getattr(found.metrics, name))]
    if wrong:
        raise DataError(f"{', '.join(wrong)} is no positive number", where=str(path), hint="measure again")
    return found


def import_benchmark(path: Path) -> BenchmarkFile:
    """Attach a benchmark file to its cell. Raises ArtifactError when it is of another package."""
    found = read_benchmark_file(path)
    record = layout.package_record(found.cell)
    if not record.is_file():
        raise ArtifactError(f"no package of cell {found.cell} is here", where=str(path), hint="run dvc repro first")
    packaged = read_json(record)
    if packaged["status"] != Status.OK or packaged["sha256"] != found.package_sha256:
        raise ArtifactError(
            f"it was measured on another package of {found.cell}",
            where=str(path),
            hint="copy packages/<cell> to the device again and measure that",
        )
    write_json(layout.imported(found.cell), plain(found))
    return found


def _digest(content: Mapping[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _positive(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < float("inf")
