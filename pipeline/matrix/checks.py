"""What can be wrong with a composed config, all of it at once, before anything is planned."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise, product
from pathlib import Path
from typing import Any

from pipeline.errors import ConfigError, PipelineError
from pipeline.matrix.gates import check_gates
from pipeline.model.architectures import ARCHITECTURES
from pipeline.model.dimensions import Dimensions, dimensions
from pipeline.model.licenses import check_license
from pipeline.pictures.rows import MEDIA, files_of
from pipeline.types import Family

AXES = ("model", "precision", "backend", "target")
DATA = ("text", "questions", "calibration")
ID = re.compile(r"[a-z0-9-]+")
LEAST = {
    "window": 2,
    "tokens": 2,
    "slow_questions": 0,
    "max_questions": 0,
    "slow_tasks": 0,
    "max_tasks": 0,
    "task_tokens": 1,
    "decode_prompts": 1,
    "decode_tokens": 2,
}
LEAST_RUN = {"prompt_tokens": 1, "new_tokens": 2, "warmup": 0, "runs": 1, "threads": 0}


def data_of(model: str, key: str, config: Mapping[str, Any]) -> str:
    """The file of a model's `text`, `questions` or `calibration`; empty where there shall be none."""
    evaluate = config["evaluate"]
    if evaluate[key] is not None:
        return str(evaluate[key])
    return str(config["model"][model][key] or evaluate["default"].get(key, ""))


def tasks_of(model: str, config: Mapping[str, Any]) -> tuple[str, ...]:
    """The files of a model's chat tasks."""
    chosen = config["evaluate"]["tasks"]
    return tuple(map(str, config["model"][model]["tasks"] if chosen is None else chosen))


def rows_of(model: Mapping[str, Any]) -> tuple[str, str]:
    """The rows of pictures or sounds that judge a model with a modality, and the folder that their files are in."""
    rows = str(model[MEDIA[model["modality"]].option])
    return rows, Path(rows).parent.as_posix()


def _wrong_tasks(config: Mapping[str, Any]) -> list[str]:
    """Everything wrong with the files of tasks, one line each."""
    from pipeline.model.tasks import read_tasks

    problems = []
    for path in dict.fromkeys(path for name in config["model"] for path in tasks_of(name, config)):
        try:
            read_tasks([Path(path)])
        except PipelineError as error:
            problems.append(f"evaluate.tasks: {error}")
    return problems


def checked(config: Mapping[str, Any], found: Sequence[str] = ()) -> dict[str, Dimensions]:
    """The shape of every model. Raises ConfigError that lists everything wrong, with what was `found` already."""
    problems: list[str] = []
    for axis in AXES:
        if not config[axis]:
            problems.append(f"the matrix is empty: no {axis} is selected")
        problems += [
            f"{axis} '{name}': a name has only a-z, 0-9 and '-'" for name in config[axis] if not ID.fullmatch(name)
        ]
    for name, option in config["precision"].items():
        if option["family"] not in list(Family):
            problems.append(f"precision.{name}.family '{option['family']}' is none of {', '.join(Family)}")
    evaluate = config["evaluate"]
    problems += [f"evaluate.{key} must be at least {least}" for key, least in LEAST.items() if evaluate[key] < least]
    if evaluate["slow_tokens"] < evaluate["window"]:
        problems.append("evaluate.slow_tokens is less than one evaluate.window")
    for name, key in product(config["model"], DATA):
        chosen = data_of(name, key, config)
        if chosen and not Path(chosen).is_file():
            problem = f"evaluate.{key} of {name}: there is no file {chosen}"
            problems += [problem] if problem not in problems else []
        if key == "text" and not chosen:
            problems.append(f"evaluate.text of {name} is empty: there is nothing to evaluate on")
    problems += _wrong_tasks(config)
    benchmark = config["benchmark"]
    problems += [
        f"benchmark.{key} must be at least {least}" for key, least in LEAST_RUN.items() if benchmark[key] < least
    ]
    problems += wrong_lengths(benchmark)
    for name, target in config["target"].items():
        problems += check_gates(name, target)
    shapes = {}
    for name, model in config["model"].items():
        problems += filter(None, [check_license(name, model)])
        problems += [
            f"model.{name}.adapters '{each}': a name has only a-z, 0-9 and '-'"
            for each in model["adapters"]
            if not ID.fullmatch(each)
        ]
        try:
            shapes[name] = dimensions(name, model)
        except PipelineError as error:
            problems.append(str(error))
            continue
        problems += _of_modality(name, model, shapes[name])
        length = shapes[name].context_length
        if length and evaluate["window"] > length:
            problems.append(f"evaluate.window {evaluate['window']} is longer than {name}'s context of {length}")
        asked = max((benchmark["prompt_tokens"], *benchmark["more_prompt_tokens"])) + benchmark["new_tokens"]
        if length and asked > length:
            said = f"benchmark: {asked} tokens, of its longest prompt and new_tokens"
            problems.append(f"{said}, are more than {name}'s context of {length}; benchmark.more_prompt_tokens=[]")
    problems += found
    if problems:
        raise ConfigError("; ".join(problems))
    return shapes


def wrong_lengths(benchmark: Mapping[str, Any]) -> list[str]:
    """Prompts grow from one to the next: memory is the largest until then."""
    lengths = (benchmark["prompt_tokens"], *benchmark["more_prompt_tokens"])
    if all(short < long for short, long in pairwise(lengths)):
        return []
    return [f"benchmark.more_prompt_tokens {list(lengths[1:])}: each is more than the one before, {lengths[0]} first"]


def _of_modality(name: str, model: Mapping[str, Any], shape: Dimensions) -> list[str]:
    """A model that sees or hears says so, and has pictures or sounds to be judged by; others do not."""
    architecture, modality, where = ARCHITECTURES.get(shape.architecture), model["modality"], f"model.{name}"
    if architecture is None or not architecture.towers:
        takes = f"{shape.architecture or 'its architecture'} takes text alone here"
        return [f"{where}.modality '{modality}': {takes}"] if modality else []
    if modality not in architecture.towers:
        said = f"'{modality}' is not known" if modality else "is not set"
        known = " or ".join(f"`{each}`" for each in architecture.towers)
        return [f"{where}.modality {said}: {shape.architecture} is taken with {known}"]
    if model["adapter"]:
        return [f"{where}.adapter: an adapter for a model that sees or hears is not merged here"]
    if model["adapters"]:
        return [f"{where}.adapters: adapters of a model that sees or hears are not switched here"]
    medium = MEDIA[modality]
    option = f"{where}.{medium.option}"
    if not model[medium.option]:
        return [f"{option} is empty: JSONL rows of {medium.field}, question and answer judge it"]
    path = Path(model[medium.option])
    if not path.is_file():
        return [f"{option}: there is no file {path}"]
    try:
        files = files_of(path, medium)
    except PipelineError as error:
        return [str(error)]
    missing = [file for file in files if not (path.parent / file).is_file()]
    return [f"{option}: {path} names {missing[0]}, which is no file"] if missing else []
