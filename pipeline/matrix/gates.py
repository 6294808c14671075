"""Gates: what a package must keep on a target. A missed gate is an outcome that the row states, no failure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.errors import ConfigError, suggest
from pipeline.records import ReferenceFigures
from pipeline.rows import Figures, Verdict

Figure = Callable[[Figures, ReferenceFigures | None], float | None]


@dataclass(frozen=True)
class Gate:
    """A bound on a figure of a cell: of its comparable metrics, and the reference's figures on the same tokens."""

    metric: str  # whose reason is given where the figure is missing
    figure: Figure
    most: bool  # whether the bound is the largest allowed, or the smallest
    highest: float | None = None  # a bound above this is a mistake


def _metric(name: str, unit: float = 1.0) -> Figure:
    def figure(metrics: Figures, reference: ReferenceFigures | None) -> float | None:
        value = metrics.get(name)
        return None if value is None else float(value) / unit

    return figure


def _perplexity_increase(metrics: Figures, reference: ReferenceFigures | None) -> float | None:
    own, base = metrics.perplexity_common, reference.perplexity if reference else None
    return own / base - 1 if own and base else None


def _accuracy_kept(metrics: Figures, reference: ReferenceFigures | None) -> float | None:
    own, base = metrics.task_accuracy_common, reference.task_accuracy if reference else None
    return own / base if own is not None and base else None


def _tasks_kept(metrics: Figures, reference: ReferenceFigures | None) -> float | None:
    own, base = metrics.tasks_passed_common, reference.tasks_passed if reference else None
    return own / base if own is not None and base else None


GATES = {
    "max_perplexity_increase": Gate(
        "perplexity_common", _perplexity_increase, most=True
    ),  # relative to fp32: 0.1 is 10 %
    "max_kl_nats": Gate("kl_nats_mean_common", _metric("kl_nats_mean_common"), most=True),
    "min_top1_agreement": Gate("top1_agreement_common", _metric("top1_agreement_common"), most=False, highest=1),
    "min_accuracy_kept": Gate("task_accuracy_common", _accuracy_kept, most=False, highest=1),  # of the reference's
    "min_tasks_kept": Gate("tasks_passed_common", _tasks_kept, most=False, highest=1),  # of the reference's
    "max_task_flips": Gate("task_flips_common", _metric("task_flips_common"), most=True),
    "min_decode_tokens_per_s": Gate("decode_tokens_per_s", _metric("decode_tokens_per_s"), most=False),
    "max_ttft_ms": Gate("ttft_ms_p50", _metric("ttft_ms_p50"), most=True),
    "max_package_mb": Gate("size_bytes", _metric("size_bytes", 1e6), most=True),
    "max_peak_memory_mb": Gate("peak_rss_bytes", _metric("peak_rss_bytes", 1e6), most=True),
}


def check_gates(target: str, conf: Mapping[str, Any]) -> list[str]:
    """Everything wrong with a target's gates: unknown names, bounds that nothing or everything meets."""
    problems, bounds, where = [], conf["gates"], f"target.{target}.gates"
    for name, bound in bounds.items():
        if name not in GATES:
            problems.append(f"{where}: unknown gate '{name}' ({suggest(name, GATES)})")
        elif bound < 0:
            problems.append(f"{where}.{name}: {bound:g} is negative")
        elif (highest := GATES[name].highest) is not None and bound > highest:
            problems.append(f"{where}.{name}: {bound:g} is more than {highest:g}, which nothing reaches")
    held = conf["max_weight_gb"]
    package = bounds.get("max_package_mb")
    if held and package is not None and package > held * 1000:
        problems.append(
            f"{where} contradict the target: max_package_mb {package:g}, and it holds {held:g} GB of weights"
        )
    return problems


def judge(metrics: Figures, reference: ReferenceFigures | None, bounds: Mapping[str, float]) -> tuple[Verdict, ...]:
    """A verdict per bound: `passed` is None where the figure is missing; the margin is relative."""
    return tuple(_verdict(name, metrics, reference, bound) for name, bound in bounds.items())


def _verdict(name: str, metrics: Figures, reference: ReferenceFigures | None, bound: float) -> Verdict:
    if name not in GATES:
        raise ConfigError(f"unknown gate '{name}'", hint=suggest(name, GATES))
    gate = GATES[name]
    value = gate.figure(metrics, reference)
    if value is None:
        return Verdict(name, bound, None, None, None)
    room = bound - value if gate.most else value - bound
    return Verdict(name, bound, value, room >= 0, round(room / bound if bound else room, 4))


def missed(gates: Iterable[Verdict]) -> list[str]:
    """`max_kl_nats 0.11 > 0.1` of each missed gate."""
    sign = {True: ">", False: "<"}
    return [
        f"{gate.gate} {gate.value:.3g} {sign[GATES[gate.gate].most]} {gate.bound:g}"
        for gate in gates
        if gate.passed is False
    ]


def passes(gates: Iterable[Verdict]) -> bool:
    """Whether no gate is missed; a figure that is missing misses nothing."""
    return all(gate.passed is not False for gate in gates)
