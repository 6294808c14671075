"""The lock files of the stages over the plan: read once, and written once a run, as DVC would write them.

DVC reads a lock file with its comments and layout and writes all of it again, some ten milliseconds an entry; these
have no comments, and no more than one layout. Where one has, DVC writes it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from dvc.utils.serialize import dumps_yaml

from pipeline import layout
from pipeline.harness.params import load_yaml
from pipeline.harness.stages import STAGES
from pipeline.types import JSON

HEAD = "schema: '2.0'\nstages:\n"
# what is a string to YAML 1.1 (this writer's) and 1.2 (DVC's) alike, and needs no quotes
_PLAIN = re.compile(r"(?=.*[acdfg-zG-Z/@])[A-Za-z0-9][\w./@ -]*(?<! )", re.ASCII)
_WORDS = re.compile(r"(?i)y|n|yes|no|on|off|true|false|null|0[xob].*")
_MORE = re.compile(r"(^|\s)#|[:-] [&*]\w", re.MULTILINE)  # comments and anchors
_Dumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
LONGEST, FOLDED = 120, 60  # longer keys, and spaces behind that column, each writer has in a way of its own


def lock_entries(root: Path = Path()) -> dict[str, JSON]:
    """What DVC's lock files of the stages over the plan say, by job."""
    found: dict[str, JSON] = {}
    for stage in STAGES:
        path = root / layout.STAGES / stage / "dvc.lock"
        if path.is_file():
            found |= load_yaml(path.read_text(encoding="utf-8")).get("stages") or {}
    return found


def with_entries(text: str, new: Mapping[str, JSON]) -> str | None:
    """A lock file's text with these entries, as DVC has it: in the place of those of the same name, else at the end.

    None where the text is not as DVC writes it.
    """
    held = _split(text)
    if held is None:
        return None
    return HEAD + "".join({**held, **{name: _entry(name, entry) for name, entry in new.items()}}.values())


def _split(text: str) -> dict[str, str] | None:
    """Entries' texts by name; None of what has more in it than entries."""
    if not text:
        return {}
    if not text.startswith(HEAD) or not text.endswith("\n") or _MORE.search(text):
        return None
    parts = re.split(r"^  ([^\s:'\"]+):\n(?=    cmd: )", text[len(HEAD) :], flags=re.MULTILINE)
    names, bodies = parts[1::2], parts[2::2]
    if parts[0] or len(set(names)) < len(names) or any(re.search(r"^ {0,3}\S", body, re.MULTILINE) for body in bodies):
        return None
    return {name: f"  {name}:\n{body}" for name, body in zip(names, bodies, strict=True)}


def _entry(name: str, entry: JSON) -> str:
    held = json.loads(json.dumps({"stages": {name: entry}}))  # what is in it twice would become an anchor
    if all(map(_is_plain, _strings(held))):
        text = yaml.dump(held, Dumper=_Dumper, sort_keys=False, default_flow_style=False, allow_unicode=True)
    else:
        text = dumps_yaml(held)
    return str(text).partition("\n")[2]


def _is_plain(text: str) -> bool:
    short = len(text) < LONGEST and text.rfind(" ") < FOLDED
    return short and bool(_PLAIN.fullmatch(text)) and not _WORDS.fullmatch(text)


def _strings(value: Any) -> Any:
    if isinstance(value, Mapping):
        for key, held in value.items():
            yield from (key, *_strings(held))
    elif isinstance(value, list):
        for held in value:
            yield from _strings(held)
    elif isinstance(value, str):
        yield value
