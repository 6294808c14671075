"""package: a folder that runs by itself, with its manifest, card and run instruction."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from pipeline import layout
from pipeline.answers import Sample
from pipeline.backends.process import ask_runtime
from pipeline.backends.reading import check_reading
from pipeline.backends.registry import load_backend
from pipeline.backends.request import RuntimeRequest
from pipeline.entries import Package
from pipeline.errors import QualityError
from pipeline.files import copy_file, read_json, size_of, write_json, write_text
from pipeline.harness.disk import require_copy
from pipeline.harness.outcome import read_ok
from pipeline.metrics.samples import best
from pipeline.metrics.shared import quality_on, reference_on
from pipeline.model.adapter import Adapter, of_another_base, read_adapter
from pipeline.model.checkpoint import open_checkpoint
from pipeline.model.licence_files import copy_licence
from pipeline.model.lowrank import LowRank
from pipeline.model.switchable import check_switchable, low_rank
from pipeline.packaging.adapters import described as about
from pipeline.packaging.card import model_card
from pipeline.packaging.manifest import SUMS, digests, sha256, sums
from pipeline.pictures.rows import MEDIA
from pipeline.records import Build, Decode, Evaluation, Packaged
from pipeline.strict import plain
from pipeline.types import JSON, Checkpoint, Status

log = logging.getLogger(__name__)

CHAT_TOKENS, ROOM = 32, 256  # of an adapter's answer; for the chat's template and it
PROMPT = "Who are you?"  # of a model without a chat template, or without questions


def package(key: str, entry: Package, out: Path) -> JSON:
    """Write the package into `out`, and its record; the result is its manifest."""
    build, evaluation = layout.build(entry.build), read_ok(Evaluation, layout.evaluation(entry.build))
    quantization = read_ok(Build, build).quantization
    require_copy(layout.PACKAGES, size_of(build))
    backend = load_backend(entry.backend)
    checkpoint = open_checkpoint(entry.model, entry.weights)
    adapters = {name: read_adapter(Path(folder)) for name, folder in sorted(entry.adapters.items())}
    backend.package(build, checkpoint, entry.options, out)
    if adapters:
        made = {name: _switched(adapter, entry, checkpoint) for name, adapter in adapters.items()}
        backend.add_adapters(out, checkpoint.config, made)
    runtime_files = digests(out)
    write_text(out / SUMS, sums(runtime_files))
    size = sum(file["size_bytes"] for file in runtime_files.values())
    sample = best(evaluation.samples) or next(iter(evaluation.samples), None)
    example = _example(entry, sample.file, out) if sample and sample.file else ""
    question = sample.question if sample else PROMPT
    run = backend.run_instruction(out, key, question, example)
    run += f"\nOn {entry.target}: {entry.run}\n" if entry.run else ""
    described = _described(key, entry)
    for name in described["license_files"]:
        copy_file(layout.model(entry.model) / name, out / name)
    for name, adapter in adapters.items():
        described["license_files"] += copy_licence(adapter.folder, out, f".{name}")
    switch = backend.switch_instruction(key, question, list(adapters)) if adapters else ""
    reference = reference_on(evaluation, entry.windows, entry.questions, entry.tasks)
    manifest = {
        "status": Status.OK,
        **described,
        "quality": plain(quality_on(evaluation, entry.windows, entry.questions, entry.tasks)),
        "reference": {name: getattr(reference, name) for name in ("perplexity", "task_accuracy", "tasks_passed")},
        "data": sorted(evaluation.data),
        **({"tasks": sorted(evaluation.tasks.data)} if evaluation.tasks else {}),
        **(
            {
                "modality": entry.modality,
                "example": {MEDIA[entry.modality].field: example, "prompt": sample.prompt},
            }
            if example and sample
            else {}
        ),
        "sample": {**plain(sample), "right": sample.answer in sample.said} if sample else None,
        "quantization": plain(quantization),
        "run": run,
        **({"adapters": _about(adapters, entry, out, sample), "switch": switch} if adapters else {}),
        "size_bytes": size,
    }
    write_text(out / "README.md", model_card({**manifest, "files": runtime_files}))
    read = {name: file for name, file in runtime_files.items() if name not in backend.unread}
    if not _same_bytes(read, digests(build)):
        _generate(entry, out, evaluation.decode, key)
    for name in adapters:
        _generate_with(name, entry, out, evaluation.decode)
    check_reading(entry.backend, out, layout.model(entry.model), key)
    source = manifest["source"]
    record = Packaged(
        Status.OK,
        "",
        path=layout.package(key).as_posix(),
        size_bytes=size,
        sha256=sha256(out / SUMS),
        bits_per_weight=quantization.bits_per_weight,
        quantization=quantization,
        commit=source["revision"],
        checkpoint={**source["weights_sha256"], **source.get("adapter", {}).get("sha256", {})},
        run=f"{run}\nWith an adapter:\n\n{switch}" if switch else run,
    )
    write_json(layout.package_record(key), plain(record))
    return {**manifest, "files": digests(out)}


def _example(entry: Package, file: str, out: Path) -> str:
    """The picture or sound that the sample is of, beside the runtime's files; its name there."""
    name = f"example{Path(file).suffix}"
    copy_file(layout.reference(entry.model) / layout.MEDIA / file, out / name)
    return name


