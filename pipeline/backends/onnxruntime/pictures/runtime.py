"""What ONNX Runtime GenAI answers on pictures: its own processing, generation, speed."""

from __future__ import annotations

import time
from typing import Any

from pipeline.backends.onnxruntime.genai import GenaiModel, continued
from pipeline.backends.onnxruntime.pictures.parts import TYPES
from pipeline.backends.request import Run, RuntimeRequest, speeds
from pipeline.pictures.kinds import PHI3V
from pipeline.pictures.processing import PATCH


def answer(model: GenaiModel, load_s: float, request: RuntimeRequest) -> dict[str, Any]:
    """The answer to `generate`, `see` or `measure` of a request with pictures."""
    sight = Sight(model)
    if request.task == "see":
        for picture, place in zip(request.pictures, request.cut, strict=True):
            sight.cut(picture, place)
        return {}
    prompts = list(zip(request.asked, request.pictures, strict=True))
    if request.task == "generate":
        made = [sight.generate(*prompt, request.new_tokens) for prompt in prompts]
        return {"ids": [ids for ids, _, _ in made], "tokens": [tokens for _, tokens, _ in made]}
    for _ in range(request.warmup):
        sight.generate(*prompts[0], request.new_tokens, whole=True)
    runs = [sight.generate(*prompts[0], request.new_tokens, whole=True) for _ in range(request.runs)]
    count = len(runs[0][0])
    return {**speeds(load_s, count, request.new_tokens, [run for _, _, run in runs]), "prompt_tokens": count}


class Sight:
    """A model with its processor. Time to the first token begins with the picture's file."""

    def __init__(self, model: GenaiModel) -> None:
        self._model = model
        self._processor = model.model.create_multimodal_processor()

    def generate(self, prompt: str, picture: str, count: int, whole: bool = False) -> tuple[list[int], list[int], Run]:
        """The prompt's ids, greedy tokens up to one that ends an answer (of `whole` none does), their seconds."""
        begun = time.perf_counter()
        inputs = self._inputs(prompt, picture)
        ids = inputs["input_ids"].as_numpy()[0].tolist()
        length = len(ids) + count
        generator = self._model.generator(length, length if whole else 0)
        generator.set_inputs(inputs)
        tokens, *run = continued(generator, begun, count)
        return ids, tokens, (run[0], run[1])

    def cut(self, picture: str, place: str) -> None:
        """Write what the processor makes of a picture, without the empty crops behind it."""
        import numpy as np

        inputs = self._inputs("<|image_1|>", picture)
        height, width = inputs["image_sizes"].as_numpy().reshape(-1).tolist()
        pixels = inputs["pixel_values"].as_numpy()[0].astype(np.float32)
        side = pixels.shape[-1]
        pixels = pixels[: 1 + (height // side) * (width // side)]
        mask = np.ones((len(pixels), side // PATCH, side // PATCH), bool)
        if self._model.model.type != TYPES[PHI3V]:
            mask = inputs["image_attention_mask"].as_numpy()[0].astype(bool)
        np.savez(place, pixels=pixels, mask=mask, height=height, width=width)

    def _inputs(self, prompt: str, picture: str) -> Any:
        import onnxruntime_genai as genai

        return self._processor(prompt, images=genai.Images.open(picture))
