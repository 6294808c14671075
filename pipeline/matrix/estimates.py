"""How long a plan's stages take and how much memory, known before the work: so that nothing starts that cannot end.

Rates are of docs/performance.md: two x86-64 cores at 2.8 GHz, checkpoints of Phi-3.5-mini's and Phi-4's shape. What
computes (reference, evaluate, benchmark) is scaled by this machine's cores, what converts is not. Within a factor of
two on such a machine; a busy one is slower. Standard library only.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.matrix.rates import (
    ANSWER,
    BACKENDS,
    CALIBRATED,
    CHARACTERS,
    CHATS,
    CORES,
    FORWARD,
    GENERATED,
    LARGEST,
    LAYER_HELD,
    LAYER_READING,
    LAYERED_ABOVE,
    MATRICES,
    OTHER,
    PROCESS,
    READING,
    REFERENCE_RATE,
    SEEING,
    SENSITIVITY_PASSES,
    STAGE_S,
    TRACED,
    TRAINED,
    TRAINED_HELD,
    VARIANT_S,
    WHOLE_FILE,
    WINDOW,
)
from pipeline.matrix.sizes import EMBEDDING, build_size
from pipeline.pictures.kinds import kind_for
from pipeline.types import Family

if TYPE_CHECKING:
    from pipeline.model.dimensions import Dimensions
    from pipeline.planned import Plan
    from pipeline.types import Recipe


@dataclass(frozen=True)
class Need:
    """What one entry of a stage takes, about: seconds, and bytes of memory that cannot be given back."""

    stage: str
    key: str
    seconds: float
    memory: float


@dataclass(frozen=True)
class Asked:
    """What a model is asked: tokens of its text, of all choices of its questions, those that a build generates."""

    tokens: int
    question_tokens: int
    generated: int
    tasks: int = 0  # chats, each with an answer


def asked_of(plan: Plan, shapes: Mapping[str, Dimensions]) -> dict[str, Asked]:
    """By model, counted at four characters a token; files that are not there count as what was asked for."""
    found = {}
    for name, model in plan.models.items():
        reference, text, questions = model.reference, Path(model.reference.text), model.reference.questions
        if reference.modality:
            count = min(_lines(reference.text), reference.max_questions or _lines(reference.text))
            kind = kind_for(shapes[name].architecture, reference.modality)
            found[name] = Asked(count * (kind.asked if kind else 0), 0, reference.decode_prompts * GENERATED)
            continue
        size = text.stat().st_size // CHARACTERS if text.is_file() else reference.tokens
        rows = _rows(Path(questions)) if questions else []
        rows = rows[: reference.max_questions or None]
        generated = (reference.decode_prompts + (CHATS if rows else 0)) * GENERATED
        tasks = sum(map(_lines, reference.tasks))
        most = min(tasks, reference.max_tasks or tasks)
        found[name] = Asked(min(reference.tokens, size), sum(rows) // CHARACTERS, generated, most)
    return found


@cache
def _rows(path: Path) -> list[int]:
    """Characters that each question has scored: it is read once for every choice."""
    sizes = []
    with suppress(OSError, ValueError, KeyError, TypeError):  # a broken file is said by the stage that reads it
        for line in path.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            sizes.append(sum(len(row["question"]) + len(choice) for choice in row["choices"]))
    return sizes


def _lines(path: str) -> int:
    with suppress(OSError, ValueError):
        return sum(bool(line.strip()) for line in Path(path).read_text(encoding="utf-8").splitlines())
    return 0


def longest(found: Iterable[Need]) -> dict[str, float]:
    """Seconds by stage, the longest first."""
    spent: dict[str, float] = {}
    for need in found:
        spent[need.stage] = spent.get(need.stage, 0.0) + need.seconds
    return dict(sorted(spent.items(), key=lambda pair: -pair[1]))


def needs(plan: Plan, shapes: Mapping[str, Dimensions], asked: Mapping[str, Asked], cores: int) -> list[Need]:
    """Of every stage that takes time, in the plan's order, on so many physical cores."""
    found, speedup = [], max(cores, 1) / CORES
    for name in plan.models:
        size = 2 * shapes[name].parameters
        layered = 2 * size > LAYERED_ABOVE
        held = 0.5e9 + 0.11 * size if layered else 2 * size
        own = asked[name]
        count = own.tokens + own.question_tokens + own.generated + own.tasks * ANSWER
        work = shapes[name].parameters * count / REFERENCE_RATE / speedup
        entry = plan.models[name].reference
        steps = max(entry.decode_tokens, min(2 * ANSWER, entry.task_tokens) if own.tasks else 0)
        reading = steps * LAYER_READING if layered else READING
        held += SEEING * shapes[name].tower
        found.append(Need("reference", name, STAGE_S + reading * size / 1e9 + work, PROCESS + held))
    built = {}
    for key, build in plan.builds.items():
        count, recipe = shapes[build.model].parameters, build.quantize.recipe
        rates = BACKENDS.get(build.quantize.backend, OTHER)
        built[key] = build_size(count, str(recipe.family), int(EMBEDDING * count))
        text = build.quantize.calibration
        head = 4 * shapes[build.model].vocab_size * shapes[build.model].hidden_size
        need = quantize_need(key, recipe, build.quantize.backend, count, text.text if text else "", head)
        seeing = SEEING * shapes[build.model].tower
        made = TRACED.get(build.quantize.backend, SEEING) * shapes[build.model].tower
        found.append(replace(need, memory=need.memory + made))
        share = min(1.0, build.evaluate.windows / windows) if (windows := _windows(plan, build.model)) else 1.0
        slow = build.evaluate.windows > 0
        modes = 2 if shapes[build.model].tower else rates.modes
        tokens = asked[build.model].tokens * (share if slow else 1.0) * modes
        tokens += asked[build.model].question_tokens * (0.125 if slow else 1.0)
        answers = min(asked[build.model].tasks, build.evaluate.tasks or asked[build.model].tasks) * ANSWER
        seconds = count * tokens / rates.scored + (asked[build.model].generated + answers) * built[key] / rates.read
        held = built[key] * rates.held * (2 if _cast(build.quantize.backend, recipe.family) else 1) + seeing
        found.append(Need("evaluate", key, STAGE_S + seconds / speedup + READING * built[key] / 1e9, PROCESS + held))
    found += search_needs(plan, shapes, found, speedup)
    for key, cell in plan.cells.items():
        rates, size = BACKENDS.get(cell.backend, OTHER), built[cell.build]
        found.append(Need("package", key, STAGE_S + 3.5 * size / 1e9, PROCESS))
        if cell.package.device:
            continue
        kind = kind_for(shapes[cell.model].architecture, cell.package.modality)
        prompts = (kind.asked,) if kind else (cell.benchmark.prompt_tokens, *cell.benchmark.more_prompt_tokens)
        once = sum(prompts) * shapes[cell.model].parameters / rates.scored
        once += len(prompts) * cell.benchmark.new_tokens * size / rates.read
        runs = cell.benchmark.runs + cell.benchmark.warmup
        found.append(
            Need(
                "benchmark",
                key,
                STAGE_S + runs * once / speedup,
                PROCESS + size * rates.held + SEEING * shapes[cell.model].tower,
            )
        )
    return found


