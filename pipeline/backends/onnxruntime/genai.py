"""ONNX Runtime GenAI's model, and how it goes on."""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Sequence
from typing import Any

from pipeline import layout


class GenaiModel:
    """ONNX Runtime GenAI's. To generate on a machine without the package's device, its provider options are cleared.

    adapter: which of the package's adapters is active.
    """

    def __init__(self, package: str, threads: int, device: str, adapter: str = "") -> None:
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
        self._adapter, self._adapters = adapter, None
        if adapter:
            self._adapters = genai.Adapters(self.model)
            self._adapters.load(f"{package}/{layout.ADAPTERS}/{adapter}.onnx_adapter", adapter)

    def generate(
        self, prompt: Sequence[int], count: int, stops: Collection[int] = ()
    ) -> tuple[list[int], float, float]:
        """Greedy tokens, seconds to the first one, and seconds in all; an end token stops it where `stops` are said."""
        import numpy as np

        length = len(prompt) + count
        generator = self.generator(length, 0 if stops else length)
        begun = time.perf_counter()
        generator.append_tokens(np.asarray(prompt, dtype=np.int32))
        return continued(generator, begun, count)

    def generator(self, length: int, least: int = 0) -> Any:
        """One that ends at `length` tokens, the prompt's among them, and by no end token before the `least`."""
        import onnxruntime_genai as genai

        parameters = genai.GeneratorParams(self.model)
        parameters.set_search_options(max_length=length, min_length=least, do_sample=False)
        made = genai.Generator(self.model, parameters)
        if self._adapter:
            made.set_active_adapter(self._adapters, self._adapter)
        return made


def continued(generator: Any, begun: float, count: int) -> tuple[list[int], float, float]:
    """At most `count` greedy tokens, seconds to the first one since `begun`, and seconds in all."""
    generator.generate_next_token()
    tokens = [int(generator.get_next_tokens()[0])]
    first = time.perf_counter() - begun
    while len(tokens) < count and not generator.is_done():
        generator.generate_next_token()
        tokens.append(int(generator.get_next_tokens()[0]))
    return tokens, first, time.perf_counter() - begun
