"""A model run on calibration windows with the states before each layer kept, so that a run can begin at any of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.model.checkpoint import read_output_matrix
from pipeline.model.layer_by_layer import Layers, States, scratch_states

Progress = Callable[[int, int], None]


class Run:
    """A model's hidden states before each layer, on token ids [windows, length], in files of `scratch`."""

    def __init__(self, folder: Path, weights: Path, ids: NDArray[np.int64], scratch: Path) -> None:
        import torch

        self.layers, self.sequences, self.scratch = Layers(folder, weights), list(ids), scratch
        matrix, bias = read_output_matrix(weights)
        self.head, self.bias = torch.from_numpy(matrix), None if bias is None else torch.from_numpy(bias)
        self.before: list[States] = [self.layers.embedded(self.sequences, scratch / "states-0.tmp")]

    def forward(self, progress: Progress) -> None:
        """Fill the states before each layer, and behind the last."""
        import torch

        width, count = self.layers.config.hidden_size, len(self.layers)
        for number in range(count):
            after = scratch_states(self.scratch / f"states-{number + 1}.tmp", self.sequences, width)
            with self.layers.layer(number) as module, torch.inference_mode():
                for old, new in zip(self.before[number], after, strict=True):
                    new[:] = self.layers.run(module, torch.from_numpy(old)[None])[0].numpy()
            self.before.append(after)
            progress(number + 1, 2 * count)

    def logits(self, last: Any) -> Any:
        """Logits [length, vocab] of the normed states [length, width]."""
        rows = last @ self.head.T
        return rows if self.bias is None else rows + self.bias


@contextmanager
def outputs(module: Any) -> Iterator[dict[str, tuple[Any, Any]]]:
    """{linear layer: its last (inputs, outputs)}, while the module runs."""
    import torch

    seen: dict[str, tuple[Any, Any]] = {}

    def keeping(name: str) -> Callable[[Any, Any, Any], None]:
        def keep(part: Any, inputs: Any, output: Any) -> None:
            seen[name] = (inputs[0].detach(), output)

        return keep

    linear = ((name, part) for name, part in module.named_modules() if isinstance(part, torch.nn.Linear))
    hooks = [part.register_forward_hook(keeping(name)) for name, part in linear]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()
