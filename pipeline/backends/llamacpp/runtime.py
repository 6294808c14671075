"""llama-cpp-python on one package, in a process of its own: the request on stdin, one line of JSON on stdout."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from pipeline import layout
from pipeline.backends.request import Run, RuntimeRequest, serve, timed

F32 = 0  # enum ggml_type: `generate` is held against logits with an fp32 cache
BENCH_PROMPT, BENCH_TOKENS = 512, 128  # what llama-bench measures: pp512 and tg128
ALL_LAYERS = -1  # on the GPU
GPUS = ("cuda", "apple-silicon")


def load(package: str, threads: int, length: int, accurate: bool, device: str = "", adapter: str = "") -> Any:
    from llama_cpp import Llama

    path = next(Path(package).glob("*.gguf"))
    lora = {"lora_path": f"{package}/{layout.ADAPTERS}/{adapter}.gguf"} if adapter else {}
    precise = {"type_k": F32, "type_v": F32, "flash_attn": False} if accurate else {}
    count = threads or os.cpu_count() or 1
    return Llama(
        str(path),
        n_ctx=length,
        n_batch=512,
        n_threads=count,
        n_threads_batch=count,
        n_gpu_layers=ALL_LAYERS if device in GPUS else 0,
        verbose=False,
        **precise,
        **lora,
    )


def generate(model: Any, prompt: list[int], count: int, stops: Collection[int] = ()) -> tuple[list[int], float, float]:
    """Greedy tokens, seconds to the first one, and seconds in all; no token but `stops` ends it."""
    model.reset()
    begun = time.perf_counter()
    model.eval(prompt)
    tokens = [int(model.sample(temp=0.0))]
    first = time.perf_counter() - begun
    while len(tokens) < count and tokens[-1] not in stops:
        model.eval(tokens[-1:])
        tokens.append(int(model.sample(temp=0.0)))
    return tokens, first, time.perf_counter() - begun


def tokenized(package: str, request: RuntimeRequest) -> dict[str, Any]:
    """llama.cpp's vocabulary, and the file's chat template; it ends at tokens of some names whatever a file says."""
    from llama_cpp import Llama, llama_cpp

    model = Llama(str(next(Path(package).glob("*.gguf"))), vocab_only=True, verbose=False)
    vocabulary = llama_cpp.llama_model_get_vocab(model.model)
    size = llama_cpp.llama_vocab_n_tokens(vocabulary)

    rendered = renderer(model) if request.chats else None
    return {
        "ids": [model.tokenize(text.encode(), add_bos=False, special=True) for text in request.texts],
        "texts": [model.detokenize(list(ids), special=True).decode(errors="replace") for ids in request.prompts],
        "chats": [rendered(*asked) for asked in request.chats_with_tools()] if rendered else [],
        "stops": [token for token in range(size) if llama_cpp.llama_vocab_is_eog(vocabulary, token)],
        "exact": False,
    }


def chat(package: str, request: RuntimeRequest) -> dict[str, Any]:
    """As the card shows it: llama-cpp-python finds the chat format in the file."""
    model = load(
        package, request.threads, request.context, accurate=False, device=request.device, adapter=request.adapter
    )
    rendered = renderer(model)
    said, ended = [], []
    for messages in request.chats:
        made = model.create_chat_completion(list(messages), max_tokens=request.new_tokens, temperature=0)["choices"][0]
        said.append(made["message"]["content"] or "")
        ended.append(made["finish_reason"] == "stop")
    return {"chats": [rendered(messages) for messages in request.chats], "said": said, "ended": ended}


def renderer(model: Any, answer: bool = True) -> Callable[..., str]:
    """The text of a chat by the file's template."""
    from llama_cpp.llama_chat_format import Jinja2ChatFormatter

    def piece(token: int) -> str:
        return str(model.detokenize([token], special=True).decode(errors="replace")) if token >= 0 else ""

    ends = {"eos_token": piece(model.token_eos()), "bos_token": piece(model.token_bos())}
    formatter = Jinja2ChatFormatter(model.metadata["tokenizer.chat_template"], add_generation_prompt=answer, **ends)

    def render(messages: Any, tools: Any = None) -> str:
        return str(formatter(messages=list(messages), tools=tools).prompt)

    return render


def answer(package: str, request: RuntimeRequest) -> dict[str, Any]:
    if request.task == "tokenize":
        return tokenized(package, request)
    if request.task == "chat":
        return chat(package, request)
    count, prompts = request.new_tokens, request.prompts
    if request.task == "generate":
        length = max(map(len, prompts)) + count
        model = load(package, request.threads, length, accurate=True, adapter=request.adapter)
        return {"tokens": [generate(model, list(prompt), count, request.stops)[0] for prompt in prompts]}
    return measured(package, request)


def measured(package: str, request: RuntimeRequest) -> dict[str, Any]:
    """The cache is as long as a prompt and its answer, so a longer prompt takes a model of its own."""

    def loaded(length: int) -> Any:
        return load(package, request.threads, length, accurate=False, device=request.device)

    count, first = request.new_tokens, list(request.prompts[0])
    begun, room = time.perf_counter(), max(len(first) + count, BENCH_PROMPT)
    held = {room: loaded(room)}
    load_s = time.perf_counter() - begun
    for _ in range(request.warmup):
        generate(held[room], first, count)
    bench = [_bench(held[room], first) for _ in range(request.runs)]

    def run(prompt: list[int]) -> Run:
        length = max(len(prompt) + count, room)
        if length not in held:
            held.clear()
            held[length] = loaded(length)
        return generate(held[length], prompt, count)[1:]

    extra = {
        "prefill_512_tokens_per_s": [prefill for prefill, _ in bench],
        "decode_128_tokens_per_s": [decode for _, decode in bench],
    }
    return {**timed(load_s, request, run), "extra": extra}


def _bench(model: Any, prompt: list[int]) -> tuple[float, float]:
    """llama-bench's pp512 and tg128: 512 tokens in one pass, and 128 tokens one by one from an empty cache."""
    ids = (prompt * (BENCH_PROMPT // len(prompt) + 1))[:BENCH_PROMPT]
    model.reset()
    begun = time.perf_counter()
    model.eval(ids)
    middle = time.perf_counter()
    model.reset()
    started = time.perf_counter()
    for token in ids[:BENCH_TOKENS]:
        model.eval([token])
    return BENCH_PROMPT / (middle - begun), BENCH_TOKENS / (time.perf_counter() - started)


if __name__ == "__main__":
    sys.exit(serve(answer))
