"""What decides a stage's result besides its data: its settings and its code, a small file per stage that guard writes.

dvc.yaml's stages depend on `inputs/<stage>/<key>.json` in place of a dozen paths and a part of params.yaml each: DVC
reads params.yaml again for every stage that names a part of it, and rewrites all of dvc.lock after every stage, so
that what a stage lists is paid for by all of them (docs/performance.md).
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

from pipeline import layout
from pipeline.files import write_json
from pipeline.types import JSON

_MANIFEST, _PROCESS = "pipeline/packaging/manifest.py", "pipeline/backends/process.py"
_MODEL = tuple(f"pipeline/model/{name}.py" for name in ("checkpoint", "tokenizer", "loading"))
_BACKEND = (*(f"pipeline/backends/{name}" for name in ("base.py", "staged.py", "nncf.py", "{backend}")), *_MODEL)
_FETCH = (*(f"pipeline/model/{name}.py" for name in ("checkpoint", "dimensions", "rope", "tokenizer")), _MANIFEST)
_REFERENCE = (
    "pipeline/model/layer_by_layer.py",
    *(f"pipeline/metrics/{name}.py" for name in ("divergence", "questions")),
)
_PACKAGE = ("pipeline/packaging/card.py", "pipeline/model/licenses.py", _MANIFEST, _PROCESS)

# stage → the group of its plan entries, and the code that can change its bytes: files, and folders whole
STAGES: dict[str, tuple[str, tuple[str, ...]]] = {
    "fetch": ("models", ("stages/fetch/fetch.py", *_FETCH)),
    "reference": ("models", ("stages/reference/reference.py", *_REFERENCE, *_MODEL)),
    "convert": ("exports", ("stages/convert/convert.py", "pipeline/matrix/sizes.py", *_BACKEND)),
    "quantize": ("builds", ("stages/quantize/quantize.py", *_BACKEND)),
    "evaluate": ("builds", ("stages/evaluate/evaluate.py", _PROCESS, "pipeline/metrics", *_BACKEND)),
    "package": ("cells", ("stages/package/package.py", *_PACKAGE, *_BACKEND)),
    "benchmark": ("cells", ("stages/benchmark/benchmark.py", "pipeline/backends/speed.py", _PROCESS, *_BACKEND)),
}


def write_inputs(plan: JSON, root: Path = Path()) -> None:
    """Write inputs/<stage>/<key>.json for every entry of the plan, and inputs/report.json."""
    digest = cache(lambda path: digest_code(root / path))
    for stage, (group, _) in STAGES.items():
        for key, entry in plan[group].items():
            code = {path: digest(path) for path in code_of(stage, entry.get("backend", ""))}
            write_json(root / layout.inputs(stage, key), {"settings": entry[stage], "code": code})
    write_json(root / layout.inputs("report"), {"cells": plan["cells"], "excluded": plan["excluded"]})


def code_of(stage: str, backend: str) -> list[str]:
    """The files and folders of code that decide what `stage` writes for `backend`."""
    return [path.format(backend=backend) for path in STAGES[stage][1]]


def digest_code(path: Path) -> str:
    """MD5 (as DVC's) of a file, or of a folder's files with their names; bytecode is left out."""
    if path.is_file():
        return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
    files = sorted(file for file in path.rglob("*") if file.is_file() and "__pycache__" not in file.parts)
    names = (f"{file.relative_to(path).as_posix()} {digest_code(file)}\n" for file in files)
    return hashlib.md5("".join(names).encode(), usedforsecurity=False).hexdigest()
