"""Where a build's greedy continuations leave the reference's, side by side as texts."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pipeline.answers import Example

MOST = 5


def examples(
    prompts: Sequence[Sequence[int]],
    reference: Sequence[Sequence[int]],
    build: Sequence[Sequence[int]],
    decode: Callable[[list[int]], str],
) -> tuple[Example, ...]:
    """At most five prompts that both go on with otherwise, those that part first in front; `decode` gives texts."""
    found = []
    for prompt, its, own in zip(prompts, reference, build, strict=True):
        departs = next((i for i, (a, b) in enumerate(zip(its, own, strict=False)) if a != b), None)
        if departs is not None:
            found.append(Example(decode([*prompt]), decode([*its]), decode([*own]), departs))
    return tuple(sorted(found, key=lambda example: example.departs)[:MOST])