def _switched(adapter: Adapter, entry: Package, checkpoint: Checkpoint) -> LowRank:
    """The factors that the runtime switches. Raises CheckpointError for an adapter that does not fit the base."""
    check_switchable(adapter, f"model.{entry.model}.adapter")
    warning = of_another_base(adapter, (entry.source, str(checkpoint.config.get("_name_or_path") or "")))
    if warning:
        log.warning("%s: %s", adapter.where, warning)
    return low_rank(adapter, checkpoint.config)


def _about(adapters: Mapping[str, Adapter], entry: Package, folder: Path, sample: Sample | None) -> JSON:
    """What the manifest says of each adapter, with what it answers to the sample's question in the runtime."""
    found = {name: about(adapter) for name, adapter in adapters.items()}
    if sample is None:  # of a model without a chat template, or without questions
        return found
    for name in found:
        chat = [{"role": "user", "content": sample.question}]
        room = len(sample.question.encode()) + ROOM  # no token is less than a byte
        request = RuntimeRequest("chat", [], CHAT_TOKENS, chats=[chat], context=room, adapter=name)
        found[name]["said"] = ask_runtime(entry.backend, folder, request).value["said"][0]
    return found


def _described(key: str, entry: Package) -> JSON:
    """What the manifest says of the cell, its source and its tools."""
    fetched = read_json(layout.model(entry.model) / layout.MANIFEST)
    licence = entry.license if entry.license not in ("", "unknown") else fetched["license"] or "unknown"
    return {
        "cell": {
            "id": key,
            "model": entry.model,
            "backend": entry.backend,
            "precision": entry.precision,
            "family": str(entry.recipe.family),
            "recipe": entry.recipe.name,
            "method": entry.recipe.method,
            "settings": plain(entry.recipe.settings),
            "target": entry.target,
            "device": entry.device,
        },
        "source": {
            "model": entry.model,
            "path_or_repo": fetched["source"],
            "revision": fetched["revision"],
            "license": licence,
            "weights_sha256": fetched["weights"],
            **({"adapter": fetched["adapter"]} if "adapter" in fetched else {}),
        },
        "license": licence,
        "license_files": fetched["license_files"],
        "library": entry.library,
        "tags": list(entry.tags),
        "tools": read_json(layout.host(entry.backend))["versions"],
    }


def _same_bytes(packaged: JSON, built: JSON) -> bool:
    """Whether a package holds its build's files and nothing else, a name aside: then evaluate saw it generate."""
    return {file["sha256"] for file in packaged.values()} <= {file["sha256"] for file in built.values()}


def _generate(entry: Package, folder: Path, decode: Decode, key: str) -> None:
    """The finished package, in a fresh process, must say what the evaluated build said."""
    expected: Sequence[int] = list(decode.continuation)
    request = RuntimeRequest("generate", [decode.prompt], len(expected))
    if decode.file:
        path = layout.reference(entry.model) / layout.MEDIA / decode.file
        request = replace(request, prompts=[], asked=[decode.asked], media=[str(path)])
    tokens = ask_runtime(entry.backend, folder, request).value["tokens"][0]
    if tokens != expected:
        raise QualityError(f"the package generates {tokens[:8]}…, its build {expected[:8]}…", where=key)


def _generate_with(adapter: str, entry: Package, folder: Path, decode: Decode) -> None:
    """The finished package, in a fresh process, must take its adapter; one that changes nothing is told of."""
    request = RuntimeRequest("generate", [decode.prompt], len(decode.continuation), adapter=adapter)
    tokens = ask_runtime(entry.backend, folder, request).value["tokens"][0]
    if tokens == list(decode.continuation):
        log.warning("adapter %s: with it the package generates what it does without, of one prompt", adapter)
