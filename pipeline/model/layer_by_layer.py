"""A model that is too large to hold: every sequence through one layer, then the next layer.

What transformers computes, in fp32, with the memory of one layer; hidden states wait in a file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.model.checkpoint import EMBEDDING, Tensor, read_float32, read_headers

States = list[NDArray[np.float32]]  # [length, width] of each sequence, views of one file


class Layers:
    """The layers of a checkpoint, each filled with its weights for as long as it is used."""

    def __init__(self, folder: Path, weights: Path) -> None:
        import torch
        from transformers import AutoConfig, AutoModelForCausalLM

        self.tensors = read_headers(weights)
        self.config = AutoConfig.from_pretrained(folder, local_files_only=True)
        with torch.device("meta"):
            self._model = AutoModelForCausalLM.from_config(self.config, dtype=torch.float32).model.eval()
        self._rotary = type(self._model.rotary_emb)(self.config)  # its frequencies are computed, not stored
        self._room: dict[str, Any] = {}  # of one layer's parameters: memory that is new costs more than reading

    def __len__(self) -> int:
        return len(self._model.layers)

    @contextmanager
    def layer(self, number: int) -> Iterator[Any]:
        """The torch module of layer `number`, from 0. Its weights' names are `prefix(number)` and those in it.

        One at a time: the next layer's weights take the place of these.
        """
        module = self._model.layers[number]
        self._fill(module, self.prefix(number))
        try:
            yield module
        finally:
            module.to("meta")

    @contextmanager
    def norm(self) -> Iterator[Any]:
        """The torch module of the norm behind the last layer."""
        self._fill(self._model.norm, "model.norm.")
        yield self._model.norm

    @staticmethod
    def prefix(number: int) -> str:
        """Of the names of a layer's tensors in the checkpoint."""
        return f"model.layers.{number}."

    def run(self, module: Any, hidden: Any, cache: Any = None) -> Any:
        """A layer's output [1, length, width] for `hidden`, from an empty cache, which takes its keys and values."""
        import torch

        length = hidden.shape[1]
        mask = _mask(length, getattr(self.config, "sliding_window", None))
        return self.go_on(module, hidden, torch.arange(length)[None], mask, cache)

    def go_on(self, module: Any, hidden: Any, positions: Any, mask: Any, cache: Any) -> Any:
        """The same at `positions` [1, length], where `mask` [1, 1, length, keys] is added for the keys of the cache."""
        done = module(
            hidden,
            attention_mask=mask,
            position_ids=positions,
            position_embeddings=self._rotary(hidden, positions),
            past_key_values=cache,
            use_cache=cache is not None,
        )
        return done[0] if isinstance(done, tuple) else done

    def embedded(self, sequences: Sequence[NDArray[np.int64]], scratch: Path) -> States:
        """The embedding's rows of every sequence, in a new file."""
        embedding = self.tensors[EMBEDDING]
        states = scratch_states(scratch, sequences, self.config.hidden_size)
        for sequence, state in zip(sequences, states, strict=True):
            state[:] = read_float32(embedding, sequence)
        return states

    def _fill(self, module: Any, prefix: str) -> None:
        """The module's parameters from the checkpoint, as float32."""
        import torch

        values = {}
        for name, parameter in module.named_parameters():
            if name not in self._room or self._room[name].shape != parameter.shape:
                with torch.inference_mode(False):  # a gradient may be asked for later
                    self._room[name] = torch.empty(parameter.shape)
            values[name] = _read(self.tensors[prefix + name], self._room[name])
        module.load_state_dict(values, assign=True)


def _read(tensor: Tensor, room: Any) -> Any:
    """`room`, a float32 tensor, with a checkpoint's tensor in it."""
    import torch

    if tensor.dtype == "BF16" and tensor.offset % 2 == 0:  # torch casts it where it is
        mapped = np.memmap(tensor.path, np.int16, "c", offset=tensor.offset, shape=tensor.shape)
        return room.copy_(torch.from_numpy(mapped).view(torch.bfloat16))
    return room.copy_(torch.from_numpy(read_float32(tensor)))


def final_states(
    folder: Path,
    weights: Path,
    sequences: Sequence[NDArray[np.int64]],
    scratch: Path,
    report: Callable[[int, int], None],
    put: Callable[[int, NDArray[np.float32]], None] = lambda number, rows: None,
) -> States:
    """Final hidden states [length, width] of each sequence, as views of the file `scratch`.

    `put` gets each sequence's number and its rows [length, width] of the embedding, and may change them in place.
    """
    import torch

    layers = Layers(folder, weights)
    states = layers.embedded(sequences, scratch)
    for number, rows in enumerate(states):
        put(number, rows)
    with torch.inference_mode():
        for number in range(len(layers)):
            with layers.layer(number) as module:
                for state in states:
                    state[:] = layers.run(module, torch.from_numpy(state)[None])[0].numpy()
            report(number + 1, len(layers))
        with layers.norm() as norm:
            for state in states:
                state[:] = norm(torch.from_numpy(state)).numpy()
    return states


def scratch_states(scratch: Path, sequences: Sequence[NDArray[np.int64]], width: int) -> States:
    """Room for a state [length, width] of every sequence, in a new file."""
    flat = np.memmap(scratch, np.float32, "w+", shape=(sum(map(len, sequences)), width))
    states, at = [], 0
    for sequence in sequences:
        states.append(flat[at : at + len(sequence)])
        at += len(sequence)
    return states


def _mask(length: int, window: int | None) -> Any:
    """Additive mask [1, 1, length, length] of a sliding window that ends within the sequence; else plain causal."""
    import torch

    if not window or window >= length:
        return None
    rows, columns = torch.arange(length)[:, None], torch.arange(length)[None]
    seen = (columns <= rows) & (columns > rows - window)
    return torch.where(seen, 0.0, torch.finfo(torch.float32).min)[None, None]
