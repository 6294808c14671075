"""A base and its fine-tunes stand side by side in the report, on the same data alone."""

from __future__ import annotations

from dataclasses import replace

from pipeline.reporting.page.page import page
from pipeline.reporting.report import write_report
from pipeline.reporting.summary import summary
from pipeline.reporting.tunes import beside
from tests.reporting.matrix import Matrix


def of_one_base(matrix: Matrix) -> None:
    """The base, a fine-tune of it, and a model of another base."""
    for model, backend, right in (
        ("tuned", "openvino", 1.0),
        ("base", "openvino", 0.25),
        ("base", "llamacpp", 0.25),
        ("other", "openvino", 0.5),
    ):
        matrix.run(matrix.add("int4", model=model, backend=backend), task_accuracy=right)
    for name, path, adapter in (
        ("base", "models/base", ""),
        ("tuned", "models/base", "<b>"),
        ("other", "models/o", ""),
    ):
        entry = matrix.plan.models[name]
        matrix.plan.models[name] = replace(entry, fetch=replace(entry.fetch, path=path, adapter=adapter))


def test_what_packages_of_one_base_answer_right_stands_side_by_side(matrix: Matrix, undrawn: None) -> None:
    of_one_base(matrix)
    rows = write_report(matrix.plan, matrix.root)
    (found,) = beside(rows)
    axes = ("int4", "openvino", "cpu")
    assert found.models == ("base", "tuned")
    assert (*axes, "acc %", "25.0", "100.0") in found.lines and (*axes, "tasks %", "50.0", "50.0") in found.lines
    assert all(line[1] == "openvino" for line in found.lines)  # the other has nothing beside it
    text = summary(rows, {})
    assert "## base and its fine-tunes" in text and "| int4 | openvino | cpu | acc % | 25.0 | 100.0 |" in text
    html = page(rows, matrix.plan)
    assert "Base and fine-tunes" in html and '<td class="number">100.0</td>' in html


def test_figures_of_other_data_are_not_set_beside_each_other(matrix: Matrix, undrawn: None) -> None:
    of_one_base(matrix)
    rows = [
        replace(row, settings={**row.settings, "data": {"other.jsonl": "2" * 64}}) if row.model == "tuned" else row
        for row in write_report(matrix.plan, matrix.root)
    ]
    assert beside(rows) == []


def test_models_without_an_adapter_are_no_fine_tunes(matrix: Matrix, undrawn: None) -> None:
    of_one_base(matrix)
    for name in ("base", "tuned"):
        entry = matrix.plan.models[name]
        matrix.plan.models[name] = replace(entry, fetch=replace(entry.fetch, adapter=""))
    rows = write_report(matrix.plan, matrix.root)
    assert beside(rows) == [] and "fine-tunes" not in summary(rows, {}) + page(rows, matrix.plan)
