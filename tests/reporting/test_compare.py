"""`report --compare`: what changed since another run, of a folder, a revision in git or one in DVC's cache."""

from __future__ import annotations

import argparse
import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.__main__ import COMMANDS
from pipeline.commands.report import configure
from pipeline.errors import ArtifactError, ConfigError
from pipeline.reporting.compare import Comparison, compare
from pipeline.reporting.compare_text import headline, markdown, text
from pipeline.reporting.other import other_rows
from pipeline.reporting.report import write_report
from pipeline.rows import Row, Shared
from tests.reporting.matrix import Matrix
from tests.support.tiny import ROOT

pytestmark = pytest.mark.usefixtures("undrawn")
INT4, INT8 = "phi-tiny_int4_onnxruntime_cpu", "phi-tiny_int8_onnxruntime_cpu"


def changed(rows: list[Row], cell: str, **figures: Any) -> list[Row]:
    """The rows of an earlier run, where a cell had other figures."""
    return [_other(row, figures) if row.id == cell else row for row in rows]


def _other(row: Row, figures: dict[str, Any]) -> Row:
    kl, shared = figures.get("kl_nats_mean_common"), row.shared
    if kl is not None and shared is not None:
        shared = Shared(shared.tokens, spread(kl, shared.tokens, 0.01))
    return replace(row, metrics=replace(row.metrics, **figures), shared=shared)


def spread(kl: float, tokens: tuple[int, ...], by: float) -> tuple[float, ...]:
    """Sums per window whose mean is kl, alternately above and below it."""
    return tuple(count * kl * (1 + by * (-1) ** number) for number, count in enumerate(tokens))


def moved(comparison: Comparison) -> dict[str, list[str]]:
    return {cell.id: [change.metric for change in cell.figures if change.moved] for cell in comparison.changed}


def test_the_same_run_has_no_changes(four: Matrix) -> None:
    rows = write_report(four.plan, four.root)
    same = compare("main", rows, rows)
    assert not same.changed and not same.added and not same.gone
    assert headline(same) == "Against main: 0 of 4 cells changed, 0 added, 0 gone; every target ships what it did."


def test_figures_cells_and_verdicts_that_changed_are_said(four: Matrix) -> None:
    for cell in four.plan.cells:
        four.gate(cell, max_kl_nats=1e-2)
    four.run(INT4, decode_tokens_per_s=900.0)
    rows = write_report(four.plan, four.root)
    before = changed(rows, INT4, size_bytes=6_600_000, kl_nats_mean_common=2.8e-3, decode_tokens_per_s=300.0)
    gone = replace(rows[0], id="phi-tiny_int2_onnxruntime_cpu")
    found = compare("main", [*(row for row in before if row.id != INT8), gone], rows)
    assert (found.added, found.gone) == ((INT8,), (gone.id,))
    assert moved(found) == {INT4: ["size_bytes", "kl_nats_mean_common", "decode_tokens_per_s"]}
    assert [(v.target, v.before, v.now) for v in found.verdicts] == [("cpu", "phi-tiny_fp32_onnxruntime_cpu", INT4)]
    for said in (text(found), markdown(found, "title")):
        assert (
            "6.6 → 3.3 (÷ 2)" in said
            and "2.8e-3 → 2.8e-4 (÷ 10; 95 %: −2.9e-3 to −2.2e-3)" in said
            and "300.0 → 900.0 (× 3)" in said
        )
        assert "another choice for cpu" in said


def test_what_cannot_be_compared_is_no_change_and_says_why(four: Matrix) -> None:
    rows = write_report(four.plan, four.root)
    busy = [replace(row, noisy=True) for row in changed(rows, INT4, decode_tokens_per_s=1.0)]
    elsewhere = [replace(row, measured_on="another CPU") for row in changed(rows, INT4, ttft_ms_p50=1.0)]
    other = [
        replace(row, settings={"data": {"text.txt": "ef"}}) for row in changed(rows, INT4, kl_nats_mean_common=1.0)
    ]
    fewer = changed(rows, INT4, kl_nats_mean_common=1.0, common_tokens=7)
    for before, reason in (
        (busy, "a busy machine"),
        (elsewhere, "another machine"),
        (other, "other data"),
        (fewer, "other tokens"),
    ):
        found = compare("main", before, rows)
        assert not moved(found) and reason in text(found) and reason in markdown(found, "title")


def test_a_difference_that_the_tokens_do_not_show_is_no_change(four: Matrix) -> None:
    rows = write_report(four.plan, four.root)
    found = compare("main", changed(rows, INT4, kl_nats_mean_common=2.82e-4), rows)
    (kl,) = (change for cell in found.cells for change in cell.figures if cell.id == INT4 and "kl" in change.metric)
    assert kl.low is not None and kl.high is not None and kl.low < 0 < kl.high
    assert not moved(found) and "KL nats of 1 cells: no difference that these tokens can show" in text(found)


