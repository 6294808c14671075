"""Chats as a checkpoint's own template renders them, as in transformers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from pipeline.errors import CheckpointError, first_line
from pipeline.model.side_files import TEMPLATE

Chat = Sequence[Mapping[str, str]]


def rendered(checkpoint: Path, chats: Sequence[Chat]) -> list[tuple[Chat, str]]:
    """Each chat with what the checkpoint's template makes of it in transformers; none where it has no template.

    A chat that the template refuses (a system turn, for some) is left out.
    Raises CheckpointError for a template that is broken.
    """
    path = checkpoint / TEMPLATE
    if not path.is_file():
        return []
    from jinja2 import TemplateError, TemplateSyntaxError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = lambda value, **options: json.dumps(value, ensure_ascii=False, **options)

    def refuse(message: str) -> None:
        raise TemplateError(message)

    environment.globals["raise_exception"] = refuse
    try:
        template = environment.from_string(path.read_text(encoding="utf-8"))
    except TemplateSyntaxError as error:
        raise CheckpointError(f"{TEMPLATE} is broken: {first_line(error)}", where=str(checkpoint)) from None
    made, names = [], _named(checkpoint)
    for chat in chats:
        with suppress(TemplateError):
            made.append((chat, template.render(messages=list(chat), add_generation_prompt=True, **names)))
    return made


def _named(checkpoint: Path) -> dict[str, str]:
    """bos_token, eos_token and so on, as tokenizer_config.json has them."""
    path = checkpoint / "tokenizer_config.json"
    said: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    texts = {name: held.get("content") if isinstance(held, dict) else held for name, held in said.items()}
    return {name: text for name, text in texts.items() if name.endswith("_token") and isinstance(text, str)}
