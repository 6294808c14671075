"""What ONNX Runtime GenAI answers on pictures or sounds: its own processing, generation, speed."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.backends.onnxruntime.files import modality_of
from pipeline.backends.onnxruntime.genai import GenaiModel, continued
from pipeline.backends.onnxruntime.pictures.parts import TYPES
from pipeline.backends.request import Run, RuntimeRequest, speeds
from pipeline.pictures.kinds import PHI3V
from pipeline.pictures.media import Seen, arrays_of
from pipeline.pictures.processing import PATCH, Picture
from pipeline.pictures.rows import MEDIA, SPEECH
from pipeline.pictures.sound import Sound


def answer(model: GenaiModel, package: Path, load_s: float, request: RuntimeRequest) -> dict[str, Any]:
    """The answer to `generate`, `see` or `measure` of a request with pictures or sounds."""
    sight = Sight(model, modality_of(package))
    if request.task == "see":
        for file, place in zip(request.media, request.cut, strict=True):
            np.savez(place, **arrays_of(sight.seen(file)))
        return {}
    prompts = list(zip(request.asked, request.media, strict=True))
    if request.task == "generate":
        made = [sight.generate(*prompt, request.new_tokens) for prompt in prompts]
        return {"ids": [ids for ids, _, _ in made], "tokens": [tokens for _, tokens, _ in made]}
    for _ in range(request.warmup):
        sight.generate(*prompts[0], request.new_tokens, whole=True)
    runs = [sight.generate(*prompts[0], request.new_tokens, whole=True) for _ in range(request.runs)]
    count = len(runs[0][0])
    return {**speeds(load_s, count, request.new_tokens, [run for _, _, run in runs]), "prompt_tokens": count}


class Sight:
    """A model with its processor. Time to the first token begins with the file of the picture or sound."""

    def __init__(self, model: GenaiModel, modality: str) -> None:
        self._model, self._modality = model, modality
        self._processor = model.model.create_multimodal_processor()

    def generate(self, prompt: str, file: str, count: int, whole: bool = False) -> tuple[list[int], list[int], Run]:
        """The prompt's ids, greedy tokens up to one that ends an answer (of `whole` none does), their seconds."""
        begun = time.perf_counter()
        inputs = self._inputs(prompt, file)
        ids = inputs["input_ids"].as_numpy()[0].tolist()
        length = len(ids) + count
        generator = self._model.generator(length, length if whole else 0)
        generator.set_inputs(inputs)
        tokens, *run = continued(generator, begun, count)
        return ids, tokens, (run[0], run[1])

    def seen(self, file: str) -> Seen:
        """What the processor makes of it; of a picture without the empty crops behind it."""
        inputs = self._inputs(MEDIA[self._modality].place, file)
        if self._modality == SPEECH:
            return Sound(inputs["audio_embeds"].as_numpy()[0].astype(np.float32))
        height, width = inputs["image_sizes"].as_numpy().reshape(-1).tolist()
        pixels = inputs["pixel_values"].as_numpy()[0].astype(np.float32)
        side = pixels.shape[-1]
        pixels = pixels[: 1 + (height // side) * (width // side)]
        mask = np.ones((len(pixels), side // PATCH, side // PATCH), bool)
        if self._model.model.type != TYPES[PHI3V]:
            mask = inputs["image_attention_mask"].as_numpy()[0].astype(bool)
        return Picture(pixels, mask, height, width)

    def _inputs(self, prompt: str, file: str) -> Any:
        import onnxruntime_genai as genai

        if self._modality == SPEECH:
            return self._processor(prompt, audios=genai.Audios.open(file))
        return self._processor(prompt, images=genai.Images.open(file))
