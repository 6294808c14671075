"""The matrix: axes and rules in; models, exports, builds, cells and the excluded, with reasons, out.

Pure but for reading a local model's config.json. An *export* is a model in a backend's input form, a
*build* a model at a precision on a backend, a *cell* a build for a target. What two share exists once.
Every entry is written out whole, since DVC's templating cannot look up; ids are made here and never parsed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

from pipeline import layout
from pipeline.entries import Benchmark, CalibrationText, Convert, Evaluate, Fetch, Package, Quantize, Reference
from pipeline.errors import ConfigError
from pipeline.matrix.checks import AXES, checked, data_of, rows_of, tasks_of
from pipeline.matrix.recipes import draws, needs_calibration
from pipeline.matrix.rules import Combination, why_excluded
from pipeline.matrix.searches import add_search, bounds_of, check_search, is_found, label
from pipeline.model.architectures import ARCHITECTURES
from pipeline.planned import BackendLook, BuildEntry, CellEntry, ExportEntry, ModelEntry, Plan
from pipeline.types import Recipe

REFERENCE = ("window", "tokens", "max_questions", "decode_prompts", "decode_tokens", "max_tasks", "task_tokens")
OF_FETCH = ("path", "repo", "revision", "trust_remote_code", "adapter", "modality")
SETTINGS = (*AXES, "suite", "seed", "evaluate", "search", "benchmark", "track")


def make_plan(config: Mapping[str, Any]) -> Plan:
    """The plan of a composed config (plain containers). Raises ConfigError that lists all that is wrong."""
    shapes = checked(config, check_search(config))
    looks = {
        name: BackendLook(conf["card"]["format"], conf["card"]["colour"]) for name, conf in config["backend"].items()
    }
    plan = Plan({}, {}, {}, {}, {}, looks, str(config.get("suite", "")))
    for model, precision, backend, target in product(*(config[axis] for axis in AXES)):
        option = config["precision"][precision]
        combination = Combination(
            model=model,
            dimensions=shapes[model],
            precision=precision,
            family=option["family"],
            recipe_name=option["recipe"],
            backend=backend,
            backend_conf=config["backend"][backend],
            target=target,
            target_conf=config["target"][target],
            modality=config["model"][model]["modality"],
            switched=tuple(config["model"][model]["adapters"]),
        )
        cell = "_".join((model, precision, backend, target))
        if reason := why_excluded(combination):
            plan.excluded[cell] = reason
        else:
            _add(plan, cell, combination, config)
    _share_windows(plan)
    if not plan.cells:
        raise ConfigError(f"every cell of the matrix is excluded ({'; '.join(grouped(plan.excluded))})")
    return plan


def grouped(reasons: Mapping[str, str]) -> list[str]:
    """The reasons, each once, with the combination or the number of combinations that it leaves out."""
    grouped: dict[str, list[str]] = {}
    for cell, reason in reasons.items():
        grouped.setdefault(reason, []).append(cell)
    return [
        f"{reason} ({cells[0] if len(cells) == 1 else f'{len(cells)} combinations'})"
        for reason, cells in grouped.items()
    ]


def _add(plan: Plan, cell: str, c: Combination, config: Mapping[str, Any]) -> None:
    recipe = c.recipe
    if recipe is None:
        raise ConfigError(f"{c.backend} has no {c.family} recipe '{c.recipe_name}'", where=cell)
    form = c.form(recipe)
    if form not in c.backend_conf["forms"]:
        known = ", ".join(c.backend_conf["forms"])
        raise ConfigError(f"form '{form}' is none of {known}", where=f"backend.{c.backend}")
    if needs_calibration(recipe, c.backend_conf["methods"]) and not data_of(c.model, "calibration", config):
        raise ConfigError(
            f"recipe '{recipe.name}' of {c.backend} needs calibration data",
            where=cell,
            hint="set evaluate.calibration to a text file",
        )
    export = "_".join((c.model, c.backend, form))
    own = [*([recipe.name] if recipe.name != c.recipe_name else []), *([form] if form != recipe.form else [])]
    bounds: dict[str, float] = {}
    if is_found(recipe):
        bounds = bounds_of(c, config["precision"][c.precision]["bounds"])
        own += [] if config["precision"][c.precision]["bounds"] else [label(bounds)]
    build = "-".join(("_".join((c.model, c.precision, c.backend)), *own))
    if c.model not in plan.models:
        plan.models[c.model] = _model(c.model, config)
    weights = plan.models[c.model].weights
    if export not in plan.exports:
        plan.exports[export] = _export(c, form, weights)
    if build not in plan.builds:
        plan.builds[build] = _build(c, replace(recipe, form=form), build, export, weights, config)
        if bounds:
            add_search(plan, c, plan.builds[build].quantize.recipe, build, export, bounds, config)
    plan.cells[cell] = _cell(c, build, plan.builds[build], config)


def _model(name: str, config: Mapping[str, Any]) -> ModelEntry:
    model, evaluate = config["model"][name], config["evaluate"]
    source = model["path"] or layout.inputs("fetch", name).as_posix()  # a dependency that is there anyway
    merged = layout.model(name).as_posix()
    weights = merged if model["adapter"] or model["modality"] else model["path"] or merged
    text, questions = (data_of(name, key, config) for key in ("text", "questions"))
    if model["modality"]:
        text, questions = rows_of(model)
    return ModelEntry(
        source=source,
        adapter=model["adapter"] or source,  # a dependency that is there anyway
        weights=weights,
        text=text,
        questions=questions or text,  # a dependency that is there anyway
        fetch=Fetch(**{key: model[key] for key in OF_FETCH}),
        reference=Reference(
            weights=weights,
            trust_remote_code=model["trust_remote_code"],
            text=text,
            questions=questions,
            tasks=() if model["modality"] else tasks_of(name, config),
            modality=model["modality"],
            **{key: evaluate[key] for key in REFERENCE},
        ),
    )


def _export(c: Combination, form: str, weights: str) -> ExportEntry:
    """The input form, with the tool's checkout where the user has one. Raises ConfigError for a missing one."""
    root = c.backend_conf["root"]
    if root and not Path(root).is_dir():
        raise ConfigError("there is no such folder", where=f"backend.{c.backend}.root {root}")
    convert = Convert(
        model=c.model,
        backend=c.backend,
        weights=weights,
        form={**c.backend_conf["forms"][form], **({"root": root} if root else {})},
        honours={field: tuple(values) for field, values in c.backend_conf["honours"].items()},
        requires=dict(c.backend_conf["requires"]),
        without=tuple(c.backend_conf["converts_without"]),
    )
    return ExportEntry(c.model, c.backend, weights, convert)


