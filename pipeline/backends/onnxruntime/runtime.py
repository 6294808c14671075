"""ONNX Runtime GenAI on one package, in a process of its own: the request on stdin, one line of JSON on stdout."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline.backends.onnxruntime.files import CONFIG, is_fixed
from pipeline.backends.onnxruntime.genai import GenaiModel
from pipeline.backends.request import RuntimeRequest, serve, timed


def chat(package: str, request: RuntimeRequest) -> dict[str, Any]:
    """As the card shows it; graphs of fixed shapes have no tokenizer."""
    if is_fixed(Path(package)):
        return {}
    import onnxruntime_genai as genai

    model = GenaiModel(package, request.threads, request.device, request.adapter)
    tokenizer, stops = genai.Tokenizer(model.model), set(_stops(package))
    chats, said, ended = [], [], []
    for messages, tools in request.chats_with_tools():
        text = _rendered(tokenizer, messages, tools)
        prompt = tokenizer.encode(text)
        generator = model.generator(len(prompt) + request.new_tokens)
        generator.append_tokens(prompt)
        tokens: list[int] = []
        while len(tokens) < request.new_tokens and not stops.intersection(tokens[-1:]):
            generator.generate_next_token()
            tokens.append(int(generator.get_next_tokens()[0]))
        chats.append(text)
        ended.append(tokens[-1] in stops)
        said.append(tokenizer.decode(tokens[:-1] if ended[-1] else tokens))
    return {"chats": chats, "said": said, "ended": ended}


def _rendered(tokenizer: Any, messages: Any, tools: Any) -> str:
    options = {"tools": json.dumps(tools, ensure_ascii=False)} if tools else {}
    text = tokenizer.apply_chat_template(
        json.dumps(messages, ensure_ascii=False), add_generation_prompt=True, **options
    )
    return str(text)


def _stops(package: str) -> list[int]:
    said = json.loads((Path(package) / CONFIG).read_text(encoding="utf-8"))["model"]["eos_token_id"]
    return said if isinstance(said, list) else [said]


def load(package: str, threads: int, device: str, adapter: str) -> Any:
    """What generates: GenAI's model, or a decoder of fixed shapes."""
    if not is_fixed(Path(package)):
        return GenaiModel(package, threads, device, adapter)
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
        "chats": [_rendered(tokenizer, chat, tools) for chat, tools in request.chats_with_tools()],
        "stops": _stops(package),
        "exact": True,
    }


def answer(package: str, request: RuntimeRequest) -> dict[str, Any]:
    if request.task == "tokenize":
        return tokenized(package, request)
    if request.task == "chat":
        return chat(package, request)
    begun = time.perf_counter()
    model = load(package, request.threads, request.device, request.adapter)
    load_s = time.perf_counter() - begun
    if request.media:
        from pipeline.backends.onnxruntime.pictures.runtime import answer as answer_of_pictures

        return answer_of_pictures(model, Path(package), load_s, request)
    count = request.new_tokens
    if request.task == "generate":
        stops = {"stops": request.stops} if request.stops else {}
        return {"tokens": [model.generate(prompt, count, **stops)[0] for prompt in request.prompts]}
    if is_fixed(Path(package)):  # longer prompts do not fit
        request = replace(request, prompts=request.prompts[:1])
    return timed(load_s, request, lambda prompt: model.generate(prompt, count)[1:])


if __name__ == "__main__":
    sys.exit(serve(answer))
