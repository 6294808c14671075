"""The commands of README and docs are run, on a small model: those that build in the slow tests."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.support.chromium import CHROMIUM
from tests.support.project import SMOKE, Project
from tests.unit.test_docs import LINES, PLACES

CELL, PASSES = "local_int4_onnxruntime_cpu", "local_fp32_onnxruntime_cpu"  # a random model loses much in 4 bits
THEIRS = re.compile(r"phi-(?:tiny|3-5-mini)_int4_[a-z]+_[a-z-]+")
QUICK = (
    r"python -m pipeline (report|recommend|gate|verify|doctor|benchmark|import-benchmark)\b",
    r"source <\(phi-deploy completion\)",
    r"dvc (push|pull)\b",
)
BUILDS = (r"python -m pipeline compose\b", r"python -m pipeline run\b(?! --scheduler)", r"dvc exp run\b")
PLANNED = (r"python -m pipeline plan\b", r"dvc repro$")  # composed in test_docs.py; run behind what they follow
NOT_RUN = {
    r"make (repro|test)$": "what CI and a fresh clone begin with",
    r"make repro SUITE=vision$": "minutes; tests/contract/test_onnxruntime_pictures.py has its line small",
    r"source \.venv/bin/activate$|python -m (venv|pip)\b": "make install's, by hand",
    r"python -m pipeline ui$": "a server that stays: tests/tracking/test_ui.py",
    r"hf (download|upload)\b|npm pack\b|python -m pipeline\.reporting\.page\.bundle\b": "from and to the network",
    r"pip install --no-deps --target\b|.* python -m benchmarks\.real_checkpoint\b": "tests/benchmarks",
    r"python benchmarks/\w+\.py\b": "hours, at full size; tests/benchmarks has them small",
    r"dvc remote add\b": "a bucket of one's own; the quick commands have a folder",
    r"python -m pipeline run --scheduler\b": "other machines: tests/pipeline/test_hosts.py",
    r"python -m training\.adapter\b": "minutes of training: tests/training/test_adapter.py",
    r"python -m pipeline tasks\b|python -m pipeline\.lmeval\b": "data sets of the hub: tests/unit/test_lmeval.py",
    r"#": "a comment",
}
HOUR = 3600.0  # a page's twenty recipes take minutes
SMALL = (*SMOKE, "evaluate.tokens=512", "evaluate.max_questions=4")


def matches(line: str, patterns: Iterable[str]) -> bool:
    return any(re.match(pattern, line) for pattern in patterns)


def shell(project: Project, line: str) -> tuple[int, str]:
    done = project.run("bash", "-c", line, timeout=HOUR)
    return done.returncode, done.stdout + done.stderr


def test_every_command_of_the_pages_is_run_or_has_a_reason() -> None:
    for page, line in LINES:
        held = [matches(line, kind) for kind in (QUICK, BUILDS, PLANNED, NOT_RUN, ("chromium ",))]
        assert not line or held.count(True) == 1, f"{page}: {line}"


def test_the_quick_commands_of_the_pages(copy: Project, tmp_path: Path) -> None:
    for command in (
        "git add -A",
        "git commit -qm results",
        "git branch -M main",
        f"dvc remote add -d far {tmp_path}/far",
    ):
        assert shell(copy, command)[0] == 0, command
    ran = 0
    for page, line in LINES:
        if matches(line, QUICK):
            here = THEIRS.sub(PASSES if " gate " in line else CELL, line).replace(
                " benchmark local_", " benchmark packages/local_"
            )
            code, said = shell(copy, here)
            assert code == 0, f"{page}: {here}\n{said}"
            ran += 1
    assert ran > 12


@pytest.mark.slow
@pytest.mark.parametrize(("page", "line"), [pair for pair in LINES if matches(pair[1], BUILDS)])
def test_what_the_pages_build(page: str, line: str, copy: Project) -> None:
    """A compose is followed by dvc repro, as on the page; on the one-layer model, with few tokens."""
    for named, there in PLACES.items():
        line = line.replace(named, there)
    line = re.sub(r"'?model=\[[\w.,-]+\]'?|model\.local\.path=\S+|evaluate\.(tokens|max_questions)=\d+", "", line)
    mark = "-S " if line.startswith("dvc") else ""
    axes = {word.partition("=")[0] for word in re.findall(r"'(\w+=\[[^']*)'", line)}
    asked = [word for word in SMALL if word.partition("=")[0] not in axes]
    line += "".join(f" {mark}'{word}'" for word in asked) + (" && dvc repro" if " compose" in line else "")
    for command in ("git add -A", "git commit -qm start", line):
        code, said = shell(copy, command)
        assert code == 0, f"{page}: {command}\n{said[-3000:]}"
    rows = copy.json("reports/cells.json")
    assert rows and {row["status"] for row in rows} <= {"ok", "skipped"}, page


@pytest.mark.skipif(not CHROMIUM, reason="no Chromium here: apt-get install chromium")
def test_the_picture_of_the_readme(copy: Project) -> None:
    (line,) = [line for _, line in LINES if line.startswith("chromium ")]
    (copy.root / "docs/images").mkdir(parents=True)
    code, said = shell(copy, line.replace("chromium ", f"{CHROMIUM} --no-sandbox --user-data-dir=profile ", 1))
    assert code == 0 and (copy.root / "docs/images/report.png").stat().st_size > 10_000, said
