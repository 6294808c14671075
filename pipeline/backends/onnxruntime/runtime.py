"""ONNX Runtime GenAI on one package, in a process of its own: the request on stdin, one line of JSON on stdout."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.backends.onnxruntime.files import CONFIG, is_fixed
from pipeline.backends.request import RuntimeRequest, serve, speeds


class GenaiModel:
    """ONNX Runtime GenAI's. To generate on a machine without the package's device, its provider options are cleared."""

    def __init__(self, package: str, threads: int, device: str) -> None:
        import onnxruntime_genai as genai

        config = genai.Config(package)
        if threads:
            options = {"intra_op_num_threads": threads, "inter_op_num_threads": 1}
            config.overlay(json.dumps({"model": {"decoder": {"session_options": options}}}))
        try:
            self.model = genai.Model(config)
        except RuntimeError:
            if device:
                raise
            config.clear_providers()
            self.model = genai.Model(config)

    def generate(self, prompt: Sequence[int], count: int) -> tuple[list[int], float, float]:
        """Greedy tokens, seconds to the first one, and seconds in all; an end token does not stop it."""
        import numpy as np
        import onnxruntime_genai as genai

        parameters = genai.GeneratorParams(self.model)
        length = len(prompt) + count
        parameters.set_search_options(max_length=length, min_length=length, do_sample=False)
        generator = genai.Generator(self.model, parameters)
        begun = time.perf_counter()
        generator.append_tokens(np.asarray(prompt, dtype=np.int32))
        generator.generate_next_token()
        tokens = [int(generator.get_next_tokens()[0])]
        first = time.perf_counter() - begun
        while len(tokens) < count:
            generator.generate_next_token()
            tokens.append(int(generator.get_next_tokens()[0]))
        return tokens, first, time.perf_counter() - begun


def chat(package: str, request: RuntimeRequest) -> dict[str, Any]:
    """As the card shows it; graphs of fixed shapes have no tokenizer."""
    if is_fixed(Path(package)):
        return {}
    import onnxruntime_genai as genai

    model = GenaiModel(package, request.threads, request.device).model
    tokenizer, stops = genai.Tokenizer(model), set(_stops(package))
    chats, said, ended = [], [], []
    for messages in request.chats:
        text = tokenizer.apply_chat_template(json.dumps(messages, ensure_ascii=False), add_generation_prompt=True)
        prompt = tokenizer.encode(text)
        parameters = genai.GeneratorParams(model)
        parameters.set_search_options(max_length=len(prompt) + request.new_tokens, do_sample=False)
        generator = genai.Generator(model, parameters)
        generator.append_tokens(prompt)
        tokens: list[int] = []
        while len(tokens) < request.new_tokens and not stops.intersection(tokens[-1:]):
            generator.generate_next_token()
            tokens.append(int(generator.get_next_tokens()[0]))
        chats.append(text)
        ended.append(tokens[-1] in stops)
        said.append(tokenizer.decode(tokens[:-1] if ended[-1] else tokens))
    return {"chats": chats, "said": said, "ended": ended}


def _stops(package: str) -> list[int]:
    said = json.loads((Path(package) / CONFIG).read_text(encoding="utf-8"))["model"]["eos_token_id"]
    return said if isinstance(said, list) else [said]


def load(package: str, threads: int, device: str) -> Any:
    """What generates: GenAI's model, or a decoder of fixed shapes."""
    if not is_fixed(Path(package)):
        return GenaiModel(package, threads, device)
    from pipeline.backends.onnxruntime.fixed.session import FixedDecoder

    return FixedDecoder(Path(package), threads, bool(device))


def tokenized(package: str, request: RuntimeRequest) -> dict[str, Any]:
    """GenAI's tokenizer; graphs of fixed shapes have none."""
    if is_fixed(Path(package)):
        return {}
    import onnxruntime_genai as genai

    config = genai.Config(package)
    config.clear_providers()
    tokenizer = genai.Tokenizer(genai.Model(config))
    return {
        "ids": [tokenizer.encode(text).tolist() for text in request.texts],
        "texts": [tokenizer.decode(list(ids)) for ids in request.prompts],
        "chats": [
            tokenizer.apply_chat_template(json.dumps(chat), add_generation_prompt=True) for chat in request.chats
        ],
        "stops": _stops(package),
        "exact": True,
    }


def answer(package: str, request: RuntimeRequest) -> dict[str, Any]:
    if request.task == "tokenize":
        return tokenized(package, request)
    if request.task == "chat":
        return chat(package, request)
    begun = time.perf_counter()
    model = load(package, request.threads, request.device)
    load_s = time.perf_counter() - begun
    count, prompt = request.new_tokens, request.prompts[0]
    if request.task == "generate":
        return {"tokens": [model.generate(prompt, count)[0] for prompt in request.prompts]}
    for _ in range(request.warmup):
        model.generate(prompt, count)
    runs = [model.generate(prompt, count)[1:] for _ in range(request.runs)]
    return speeds(load_s, len(prompt), count, runs)


if __name__ == "__main__":
    sys.exit(serve(answer))