def quantize_need(key: str, recipe: Recipe, backend: str, parameters: int, calibration: str, head: int) -> Need:
    """Of one build by a recipe; `calibration` is the text it reads, empty for none, `head` an lm_head's fp32 bytes."""
    rates, family, checkpoint = BACKENDS.get(backend, OTHER), str(recipe.family), 2 * parameters
    known = family if family in rates.quantize_s else "int4" if family.startswith("int") else "fp16"
    seconds, held = rates.quantize_s[known] * checkpoint / 1e9, rates.quantize_held
    if backend == "openvino" and not family.startswith("int"):
        held = 1.1
    if backend == "onnxruntime" and recipe.method in WHOLE_FILE:
        held = CALIBRATED[backend][0]
    if calibration and backend in FORWARD and recipe.method != "mixed":
        held = max(held, FORWARD[backend])
        seconds += parameters * _tokens(calibration) / rates.scored
    elif calibration and (recipe.method == "mixed" or recipe.settings.get("algorithm") == "gptq"):
        held, seconds = held + LAYER_HELD / 2, max(seconds, CALIBRATED["onnxruntime"][1] * checkpoint / 1e9)
        if epochs := recipe.settings.get("distill_epochs", 0):
            most = recipe.settings["calibration_windows"] * WINDOW
            held += TRAINED_HELD
            seconds += TRAINED * epochs * parameters * min(most, _tokens(calibration)) / REFERENCE_RATE
    elif calibration:
        largest, slowest = CALIBRATED.get(backend, CALIBRATED["openvino"])
        held, seconds = max(held, largest), max(seconds, slowest * checkpoint / 1e9)
    most = max(held * checkpoint, head * LARGEST.get(backend, 0))
    return Need("quantize", key, STAGE_S + seconds, PROCESS + most)


def _tokens(text: str) -> int:
    """How many a text has, about; none where it is not there yet."""
    return Path(text).stat().st_size // CHARACTERS if Path(text).is_file() else 0


def search_needs(plan: Plan, shapes: Mapping[str, Dimensions], known: Iterable[Need], speedup: float) -> list[Need]:
    """Of the stages that find formats; `known` has what their builds and evaluations take."""
    found, seconds = [], {(need.stage, need.key): need.seconds for need in known}
    held = {(need.stage, need.key): need.memory for need in known}
    for model, entry in plan.sensitivities.items():
        way, count, hidden = entry.sensitivity, shapes[model].parameters, shapes[model].hidden_size
        layers = count / (4 * hidden**2 + 3 * hidden * shapes[model].intermediate_size)
        passes = SENSITIVITY_PASSES.get(way.way) or layers * MATRICES / 2
        work = passes * count * way.windows * way.text.window / REFERENCE_RATE / speedup
        found.append(Need("sensitivity", model, STAGE_S + work, PROCESS + LAYER_HELD * count))
    for key, variant in plan.variants.items():
        count, own = shapes[variant.model].parameters, variant.variants
        work = count * own.windows * own.text.window / REFERENCE_RATE / speedup
        work += VARIANT_S * len(own.formats["layers"]) * 2 * count / 1e9
        found.append(Need("variants", key, STAGE_S + work, PROCESS + LAYER_HELD * count))
    for key, fit in plan.fits.items():
        once = seconds["quantize", key] + seconds["evaluate", key]
        most = max(held["quantize", key], held["evaluate", key])
        found.append(Need("fit", key, STAGE_S + fit.fit.builds * once, most))
    return found


def _cast(backend: str, family: Family) -> bool:
    """Whether the runtime holds the weights in fp32 whatever the file has."""
    return backend == "onnxruntime" and family in (Family.FP16, Family.BF16)


def _windows(plan: Plan, model: str) -> int:
    reference = plan.models[model].reference
    return reference.tokens // reference.window
