"""What a terminal is: how wide, and whether it shows colour. Standard library only."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from typing import TextIO

WIDEST = 120  # also where the output is no terminal
NARROWEST = 40
GAP = "  "
STYLES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33"}


def width() -> int:
    """Columns to write in: COLUMNS, else the terminal's, between NARROWEST and WIDEST."""
    return min(max(shutil.get_terminal_size((WIDEST, 24)).columns, NARROWEST), WIDEST)


def coloured(stream: TextIO) -> bool:
    """Whether to colour: on a terminal that can, and without NO_COLOR (https://no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def paint(text: str, style: str, stream: TextIO | None = None) -> str:
    """The text in one of STYLES where the stream, by default stdout, is coloured."""
    return f"\x1b[{STYLES[style]}m{text}\x1b[0m" if style and coloured(stream or sys.stdout) else text


def wrapped(text: str, indent: str = "") -> list[str]:
    """Lines of at most `width()`, the first indented by `indent` and the others once more."""
    return textwrap.wrap(text, width(), initial_indent=indent, subsequent_indent=indent + GAP, break_on_hyphens=False)
