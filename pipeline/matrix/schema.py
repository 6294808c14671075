"""The shape of conf/: Hydra structured configs, so that an unknown key or a wrong type is an error."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

MISSING: Any = "???"  # omegaconf's word for a mandatory value; a device that only measures has no omegaconf


@dataclass
class ModelConf:
    """A checkpoint: a folder (`path`) or a hub id (`repo` at a `revision`).

    adapter: a PEFT folder that is merged into it. adapters: by name, those that its packages have beside it, for their
    runtimes to switch.

    modality: what a model that takes more than text shall take: `vision`, then judged by `pictures` alone, or `speech`,
    then by `sounds`.
    """

    path: str = ""
    repo: str = ""
    revision: str = ""
    adapter: str = ""
    adapters: dict[str, str] = field(default_factory=dict)
    text: str = ""  # data of its own, which evaluate.text, questions and calibration come before
    questions: str = ""
    calibration: str = ""
    tasks: list[str] = field(default_factory=list)
    modality: str = ""
    pictures: str = ""  # JSONL rows of image, question and answer; images lie below the file's folder
    sounds: str = ""  # the same of audio, question and answer: WAV files at 16 or 8 kHz
    license: str = "unknown"
    redistribute: bool = False  # make packages although the licence forbids to pass them on
    trust_remote_code: bool = False
    architecture: str = ""
    context_length: int = 0
    hidden_size: int = 0
    intermediate_size: int = 0
    parameters: int = 0
    vocab_size: int = 0
    tied_embeddings: bool = False


@dataclass
class PrecisionConf:
    """A family (fp32, fp16, int8, int4 …) and the recipe a backend shall use for it.

    `bounds` are for the family `fit`: gates' names and values to search within, in place of the target's.
    """

    family: str = MISSING
    recipe: str = "default"
    bounds: dict[str, float] = field(default_factory=dict)


@dataclass
class LimitConf:
    """What recipes with one of these values (`where`) are held to: `only` these words, or these values of words."""

    where: dict[str, list[Any]] = field(default_factory=dict)
    only: list[str] = field(default_factory=list)
    takes: dict[str, list[Any]] = field(default_factory=dict)


@dataclass
class MethodConf:
    """The words a method takes, each with its values (none: any of its type), and what they entail.

    calibrates, draws: cases in which a recipe reads the calibration split, or draws random numbers; {} is always.
    """

    words: dict[str, Any] = field(default_factory=dict)
    limits: list[LimitConf] = field(default_factory=list)
    calibrates: list[dict[str, list[Any]]] = field(default_factory=list)
    draws: list[dict[str, list[Any]]] = field(default_factory=list)


@dataclass
class RowsConf:
    """A type whose blocks need rows of a multiple of values; for other rows the tool takes of `otherwise`."""

    multiple: int = MISSING
    otherwise: list[str] = MISSING


@dataclass
class CardConf:
    """What a backend's packages are called: by the hub (`library`, `tags`), and in the report."""

    library: str = ""
    format: str = ""
    tags: list[str] = field(default_factory=list)
    colour: str = ""


@dataclass
class BackendConf:
    """What a backend can do: read by planning, without importing the backend."""

    requires: dict[str, str] = field(default_factory=dict)
    slow: bool = False
    converts_without: list[str] = field(default_factory=list)
    install: str = ""
    root: str = ""
    architectures: list[str] = field(default_factory=list)
    pictures: list[str] = field(default_factory=list)  # forms of models that see
    sounds: list[str] = field(default_factory=list)  # and of those that hear
    left_out: dict[str, str] = field(
        default_factory=dict
    )  # architecture, or architecture/modality → why it is not made here
    honours: dict[str, list[Any]] = field(default_factory=dict)  # a field of config.json → the values it computes
    serves: dict[str, str] = field(default_factory=dict)  # target → provider family, beside what targets say themselves
    providers: dict[str, dict[str, str]] = field(default_factory=dict)
    methods: dict[str, MethodConf] = field(default_factory=dict)
    forms: dict[str, dict[str, Any]] = field(default_factory=dict)
    rows: dict[str, RowsConf] = field(default_factory=dict)  # by the value of the recipe's `type`
    groups: dict[str, int] = field(default_factory=dict)  # by the recipe's `mode`: the values of its groups
    shown: str = ""  # the recipe's word that people name a precision by
    switches: list[str] = field(default_factory=list)  # methods whose builds take adapters while they run
    card: CardConf = field(default_factory=CardConf)
    recipes: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)


@dataclass
class TargetConf:
    """A device: what serves it, what it takes and holds, how packages for it are written, and what they must keep."""

    description: str = ""
    device: str = ""  # as pipeline.harness.host detects it; empty: any CPU
    backends: dict[str, str] = field(default_factory=dict)  # backend → provider family
    precisions: list[str] = field(default_factory=list)
    recipes: dict[str, dict[str, str]] = field(default_factory=dict)  # backend → family → its default recipe here
    takes: dict[str, list[Any]] = field(default_factory=dict)  # a recipe's word → the values that the device takes
    left_out: dict[str, str] = field(default_factory=dict)  # backend → why no package is made here
    max_weight_gb: float = 0.0
    package: dict[str, dict[str, Any]] = field(default_factory=dict)  # backend → what is written into the package
    run: str = ""
    gates: dict[str, float] = field(default_factory=dict)


@dataclass
class EvaluateConf:
    """Quality: the same tokens and the same formula on every backend."""

    text: str | None = None
    questions: str | None = None
    calibration: str | None = None
    default: dict[str, str] = field(default_factory=dict)  # for models without data of their own
    window: int = 512
    tokens: int = 20480
    slow_tokens: int = 2048
    slow_questions: int = 25
    max_questions: int = 0
    tasks: list[str] | None = None  # JSONL of chats, each with a check of the answer
    task_tokens: int = 256  # at most, of an answer
    slow_tasks: int = 8
    max_tasks: int = 0
    decode_tokens: int = 24
    decode_prompts: int = 8


@dataclass
class SearchConf:
    """How formats are found where a recipe says `table: fit`."""

    sensitivity: str = "rounding"  # or noise, fisher
    sensitivity_windows: int = 2  # of the calibration text
    calibration_windows: int = 16
    windows: int = 0  # of the reference, on which trials are measured; 0: all
    builds: int = 3  # at most, for one build
    exchanges: int = 4  # at most, behind them


@dataclass
class BenchmarkConf:
    """Speed: one package at a time, in a fresh process."""

    prompt_tokens: int = 128
    more_prompt_tokens: list[int] = field(default_factory=lambda: [1024])
    new_tokens: int = 64
    warmup: int = 1
    runs: int = 5
    threads: int = 0
    busy_load: float = 0.5


@dataclass
class TrackConf:
    experiment: str = "phi-deploy"
    max_package_mb: float = 100.0


@dataclass
class Config:
    """The root of params.yaml."""

    suite: str = "default"
    seed: int = 0
    model: dict[str, ModelConf] = field(default_factory=dict)
    precision: dict[str, PrecisionConf] = field(default_factory=dict)
    backend: dict[str, BackendConf] = field(default_factory=dict)
    target: dict[str, TargetConf] = field(default_factory=dict)
    evaluate: EvaluateConf = field(default_factory=EvaluateConf)
    search: SearchConf = field(default_factory=SearchConf)
    benchmark: BenchmarkConf = field(default_factory=BenchmarkConf)
    track: TrackConf = field(default_factory=TrackConf)
    conf_digest: Any = "${conf_digest:}"
    plan: Any = "${plan:}"  # the file that has it
