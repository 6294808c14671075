"""A build that a search made and chose, kept for quantize, whose result it is.

It saves time and nothing else: where it is not there, or of anything else, quantize makes the same bytes itself.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path

from pipeline import layout
from pipeline.entries import CalibrationText
from pipeline.files import read_json, write_json
from pipeline.strict import plain, read
from pipeline.types import JSON, QuantizationStats

PLACE = Path(".dvc/tmp/phi-deploy/builds")  # never travels


class Kept:
    """The place of one build. Its stamp is written last and goes first: a folder without one is nothing."""

    def __init__(self, key: str) -> None:
        self._folder, self._stamp = PLACE / key, PLACE / f"{key}.json"

    def drop(self) -> None:
        self._stamp.unlink(missing_ok=True)
        shutil.rmtree(self._folder, ignore_errors=True)

    def put(self, build: Path) -> None:
        """Take a finished build away from where it was made."""
        self.drop()
        self._folder.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(build, self._folder)

    def seal(self, of: JSON, stats: QuantizationStats) -> None:
        """Say of what it is."""
        if self._folder.is_dir():
            write_json(self._stamp, {"of": of, "stats": plain(stats)})

    def take(self, of: JSON, out: Path) -> QuantizationStats | None:
        """Move the files into `out`, an empty folder, where it is `of` the same; it is gone from here then."""
        if not self._stamp.is_file() or not self._folder.is_dir():
            return None
        said = read_json(self._stamp)
        self._stamp.unlink()
        if said["of"] != of:
            self.drop()
            return None
        for path in sorted(self._folder.iterdir()):
            shutil.move(path, out / path.name)
        self.drop()
        return read(QuantizationStats, said["stats"], str(self._stamp))


def made_of(key: str, export: str, weights: str, text: CalibrationText | None, table: Mapping[str, str]) -> JSON:
    """All that decides a build's bytes: quantize's settings and code, its files, the table of formats."""
    files = [layout.inputs("quantize", key)] + ([Path(text.text)] if text else [])
    said = {path.as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files if path.is_file()}
    digest = hashlib.sha256(json.dumps(dict(sorted(table.items()))).encode()).hexdigest()
    return {"files": said, "table": digest, "read": [*_state(layout.export(export)), *_state(Path(weights))]}


def _state(folder: Path) -> list[list[str | int]]:
    """Name, bytes and time of each file: whether any was written since."""
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    return [[path.as_posix(), path.stat().st_size, path.stat().st_mtime_ns] for path in found]
