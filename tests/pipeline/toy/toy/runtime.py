"""The toy's runtime, alone in its process."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.backends.request import RuntimeRequest, serve, timed


class ToyModel:
    settings: Mapping[str, str] = {}

    def __init__(self, folder: Path) -> None:
        import json

        import numpy as np

        config, held = json.loads((folder / "config.json").read_text(encoding="utf-8")), np.load(folder / "weights.npz")
        self._weights = {name: held[name] for name in held if ":" not in name}
        for name in (name.removesuffix(":int8") for name in held if name.endswith(":int8")):
            self._weights[name] = held[f"{name}:int8"].astype(np.float32) * held[f"{name}:scale"]
        self._heads, self._kv = config["num_attention_heads"], config["num_key_value_heads"]
        self._eps, self._layers = config["rms_norm_eps"], config["num_hidden_layers"]
        self._size = config["hidden_size"] // self._heads
        self._theta = config.get("rope_theta", 10000.0)

    def logits(self, ids: Any) -> Any:
        import numpy as np

        return np.stack([self._row(row) for row in ids])

    def generate(self, prompt: Sequence[int], count: int) -> tuple[list[int], float, float]:
        import numpy as np

        begun, tokens, first = time.perf_counter(), list(prompt), 0.0
        for _ in range(count):
            tokens.append(int(self._row(np.array(tokens))[-1].argmax()))
            first = first or time.perf_counter() - begun
        return tokens[len(prompt) :], first, time.perf_counter() - begun

    def _row(self, ids: Any) -> Any:
        """A Phi-3 decoder's logits [length, vocab], in numpy."""
        import numpy as np

        weights, length = self._weights, len(ids)
        x = weights["model.embed_tokens.weight"][ids]
        angles = np.arange(length)[:, None] * self._theta ** (-np.arange(0, self._size, 2) / self._size)
        cos, sin = (np.concatenate([part, part], -1).astype(np.float32) for part in (np.cos(angles), np.sin(angles)))

        def norm(x: Any, name: str) -> Any:
            return x / np.sqrt((x**2).mean(-1, keepdims=True) + self._eps) * weights[name]

        def turned(x: Any) -> Any:
            half = np.concatenate([-x[..., self._size // 2 :], x[..., : self._size // 2]], -1)
            return x * cos + half * sin

        hidden_future = np.triu(np.full((length, length), -np.inf, np.float32), 1)
        for layer in range(self._layers):
            at = f"model.layers.{layer}."
            packed = norm(x, f"{at}input_layernorm.weight") @ weights[f"{at}self_attn.qkv_proj.weight"].T
            heads = packed.reshape(length, -1, self._size).transpose(1, 0, 2)
            q, k, v = np.split(heads, [self._heads, self._heads + self._kv])
            k, v = (part.repeat(self._heads // self._kv, 0) for part in (turned(k), v))
            scores = turned(q) @ k.transpose(0, 2, 1) / np.sqrt(np.float32(self._size)) + hidden_future
            shares = np.exp(scores - scores.max(-1, keepdims=True))
            seen = (shares / shares.sum(-1, keepdims=True)) @ v
            x = x + seen.transpose(1, 0, 2).reshape(length, -1) @ weights[f"{at}self_attn.o_proj.weight"].T
            inner = norm(x, f"{at}post_attention_layernorm.weight") @ weights[f"{at}mlp.gate_up_proj.weight"].T
            gate, up = np.split(inner, 2, axis=-1)
            x = x + (gate / (1 + np.exp(-gate)) * up) @ weights[f"{at}mlp.down_proj.weight"].T
        return norm(x, "model.norm.weight") @ weights["lm_head.weight"].T


def answer(package: str, request: RuntimeRequest) -> dict[str, Any]:
    if request.task in ("tokenize", "chat"):  # its users take tokenizer.json
        return {}
    begun = time.perf_counter()
    model = ToyModel(Path(package))
    load_s = time.perf_counter() - begun
    if request.task == "generate":
        return {"tokens": [model.generate(prompt, request.new_tokens)[0] for prompt in request.prompts]}
    return timed(load_s, request, lambda prompt: model.generate(prompt, request.new_tokens)[1:])


if __name__ == "__main__":
    sys.exit(serve(answer))
