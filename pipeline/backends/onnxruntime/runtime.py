"""ONNX Runtime GenAI on one package, in a process of its own: the request on stdin, one line of JSON on stdout."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from pipeline.backends.onnxruntime.files import STATIC
from pipeline.errors import first_line


def load(package: str, threads: int, device: str) -> Any:
    """The model. To generate on a machine without the package's device, its provider options are cleared."""
    if (Path(package) / STATIC).is_file():
        from pipeline.backends.onnxruntime.fixed.session import StaticDecoder

        return StaticDecoder(Path(package), threads, bool(device))
    import onnxruntime_genai as genai

    config = genai.Config(package)
    if threads:
        options = {"intra_op_num_threads": threads, "inter_op_num_threads": 1}
        config.overlay(json.dumps({"model": {"decoder": {"session_options": options}}}))
    try:
        return genai.Model(config)
    except RuntimeError:
        if device:
            raise
        config.clear_providers()
        return genai.Model(config)


def generate(model: Any, prompt: list[int], count: int) -> tuple[list[int], float, float]:
    """Greedy tokens, seconds to the first one, and seconds in all; an end token does not stop it."""
    import numpy as np

    if hasattr(model, "append"):
        return generate_static(model, np.asarray(prompt, np.int64), count)
    import onnxruntime_genai as genai

    parameters = genai.GeneratorParams(model)
    length = len(prompt) + count
    parameters.set_search_options(max_length=length, min_length=length, do_sample=False)
    generator = genai.Generator(model, parameters)
    begun = time.perf_counter()
    generator.append_tokens(np.asarray(prompt, dtype=np.int32))
    generator.generate_next_token()
    tokens = [int(generator.get_next_tokens()[0])]
    first = time.perf_counter() - begun
    while len(tokens) < count:
        generator.generate_next_token()
        tokens.append(int(generator.get_next_tokens()[0]))
    return tokens, first, time.perf_counter() - begun


def generate_static(decoder: Any, prompt: Any, count: int) -> tuple[list[int], float, float]:
    """The same by a StaticDecoder."""
    import numpy as np

    decoder.reset()
    begun = time.perf_counter()
    tokens = [int(decoder.append(prompt)[-1].argmax())]
    first = time.perf_counter() - begun
    while len(tokens) < count:
        tokens.append(int(decoder.append(np.array(tokens[-1:]))[-1].argmax()))
    return tokens, first, time.perf_counter() - begun


def answer(package: str, request: dict[str, Any]) -> dict[str, Any]:
    """What `pipeline.backends.base.RuntimeRequest` asks for."""
    begun = time.perf_counter()
    model = load(package, request["threads"], request.get("device", ""))
    load_s = time.perf_counter() - begun
    count = request["new_tokens"]
    if request["task"] == "generate":
        return {"tokens": [generate(model, prompt, count)[0] for prompt in request["prompts"]]}
    prompt = request["prompts"][0]
    for _ in range(request["warmup"]):
        generate(model, prompt, count)
    runs = [generate(model, prompt, count)[1:] for _ in range(request["runs"])]
    return {
        "load_s": load_s,
        "ttft_ms": [1000 * first for first, _ in runs],
        "prefill_tokens_per_s": [len(prompt) / first for first, _ in runs],
        "decode_tokens_per_s": [(count - 1) / (total - first) for first, total in runs],
    }


def main() -> int:
    try:
        result = answer(sys.argv[1], json.load(sys.stdin))
    except Exception as error:  # the parent shows the last line
        sys.stderr.write(f"{type(error).__name__}: {first_line(error)}\n")
        return 1
    sys.stdout.write(json.dumps(result) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
