"""Chats as a checkpoint's own template renders them, as in transformers."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import CheckpointError, DataError, first_line
from pipeline.model.side_files import TEMPLATE
from pipeline.model.tokenizer import encode

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Chat = Sequence[Mapping[str, str]]
Tools = Sequence[Mapping[str, Any]]  # functions, as JSON Schema describes them
Render = Callable[..., str]


def rendered(checkpoint: Path, chats: Sequence[Chat]) -> list[tuple[Chat, str]]:
    """Each chat with what the checkpoint's template makes of it in transformers; none where it has no template.

    A chat that the template refuses (a system turn, for some) is left out.
    Raises CheckpointError for a template that is broken.
    """
    render = renderer(checkpoint)
    if render is None:
        return []
    from jinja2 import TemplateError

    made = []
    for chat in chats:
        with suppress(TemplateError):
            made.append((chat, render(chat)))
    return made


def renderer(checkpoint: Path) -> Render | None:
    """A chat, and its tools → its text by the checkpoint's template, up to where an answer begins.

    None where it has no template.

    Raises CheckpointError for a template that is broken. What it makes raises jinja2's TemplateError.
    """
    path = checkpoint / TEMPLATE
    if not path.is_file():
        return None
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
    names = _named(checkpoint)

    def render(chat: Chat, tools: Tools = (), answer: bool = True) -> str:
        given = list(tools) or None
        return str(template.render(messages=list(chat), tools=given, add_generation_prompt=answer, **names))

    return render


def rendered_all(checkpoint: Path, chats: Sequence[tuple[Chat, str]]) -> list[str]:
    """The text of each chat, which comes with its place. Raises DataError where the template refuses one.

    Raises CheckpointError where there is no template.
    """
    render = renderer(checkpoint)
    if render is None:
        hint = "save the tokenizer with its chat template, or set evaluate.tasks=[]"
        raise CheckpointError("it has no chat template, which tasks are asked by", where=str(checkpoint), hint=hint)
    made = []
    for chat, where in chats:
        try:
            made.append(render(chat))
        except Exception as error:  # a template may fail in any way
            raise DataError(f"the model's chat template refuses it: {first_line(error)}", where=where) from None
    return made


def parted(tokenizer: Tokenizer, made: str, right: str) -> str:
    """Where a chat's text leaves the checkpoint's, token by token, in words; nothing where both are one text."""
    if made == right:
        return ""
    own, its = ([tokenizer.decode([i], skip_special_tokens=False) for i in encode(tokenizer, t)] for t in (made, right))
    pairs = enumerate(zip_longest(own, its, fillvalue=""))
    place, (one, other) = next(((n, pair) for n, pair in pairs if pair[0] != pair[1]), (0, (made[:80], right[:80])))
    after = "".join(its[max(0, place - 6) : place])
    return f"token {place + 1} is {one!r}, not {other!r}, after {after!r}"


def _named(checkpoint: Path) -> dict[str, str]:
    """bos_token, eos_token and so on, as tokenizer_config.json has them."""
    path = checkpoint / "tokenizer_config.json"
    said: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    texts = {name: held.get("content") if isinstance(held, dict) else held for name, held in said.items()}
    return {name: text for name, text in texts.items() if name.endswith("_token") and isinstance(text, str)}
