"""A cold suite of four precisions on ONNX Runtime against Microsoft Olive's passes: CPU and wall time, in one run.

    python -m venv ~/olive && ~/olive/bin/pip install torch==2.13.0      # the CPU build
    ~/olive/bin/pip install olive-ai==0.13.0 onnxruntime==1.32.0 onnxruntime-genai==0.14.1 transformers==5.23.0 \
        onnx==1.23.2 datasets requests scipy
    python benchmarks/against_olive.py ~/olive/bin/python > benchmarks/results/against_olive.json

Both take the shipped model to fp32, fp16, int8 and int4 (round to nearest, blocks of 32), compute perplexity on the
same windows, and measure decode speed. Ours is the whole line, as `dvc repro` runs it: fetch, reference, KL and top-1,
questions, chat tasks, decode checks, packages, MLflow and the report beside; `alike` leaves out what can be left out of
it: questions, chat tasks and speed behind a longer prompt. GenAI after 0.14 has no create_model that Olive 0.13 can
call. They take turns; ratios are ours over theirs, of medians.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.orchestration import stage_seconds, timed  # noqa: E402
from benchmarks.workspace import copy_project  # noqa: E402
from pipeline.harness.host import machine_facts  # noqa: E402

CELLS = {"fp32": "fp32", "fp16": "fp16", "int8": "int8", "int4": "int4-rtn"}  # theirs: ours
MODEL = ROOT / "models/phi-tiny"
LESS = ("evaluate.questions=''", "evaluate.tasks=[]", "benchmark.more_prompt_tokens=[]")


def write_windows(path: Path) -> None:
    """The windows that ours is judged on, for both."""
    import numpy as np

    from pipeline.model.texts import windows
    from pipeline.model.tokenizer import load_tokenizer

    np.save(path, windows(load_tokenizer(MODEL), ROOT / "data/phi-tiny/evaluation.txt", 512, 20480))


def ours(root: Path, settings: Sequence[str] = ()) -> tuple[dict[str, float], dict[str, Any]]:
    """A cold run in a copy of the project; its cells' figures, and what its stages say of their time."""
    copy_project(root)
    python = [sys.executable, "-m"]
    for command in (["git", "init", "-q"], [*python, "dvc", "init", "-q"]):
        timed(command, root)
    shutil.copyfile(ROOT / ".dvc" / "config", root / ".dvc" / "config")
    matrix = [f"precision=[{','.join(CELLS.values())}]", "backend=[onnxruntime]", "target=[cpu]", *settings]
    composed = timed([*python, "pipeline", "compose", *matrix], root)
    taken = timed([*python, "dvc", "repro"], root)
    rows = {row["option"]: row["metrics"] for row in json.loads((root / "reports/cells.json").read_text("utf-8"))}
    kept = ("perplexity", "decode_tokens_per_s")
    figures = {name: {key: rows[own][key] for key in kept} for name, own in CELLS.items()}
    both = {key: taken[key] + composed[key] for key in ("wall_s", "cpu_s")}
    return both, {"cells": figures, "work_s_by_stage": stage_seconds(root)}


def theirs(python: Path, root: Path, windows: Path) -> tuple[dict[str, float], dict[str, Any]]:
    """The same cells by Olive, its cache empty."""
    root.mkdir()
    figures = root / "figures.txt"
    script = f'"$0" {ROOT / "benchmarks/olive_cells.py"} {MODEL} {windows} {root} > {figures}'
    taken = timed(["sh", "-c", script, str(python)], root)
    lines = [json.loads(line) for line in figures.read_text("utf-8").splitlines() if line.startswith("{")]
    named = subprocess.run([python, "-m", "pip", "list", "--format=json"], capture_output=True, text=True, check=True)
    wanted = ("olive-ai", "onnxruntime", "onnxruntime-genai", "transformers", "torch")
    versions = {row["name"]: row["version"] for row in json.loads(named.stdout) if row["name"] in wanted}
    return taken, {"cells": {line.pop("cell"): line for line in lines}, "versions": versions}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("olive", type=Path, help="python of an environment with Olive")
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    runs: dict[str, list[dict[str, float]]] = {"ours": [], "alike": [], "theirs": []}
    facts: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="phi-deploy-bench-") as folder:
        windows = Path(folder) / "windows.npy"
        write_windows(windows)
        for turn in range(arguments.runs):
            for who, work in (
                ("theirs", lambda place: theirs(arguments.olive.absolute(), place, windows)),
                ("ours", ours),
                ("alike", lambda place: ours(place, LESS)),
            ):
                place = Path(folder) / f"{who}-{turn}"
                taken, facts[who] = work(place)
                runs[who].append(taken)
                sys.stderr.write(f"{who}: {json.dumps(taken)}\n")
                shutil.rmtree(place)
    middle = {
        who: {key: round(median(run[key] for run in of), 1) for key in ("wall_s", "cpu_s")} for who, of in runs.items()
    }
    result = {
        "machine": machine_facts(),
        **{who: {**middle[who], **facts[who]} for who in middle},
        "ratio": {
            who: {key: round(middle[who][key] / middle["theirs"][key], 2) for key in middle[who]}
            for who in ("ours", "alike")
        },
        "runs": arguments.runs,
    }
    sys.stdout.write(json.dumps(result, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
