"""A transformers decoder as a function of its key-value caches: what tracers take. Imports torch when it is used."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

Mask = Callable[[Any, Any, Any], Any]  # (attention_mask, position_ids, dtype of the caches) → the module's mask
Finish = Callable[[Any, Sequence[Any], Sequence[Any]], tuple[Any, ...]]  # (logits, caches, past) → result


def with_caches(module: Any, finish: Finish, mask: Mask | None = None, given: str = "input_ids") -> Any:
    """A torch module of (input_ids, attention_mask, position_ids, *past); `given` may be inputs_embeds instead.

    `past` holds keys and values [batch, kv_heads, length, head] of each layer in turn; `finish` makes the result of the
    logits and of what the caches then hold, past and new. `mask` makes the module's mask of the given one.
    DynamicCache starts lazily, which traces a concatenation with an empty 1-D tensor: here layers are filled before.
    """
    import torch

    class WithCaches(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.module = module

        def forward(self, first: Any, attention_mask: Any, position_ids: Any, *past: Any) -> Any:
            dtype = past[0].dtype
            done = self.module(
                **{given: first},
                attention_mask=mask(attention_mask, position_ids, dtype) if mask else attention_mask,
                position_ids=position_ids,
                past_key_values=filled(past),
                use_cache=True,
            )
            parts = [part for layer in done.past_key_values.layers for part in (layer.keys, layer.values)]
            return finish(done.logits, parts, past)

    return WithCaches().eval()


def filled(past: Sequence[Any]) -> Any:
    """transformers' cache that holds `past`, keys and values of each layer in turn."""
    from transformers.cache_utils import DynamicCache, DynamicLayer

    cache = DynamicCache()
    for index in range(len(past) // 2):
        layer = DynamicLayer()
        layer.keys, layer.values = past[2 * index], past[2 * index + 1]
        layer.dtype, layer.device, layer.is_initialized = past[0].dtype, past[0].device, True
        cache.layers.append(layer)
    return cache
