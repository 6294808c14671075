"""The same cells by Microsoft Olive, in one process of its own environment: `against_olive.py` starts it.

    python benchmarks/olive_cells.py CHECKPOINT WINDOWS.npy OUT

Conversion and quantization are Olive's passes, by its Python API. Perplexity and decode speed are computed here, by
ONNX Runtime and GenAI: in Olive 0.13 a metric of type `custom` raises in its own serialization. One JSON line a cell.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

NEW_TOKENS, PROMPT_TOKENS, RUNS = 64, 128, 5  # conf/config.yaml's
BLOCK = 32


def passes() -> dict[str, dict[str, Any]]:
    """Olive's passes of each precision: its builder refuses fp16 on a CPU, and has no 8 bits by blocks."""
    offline = {"hf_token": "false", "hf_remote": "false"}

    def build(precision: str, **settings: Any) -> dict[str, Any]:
        return {"type": "ModelBuilder", "precision": precision, "extra_options": offline, **settings}

    rtn = {"bits": 8, "block_size": BLOCK, "accuracy_level": 4}
    return {
        "fp32": {"build": build("fp32")},
        "fp16": {"build": build("fp32"), "halve": {"type": "OnnxFloatToFloat16"}},
        "int8": {  # with the lm_head among them, the graph has no output `logits` any more
            "build": build("fp32"),
            "quantize": {"type": "OnnxBlockWiseRtnQuantization", "nodes_to_exclude": ["/lm_head/MatMul"], **rtn},
        },
        "int4": {
            "build": build("int4", int4_block_size=BLOCK, int4_accuracy_level=4, int4_is_symmetric=True),
        },
    }


def perplexity(model: Path, windows: Path) -> float:
    """exp of the mean NLL of tokens 2…n of each window [n, window]."""
    import numpy as np
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    kinds = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
    feeds: dict[str, Any] = {
        put.name: np.zeros((1, put.shape[1], 0, put.shape[3]), kinds[put.type])
        for put in session.get_inputs()
        if put.name.startswith("past")
    }
    ids, total = np.load(windows), 0.0
    for window in ids:
        feeds |= {"input_ids": window[None], "attention_mask": np.ones((1, len(window)), np.int64)}
        logits = session.run(["logits"], feeds)[0][0, :-1].astype(np.float32)
        logits -= logits.max(-1, keepdims=True)
        likely = logits[np.arange(len(logits)), window[1:]]
        total += float((np.log(np.exp(logits).sum(-1)) - likely).sum())
    return float(np.exp(total / (ids.size - len(ids))))


def decode_speed(folder: Path, windows: Path) -> float:
    """Tokens per second of greedy decoding after a prompt: the median of the runs after a first one."""
    import numpy as np
    import onnxruntime_genai

    model, prompt, speeds = onnxruntime_genai.Model(str(folder)), np.load(windows)[0, :PROMPT_TOKENS], []
    for _ in range(1 + RUNS):
        length = PROMPT_TOKENS + NEW_TOKENS
        parameters = onnxruntime_genai.GeneratorParams(model)
        parameters.set_search_options(max_length=length, min_length=length, do_sample=False)
        generator = onnxruntime_genai.Generator(model, parameters)
        generator.append_tokens(prompt.tolist())
        begun, made = time.perf_counter(), 0
        while not generator.is_done():
            generator.generate_next_token()
            made += 1
        speeds.append(made / (time.perf_counter() - begun))
    return float(median(speeds[1:]))


def main() -> int:
    os.environ |= {"HF_HUB_OFFLINE": "1", "OLIVE_DISABLE_TELEMETRY": "1"}
    from olive.workflows import run

    checkpoint, windows, out = (Path(argument) for argument in sys.argv[1:])
    host = {"type": "LocalSystem", "accelerators": [{"device": "cpu", "execution_providers": ["CPUExecutionProvider"]}]}
    for name, steps in passes().items():
        settings = {
            "input_model": {"type": "HfModel", "model_path": str(checkpoint)},
            "systems": {"host": host},
            "host": "host",
            "target": "host",
            "evaluate_input_model": False,
            "passes": steps,
            "cache_dir": str(out / "cache"),
            # Olive reads a setting that names a folder here as that folder: not `fp32`
            "output_dir": str(out / f"{name}-cell"),
            "log_severity_level": 3,
        }
        run(settings)
        model = next((out / f"{name}-cell").rglob("*.onnx"))
        figures = {
            "cell": name,
            "perplexity": perplexity(model, windows),
            "decode_tokens_per_s": decode_speed(model.parent, windows),
            "mb": round(sum(path.stat().st_size for path in model.parent.glob("model.onnx*")) / 1e6, 1),
        }
        print(json.dumps(figures), flush=True)  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
