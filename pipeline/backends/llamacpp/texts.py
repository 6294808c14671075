"""llama.cpp's vocabulary and a GGUF file's chat template, in this process."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pipeline.backends.llamacpp.runtime import renderer
from pipeline.backends.texts import Limits
from pipeline.errors import ArtifactError
from pipeline.model.chats import Chat


class GgufTexts:
    def __init__(self, package: Path) -> None:
        from llama_cpp import Llama, llama_cpp

        self._package = package
        self._model = model = Llama(str(next(package.glob("*.gguf"))), vocab_only=True, verbose=False)
        vocabulary = llama_cpp.llama_model_get_vocab(model.model)
        size = llama_cpp.llama_vocab_n_tokens(vocabulary)
        stops = tuple(token for token in range(size) if llama_cpp.llama_vocab_is_eog(vocabulary, token))
        said = model.metadata
        context = int(said[f"{said['general.architecture']}.context_length"])
        self.limits = Limits(model.token_bos() if model.token_bos() >= 0 else None, stops, context)

    def encode(self, text: str) -> list[int]:
        return [int(token) for token in self._model.tokenize(text.encode(), add_bos=False, special=True)]

    def decode(self, ids: Sequence[int]) -> str:
        return str(self._model.detokenize(list(ids), special=False).decode(errors="replace"))

    def render(self, chat: Chat, answer: bool) -> str:
        if "tokenizer.chat_template" not in self._model.metadata:
            raise ArtifactError("the package has no chat template", where=str(self._package))
        return renderer(self._model, answer)(chat)
