"""What a stage's line says of its result: `KL 1.4e-3, top-1 97.88 %`. Standard library only."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline import layout
from pipeline.files import read_json
from pipeline.records import Benchmark, Build, Evaluation, Export


def said(entry: Any, made: Any, out: Path) -> str:
    """The result of an entry in a few words: `made` is what the step returned, `out` its folder or file."""
    if isinstance(made, Evaluation):
        return _quality(made)
    if isinstance(made, Benchmark):
        speed = made.metrics.decode_tokens_per_s
        busy = ", on a busy machine" if made.noisy else ""
        return f"{speed:,.0f} tok/s{busy}" if speed is not None else ""
    if isinstance(made, Build):
        return f"{made.quantization.bits_per_weight:.2f} bits/w"
    from pipeline.found import Fit

    if isinstance(made, Fit):
        taken = made.trials[made.chosen]
        return f"{_short(taken.kl_nats_mean)} at {taken.build_bytes / 1e6:,.1f} MB, {len(made.trials)} built"
    if isinstance(made, Export):
        form = " ".join(str(value) for value in made.form.values() if isinstance(value, str))
        return "left to each build" if made.deferred else form
    if isinstance(made, Mapping) and "size_bytes" in made:
        return f"{made['size_bytes'] / 1e6:,.1f} MB"
    if isinstance(made, Mapping) and "weights" in made:
        own = entry.adapter or entry.modality
        folder = Path(entry.path) if entry.path and not own else out
        merged = ", the adapter merged" if own else ""
        weights = folder.glob("*.safetensors") if merged else (folder / name for name in made["weights"])
        return f"{sum(path.stat().st_size for path in weights) / 1e6:,.1f} MB of weights{merged}"
    if (out / layout.SUMMARY).is_file():
        return f"perplexity {read_json(out / layout.SUMMARY)['perplexity']:.3f}"
    return ""


def _quality(made: Evaluation) -> str:
    figures = made.metrics
    kl = _short(figures.kl_nats_mean) if figures.kl_nats_mean is not None else ""
    top1 = f"top-1 {100 * figures.top1_agreement:.2f} %" if figures.top1_agreement is not None else ""
    return ", ".join(filter(None, (kl, top1)))


def _short(kl: float) -> str:
    return f"KL {kl:.1e}".replace("e-0", "e-")