def _build(
    c: Combination, recipe: Recipe, build: str, export: str, weights: str, config: Mapping[str, Any]
) -> BuildEntry:
    evaluate, methods = config["evaluate"], c.backend_conf["methods"]
    if draws(recipe, methods):
        recipe = replace(recipe, settings={**recipe.settings, "seed": config["seed"]})
    calibration, text = layout.model(c.model).as_posix(), None  # a dependency that is there anyway
    if needs_calibration(recipe, methods):
        calibration = data_of(c.model, "calibration", config)
        text = CalibrationText(calibration, evaluate["window"])
    elif recipe.settings.get("imatrix"):
        calibration = recipe.settings["imatrix"]
        if not Path(calibration).is_file():
            raise ConfigError(f"there is no file {calibration}", where=f"recipe {recipe.name} of {c.backend}, imatrix")
    table = recipe.settings.get("table")
    if table and not is_found(recipe) and not Path(table).is_file():
        raise ConfigError(f"there is no file {table}", where=f"recipe {recipe.name} of {c.backend}, table")
    slow = c.backend_conf["slow"]  # such a backend is evaluated on a share
    return BuildEntry(
        model=c.model,
        backend=c.backend,
        export=export,
        weights=weights,
        calibration=calibration,
        table=layout.fit(build).as_posix() if is_found(recipe) else table or layout.model(c.model).as_posix(),
        quantize=Quantize(c.model, c.backend, export, weights, recipe, text),
        evaluate=Evaluate(
            model=c.model,
            backend=c.backend,
            weights=weights,
            family=recipe.family,
            decode_tokens=evaluate["decode_tokens"],
            windows=evaluate["slow_tokens"] // evaluate["window"] if slow else 0,
            questions=evaluate["slow_questions"] if slow else 0,
            tasks=evaluate["slow_tasks"] if slow else 0,
            modality=c.modality,
            decode_prompts=evaluate["decode_prompts"] if c.modality else 0,
        ),
    )


def _cell(c: Combination, build: str, built: BuildEntry, config: Mapping[str, Any]) -> CellEntry:
    model, recipe, device = config["model"][c.model], built.quantize.recipe, c.target_conf["device"]
    card, architecture = c.backend_conf["card"], ARCHITECTURES.get(c.dimensions.architecture)
    more = () if c.modality else tuple(config["benchmark"]["more_prompt_tokens"])
    benchmark = {**config["benchmark"], "more_prompt_tokens": more}
    return CellEntry(
        model=c.model,
        backend=c.backend,
        build=build,
        shown=_shown(c, recipe),
        gates=dict(c.target_conf["gates"]),
        package=Package(
            model=c.model,
            backend=c.backend,
            build=build,
            weights=built.weights,
            precision=c.precision,
            recipe=recipe,
            target=c.target,
            device=device,
            license=model["license"],
            source=model["repo"] or Path(model["path"]).name,
            library=card["library"] or c.backend,
            tags=(architecture.tag if architecture else "", *card["tags"]),
            windows=0,
            questions=0,
            options=dict(c.target_conf["package"].get(c.backend, {})),
            run=c.target_conf["run"],
            modality=c.modality,
            adapters=dict(model["adapters"]),
        ),
        benchmark=Benchmark(backend=c.backend, device=device, modality=c.modality, **benchmark),
    )


def _share_windows(plan: Plan) -> None:
    """How much all cells of one model and target are evaluated on: their figures are compared on that alone."""
    groups: dict[tuple[str, str], list[str]] = {}
    for key, cell in plan.cells.items():
        groups.setdefault((cell.model, cell.package.target), []).append(key)
    for keys in groups.values():
        asked = [plan.builds[plan.cells[key].build].evaluate for key in keys]
        windows = min((one.windows for one in asked if one.windows), default=0)
        questions = min((one.questions for one in asked if one.questions), default=0)
        tasks = min((one.tasks for one in asked if one.tasks), default=0)
        for key in keys:
            package = replace(plan.cells[key].package, windows=windows, questions=questions, tasks=tasks)
            plan.cells[key] = replace(plan.cells[key], package=package)


def _shown(c: Combination, recipe: Recipe) -> str:
    """What people call the precision: Q4_K_M where GGUF has such a name."""
    kind = recipe.settings.get(c.backend_conf["shown"])
    if not kind:
        return c.precision
    name = f"{kind} imatrix" if recipe.settings.get("imatrix") else str(kind)
    return f"{c.precision} {name}" if recipe.name == "default" else name
