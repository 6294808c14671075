"""What a package's own tokenizer and template make of texts and chats, in this process, and where its model ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from pipeline.errors import ArtifactError
from pipeline.files import read_json
from pipeline.model.chats import Chat, renderer
from pipeline.model.side_files import stop_ids
from pipeline.model.tokenizer import encode, load_tokenizer


@dataclass(frozen=True)
class Limits:
    """The id that a text begins with in training (None: none), those that end an answer, and the longest context."""

    bos: int | None
    stops: tuple[int, ...]
    context: int


class Texts(Protocol):
    """Special tokens are read as such, and none is added."""

    @property
    def limits(self) -> Limits: ...

    def encode(self, text: str) -> list[int]: ...

    def decode(self, ids: Sequence[int]) -> str: ...

    def render(self, chat: Chat, answer: bool) -> str:
        """A chat's text, with what an answer begins with where one is wanted."""
        ...


class FolderTexts:
    """Of a package with tokenizer.json and config.json; `config` is another file's settings, where it has others."""

    def __init__(self, package: Path, config: dict[str, Any] | None = None) -> None:
        held = config if config is not None else read_json(package / "config.json")
        ends = held.get("eos_token_id") if config is not None else stop_ids(package)
        stops = ends if isinstance(ends, list) else [ends]
        context = int(held.get("context_length") or held["max_position_embeddings"])
        self.limits = Limits(held.get("bos_token_id"), tuple(stop for stop in stops if stop is not None), context)
        self._package, self._tokenizer, self._render = package, load_tokenizer(package), renderer(package)

    def encode(self, text: str) -> list[int]:
        return encode(self._tokenizer, text)

    def decode(self, ids: Sequence[int]) -> str:
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=True))

    def render(self, chat: Chat, answer: bool) -> str:
        if self._render is None:
            raise ArtifactError("the package has no chat template", where=str(self._package))
        return self._render(chat, answer=answer)
