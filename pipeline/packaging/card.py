"""The model card of a package: README.md as the Hugging Face hub reads it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pipeline.model.licenses import forbids_redistribution
from pipeline.packaging.adapters import section
from pipeline.packaging.card_figures import METRICS, evaluation, table
from pipeline.pictures.rows import MEDIA
from pipeline.types import JSON

BITS = {"fp32": "32-bit", "fp16": "16-bit", "bf16": "16-bit"}
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
# the hub's identifiers among the licences that language models have; others need license_name
LICENCES = ("mit", "apache-2.0", "bsd-3-clause", "cc-by-4.0", "cc-by-sa-4.0", "cc0-1.0", "gemma", "llama3", "unknown")

KINDS = {"task_accuracy": "questions", "tasks_passed": "tasks"}  # of data that are no text
TASKS = {  # the hub's, and a name, by modality
    "": ("text-generation", "Text generation"),
    **{
        modality: (f"{medium.field}-text-to-text", f"Questions on {medium.option}")
        for modality, medium in MEDIA.items()
    },
}
RAW = ("none",)  # methods that quantize nothing


def model_card(manifest: Mapping[str, Any]) -> str:
    """The card of a package's manifest: the same manifest gives the same text, with no date and no path."""
    sections = (
        _description(manifest),
        evaluation(manifest),
        _quantization(manifest),
        _run(manifest),
        section(manifest),
        _making(manifest),
        f"## Licence\n\n{_licence(manifest)}\n",
    )
    return f"---\n{_front_matter(manifest)}\n---\n\n" + "\n".join(section for section in sections if section)


def _front_matter(manifest: Mapping[str, Any]) -> str:
    from huggingface_hub import EvalResult, ModelCardData

    cell, base = manifest["cell"], _base_model(manifest)
    results = [
        EvalResult(
            task_type=TASKS[manifest.get("modality", "")][0],
            task_name=TASKS[manifest.get("modality", "")][1],
            dataset_type=KINDS.get(metric, "text"),  # results of one type are one data set
            dataset_name=_dataset(manifest, metric),
            metric_type=kind,
            metric_name=name,
            metric_value=manifest["quality"][metric],
        )
        for metric, (kind, name, _, _) in METRICS.items()
        if manifest["quality"].get(metric) is not None
    ]
    licence = (manifest.get("license") or "unknown").lower()
    known = licence in LICENCES
    data = ModelCardData(
        base_model=base,
        library_name=manifest["library"],
        license=licence if known else "other",
        license_name=None if known else re.sub(r"[^a-z0-9.-]+", "-", licence),
        model_name=cell["id"],
        pipeline_tag=TASKS[manifest.get("modality", "")][0],
        tags=_tags(manifest),
        eval_results=results or None,
        base_model_relation=_relation(manifest) if base else None,
    )
    if not results:
        data.pop("model_name")  # the hub takes it only with results
    return str(data.to_yaml(line_break="\n"))


def _relation(manifest: Mapping[str, Any]) -> str | None:
    """In the hub's words, which has none for what is only converted: whole weights with an adapter are a fine-tune."""
    if manifest["source"].get("adapter"):
        return "finetune"
    return "quantized" if manifest["cell"]["method"] not in RAW else None


def _dataset(manifest: Mapping[str, Any], metric: str) -> str:
    """The file that a figure was measured on, by its last two names: `phi-tiny/questions.jsonl`."""
    kind = {"questions": "questions", "tasks": "chat tasks"}.get(KINDS.get(metric, ""), "evaluation text")
    paths = [str(path) for path in manifest.get("data") or () if ("question" in path) is (metric == "task_accuracy")]
    paths = [str(path) for path in manifest.get("tasks") or ()] if metric == "tasks_passed" else paths
    return "/".join(re.split(r"[/\\]", paths[0])[-2:]) if len(paths) == 1 else kind


def _base_model(manifest: Mapping[str, Any]) -> str | None:
    """The hub id, where the source is one; a local folder is known by its name alone, or by what its adapter says."""
    source, adapter = manifest["source"], manifest["source"].get("adapter") or {}
    ids = (str(source.get("path_or_repo") or ""), str(adapter.get("base") or ""))
    return next((name for name in ids if HUB_ID.fullmatch(name)), None)


def _tags(manifest: Mapping[str, Any]) -> list[str]:
    cell, (architecture, *more) = manifest["cell"], manifest["tags"]
    words = [
        architecture,
        "conversational",
        cell["backend"],
        cell["target"],
        cell["family"],
        BITS.get(cell["family"]) or f"{cell['family'][3:]}-bit",
        *more,
    ]
    return list(dict.fromkeys(str(word) for word in words if word))


