"""The plotting library of the page: Vega, Vega-Lite and Vega-Embed as their projects release them, in one gzip file.

A maintainer's script, run for a new version: npm pack vega@V vega-lite@V vega-embed@V; unpack each into a folder of its
name; python -m pipeline.reporting.page.bundle FOLDER
"""

from __future__ import annotations

import gzip
import sys
from pathlib import Path

BUNDLE = Path(__file__).with_name("vega.js.gz")
VERSIONS = {"vega": "6.4.0", "vega-lite": "6.4.3", "vega-embed": "7.3.0"}  # each needs those before it
SOURCE_MAP = "//# sourceMappingURL="


def bundle(folder: Path) -> bytes:
    """The minified files under their licences; the same files give the same bytes."""
    parts = []
    for name, version in VERSIONS.items():
        package = folder / name / "package"
        licence = (package / "LICENSE").read_text(encoding="utf-8").strip()
        code = (package / "build" / f"{name}.min.js").read_text(encoding="utf-8")
        lines = [line for line in code.splitlines() if not line.startswith(SOURCE_MAP)]
        parts.append(f"/*! {name} {version}\n\n{licence}\n*/\n" + "\n".join(lines) + "\n")
    return gzip.compress("".join(parts).encode(), 9, mtime=0)


if __name__ == "__main__":
    BUNDLE.write_bytes(bundle(Path(sys.argv[1])))
