"""mlx-lm on one package, in a process of its own: the request on stdin, one line of JSON on stdout."""

from __future__ import annotations

import sys
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

from pipeline import layout
from pipeline.backends.request import RuntimeRequest, serve, timed
from pipeline.harness.interpreter import hide


def generate(model: Any, prompt: list[int], count: int, stops: Collection[int] = ()) -> tuple[list[int], float, float]:
    """Greedy tokens, seconds to the first one, and seconds in all; no token but `stops` ends it."""
    import mlx.core as mx
    from mlx_lm.generate import generate_step

    begun, first, tokens = time.perf_counter(), 0.0, []
    for token, _ in generate_step(mx.array(prompt), model, max_tokens=count):
        tokens.append(int(token))
        first = first or time.perf_counter() - begun
        if tokens[-1] in stops:
            break
    return tokens, first, time.perf_counter() - begun


def tokenized(package: str, request: RuntimeRequest) -> dict[str, Any]:
    """mlx-lm's tokenizer, with the end tokens that its generation stops at."""
    from mlx_lm.utils import load_config, load_tokenizer

    config = load_config(Path(package))
    tokenizer = load_tokenizer(Path(package), eos_token_ids=config.get("eos_token_id"))
    options = {"tokenize": False, "add_generation_prompt": True}
    return {
        "ids": [tokenizer.encode(text, add_special_tokens=False) for text in request.texts],
        "texts": [tokenizer.decode(list(ids)) for ids in request.prompts],
        "chats": [
            tokenizer.apply_chat_template(chat, tools=tools, **options) for chat, tools in request.chats_with_tools()
        ],
        "stops": sorted(tokenizer.eos_token_ids),
        "exact": True,
    }


def chat(package: str, request: RuntimeRequest) -> dict[str, Any]:
    """As the card shows it."""
    from mlx_lm import load, stream_generate

    path = f"{package}/{layout.ADAPTERS}/{request.adapter}" if request.adapter else None
    model, tokenizer = load(package, adapter_path=path)[:2]
    chats, said, ended = [], [], []
    for messages in request.chats:
        prompt = tokenizer.apply_chat_template(list(messages), add_generation_prompt=True)
        parts = list(stream_generate(model, tokenizer, prompt, max_tokens=request.new_tokens))
        chats.append(tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True))
        said.append("".join(part.text for part in parts))
        ended.append(parts[-1].finish_reason == "stop")
    return {"chats": chats, "said": said, "ended": ended}


def answer(package: str, request: RuntimeRequest) -> dict[str, Any]:
    """MLX takes no number of threads."""
    if request.task == "tokenize":
        return tokenized(package, request)
    if request.task == "chat":
        return chat(package, request)
    import mlx.core as mx
    from mlx_lm.utils import load_adapters, load_model

    begun = time.perf_counter()
    model, _ = load_model(Path(package))
    if request.adapter:
        model = load_adapters(model, f"{package}/{layout.ADAPTERS}/{request.adapter}")
    load_s = time.perf_counter() - begun
    count, prompts = request.new_tokens, [list(prompt) for prompt in request.prompts]
    if request.task == "generate":  # held against logits in fp32
        model.set_dtype(mx.float32)
        return {"tokens": [generate(model, prompt, count, request.stops)[0] for prompt in prompts]}
    return timed(load_s, request, lambda prompt: generate(model, prompt, count)[1:])


if __name__ == "__main__":
    # mlx-lm takes its tokenizer from transformers, which imports torch wherever it is installed
    hide("torch")
    sys.exit(serve(answer))
