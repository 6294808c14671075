"""What is different between two sweeps, in a few words for a run's name."""

from __future__ import annotations

from collections.abc import Mapping

Settings = Mapping[str, str]

NAMED = 2  # differences that a name has room for
LONGEST = 60  # characters
UNSAID = ("data.", "suite")  # digests of texts; what the name says already


def what_changed(before: Mapping[str, Settings], after: Mapping[str, Settings]) -> str:
    """Of two sweeps as {cell: its settings}: `group_size 32 → 64`, `4 cells more`, or `measured again`.

    `before` and `after` hold every cell's id; the settings of cells that are unchanged may be left out.
    """
    parts = []
    for count, word in ((len(after.keys() - before.keys()), "more"), (len(before.keys() - after.keys()), "fewer")):
        if count:
            parts.append(f"{count} cell{'' if count == 1 else 's'} {word}")
    found: dict[str, None] = {}
    for cell in before.keys() & after.keys():
        old, new = before[cell], after[cell]
        for name in sorted(old.keys() | new.keys()):
            if old.get(name) != new.get(name) and not name.startswith(UNSAID):
                found[f"{name.rpartition('.')[2]} {old.get(name, 'none')} → {new.get(name, 'none')}"] = None
    differences = sorted(found)
    parts += differences[:NAMED]
    if len(differences) > NAMED:
        parts.append(f"{len(differences) - NAMED} more settings")
    text = ", ".join(parts) or "measured again"
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
