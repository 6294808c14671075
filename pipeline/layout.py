"""Where everything lies. Paths are relative to the project's root, where every command runs."""

from __future__ import annotations

from pathlib import Path

CONF = Path("conf")
PARAMS = Path("params.yaml")
STAGES = Path("stages")
PLAN = STAGES / "plan.yaml"  # beside params.yaml, which is all parameters of experiments
ARTIFACTS = Path("artifacts")
PACKAGES = Path("packages")
REPORTS = Path("reports")
HOST = Path("host")
INPUTS = Path("inputs")
FITS = ARTIFACTS / "fits"  # formats that were found
IMPORTS = Path("imports")  # speeds that other devices measured
RECORDS = Path("records")
RECEIPTS = Path(".tracking")
RUN = RECORDS / "run.json"  # how much the run that guard began has to do
ENDED = RECORDS / "ended"  # as many bytes as stages have ended since

MANIFEST = "manifest.json"
CELLS = REPORTS / "cells.json"
PAGE = REPORTS / "index.html"
COMMENT = REPORTS / "comment.md"  # of `report --compare`, for a pull request


def model(key: str) -> Path:
    """fetch's out: the canonical, checked model folder."""
    return ARTIFACTS / "models" / key


def reference(key: str) -> Path:
    """reference's out: token ids, per-token NLL and final hidden states of transformers in fp32."""
    return ARTIFACTS / "references" / key


# the files of a reference folder
IDS, NLL, HIDDEN, QUESTIONS, SUMMARY = "ids.npy", "nll.npy", "hidden.npy", "questions.json", "reference.json"
TASKS = "tasks.json"  # with what the checkpoint's template makes of them, and the reference's answers
TRIPLES, MEDIA = "triples.json", "media"  # of a model that sees or hears: what is asked, and the files


def export(key: str) -> Path:
    return ARTIFACTS / "exports" / key


def build(key: str) -> Path:
    return ARTIFACTS / "builds" / key


def sensitivity(key: str) -> Path:
    return ARTIFACTS / "sensitivities" / f"{key}.json"


def variants(key: str) -> Path:
    return ARTIFACTS / "variants" / f"{key}.json"


ADAPTERS = "adapters"  # in a package: what its runtime switches while it runs
FORMATS = "formats.json"  # in a build's folder: the format of each matrix, where a table says it


def fit(key: str) -> Path:
    """The table of formats that was found for a build."""
    return FITS / f"{key}.json"


def evaluation(key: str) -> Path:
    return ARTIFACTS / "evaluations" / f"{key}.json"


def scores(key: str) -> Path:
    """What each scored token contributed to an evaluation: NLL, KL, Δp, and whether the same token came first."""
    return ARTIFACTS / "evaluations" / f"{key}.npz"


def package(key: str) -> Path:
    return PACKAGES / key


def package_record(key: str) -> Path:
    """What report and track need of a package, without hashing its weights again."""
    return ARTIFACTS / "packaged" / f"{key}.json"


def benchmark(key: str) -> Path:
    return ARTIFACTS / "benchmarks" / f"{key}.json"


def imported(key: str) -> Path:
    return IMPORTS / f"{key}.json"


def harness(key: str) -> Path:
    """Figures of lm-evaluation-harness on a cell's package."""
    return IMPORTS / "tasks" / f"{key}.json"


def host(name: str) -> Path:
    """guard's facts about this machine: `machine`, or the installed versions of one backend's tools."""
    return HOST / f"{name}.json"


def inputs(stage: str, key: str = "") -> Path:
    """A stage's settings and the digest of its code, written by guard."""
    return INPUTS / stage / f"{key}.json" if key else INPUTS / f"{stage}.json"


def locks(root: Path) -> list[Path]:
    """DVC's lock files, as far as there are: of the few stages in dvc.yaml, and of each stage with many entries."""
    return [path for path in (root / "dvc.lock", *sorted((root / STAGES).glob("*/dvc.lock"))) if path.is_file()]


def log(stage: str, key: str) -> Path:
    """What tools printed in a stage's last run."""
    return RECORDS / stage / f"{key or stage}.log"


def record(stage: str, key: str) -> Path:
    """The StageRecord of a stage's last run: volatile, outside DVC's outs."""
    return RECORDS / stage / f"{key or stage}.json"
