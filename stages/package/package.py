"""package: a folder that runs by itself, with its manifest, card and run instruction."""

from __future__ import annotations

import hashlib
from pathlib import Path

from pipeline import layout
from pipeline.backends.base import RuntimeRequest
from pipeline.backends.process import ask_runtime
from pipeline.backends.registry import load_backend
from pipeline.errors import QualityError
from pipeline.files import fresh_folder, read_json, size_of, write_json, write_text
from pipeline.harness.disk import require_copy
from pipeline.harness.outcome import outcome, why_skipped, why_unusable
from pipeline.model.checkpoint import open_checkpoint
from pipeline.packaging.card import model_card
from pipeline.packaging.manifest import SUMS, digests, sums
from pipeline.types import JSON, Status

IDENTITY = ("precision", "family", "recipe", "method", "settings", "target", "device")


def package(key: str, entry: JSON) -> str | None:
    """Write packages/<key> and its record, or the reason for which it was skipped."""
    build = layout.build(entry["build"])
    evaluation = layout.evaluation(entry["build"])
    skipped = why_skipped(build, evaluation) or why_unusable(entry["backend"])
    with fresh_folder(layout.package(key)) as out:
        if skipped:
            said = {"status": Status.SKIPPED, "reason": skipped}
            write_json(out / layout.MANIFEST, said)
            write_text(out / SUMS, "")
            write_json(layout.package_record(key), said)
            return skipped
        checkpoint = open_checkpoint(entry["model"], entry["package"]["weights"])
        require_copy(layout.PACKAGES, size_of(build))
        backend = load_backend(entry["backend"])
        backend.package(build, checkpoint, entry["package"]["options"], out)
        runtime_files = digests(out)
        write_text(out / SUMS, sums(runtime_files))
        manifest = _manifest(key, entry)
        on_device = entry["package"]["run"]
        manifest["run"] = backend.run_instruction(out, key) + (
            f"\nOn {entry['package']['target']}: {on_device}\n" if on_device else ""
        )
        manifest["size_bytes"] = sum(file["size_bytes"] for file in runtime_files.values())
        write_text(out / "README.md", model_card({**manifest, "files": runtime_files}))
        read = {name: file for name, file in runtime_files.items() if name not in backend.unread}
        if not _same_bytes(read, digests(build)):
            _generate(entry["backend"], out, read_json(evaluation)["decode"], key)
        write_json(out / layout.MANIFEST, {**manifest, "files": digests(out)})
        digest = hashlib.sha256((out / SUMS).read_bytes()).hexdigest()
    write_json(
        layout.package_record(key),
        {
            "status": Status.OK,
            "reason": "",
            "path": layout.package(key).as_posix(),
            "size_bytes": manifest["size_bytes"],
            "sha256": digest,
            "bits_per_weight": manifest["quantization"]["bits_per_weight"],
            "quantization": manifest["quantization"],
        },
    )
    return None


def _manifest(key: str, entry: JSON) -> JSON:
    axes = entry["package"]
    fetched = read_json(layout.model(entry["model"]) / layout.MANIFEST)
    return {
        "status": Status.OK,
        "cell": {
            "id": key,
            "model": entry["model"],
            "backend": entry["backend"],
            **{name: axes[name] for name in IDENTITY},
        },
        "source": {
            "model": entry["model"],
            "path_or_repo": fetched["source"],
            "revision": fetched["revision"],
            "license": axes["license"],
            "weights_sha256": fetched["weights"],
        },
        "license": axes["license"],
        "tools": read_json(layout.host(entry["backend"]))["versions"],
        "quality": read_json(layout.evaluation(entry["build"]))["metrics"],
        "quantization": outcome(layout.build(entry["build"]))["quantization"],
    }


def _same_bytes(packaged: JSON, built: JSON) -> bool:
    """Whether a package holds its build's files and nothing else, a name aside: then evaluate saw it generate."""
    return {file["sha256"] for file in packaged.values()} <= {file["sha256"] for file in built.values()}


def _generate(backend: str, folder: Path, decode: JSON, key: str) -> None:
    """The finished package, in a fresh process, must say what the evaluated build said."""
    request = RuntimeRequest("generate", [decode["prompt"]], len(decode["continuation"]))
    tokens = ask_runtime(backend, folder, request).value["tokens"][0]
    if tokens != decode["continuation"]:
        raise QualityError(f"the package generates {tokens[:8]}…, its build {decode['continuation'][:8]}…", where=key)