def _description(manifest: Mapping[str, Any]) -> str:
    cell = manifest["cell"]
    settings = ", ".join(f"{name} {_plain(value)}" for name, value in (cell.get("settings") or {}).items())
    recipe = f"{cell['method']}{f' ({settings})' if settings else ''}"
    rows = (
        ("Model", _source(manifest)),
        ("Precision", cell["precision"]),
        ("Recipe", f"{cell['recipe']}: {recipe}" if cell["method"] != "none" else "no quantization"),
        ("Backend", cell["backend"]),
        ("Target", cell["target"]),
    )
    return (
        f"# {cell['model']} {cell['precision']} for {cell['backend']} on {cell['target']}\n\n"
        f"{cell['model']}, converted for {cell['backend']} and {_made(cell['family'])}, ready to run on "
        f"{cell['target']}.\n\n" + table(("", ""), rows)
    )


def _made(family: str) -> str:
    return f"quantized to {family}" if family.startswith("int") else f"kept in {family}"


def _source(manifest: Mapping[str, Any]) -> str:
    source, adapter = manifest["source"], manifest["source"].get("adapter")
    if adapter:
        plain = _source({**manifest, "source": {**source, "adapter": None}})
        return f"{plain}, with the adapter `{adapter['source']}` ({adapter['method']}, rank {adapter['rank']}) merged"
    base = _base_model(manifest)
    revision = f" at revision `{source['revision']}`" if source.get("revision") else ""
    if base:
        return f"[{base}](https://huggingface.co/{base}){revision}"
    folder = re.split(r"[/\\]", str(source["path_or_repo"]).rstrip("/\\"))[-1]
    return f"`{folder}`, a local checkpoint{revision}"


def _run(manifest: Mapping[str, Any]) -> str:
    """The instruction, and what it prints."""
    text, sample = f"## Run\n\n{manifest['run'].strip()}\n", manifest.get("sample")
    if not sample:
        return text
    said = "".join(f"> {line}\n" for line in str(sample["said"]).splitlines())
    begins = "It answers" if sample["whole"] else "Its answer begins with"
    verdict = "right" if sample["right"] else "wrong, as to every question that was tried as a chat"
    return f'{text}\n{begins}, greedily as measured here ({verdict}: "{sample["answer"]}" is asked for):\n\n{said}'


def _quantization(manifest: Mapping[str, Any]) -> str:
    stats = manifest.get("quantization") or {}
    lines = []
    if stats.get("bits_per_weight") is not None:
        lines.append(f"- {stats['bits_per_weight']:.2f} bits per weight, scales and zero points included")
    if stats.get("operators"):
        lines.append(f"- {stats['operators']} quantized operators, counted in the file")
    for name, bits in sorted((stats.get("kept") or {}).items()):
        lines.append(f"- `{name}` is kept at {bits} bits" if isinstance(bits, int) else f"- `{name}` is {_plain(bits)}")
    return "## Weights\n\n" + "\n".join(lines) + "\n" if lines else ""


def _making(manifest: Mapping[str, Any]) -> str:
    tools = sorted((manifest.get("tools") or {}).items())
    source = manifest["source"]
    digests = _digests(source.get("weights_sha256")) + _digests((source.get("adapter") or {}).get("sha256"))
    text = (
        "## How it was made\n\n"
        "Converted, quantized, evaluated and packaged by the phi-deploy pipeline; `manifest.json` lists every file "
        "with its SHA-256.\n\n"
    )
    rows = [(name, version) for name, version in tools]
    text += table(("Tool", "Version"), rows) if rows else ""
    return text + (f"\nSource weights (SHA-256):\n\n{digests}" if digests else "")


def _digests(value: Any) -> str:
    """One digest, or one per file."""
    named: JSON = value if isinstance(value, dict) else {"": value} if value else {}
    return "".join(f"- {f'{name}: ' if name else ''}`{digest}`\n" for name, digest in sorted(named.items()))


def _licence(manifest: Mapping[str, Any]) -> str:
    licence = manifest.get("license") or manifest["source"].get("license")
    if not licence or licence == "unknown":
        return "The licence of the source model applies; it is not recorded."
    if forbids_redistribution(licence):
        return f"{licence}, as the source model. **It forbids redistribution: this package is for your own devices.**"
    files = ", ".join(f"[{name}]({name})" for name in manifest.get("license_files") or ())
    adapters = (manifest["source"].get("adapter") or {}).get("license")
    beside = f", with an adapter under {adapters}" if adapters else ""
    return f"{licence}, as the source model{beside}{f': {files}' if files else ''}."


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_plain, value))
    return str(value)
