"""How much disk results take, known before the work. Standard library only.

DVC keeps every result a second time, in its cache; equal files are in the cache once, so that a package adds to it
nothing but what it has beside its build.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pipeline.types import BITS

if TYPE_CHECKING:
    from pipeline.model.dimensions import Dimensions
    from pipeline.planned import Plan

BYTES = {"fp32": 4, "fp16": 2, "bf16": 2}
SLACK = 1.01  # of weights as they are: the graph and the tokenizer beside them
MARGIN = 1.15  # of a build: fp32 scales, and layers that recipes keep at more bits
DEFER_ABOVE = 5e8  # bytes: a larger export is not written; each build reads the checkpoint (`Backend.stream`)
EMBEDDING = 0.04  # of the parameters, as long as no tensor was seen: 0.01 to 0.16 in the Phi family


def export_size(parameters: int, form: Mapping[str, Any]) -> int:
    """Bytes of a checkpoint in a backend's input form; one without a `precision` counts as fp32."""
    return parameters * BYTES.get(str(form.get("precision")), 4)


def build_size(parameters: int, family: str, embedding: int) -> int:
    """Bytes of a build, on the upper side. `embedding` is how many of the parameters may stay in fp32."""
    if family in BYTES:
        return int(SLACK * parameters * BYTES[family])
    family = "int8" if family == "fit" else family  # as many bits as a search can choose
    return int(MARGIN * (parameters * BITS[family] / 8 + embedding * BYTES["fp32"]))


def sight_size(tower: int, embedding: int) -> int:
    """Bytes beside the decoder of a model that sees or hears, in 16 bits: its tower, and its embedding once more."""
    return 2 * (tower + embedding) if tower else 0


def reference_size(tokens: int, width: int) -> int:
    """Bytes of a reference: final hidden states in fp32, and a float64 and an id per token."""
    return tokens * (width * 4 + 16)


def plan_size(plan: Plan, shapes: Mapping[str, Dimensions], defer: float, kept: int) -> int:
    """Bytes of all that a plan's stages write, when each of it is there `kept` times; packages once at most.

    shapes: by model. Exports above `defer` bytes are not written. A model from the hub counts for the
    hub's own cache as well, unless blocks are shared.
    """
    total, parameters = 0, {name: shape.parameters for name, shape in shapes.items()}
    beside = {name: sight_size(shape.tower, shape.vocab_size * shape.hidden_size) for name, shape in shapes.items()}
    for name, model in plan.models.items():
        total += kept * reference_size(model.reference.tokens, shapes[name].hidden_size)
        if model.fetch.adapter or model.fetch.modality:
            total += (kept + bool(model.fetch.repo)) * (parameters[name] + shapes[name].tower) * BYTES["bf16"]
        elif model.fetch.repo:
            total += (2 * kept - 1) * parameters[name] * BYTES["bf16"]
    for export in plan.exports.values():
        size = export_size(parameters[export.model], export.convert.form)
        total += kept * (size + beside[export.model]) if size <= defer else 0
    builds = {
        key: build_size(count := parameters[build.model], build.quantize.recipe.family, int(EMBEDDING * count))
        + beside[build.model]
        for key, build in plan.builds.items()
    }
    total += kept * sum(builds.values())
    return total + (kept - 1) * sum(builds[cell.build] for cell in plan.cells.values())
