"""What OpenVINO GenAI's VLMPipeline answers on pictures: generation and speed; and what it cuts them to."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from pipeline.backends.openvino.files import ACCURACY
from pipeline.backends.openvino.pictures.processing import read_pixels, seen_by_runtime
from pipeline.backends.request import Run, RuntimeRequest, speeds
from pipeline.pictures.kinds import PHI4MM
from pipeline.pictures.media import arrays_of

GENERATE = {**ACCURACY, "ATTENTION_BACKEND": "SDPA"}


def answer(package: str, request: RuntimeRequest, device: str, threads: dict[str, Any]) -> dict[str, Any]:
    """The answer to `generate`, `see` or `measure` of a request with pictures."""
    if request.task == "see":
        for picture, place in zip(request.media, request.cut, strict=True):
            np.savez(place, **arrays_of(seen_by_runtime(picture)))
        return {}
    prompts = list(zip(request.asked, request.media, strict=True))
    if request.task == "generate":
        sight = Sight(package, "CPU", {**GENERATE, **threads})
        made = [sight.generate(*prompt, request.new_tokens) for prompt in prompts]
        return {
            "ids": [sight.ids(prompt, count) for (prompt, _), (count, _, _) in zip(prompts, made, strict=True)],
            "tokens": [tokens for _, tokens, _ in made],
        }
    begun = time.perf_counter()
    sight = Sight(package, device, threads if device == "CPU" else {})
    load_s = time.perf_counter() - begun
    turns = [sight.generate(*prompts[0], request.new_tokens, turn) for turn in range(request.warmup + request.runs)]
    count, runs = turns[0][0], [run for _, _, run in turns[request.warmup :]]
    return {**speeds(load_s, count, request.new_tokens, runs), "prompt_tokens": count}


class Sight:
    """A pipeline. Time to the first token begins with the picture's file."""

    def __init__(self, package: str, device: str, settings: dict[str, Any]) -> None:
        import openvino_genai as genai

        self._pipeline = genai.VLMPipeline(package, device, **settings)

    def generate(self, prompt: str, picture: str, count: int, turn: int | None = None) -> tuple[int, list[int], Run]:
        """How many tokens the prompt has, greedy tokens up to one that ends an answer, and their seconds.

        turn: of a measured run. No token ends it, and one corner of the picture is another every time: the runtime
        caches prefixes, and would read the same picture only once.
        """
        import openvino
        import openvino_genai as genai

        tokens: list[int] = []
        first = 0.0

        class Kept(genai.StreamerBase):  # type: ignore[misc]  # untyped base
            def write(self, token: int | list[int]) -> Any:
                nonlocal first
                first = first or time.perf_counter()
                tokens.extend(token if isinstance(token, list) else [token])
                return genai.StreamingStatus.RUNNING

            def end(self) -> None:
                pass

        config = self._pipeline.get_generation_config()
        config.max_new_tokens, config.do_sample, config.apply_chat_template = count, False, False
        config.ignore_eos = turn is not None
        begun = time.perf_counter()
        pixels = read_pixels(picture)
        if turn is not None:
            pixels[0, 0, 0] = turn
        made = self._pipeline.generate(
            prompt, images=[openvino.Tensor(pixels)], generation_config=config, streamer=Kept()
        )
        run = (first - begun, time.perf_counter() - begun)
        return made.perf_metrics.get_num_input_tokens(), tokens, run

    def ids(self, prompt: str, count: int) -> list[int]:
        """The prompt's ids: the texts around the picture by the package's tokenizer, and its places between them."""
        tokenizer = self._pipeline.get_tokenizer()
        before, after = (
            tokenizer.encode(text, add_special_tokens=False).input_ids.data[0].tolist()
            for text in prompt.split(PHI4MM.medium.place)
        )
        return [*before, *[PHI4MM.place] * (count - len(before) - len(after)), *after]
