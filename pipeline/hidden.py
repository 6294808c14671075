"""Modules that a process must not import, though they are installed. Standard library only."""

from __future__ import annotations

import sys


def hide(module: str) -> None:
    """Make a module not importable in this process: who asks for it is told that there is none. Not if it is there."""
    sys.modules.setdefault(module, None)  # type: ignore[arg-type]  # Python's own mark of it, which its types leave out
