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

    `weights` reads it as float32 [outputs, inputs]. Of the embedding, `moments` is None: it is looked up.
    """

    name: str
    weights: Callable[[], NDArray[np.float32]]
    moments: NDArray[np.float32] | None


def matrices(
    folder: Path, weights: Path, ids: NDArray[np.int64], scratch: Path, progress: Callable[[int, int], None]
) -> Iterator[Matrix]:
    """Every matrix of a checkpoint, in order: the embedding, each layer's, the lm_head (of tied tables as well).

    ids: calibration tokens [windows, length]. The moments hold until the next matrix is asked for.
    """
    import torch

    layers = Layers(folder, weights)
    yield Matrix(EMBEDDING, _reader(layers, EMBEDDING), None)
    states = layers.embedded(list(ids), scratch / SCRATCH)
    for number in range(len(layers)):
        with layers.layer(number) as module, torch.inference_mode():
            sums = _Sums(module)
            for state in states:
                state[:] = layers.run(module, torch.from_numpy(state)[None])[0].numpy()
            sums.close()
        for name, total in sums.found.items():
            whole = f"{layers.prefix(number)}{name}.weight"
            yield Matrix(whole, _reader(layers, whole), (total / ids.size).numpy())
        progress(number + 1, len(layers))
    with layers.norm() as norm, torch.inference_mode():
        total = torch.zeros((layers.config.hidden_size,) * 2)
        for state in states:
            last = norm(torch.from_numpy(state))
            total += last.T @ last
    (scratch / SCRATCH).unlink()
    own = HEAD if HEAD in layers.tensors else EMBEDDING
    yield Matrix(HEAD, _reader(layers, own), (total / ids.size).numpy())


class _Sums:
    """Σ x xᵀ of the inputs of a module's linear layers, while it runs; equal inputs are summed once."""

    def __init__(self, module: Any) -> None:
        import torch

        self.found: dict[str, Any] = {}
        linear = ((name, part) for name, part in module.named_modules() if isinstance(part, torch.nn.Linear))
        self._hooks = [part.register_forward_pre_hook(self._adding(name)) for name, part in linear]

    def _adding(self, name: str) -> Callable[[Any, Any], None]:
        def add(module: Any, inputs: Any) -> None:
            flat = inputs[0].reshape(-1, inputs[0].shape[-1])
            product = flat.T @ flat
            self.found[name] = self.found[name] + product if name in self.found else product

        return add

    def close(self) -> None:
        for hook in self._hooks:
            hook.remove()


def _reader(layers: Layers, name: str) -> Callable[[], NDArray[np.float32]]:
    return lambda: read_float32(layers.tensors[name])
