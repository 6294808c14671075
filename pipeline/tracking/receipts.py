"""Receipts: which fingerprints a store already has, and as which runs. One small file per store."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pipeline import layout
from pipeline.files import write_json

VERDICT = "verdict"


@dataclass
class Receipts:
    """fingerprint → run id, for one experiment of one store. Written whole after every run."""

    path: Path
    known: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, root: Path, shown: str, experiment: str) -> Receipts:
        """The receipts of a store. Its address comes without credentials, so that a new password is no new store."""
        name = hashlib.sha256(f"{shown}\n{experiment}".encode()).hexdigest()
        path = root / layout.RECEIPTS / f"{name}.json"
        return cls(path, _load(path))

    @property
    def verdict(self) -> str:
        """The digest of gates and winners that was delivered last."""
        return self.known.get(VERDICT, "")

    def judged(self, verdict: str) -> None:
        self.add(VERDICT, verdict)

    def drop(self, runs: Collection[str]) -> None:
        """Forget runs that the store lost, or that a person deleted there: they are delivered again."""
        kept = {fingerprint: run for fingerprint, run in self.known.items() if run not in runs}
        if kept != self.known:
            self.known = kept
            write_json(self.path, self.known)

    def reload(self) -> None:
        """Read again: another process may have delivered meanwhile."""
        self.known = _load(self.path)

    def add(self, fingerprint: str, run: str) -> None:
        self.known[fingerprint] = run
        write_json(self.path, self.known)

    def clear(self) -> None:
        """Forget all, as the store did."""
        self.path.unlink(missing_ok=True)
        self.known = {}

    def runs(self) -> set[str]:
        return {run for fingerprint, run in self.known.items() if fingerprint != VERDICT}

    def __contains__(self, fingerprint: object) -> bool:
        return fingerprint in self.known

    def __iter__(self) -> Iterator[str]:
        return iter(self.known)

    def __len__(self) -> int:
        return len(self.known)

    def __getitem__(self, fingerprint: str) -> str:
        return self.known[fingerprint]


def _load(path: Path) -> dict[str, str]:
    """What is lost here costs a search in the store, no duplicate: a broken file is an empty one."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return {str(key): str(value) for key, value in found.items()} if isinstance(found, dict) else {}
