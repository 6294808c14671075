"""OpenVINO GenAI on one package, in a process of its own: the request on stdin, one line of JSON on stdout."""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Collection
from typing import Any

from pipeline import layout
from pipeline.backends.openvino.files import ACCURACY, last_line
from pipeline.backends.request import Run, RuntimeRequest, serve, timed

# `generate` is held against logits in accuracy mode, and goes past a sliding window; `measure` takes what users get.
GENERATE = {**ACCURACY, "ATTENTION_BACKEND": "SDPA"}
DEVICES = {"intel-gpu": "GPU", "intel-npu": "NPU"}


def generate(pipeline: Any, prompt: list[int], count: int, stops: Collection[int] = ()) -> Any:
    """Greedy continuation of token ids by `count` tokens; no token but `stops` ends it."""
    import numpy as np
    import openvino
    import openvino_genai as genai

    config = genai.GenerationConfig()
    config.max_new_tokens, config.ignore_eos, config.do_sample = count, not stops, False
    if stops:
        config.stop_token_ids = set(stops)
    ids = np.asarray([prompt], np.int64)
    return pipeline.generate(genai.TokenizedInputs(openvino.Tensor(ids), openvino.Tensor(np.ones_like(ids))), config)


def switched(package: str, adapter: str) -> dict[str, Any]:
    """What the pipeline is told of an adapter of the package; nothing where there shall be none."""
    import openvino_genai as genai

    if not adapter:
        return {}
    return {"adapters": genai.AdapterConfig(genai.Adapter(f"{package}/{layout.ADAPTERS}/{adapter}.safetensors"))}


def tokenized(package: str, request: RuntimeRequest) -> dict[str, Any]:
    """OpenVINO GenAI's tokenizer."""
    import openvino_genai as genai

    tokenizer = genai.Tokenizer(package)
    stops = genai.GenerationConfig(f"{package}/generation_config.json").stop_token_ids
    return {
        "ids": [tokenizer.encode(text, add_special_tokens=False).input_ids.data[0].tolist() for text in request.texts],
        "texts": [tokenizer.decode(list(ids), skip_special_tokens=False) for ids in request.prompts],
        "chats": [
            tokenizer.apply_chat_template(chat, add_generation_prompt=True, tools=tools)
            for chat, tools in request.chats_with_tools()
        ],
        "stops": sorted(stops),
        "exact": True,
    }


def chat(package: str, request: RuntimeRequest) -> dict[str, Any]:
    """A history of messages is given to the pipeline, which applies the template itself."""
    import openvino_genai as genai

    threads = {"INFERENCE_NUM_THREADS": request.threads} if request.threads else {}
    pipeline = genai.LLMPipeline(package, "CPU", **threads, **switched(package, request.adapter))
    tokenizer, config = pipeline.get_tokenizer(), pipeline.get_generation_config()
    config.max_new_tokens, config.do_sample = request.new_tokens, False
    chats, said, ended = [], [], []
    for messages in request.chats:
        chats.append(tokenizer.apply_chat_template(list(messages), add_generation_prompt=True))
        found = pipeline.generate(genai.ChatHistory(list(messages)), config)
        said.append(found.texts[0])
        ended.append(found.finish_reasons[0] == genai.GenerationFinishReason.STOP)
    return {"chats": chats, "said": said, "ended": ended}


def answer(package: str, request: RuntimeRequest) -> dict[str, Any]:
    """Times are OpenVINO GenAI's own."""
    import openvino_genai as genai

    if request.task == "tokenize":
        return tokenized(package, request)
    if request.task == "chat":
        return chat(package, request)
    threads = {"INFERENCE_NUM_THREADS": request.threads} if request.threads else {}
    device = DEVICES.get(request.device, "CPU")
    if request.media:
        from pipeline.backends.openvino.pictures.runtime import answer as answer_of_pictures

        return answer_of_pictures(package, request, device, threads)
    count, prompts = request.new_tokens, [list(prompt) for prompt in request.prompts]
    if request.task == "generate":
        pipeline = genai.LLMPipeline(package, "CPU", **GENERATE, **threads, **switched(package, request.adapter))
        return {"tokens": [list(generate(pipeline, prompt, count, request.stops).tokens[0]) for prompt in prompts]}
    begun = time.perf_counter()
    pipeline = genai.LLMPipeline(package, device, **(threads if device == "CPU" else {}))
    load_s = time.perf_counter() - begun
    starts = itertools.count()

    def run(prompt: list[int]) -> Run:
        # another first token every time: the runtime caches prefixes, and would read the prompt only once
        start = next(starts) % len(prompt)
        said = generate(pipeline, prompt[start:] + prompt[:start], count).perf_metrics
        first = said.get_ttft().mean / 1000
        return first, first + (count - 1) * said.get_tpot().mean / 1000

    return timed(load_s, request, run)


if __name__ == "__main__":
    sys.exit(serve(answer, told=last_line))
