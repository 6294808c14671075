"""Gates and the choice among cells: what passes, what was missed by how much, and why the others lost."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest

from pipeline.matrix.gates import GATES, judge, missed, passes
from pipeline.records import ReferenceFigures
from pipeline.reporting.choice import Closest, pareto, recommend
from pipeline.rows import Figures, PackageRef, Row
from pipeline.types import Status
from tests.support.project import Project

METRICS = Figures(
    **{
        **dict.fromkeys(field.name for field in fields(Figures)),
        "perplexity_common": 2.2,
        "kl_nats_mean_common": 0.05,
        "top1_agreement_common": 0.95,
        "task_accuracy_common": 0.9,
        "tasks_passed_common": 0.75,
        "task_flips_common": 0.1,
        "decode_tokens_per_s": 100.0,
        "ttft_ms_p50": 20.0,
        "size_bytes": 5_000_000,
        "peak_rss_bytes": 90_000_000,
    }
)
REFERENCE = ReferenceFigures(2.0, 1.0, (), (), (), tasks_passed=0.8)


@pytest.mark.parametrize(
    ("gate", "bound", "value", "passed", "margin"),
    [
        ("max_perplexity_increase", 0.2, 0.1, True, 0.5),
        ("max_kl_nats", 0.04, 0.05, False, -0.25),
        ("min_top1_agreement", 0.9, 0.95, True, 0.0556),
        ("min_accuracy_kept", 0.95, 0.9, False, -0.0526),
        ("min_tasks_kept", 0.9, 0.9375, True, 0.0417),
        ("max_task_flips", 0.05, 0.1, False, -1.0),
        ("min_decode_tokens_per_s", 80, 100.0, True, 0.25),
        ("max_ttft_ms", 10, 20.0, False, -1.0),
        ("max_package_mb", 5, 5.0, True, 0.0),
        ("max_peak_memory_mb", 100, 90.0, True, 0.1),
    ],
)
def test_a_gate_says_whether_and_by_how_much(
    gate: str, bound: float, value: float, passed: bool, margin: float
) -> None:
    (verdict,) = judge(METRICS, REFERENCE, {gate: bound})
    assert verdict.value == pytest.approx(value) and verdict.passed is passed
    assert verdict.margin == pytest.approx(margin)
    assert passes([verdict]) is passed and bool(missed([verdict])) is not passed


def test_every_gate_is_tested() -> None:
    assert len(GATES) == 10


def test_a_figure_that_is_missing_is_unknown_and_misses_nothing() -> None:
    verdicts = judge(replace(METRICS, decode_tokens_per_s=None), REFERENCE, {"min_decode_tokens_per_s": 5})
    assert verdicts[0].passed is None and passes(verdicts) and not missed(verdicts)


def cell(name: str, kl: float, size: float, speed: float | None = None, **changes: Any) -> Row:
    figures = replace(METRICS, kl_nats_mean=kl, kl_nats_mean_common=kl, size_bytes=int(size), decode_tokens_per_s=speed)
    row = Row(
        id=name,
        model="phi-tiny",
        precision="int4",
        option="int4",
        shown="int4",
        backend="onnxruntime",
        target="phone",
        recipe="default",
        status=Status.OK,
        reason=None,
        metrics=figures,
        reasons={},
        extra={},
        gates=judge(figures, REFERENCE, {"max_kl_nats": 0.1}),
        package=PackageRef(f"packages/{name}", int(size), "ab" * 32),
        measured_on=None,
        noisy=False,
        settings={},
    )
    return replace(row, **changes)


def test_the_smallest_of_those_that_pass_is_chosen_where_speed_is_unknown() -> None:
    cells = [cell("big", 1e-6, 9e6), cell("small", 0.05, 3e6), cell("bad", 0.2, 2e6)]
    choice = recommend(cells, "phone")
    assert choice.choice == "small" and "speed was not measured" in choice.rests_on
    assert choice.lost == {"big": "KL 1.0e-6 against 5.0e-2; 9.0 against 3.0 MB", "bad": "misses max_kl_nats 0.2 > 0.1"}


def test_the_fastest_is_chosen_where_speed_is_known() -> None:
    cells = [cell("slow", 1e-6, 3e6, 50), cell("fast", 0.05, 4e6, 200), cell("bad", 0.2, 2e6, 900)]
    choice = recommend(cells, "phone")
    assert choice.choice == "fast" and choice.rests_on == "quality, size and speed"
    assert choice.lost["slow"] == "KL 1.0e-6 against 5.0e-2; 3.0 against 4.0 MB; 50 against 200 tokens/s"


def test_a_speed_of_a_busy_machine_decides_nothing() -> None:
    cells = [cell("small", 1e-3, 3e6, 50, noisy=True), cell("fast", 0.05, 4e6, 200)]
    choice = recommend(cells, "phone")
    assert choice.choice == "small" and "busy machine" in choice.rests_on
    assert choice.lost == {"fast": "small is as good or better in everything"} and choice.front == ("small",)


def test_a_cell_that_is_beaten_in_everything_says_by_what() -> None:
    choice = recommend([cell("good", 1e-3, 3e6, 50), cell("worse", 0.05, 4e6, 40)], "phone")
    assert choice.lost == {"worse": "good is as good or better in everything"}


def test_a_budget_that_nothing_meets_names_the_closest() -> None:
    choice = recommend([cell("a", 0.3, 2e6), cell("b", 0.12, 4e6)], "phone")
    assert choice.choice is None
    assert choice.closest == Closest("b", ("max_kl_nats 0.12 > 0.1",))


def test_cells_that_failed_or_belong_elsewhere_are_not_chosen() -> None:
    failed = cell("failed", 1e-9, 1e6, status=Status.FAILED, reason="no luck")
    choice = recommend([cell("ok", 0.05, 4e6), failed, cell("pc", 0.01, 1e6, target="pc")], "phone")
    assert choice.choice == "ok" and choice.lost == {"failed": "failed: no luck"}


def test_the_front_has_what_nothing_beats() -> None:
    cells = [
        cell("a", 0.01, 9e6, 10),
        cell("b", 0.05, 3e6, 20),
        cell("worse", 0.06, 4e6, 15),
        cell("quick", 0.07, 5e6, 99),
    ]
    assert [row.id for row in pareto(cells)] == ["b", "quick", "a"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["+target.cpu.gates.max_kl=0.1"], "unknown gate 'max_kl'.*max_kl_nats"),
        (["target.cpu.gates.max_kl_nats=-1"], "max_kl_nats: -1 is negative"),
        (["target.cpu.gates.min_top1_agreement=95"], "min_top1_agreement: 95 is more than 1"),
        (
            ["target.cpu.max_weight_gb=2", "+target.cpu.gates.max_package_mb=4000"],
            "contradict the target: max_package_mb 4000",
        ),
    ],
)
def test_gates_that_cannot_be_meant_are_refused(project: Project, overrides: list[str], message: str) -> None:
    import re

    base = ("model=[local]", "model.local.path=models/tiny", "backend=[onnxruntime]", "target=[cpu]")
    done = project.pipeline("plan", *base, *overrides)
    assert done.returncode == 2 and re.search(message, done.stderr), done.stderr
