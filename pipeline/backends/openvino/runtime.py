"""OpenVINO GenAI on one package, in a process of its own: the request on stdin, one line of JSON on stdout."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

# `generate` is held against logits in fp32, and goes past a sliding window; `measure` takes what users get.
ACCURACY = {
    "INFERENCE_PRECISION_HINT": "f32",
    "KV_CACHE_PRECISION": "f32",
    "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0",
    "ATTENTION_BACKEND": "SDPA",
}


DEVICES = {"intel-gpu": "GPU", "intel-npu": "NPU"}


def generate(pipeline: Any, prompt: list[int], count: int) -> Any:
    """Greedy continuation of token ids by `count` tokens; an end token does not stop it."""
    import numpy as np
    import openvino
    import openvino_genai as genai

    config = genai.GenerationConfig()
    config.max_new_tokens, config.ignore_eos, config.do_sample = count, True, False
    ids = np.asarray([prompt], np.int64)
    return pipeline.generate(genai.TokenizedInputs(openvino.Tensor(ids), openvino.Tensor(np.ones_like(ids))), config)


def answer(package: str, request: dict[str, Any]) -> dict[str, Any]:
    """What `pipeline.backends.base.RuntimeRequest` asks for."""
    import openvino_genai as genai

    threads = {"INFERENCE_NUM_THREADS": request["threads"]} if request["threads"] else {}
    count = request["new_tokens"]
    if request["task"] == "generate":
        pipeline = genai.LLMPipeline(package, "CPU", **ACCURACY, **threads)
        return {"tokens": [list(generate(pipeline, prompt, count).tokens[0]) for prompt in request["prompts"]]}
    begun = time.perf_counter()
    device = DEVICES.get(request["device"], "CPU")
    pipeline = genai.LLMPipeline(package, device, **(threads if device == "CPU" else {}))
    load_s = time.perf_counter() - begun
    prompt = request["prompts"][0]
    runs = []
    for turn in range(request["warmup"] + request["runs"]):
        # another first token every time: the runtime caches prefixes, and would read the prompt only once
        runs.append(generate(pipeline, prompt[turn:] + prompt[:turn], count).perf_metrics)
    runs = runs[request["warmup"] :]
    return {
        "load_s": load_s,
        "ttft_ms": [run.get_ttft().mean for run in runs],
        "prefill_tokens_per_s": [1000 * len(prompt) / run.get_ttft().mean for run in runs],
        "decode_tokens_per_s": [1000 / run.get_tpot().mean for run in runs],
    }


def main() -> int:
    try:
        result = answer(sys.argv[1], json.load(sys.stdin))
    except Exception as error:  # the parent shows the last line
        lines = [line.strip() for line in str(error).splitlines() if line.strip()] or ["no message"]
        told = [line for line in lines if not line.startswith(("Exception from", "Check '"))]
        sys.stderr.write(f"{type(error).__name__}: {(told or lines)[-1]}\n")
        return 1
    sys.stdout.write(json.dumps(result) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
