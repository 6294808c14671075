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
from pipeline.packaging.manifest import SUMS
from pipeline.types import JSON, Status

FORMAT = 1
FIELDS = ("format", "cell", "backend", "package_sha256", "metrics", "machine", "sha256")
FIGURES = ("load_s", "ttft_ms_p50", "prefill_tokens_per_s", "decode_tokens_per_s", "peak_rss_bytes")


def package_digest(package: Path) -> str:
    """SHA-256 of files.sha256, which covers the runtime's files."""
    return hashlib.sha256((package / SUMS).read_bytes()).hexdigest()


def sealed(content: Mapping[str, Any]) -> JSON:
    """The content with a digest of itself, so that an edited file is seen."""
    return {**content, "sha256": _digest(content)}


def read_foreign(path: Path) -> JSON:
    """A benchmark file. Raises DataError for one that is broken, edited or lacks figures."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError("there is no such file", where=str(path)) from None
    except (ValueError, UnicodeDecodeError) as error:
        raise DataError(f"no valid JSON: {error}", where=str(path)) from None
    missing = [name for name in FIELDS if not isinstance(found, dict) or name not in found]
    if missing:
        raise DataError(
            f"this is no benchmark file: it lacks {', '.join(missing)}",
            where=str(path),
            hint="python -m pipeline benchmark PACKAGE writes it",
        )
    if found["format"] != FORMAT:
        raise DataError(
            f"format {found['format']} is not {FORMAT}", where=str(path), hint="use the same release on both"
        )
    if _digest({name: value for name, value in found.items() if name != "sha256"}) != found["sha256"]:
        raise DataError("it was edited or damaged after it was measured", where=str(path), hint="measure again")
    wrong = [name for name in FIGURES if not _positive(found["metrics"].get(name))]
    if wrong:
        raise DataError(f"{', '.join(wrong)} is no positive number", where=str(path), hint="measure again")
    return dict(found)


def import_benchmark(path: Path) -> JSON:
    """Attach a benchmark file to its cell. Raises ArtifactError when it is of another package."""
    found = read_foreign(path)
    record = layout.package_record(found["cell"])
    if not record.is_file():
        raise ArtifactError(f"no package of cell {found['cell']} is here", where=str(path), hint="run dvc repro first")
    packaged = read_json(record)
    if packaged["status"] != Status.OK or packaged["sha256"] != found["package_sha256"]:
        raise ArtifactError(
            f"it was measured on another package of {found['cell']}",
            where=str(path),
            hint="copy packages/<cell> to the device again and measure that",
        )
    write_json(layout.imported(found["cell"]), found)
    return found


def _digest(content: Mapping[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _positive(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < float("inf")
