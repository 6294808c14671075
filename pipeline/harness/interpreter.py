"""Is this the Python that the project was installed into, and what shall it not see? Standard library only."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from pipeline.errors import ToolError


def check_python(root: Path) -> None:
    """Raises ToolError when this interpreter lacks the packages that pyproject.toml pins."""
    import tomllib

    from pipeline.harness import host

    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    missing = []
    for line in project["dependencies"]:
        name, _, pin = line.partition(";")[0].strip().partition("==")
        name = name.partition(">")[0].strip()
        version = host.installed(name)
        if version is None or (pin and version != pin):
            missing.append(f"{name} {pin}".strip())
    if missing:
        raise ToolError(
            f"{host.python_facts()} lacks {', '.join(missing[:4])}{' …' if len(missing) > 4 else ''}",
            hint="run: source .venv/bin/activate (or: make install)",
        )


def hide(module: str) -> None:
    """Make a module not importable in this process: who asks for it is told that there is none. Not if it is there."""
    modules: dict[str, Any] = sys.modules
    modules.setdefault(module, None)  # Python's own mark of a module that is not there
