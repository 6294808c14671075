"""Report files: replaced whole, and only when their content changes."""

from __future__ import annotations

from pathlib import Path

from pipeline.files import write_bytes


def replace(path: Path, content: bytes | str) -> bool:
    """Write `content` unless it is there already; returns whether it was written."""
    data = content.encode() if isinstance(content, str) else content
    if path.is_file() and path.read_bytes() == data:
        return False
    write_bytes(path, data)
    return True
