"""Scales trained end to end: integers stay, scales move until the model says again what it said before.

The second phase of EfficientQAT (E2E-QP; Chen et al. 2024, arXiv 2407.11062), which MLX calls distilled weight
quantization, with the divergence from the checkpoint's own distributions as the loss: mean KL(checkpoint ‖ quantized)
over the tokens of the calibration text, by Adam, a window a step. What the scales of one layer cannot mend, those of
later layers may. Some windows are kept apart; scales that are no better there are thrown away.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.calibration.gptq import LEAST, Quantized
from pipeline.model.checkpoint import EMBEDDING, HEAD, Tensor, read_float32, read_headers
from pipeline.model.layer_by_layer import final_states

SCRATCH = "distilled.tmp"
RATE = 1e-3  # of a matrix's mean scale, a step
WARMUP = 10  # steps
BETAS = (0.9, 0.95)
TABLES = (EMBEDDING, HEAD)
APART = 8  # one window of so many is kept apart

Parts = Mapping[str, Sequence[Quantized]]


def distilled(
    folder: Path,
    weights: Path,
    parts: Parts,
    ids: NDArray[np.int64],
    epochs: int,
    progress: Callable[[int, int], None],
    scratch: Path,
) -> dict[str, list[Quantized]]:
    """{matrix: its parts, with other scales}: those of layers. The embedding's and the lm_head's stay as they are.

    parts: of each quantized matrix, in the order of its outputs; the very same list for the embedding and the lm_head
    where one table is both. ids: tokens of calibration [windows, length].
    """
    import torch

    given = {name: list(some) for name, some in parts.items()}
    if len(ids) < 2:
        return given
    tensors, states = read_headers(weights), scratch / SCRATCH
    wanted = final_states(folder, weights, list(ids), states, lambda *_: None)
    seen = len(ids) - max(1, len(ids) // APART)
    with torch.inference_mode(False), torch.enable_grad():  # ONNX Runtime's model builder has switched them off
        own = torch.from_numpy(read_float32(tensors.get(HEAD, tensors[EMBEDDING])))
        student = _Student(folder, tensors, parts)

        def loss(window: int) -> Any:
            there = (torch.from_numpy(wanted[window]) @ own.T).log_softmax(-1)
            here = student.logits(torch.from_numpy(ids[window])).log_softmax(-1)
            return (there.exp() * (there - here)).sum(-1).mean()

        before = _mean(loss, range(seen, len(ids)))
        _train(student, loss, seen, epochs, progress)
        better = _mean(loss, range(seen, len(ids))) < before
    states.unlink()
    return student.parts() if better else given


def _train(
    student: _Student, loss: Callable[[int], Any], windows: int, epochs: int, progress: Callable[[int, int], None]
) -> None:
    """Adam over the first windows, one a step, in another order each time; the rate rises, then falls to nothing."""
    import torch

    steps, draw = epochs * windows, np.random.default_rng(0)
    optimizer = torch.optim.Adam(student.groups(), betas=BETAS)
    for step, window in enumerate(np.concatenate([draw.permutation(windows) for _ in range(epochs)])):
        for group in optimizer.param_groups:
            group["lr"] = group["scale"] * RATE * min(1.0, (step + 1) / WARMUP) * (1 - step / steps)
        optimizer.zero_grad(set_to_none=True)
        loss(int(window)).backward()
        optimizer.step()
        progress(step + 1, steps)


def _mean(loss: Callable[[int], Any], windows: Iterable[int]) -> float:
    import torch

    with torch.no_grad():
        return float(np.mean([float(loss(window)) for window in windows]))


class _Student:
    """The model with its quantized matrices, whose scales are parameters; the rest is the checkpoint's, in float32."""

    def __init__(self, folder: Path, tensors: Mapping[str, Tensor], parts: Parts) -> None:
        import torch
        from transformers import AutoConfig, AutoModelForCausalLM

        config = AutoConfig.from_pretrained(folder, local_files_only=True)
        with torch.device("meta"):
            self._model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).model.eval()
        self._model.rotary_emb = type(self._model.rotary_emb)(config)  # its frequencies are computed, not stored
        self._given, self._scaled = parts, {name: _scaled(some) for name, some in parts.items()}
        for name, module in self._scaled.items():
            if name not in TABLES:
                parent, child = name.removeprefix("model.").removesuffix(".weight").rsplit(".", 1)
                setattr(self._model.get_submodule(parent), child, module)
        rest = {}
        for name, parameter in self._model.named_parameters():
            if parameter.is_meta and f"model.{name}" != EMBEDDING:
                rest[name] = torch.from_numpy(read_float32(tensors[f"model.{name}"]))
        self._model.load_state_dict(rest, strict=False, assign=True)
        self._model.requires_grad_(False)
        self._model.embed_tokens = None  # rows are looked up in what is stored
        if parts.get(HEAD) is parts.get(EMBEDDING) and HEAD in parts:
            self._scaled[EMBEDDING] = self._scaled[HEAD]
        own, head = tensors[EMBEDDING], tensors.get(HEAD, tensors[EMBEDDING])
        self._rows = _rows(own) if EMBEDDING not in parts else self._scaled[EMBEDDING].rows
        self._head = _linear(head) if HEAD not in parts else self._scaled[HEAD]
        self._trained = {name: module for name, module in self._scaled.items() if name not in TABLES}
        for module in self._trained.values():
            module.requires_grad_(True)

    def groups(self) -> list[dict[str, Any]]:
        """Parameters as an optimizer takes them, each with the mean of its scales: steps are relative to it."""
        every = {id(each): each for module in self._trained.values() for each in module.scales}.values()
        return [{"params": [each], "scale": float(each.detach().abs().mean())} for each in every]

    def logits(self, ids: Any) -> Any:
        """[length, vocabulary] of a window."""
        states = self._model(inputs_embeds=self._rows(ids)[None], use_cache=False).last_hidden_state[0]
        return self._head(states)

    def parts(self) -> dict[str, list[Quantized]]:
        """The matrices that were given, with the scales of now: in numbers of float16, none of them zero."""
        made = {name: list(some) for name, some in self._given.items()}
        for name, module in self._trained.items():
            half = [_half(each).detach().numpy() for each in module.scales]
            made[name] = [
                replace(part, scales=np.where(new == 0, LEAST, new).astype(np.float32))
                for part, new in zip(self._given[name], half, strict=True)
            ]
        return made


