"""Tasks of lm-evaluation-harness on a package, as a file that is attached to its cell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.answers import HarnessFile
from pipeline.errors import ConfigError, PipelineError, ToolError, first_line, suggest
from pipeline.packaging.benchmark_file import package_digest

FORMAT = 1
MISSING = "lm-evaluation-harness is not installed"
INSTALL = "install it: pip install 'phi-deploy[tasks]', in the project pip install -e '.[tasks]'"


@dataclass(frozen=True)
class Asked:
    """Which tasks, and how, in lm_eval's own words; a `limit` of 0 is all documents."""

    tasks: tuple[str, ...]
    num_fewshot: int | None = None
    limit: int = 0
    apply_chat_template: bool = False
    include_path: str = ""
    mode: str = "accuracy"
    batch_size: int = 1
    max_length: int = 0


def evaluate(package: Path, asked: Asked) -> HarnessFile:
    """The figures of a package on its own runtime. Raises ConfigError for an unknown task, ToolError for what fails."""
    try:
        import lm_eval
        from lm_eval.tasks import TaskManager

        from pipeline.lmeval.model import PhiDeployLM
    except ImportError as error:
        raise ConfigError(f"{MISSING} ({first_line(error)})", hint=INSTALL) from None
    manager = TaskManager(include_path=asked.include_path or None)
    for name in asked.tasks:
        if name not in manager.all_tasks:
            raise ConfigError(f"lm_eval has no task '{name}'", hint=suggest(name, manager.all_tasks))
    model = PhiDeployLM(str(package), asked.mode, asked.max_length or None, batch_size=asked.batch_size)
    try:
        found: Any = lm_eval.simple_evaluate(
            model=model,
            tasks=list(asked.tasks),
            num_fewshot=asked.num_fewshot,
            limit=asked.limit or None,
            apply_chat_template=asked.apply_chat_template,
            task_manager=manager,
            bootstrap_iters=0,
            log_samples=False,
        )
    except PipelineError:
        raise
    except Exception as error:  # of data sets, templates and metrics of any task
        raise ToolError(f"{type(error).__name__}: {first_line(error)}", where=f"lm_eval on {package}") from error
    finally:
        model.close()
    cell = model.manifest["cell"]
    settings = {
        "lm_eval": lm_eval.__version__,
        "mode": asked.mode,
        "num_fewshot": asked.num_fewshot,
        "limit": asked.limit,
        "apply_chat_template": asked.apply_chat_template,
    }
    return HarnessFile(
        format=FORMAT,
        cell=cell["id"],
        backend=cell["backend"],
        package_sha256=package_digest(package),
        figures=figures(found["results"]),
        settings={name: {**settings, "version": found["versions"].get(name)} for name in asked.tasks},
    )


def figures(results: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """`arc_easy/acc` of `acc,none` of arc_easy; a filter of another name stays: `gsm8k/exact_match.strict-match`."""
    told: dict[str, float] = {}
    for task, held in results.items():
        for name, value in held.items():
            metric, _, kept = name.partition(",")
            if isinstance(value, (int, float)) and not isinstance(value, bool) and value == value and kept:
                told[f"{task}/{metric}{'' if kept == 'none' else f'.{kept}'}"] = float(value)
    return told


def lines(found: HarnessFile) -> Sequence[str]:
    """A line for each figure: `phi_tiny_questions/acc 0.9375 ± 0.0435`."""
    told = []
    for name, value in found.figures.items():
        task, _, metric = name.partition("/")
        stem, dot, kept = metric.partition(".")
        error = found.figures.get(f"{task}/{stem}_stderr{dot}{kept}")
        if not stem.endswith("_stderr"):
            told.append(f"{name} {value:.4g}{f' ± {error:.2g}' if error is not None else ''}")
    return told
