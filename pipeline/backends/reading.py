"""Does a finished package read and stop as its checkpoint does? Asked of the runtime that users run.

Text → ids → text, a chat by the package's own template, and the ids that end an answer. A package can score well and
be useless, because its own tokenizer does not load or its template was lost.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from pipeline.backends.process import ask_runtime
from pipeline.backends.request import RuntimeRequest
from pipeline.errors import CheckpointError, QualityError, first_line
from pipeline.model.side_files import TEMPLATE, stop_ids
from pipeline.model.tokenizer import PROBES, encode, load_tokenizer

Chat = Sequence[Mapping[str, str]]
CHATS: tuple[Chat, ...] = (
    ({"role": "user", "content": "Who are you?"},),
    (
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": "Où est-ce ? 你好"},
        {"role": "assistant", "content": "Ici."},
        {"role": "user", "content": "And now?"},
    ),
)


def check_reading(backend: str, package: Path, checkpoint: Path, where: str) -> None:
    """Raises QualityError where the package reads, writes, renders or stops otherwise than the checkpoint's folder."""
    tokenizer = load_tokenizer(checkpoint)
    ids = [encode(tokenizer, probe) for probe in PROBES]
    rendered = rendered_chats(checkpoint)
    request = RuntimeRequest("tokenize", ids, 0, texts=PROBES, chats=[chat for chat, _ in rendered])
    found = ask_runtime(backend, package, request).value
    if not found:  # a package without a runtime of its own: its users take tokenizer.json
        return
    for probe, right, read, written in zip(PROBES, ids, found["ids"], found["texts"], strict=True):
        if read != right:
            raise QualityError(
                f"the package's tokenizer reads {probe!r} as {read[:8]}…, the checkpoint's as {right[:8]}…", where=where
            )
        text = tokenizer.decode(right, skip_special_tokens=False)
        if written not in (text, f" {text}"):  # some keep the space that SentencePiece puts before a text
            raise QualityError(f"the package's tokenizer writes {probe!r} as {written!r:.60}", where=where)
    for (_, chat), made in zip(rendered, found["chats"], strict=True):
        if made != chat:
            raise QualityError(
                f"the package's chat template renders {made!r:.80}, the checkpoint's {chat!r:.80}", where=where
            )
    stops = stop_ids(checkpoint)
    if not set(stops) <= set(found["stops"]) or (found["exact"] and set(found["stops"]) - set(stops)):
        raise QualityError(f"the package stops at {sorted(found['stops'])}, the checkpoint at {stops}", where=where)


def rendered_chats(checkpoint: Path) -> list[tuple[Chat, str]]:
    """Each of CHATS with what the checkpoint's template makes of it in transformers; none where it has no template.

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
    rendered, names = [], _named(checkpoint)
    for chat in CHATS:
        with suppress(TemplateError):
            rendered.append((chat, template.render(messages=list(chat), add_generation_prompt=True, **names)))
    return rendered


def _named(checkpoint: Path) -> dict[str, str]:
    """bos_token, eos_token and so on, as tokenizer_config.json has them."""
    path = checkpoint / "tokenizer_config.json"
    said: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    texts = {name: held.get("content") if isinstance(held, dict) else held for name, held in said.items()}
    return {name: text for name, text in texts.items() if name.endswith("_token") and isinstance(text, str)}