def _rows(tensor: Tensor) -> Callable[[Any], Any]:
    """What looks tokens up in a table that is no integers."""
    import torch

    return lambda ids: torch.from_numpy(read_float32(tensor, ids.numpy()))


def _linear(tensor: Tensor) -> Callable[[Any], Any]:
    """What multiplies by a table that is no integers."""
    import torch

    table = torch.from_numpy(read_float32(tensor))
    return lambda states: states @ table.T


def _half(scales: Any) -> Any:
    """Their values in float16; the gradient goes past the rounding."""
    return scales + (scales.half().float() - scales).detach()


def _scaled(parts: Sequence[Quantized]) -> Any:
    """A linear layer, without bias, of integers and scales that learn. Weights are made when they are needed."""
    import torch

    class Product(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, inputs: Any, scales: Any, integers: Any, group: int) -> Any:
            ctx.save_for_backward(inputs, scales, integers)
            ctx.group = group
            return inputs @ _weights(integers, scales, group)

        @staticmethod
        def backward(ctx: Any, outer: Any) -> Any:
            inputs, scales, integers = ctx.saved_tensors
            back = outer @ _weights(integers, scales, ctx.group).T
            change = (inputs.flatten(0, -2).T @ outer.flatten(0, -2)).mul_(integers)
            missing = len(scales) * ctx.group - len(change)
            change = torch.nn.functional.pad(change, (0, 0, 0, missing))
            return back, change.view(len(scales), ctx.group, -1).sum(1), None, None

    product: Any = Product.apply

    class Scaled(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scales = torch.nn.ParameterList([torch.nn.Parameter(torch.tensor(part.scales)) for part in parts])
            self.integers = [torch.from_numpy(_signed(part)) for part in parts]

        def rows(self, ids: Any) -> Any:
            made = [
                _weights(integers[:, ids], _half(scales[:, ids]), part.grid.group)
                for scales, integers, part in zip(self.scales, self.integers, parts, strict=True)
            ]
            return torch.cat(made).T

        def forward(self, inputs: Any) -> Any:
            made = [
                product(inputs, _half(scales), integers, part.grid.group)
                for scales, integers, part in zip(self.scales, self.integers, parts, strict=True)
            ]
            return made[0] if len(made) == 1 else torch.cat(made, -1)

    return Scaled()


def _weights(integers: Any, scales: Any, group: int) -> Any:
    """[inputs, outputs] in float32."""
    return integers.float() * scales.repeat_interleave(group, 0)[: len(integers)]


def _signed(part: Quantized) -> NDArray[np.int16]:
    """Integers without their zero points [inputs, outputs]."""
    groups = np.arange(len(part.integers)) // part.grid.group
    found = part.integers.astype(np.int16) - part.zeros[groups]
    return found.astype(np.int8) if part.grid.bits == 4 else found
