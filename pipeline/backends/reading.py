"""Does a finished package read and stop as its checkpoint does? Asked of the runtime that users run.

Text → ids → text, a chat by the package's own template, and the ids that end an answer. A package can score well and
be useless, because its own tokenizer does not load or its template was lost.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from pipeline.backends.process import ask_runtime
from pipeline.backends.request import RuntimeRequest
from pipeline.errors import QualityError
from pipeline.model.chats import Chat, Tools, parted, renderer
from pipeline.model.side_files import stop_ids
from pipeline.model.tokenizer import PROBES, encode, load_tokenizer

CHATS: tuple[Chat, ...] = (
    ({"role": "user", "content": "Who are you?"},),
    (
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": "Où est-ce ? 你好"},
        {"role": "assistant", "content": "Ici."},
        {"role": "user", "content": "And now?"},
    ),
    (
        {"role": "system", "content": "Use the tools. "},
        {"role": "user", "content": "  Das Wetter in Zürich?\n"},
    ),
)
WEATHER = {
    "name": "weather",
    "description": "Wetter in einer Stadt, 天气 <heute> & 'morgen'",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
TOOLS: tuple[Tools, ...] = ((), (), ({"type": "function", "function": WEATHER},))  # of each chat


def renderings(checkpoint: Path) -> list[tuple[Chat, Tools, str]]:
    """Chats with system turns, several turns, tools and other scripts, and their texts by the checkpoint's template.

    Those that the template refuses are left out, all where it has none; so are tools where it says nothing of them:
    OpenVINO GenAI then writes a turn on them itself.
    """
    render, made = renderer(checkpoint), []
    if render is None:
        return []
    for chat, tools in zip(CHATS, TOOLS, strict=True):
        with suppress(Exception):  # a template may fail in any way
            plain, text = render(chat), render(chat, tools)
            made.append((chat, tools if text != plain else (), text))
    return made


def check_reading(backend: str, package: Path, checkpoint: Path, where: str) -> None:
    """Raises QualityError where the package reads, writes, renders or stops otherwise than the checkpoint's folder."""
    tokenizer = load_tokenizer(checkpoint)
    ids = [encode(tokenizer, probe) for probe in PROBES]
    chats = renderings(checkpoint)
    asked, tools = [chat for chat, _, _ in chats], [its for _, its, _ in chats]
    request = RuntimeRequest("tokenize", ids, 0, texts=PROBES, chats=asked, tools=tools)
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
    for number, ((_, _, wanted), made) in enumerate(zip(chats, found["chats"], strict=True), 1):
        if made != wanted:
            said = f"another text of chat {number}: {parted(tokenizer, made, wanted)}"
            raise QualityError(f"the package's chat template renders {said}", where=where)
    stops = stop_ids(checkpoint)
    if not set(stops) <= set(found["stops"]) or (found["exact"] and set(found["stops"]) - set(stops)):
        raise QualityError(f"the package stops at {sorted(found['stops'])}, the checkpoint at {stops}", where=where)