def test_shares_change_by_points(four: Matrix) -> None:
    rows = write_report(four.plan, four.root)
    found = compare("main", changed(rows, INT4, task_accuracy_common=0.5), rows)
    assert "acc %      50.0 → 75.0 (+25.00 points)" in text(found)


def test_sums_in_another_order_are_no_change(four: Matrix) -> None:
    rows = write_report(four.plan, four.root)
    kl = rows[-1].metrics.kl_nats_mean_common
    assert kl and not moved(compare("main", changed(rows, INT4, kl_nats_mean_common=kl * (1 + 1e-15)), rows))


def test_rounding_and_a_few_per_cent_of_speed_are_no_change(four: Matrix) -> None:
    rows = write_report(four.plan, four.root)
    before = changed(rows, "phi-tiny_fp32_onnxruntime_cpu", kl_nats_mean_common=2e-9)
    assert not moved(compare("main", before, rows))
    assert not moved(compare("main", changed(rows, INT4, decode_tokens_per_s=400.0), rows))


def test_a_cell_that_fails_now_is_a_change(four: Matrix) -> None:
    before = write_report(four.plan, four.root)
    four.record("evaluate", "phi-tiny_int4_onnxruntime", "failed", "no memory")
    found = compare("main", before, write_report(four.plan, four.root))
    assert [cell.id for cell in found.changed] == [INT4] and "ok → failed" in text(found)


def run(root: Path, *command: str) -> None:
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def repository(four: Matrix, monkeypatch: pytest.MonkeyPatch) -> Matrix:
    """A folder in git whose first commit has no report."""
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{name}_NAME", "Test")
        monkeypatch.setenv(f"GIT_{name}_EMAIL", "test@example.com")
    run(four.root, "git", "init", "-q", "-b", "main")
    run(four.root, "git", "commit", "-qm", "empty", "--allow-empty")
    monkeypatch.chdir(four.root)
    monkeypatch.setenv("DVC_NO_ANALYTICS", "1")
    return four


def test_a_folder_is_read_whole_or_by_its_reports(four: Matrix) -> None:
    rows = write_report(four.plan, four.root)
    assert other_rows(str(four.root)) == (str(four.root), rows)
    assert other_rows(str(four.root / "reports"))[1] == rows


def test_a_report_in_git_is_read_from_its_revision(repository: Matrix) -> None:
    rows = write_report(repository.plan, repository.root)
    run(repository.root, "git", "add", "-f", "reports/cells.json")
    run(repository.root, "git", "commit", "-qm", "a report")
    (repository.root / "reports/cells.json").write_text("[]")
    name, found = other_rows("main")
    assert found == rows and name.startswith("main (")


def test_a_report_in_dvcs_cache_is_read_by_the_revisions_lock(repository: Matrix) -> None:
    rows = write_report(repository.plan, repository.root)
    from dvc.repo import Repo

    Repo.init().add("reports/cells.json")
    run(repository.root, "git", "add", "-A")
    run(repository.root, "git", "commit", "-qm", "a report")
    (repository.root / "reports/cells.json").unlink()
    assert other_rows("HEAD")[1] == rows


def test_one_clear_error_where_there_is_no_report(repository: Matrix, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"main \(\w{7}\): its report is neither in git nor in DVC's cache"):
        other_rows("main")
    with pytest.raises(ArtifactError, match=r"no reports/cells.json and no cells.json in it"):
        other_rows(str(tmp_path / ".git"))
    for nothing in ("no-such-branch", "--all", ""):
        with pytest.raises(ConfigError, match="neither a folder nor a revision"):
            other_rows(nothing)


def test_a_report_of_an_older_version_lacks_its_figures(four: Matrix) -> None:
    write_report(four.plan, four.root)
    path = four.root / "reports/cells.json"
    held = json.loads(path.read_text())
    for row in held:
        del row["metrics"]["peak_rss_bytes"]
    path.write_text(json.dumps(held))
    assert {row.metrics.peak_rss_bytes for row in other_rows(str(four.root))[1]} == {None}
    held[0]["unheard-of"] = 1
    path.write_text(json.dumps(held))
    with pytest.raises(ArtifactError, match="unknown field 'unheard-of'"):
        other_rows(str(four.root))
    path.write_text("{")
    with pytest.raises(ArtifactError, match="no valid JSON"):
        other_rows(str(four.root))


def test_the_workflow_of_the_docs_is_yaml_and_its_commands_exist() -> None:
    page = (ROOT / "docs/ci.md").read_text(encoding="utf-8")
    workflow = yaml.safe_load(page.partition("```yaml\n")[2].partition("```")[0])
    lines = "\n".join(step.get("run", "") for step in workflow["jobs"]["packages"]["steps"])
    words = [line.split() for line in lines.splitlines() if line.startswith("python -m pipeline ")]
    assert [line[3] for line in words] == ["report", "gate"] and set(COMMANDS) >= {"report", "gate"}
    parser = argparse.ArgumentParser()
    configure(parser)
    assert parser.parse_args(words[0][4:5] + ["main"]).compare == "main"
