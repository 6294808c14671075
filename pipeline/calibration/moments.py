"""Second moments of every matrix's inputs on calibration data, a layer at a time.

H = mean of x xᵀ over the tokens, x in fp32 as transformers computes it: what GPTQ calls the Hessian, and whose diagonal
is llama.cpp's importance matrix. One layer's are held at a time; hidden states wait in a file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.model.checkpoint import EMBEDDING, HEAD, read_float32
from pipeline.model.layer_by_layer import Layers

SCRATCH = "calibration.tmp"


@dataclass(frozen=True)
class Matrix:
    """A matrix of the checkpoint with the second moments of its inputs [inputs, inputs].

    `weights` reads it as float32 [outputs, inputs]. Of the embedding, `moments` is None: it is looked up. `held_out`
    are those of windows that `moments` have not seen, where some were kept apart.
    """

    name: str
    weights: Callable[[], NDArray[np.float32]]
    moments: NDArray[np.float32] | None
    held_out: NDArray[np.float32] | None = None


def matrices(
    folder: Path,
    weights: Path,
    ids: NDArray[np.int64],
    scratch: Path,
    progress: Callable[[int, int], None],
    apart: int = 0,
) -> Iterator[Matrix]:
    """Every matrix of a checkpoint, in order: the embedding, each layer's, the lm_head (of tied tables as well).

    ids: calibration tokens [windows, length], of which the last `apart` windows are held out.
    """
    import torch

    layers = Layers(folder, weights)
    yield Matrix(EMBEDDING, _reader(layers, EMBEDDING), None)
    states = layers.embedded(list(ids), scratch / SCRATCH)
    seen = len(ids) - apart
    for number in range(len(layers)):
        with layers.layer(number) as module, torch.inference_mode():
            sums = _Sums(module)
            for at, state in enumerate(states):
                sums.held_out = at >= seen
                state[:] = layers.run(module, torch.from_numpy(state)[None])[0].numpy()
            sums.close()
        for name in [name for name, held_out in sums.found if not held_out]:
            whole = f"{layers.prefix(number)}{name}.weight"
            yield Matrix(whole, _reader(layers, whole), *sums.moments(name))
        progress(number + 1, len(layers))
    with layers.norm() as norm, torch.inference_mode():
        sums = _Sums(None)
        for at, state in enumerate(states):
            sums.held_out = at >= seen
            sums.add(HEAD, norm(torch.from_numpy(state)))
    (scratch / SCRATCH).unlink()
    own = HEAD if HEAD in layers.tensors else EMBEDDING
    yield Matrix(HEAD, _reader(layers, own), *sums.moments(HEAD))


class _Sums:
    """Σ x xᵀ of the inputs of a module's linear layers while it runs, apart where `held_out`, and how many they are."""

    def __init__(self, module: Any) -> None:
        import torch

        self.held_out = False
        self.found: dict[tuple[str, bool], tuple[Any, int]] = {}
        parts = module.named_modules() if module is not None else ()
        linear = ((name, part) for name, part in parts if isinstance(part, torch.nn.Linear))
        self._hooks = [part.register_forward_pre_hook(self._adding(name)) for name, part in linear]

    def add(self, name: str, inputs: Any) -> None:
        """Inputs [tokens, width] of a matrix."""
        total, count = self.found.get((name, self.held_out), (0, 0))
        self.found[name, self.held_out] = total + inputs.T @ inputs, count + len(inputs)

    def moments(self, name: str) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """The means, seen and held out; they are given away, and asked for once."""
        return self._mean(name, False), self._mean(name, True) if (name, True) in self.found else None

    def _mean(self, name: str, held_out: bool) -> NDArray[np.float32]:
        total, count = self.found.pop((name, held_out))
        values: NDArray[np.float32] = total.numpy()
        values /= count
        return values

    def close(self) -> None:
        for hook in self._hooks:
            hook.remove()

    def _adding(self, name: str) -> Callable[[Any, Any], None]:
        return lambda module, inputs: self.add(name, inputs[0].reshape(-1, inputs[0].shape[-1]))


def _reader(layers: Layers, name: str) -> Callable[[], NDArray[np.float32]]:
    return lambda: read_float32(layers.tensors[name])
