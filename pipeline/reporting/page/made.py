"""How each cell was made, and how it is run: of models once, of cells in a few lines."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.rows import Row


def models_of(rows: Sequence[Row]) -> dict[str, list[tuple[str, str]]]:
    """Per model: where it comes from, on what it was judged, and by which digests."""
    found: dict[str, list[tuple[str, str]]] = {}
    for row in rows:
        held = _model(row)
        if len(held) > len(found.get(row.model, [])):  # a cell that went furthest knows most
            found[row.model] = held
    return found


def _model(row: Row) -> list[tuple[str, str]]:
    source, evaluate = row.settings.get("source", {}), row.settings.get("evaluate", {})
    place = str(source.get("path") or source.get("repo") or "")
    revision, commit = str(source.get("revision") or ""), row.package.commit if row.package else ""
    said = [place, f"at {revision}" if revision else "", f"(commit {commit})" if commit and commit != revision else ""]
    lines = [("source", " ".join(word for word in said if word))]
    lines += [("adapter", f"{source['adapter']}, merged")] if source.get("adapter") else []
    digests = (row.package.checkpoint if row.package else None) or {}
    lines += [("weights", f"{name}: sha256 {digest}") for name, digest in digests.items()]
    lines += [("text", str(evaluate["text"]))] if evaluate.get("text") else []
    if evaluate.get("window"):
        lines.append(("windows", f"of {evaluate['window']} tokens, at most {evaluate.get('tokens')} tokens"))
    lines += [("data", f"{name}: sha256 {digest}") for name, digest in row.settings.get("data", {}).items()]
    return lines


def made_of(row: Row) -> list[tuple[str, str]]:
    """The recipe, the machine, the package with its digest."""
    quantize = row.settings.get("quantize", {})
    lines = [("recipe", f"{row.recipe}: {_plain(quantize)}")]
    if row.measured_on:
        benchmark = row.settings.get("benchmark", {})
        how = f"{benchmark.get('prompt_tokens')} prompt tokens, {benchmark.get('new_tokens')} new ones"
        busy = ", while other programs kept it busy" if row.noisy else ""
        lines.append(("measured on", f"{row.measured_on}{busy}; {how}, {benchmark.get('runs')} runs"))
    lines += [("gate", _gate(gate.gate, gate.bound, gate.value, gate.margin)) for gate in row.gates]
    if row.package:
        lines.append(("package", f"{row.package.path}, {row.package.size_bytes:,} bytes, sha256 {row.package.sha256}"))
    return lines


def commands(row: Row) -> str:
    """What to paste into a terminal, in a clone that has the project's DVC remote."""
    path = row.package.path if row.package else ""
    lines = (
        f"dvc pull {path}",
        f"python -m pipeline verify {path}",
        f"python -m pipeline benchmark {path}",
    )
    return "\n".join(lines) if path else ""


def steps(row: Row) -> list[tuple[str, str]]:
    """The card's instruction in its parts: code and the language it is in, or a sentence and no language."""
    parts = (row.package.run if row.package else "").split("```")
    found = []
    for number, part in enumerate(parts):
        language, _, code = part.partition("\n") if number % 2 else ("", "", part)
        if code.strip():
            found.append((language, code.strip()))
    return found


def commit_of(root: Path) -> str:
    """The git commit of the project, and what differs from it besides results; empty outside a repository."""
    command = ["git", "status", "--porcelain=v2", "--branch", "--untracked-files=no"]
    try:
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, encoding="utf-8", timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    commit = re.search(r"^# branch\.oid ([0-9a-f]+)$", done.stdout, re.MULTILINE)
    if done.returncode or not commit:
        return ""
    entries = (line.partition("\t")[0].rpartition(" ")[2] for line in done.stdout.splitlines() if line[:1] in "12u")
    changed = [name for name in entries if not name.endswith("dvc.lock") and not name.startswith("reports/")]
    named = ", ".join(changed[:3]) + (f" and {len(changed) - 3} more" if len(changed) > 3 else "")
    return f"{commit[1]}, with changes in {named}" if changed else commit[1]


def _gate(name: str, bound: float, value: float | None, margin: float | None) -> str:
    if value is None or margin is None:
        return f"{name} {bound:g}: not measured"
    return f"{name} {bound:g}: {value:.3g}, {'passed' if margin >= 0 else 'missed'} by {abs(margin):.0%}"


def _plain(value: Any) -> str:
    """Settings on a line: `method nncf, bits 4`."""
    if isinstance(value, Mapping):
        held = ((name, _plain(inner)) for name, inner in value.items())
        return ", ".join(f"{name} {text}".strip() for name, text in held if text != "")
    if isinstance(value, (list, tuple)):
        return " ".join(_plain(inner) for inner in value)
    return str(value)
