"""The reference of a model that is too large to hold: every sequence through one layer, then the next layer.

What transformers computes, in fp32, with the memory of one layer; hidden states wait in a file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.model.checkpoint import Tensor, read_float32, read_headers


def final_states(
    folder: Path,
    weights: Path,
    sequences: Sequence[NDArray[np.int64]],
    scratch: Path,
    report: Callable[[int, int], None],
) -> list[NDArray[np.float32]]:
    """Final hidden states [length, width] of each sequence, as views of the file `scratch`."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    tensors = read_headers(weights)
    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).model.eval()
    rotary = type(model.rotary_emb)(config)  # its frequencies are computed, not stored
    states = _embedded(tensors["model.embed_tokens.weight"], sequences, config.hidden_size, scratch)
    with torch.inference_mode():
        for number, layer in enumerate(model.layers, 1):
            _fill(layer, tensors, f"model.layers.{number - 1}.")
            for state in states:
                hidden = torch.from_numpy(state)[None]
                positions = torch.arange(len(state))[None]
                done = layer(
                    hidden,
                    attention_mask=_mask(len(state), getattr(config, "sliding_window", None)),
                    position_ids=positions,
                    position_embeddings=rotary(hidden, positions),
                    use_cache=False,
                )
                state[:] = (done[0] if isinstance(done, tuple) else done)[0].numpy()
            layer.to("meta")
            report(number, len(model.layers))
        _fill(model.norm, tensors, "model.norm.")
        for state in states:
            state[:] = model.norm(torch.from_numpy(state)).numpy()
    return states


def _embedded(
    embedding: Tensor, sequences: Sequence[NDArray[np.int64]], width: int, scratch: Path
) -> list[NDArray[np.float32]]:
    """The embedding's rows of every sequence, in the file."""
    flat = np.memmap(scratch, np.float32, "w+", shape=(sum(map(len, sequences)), width))
    states, at = [], 0
    for sequence in sequences:
        states.append(flat[at : at + len(sequence)])
        for row, token in enumerate(sequence):
            states[-1][row] = read_float32(embedding, slice(int(token), int(token) + 1))[0]
        at += len(sequence)
    return states


def _fill(module: Any, tensors: dict[str, Tensor], prefix: str) -> None:
    """The module's parameters from the checkpoint, as float32."""
    import torch

    own = dict(_named(module, tensors, prefix))
    module.load_state_dict({name: torch.from_numpy(read_float32(tensor)) for name, tensor in own.items()}, assign=True)


def _named(module: Any, tensors: dict[str, Tensor], prefix: str) -> Iterator[tuple[str, Tensor]]:
    for name, _ in module.named_parameters():
        yield name, tensors[prefix + name]


def _mask(length: int, window: int | None) -> Any:
    """Additive mask [1, 1, length, length] of a sliding window that ends within the sequence; else plain causal."""
    import torch

    if not window or window >= length:
        return None
    rows, columns = torch.arange(length)[:, None], torch.arange(length)[None]
    seen = (columns <= rows) & (columns > rows - window)
    return torch.where(seen, 0.0, torch.finfo(torch.float32).min)[None, None]
