"""The report's pictures, drawn again only when their points change."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from dataclasses import replace as replaced
from pathlib import Path

from pipeline.reporting.pictures.points import PICTURES, lines_of, points_of, source_of
from pipeline.reporting.replace import replace
from pipeline.rows import Row

DRAWING = 4  # raise when the same points shall look different


def draw(rows: Sequence[Row], colours: Mapping[str, str], folder: Path) -> None:
    """Write the pictures whose points changed, in the backends' `colours`. matplotlib is imported only then."""
    for picture in PICTURES:
        points = points_of(rows, picture)
        lines = lines_of(rows, picture, points)
        path = folder / picture.name
        bare = [asdict(replaced(point, of=None)) for point in (*points, *picture.front(points))]
        source = source_of(rows, picture)
        shown = json.dumps([DRAWING, asdict(picture), source, dict(colours), [*bare, *map(asdict, lines)]])
        digest = hashlib.sha256(shown.encode()).hexdigest()
        if path.is_file() and digest.encode() in path.read_bytes():
            continue
        logging.getLogger("matplotlib").setLevel(logging.ERROR)  # no word about its font cache
        from pipeline.reporting.pictures.scatter import scatter

        replace(path, scatter(points, lines, picture, colours, source, digest))
