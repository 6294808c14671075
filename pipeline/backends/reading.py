"""Does a finished package read and stop as its checkpoint does? Asked of the runtime that users run.

Text → ids → text, a chat by the package's own template, and the ids that end an answer. A package can score well and
be useless, because its own tokenizer does not load or its template was lost.
"""

from __future__ import annotations

from pathlib import Path

from pipeline.backends.process import ask_runtime
from pipeline.backends.request import RuntimeRequest
from pipeline.errors import QualityError
from pipeline.model.chats import Chat, rendered
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
)


def check_reading(backend: str, package: Path, checkpoint: Path, where: str) -> None:
    """Raises QualityError where the package reads, writes, renders or stops otherwise than the checkpoint's folder."""
    tokenizer = load_tokenizer(checkpoint)
    ids = [encode(tokenizer, probe) for probe in PROBES]
    chats = rendered(checkpoint, CHATS)
    request = RuntimeRequest("tokenize", ids, 0, texts=PROBES, chats=[chat for chat, _ in chats])
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
    for (_, chat), made in zip(chats, found["chats"], strict=True):
        if made != chat:
            raise QualityError(
                f"the package's chat template renders {made!r:.80}, the checkpoint's {chat!r:.80}", where=where
            )
    stops = stop_ids(checkpoint)
    if not set(stops) <= set(found["stops"]) or (found["exact"] and set(found["stops"]) - set(stops)):
        raise QualityError(f"the package stops at {sorted(found['stops'])}, the checkpoint at {stops}", where=where)
