"""python -m pipeline.harness.lock BACKEND …: the part of requirements.lock that these backends need, with its hashes.

Standard library only: it runs before anything is installed.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

from pipeline.errors import ConfigError, PipelineError, suggest

LOCK, PROJECT = "requirements.lock", "pyproject.toml"
NAME = re.compile(r"^([A-Za-z0-9._-]+)")
NO_BACKEND = ("dev",)


def needed(lock: str, project: str, backends: list[str]) -> str:
    """The lock's entries that the project and the extras of `backends` reach. Raises ConfigError for an unknown one."""
    described = tomllib.loads(project)["project"]
    extras = described["optional-dependencies"]
    known = [name for name in extras if name not in NO_BACKEND]
    for name in backends:
        if name not in known:
            raise ConfigError(f"unknown backend '{name}'", hint=suggest(name, known))
    lines = [*described["dependencies"], *(line for name in backends for line in extras[name])]
    entries = _entries(lock)
    children: dict[str, list[str]] = {}
    for name, entry in entries.items():
        for parent in _via(entry):
            children.setdefault(parent, []).append(name)
    kept, left = set(), [_name(line) for line in lines]
    while left:
        name = left.pop()
        if name not in kept:
            kept.add(name)
            left += children.get(name, [])
    return "".join(entry for name, entry in entries.items() if name in kept)


def _entries(lock: str) -> dict[str, str]:
    """Name → its lines: the pin, the hashes, and the comment that says what it is there for."""
    entries: dict[str, str] = {}
    name = ""
    for line in lock.splitlines(keepends=True):
        if line[0].isalnum():
            name = _name(line)
            entries.setdefault(name, "")  # a package may have a pin per Python
        if name:
            entries[name] += line
    return entries


def _via(entry: str) -> list[str]:
    """What an entry's comment names: `# via torch`, or a line for each."""
    comments = [line.strip().lstrip("#").strip() for line in entry.splitlines() if line.strip().startswith("#")]
    words = [line.removeprefix("via").strip() for line in comments]
    return [_name(word) for word in words if word and not word.startswith("phi-deploy")]


def _name(line: str) -> str:
    found = NAME.match(line.strip())
    return re.sub(r"[-_.]+", "-", found[1]).lower() if found else ""


def main() -> int:
    """Print the part; a mistake is one line on stderr."""
    try:
        lock, project = (Path(name).read_text(encoding="utf-8") for name in (LOCK, PROJECT))
        sys.stdout.write(needed(lock, project, sys.argv[1:]))
    except PipelineError as error:
        sys.stderr.write(f"error: BACKENDS: {error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
