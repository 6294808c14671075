"""What stages leave behind: frozen, read strictly, written whole. A search's is in `found`, the report's in
`rows`, what builds said in `answers`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.answers import Example, Sample, Tasks
from pipeline.types import QuantizationStats, Status


@dataclass(frozen=True)
class Outcome:
    """What every result says of itself: `ok`, or `skipped` with the reason."""

    status: Status
    reason: str


@dataclass(frozen=True)
class Export(Outcome):
    """A folder in a backend's input form; a `deferred` one holds no model, but the digests of the weights it is of."""

    form: Mapping[str, Any]
    deferred: bool = False
    weights: Mapping[str, str] | None = None


@dataclass(frozen=True)
class Build(Outcome):
    """A quantized folder, with what was counted in it, and the digest of its table of formats where it has one."""

    quantization: QuantizationStats
    formats_sha256: str = ""


@dataclass(frozen=True)
class Quality:
    """Figures of a build; None where one was not measured. KL in nats per token, agreement and accuracy as shares.

    `_se` are standard errors over windows, `_low` and `_high` the ends of a 95 % interval.
    """

    perplexity: float | None
    kl_nats_mean: float | None
    kl_nats_mean_se: float | None
    kl_nats_p50: float | None
    kl_nats_p90: float | None
    kl_nats_p99: float | None
    kl_nats_p999: float | None
    kl_nats_max: float | None
    top1_agreement: float | None
    top1_agreement_se: float | None
    flips: float | None
    rms_delta_p: float | None
    evaluated_tokens: int | None
    perplexity_default_mode: float | None
    kl_nats_mean_default_mode: float | None
    top1_agreement_default_mode: float | None
    task_accuracy: float | None
    task_accuracy_low: float | None
    task_accuracy_high: float | None
    answer_flips: float | None
    tasks_passed: float | None
    tasks_passed_low: float | None
    tasks_passed_high: float | None
    task_flips: float | None
    tasks_never_ended: float | None


@dataclass(frozen=True)
class ReferenceFigures:
    """transformers' own figures on the same windows and questions; `nll` is summed per window, `answers` are chosen."""

    perplexity: float
    task_accuracy: float | None
    nll: tuple[float, ...]
    answered_right: tuple[bool, ...]
    answers: tuple[int, ...]
    tasks_passed: float | None = None


@dataclass(frozen=True)
class Windows:
    """Sums per window over its scored tokens: NLL and KL in nats, `top1` counts agreements.

    `delta_p_squares` sums the squares of Δp, `kl_max` is a window's largest KL.
    """

    tokens: tuple[int, ...]
    nll: tuple[float, ...]
    kl: tuple[float, ...]
    top1: tuple[int, ...]
    delta_p_squares: tuple[float, ...]
    kl_max: tuple[float, ...]


@dataclass(frozen=True)
class Tails:
    """Percentiles of the tokens' KL, in nats: number n is of the first n+1 windows, for percentiles do not add up."""

    p50: tuple[float, ...]
    p90: tuple[float, ...]
    p99: tuple[float, ...]
    p999: tuple[float, ...]


@dataclass(frozen=True)
class Decode:
    """The decode check: how many tokens agreed, and the first prompt with its greedy continuation (token ids).

    Of a model that sees or hears also the file and the prompt as text.
    """

    tokens: int
    agreement: float
    worst_gap: float
    prompt: tuple[int, ...]
    continuation: tuple[int, ...]
    file: str = ""
    asked: str = ""


@dataclass(frozen=True)
class Evaluation(Outcome):
    """The quality of a build; `reasons` says why a figure is None, `computed_in` the runtime's settings per mode.

    `data` has the SHA-256 of each file that it was measured on; `examples` are at most five. What each scored token
    contributed lies beside it, in <build>.npz (`layout.scores`).
    """

    metrics: Quality
    reasons: Mapping[str, str]
    reference: ReferenceFigures
    windows: Windows
    windows_default_mode: Windows | None
    tails: Tails
    answered_right: tuple[bool, ...]
    answers: tuple[int, ...]
    computed_in: Mapping[str, Mapping[str, str]]
    decode: Decode
    data: Mapping[str, str]
    examples: tuple[Example, ...] = ()
    samples: tuple[Sample, ...] = ()
    tasks: Tasks | None = None


@dataclass(frozen=True)
class Packaged(Outcome):
    """What the report needs of a package: `sha256` is of files.sha256, which covers the runtime's files.

    `checkpoint` has the SHA-256 of each file of weights that it was made of; `commit` is the hub's, or empty. `run` is
    the card's instruction.
    """

    path: str
    size_bytes: int
    sha256: str
    bits_per_weight: float
    quantization: QuantizationStats
    commit: str = ""
    checkpoint: Mapping[str, str] | None = None
    run: str = ""


@dataclass(frozen=True)
class Speed:
    """Medians over runs; ttft is the time to the first token, memory the peak of the process tree."""

    load_s: float | None
    ttft_ms_p50: float | None
    ttft_ms_p95: float | None
    prefill_tokens_per_s: float | None
    decode_tokens_per_s: float | None
    peak_rss_bytes: int | None


@dataclass(frozen=True)
class AtLength:
    """Speed behind a prompt of so many tokens, as medians over runs, and the process's peak memory until then."""

    prompt_tokens: int
    ttft_ms_p50: float
    prefill_tokens_per_s: float
    decode_tokens_per_s: float
    peak_rss_bytes: int


@dataclass(frozen=True)
class Measured:
    """A benchmark: figures, each run, the load by other processes before and after, the machine, longer prompts."""

    metrics: Speed
    extra: Mapping[str, float]
    runs: Mapping[str, Any]
    threads: int
    prompt_tokens: int
    new_tokens: int
    load_before: float
    load_after: float
    noisy: bool
    machine: Mapping[str, Any]
    longer: tuple[AtLength, ...] = field(default=(), kw_only=True)


@dataclass(frozen=True)
class Benchmark(Measured, Outcome):
    """artifacts/benchmarks/<cell>.json."""


@dataclass(frozen=True)
class Origin:
    """Of which package a benchmark file is."""

    format: int
    cell: str
    backend: str
    device: str
    package_sha256: str


@dataclass(frozen=True)
class BenchmarkFile(Measured, Origin):
    """What `benchmark PACKAGE` writes on another device; `sha256` is of all the rest, so that an edit is seen."""

    sha256: str


@dataclass(frozen=True)
class StageRecord(Outcome):
    """A stage's last run on this machine: volatile, outside DVC's outs."""

    stage: str
    key: str
    started: str
    seconds: float
    peak_rss_bytes: int | None
    host: str
    python: str
