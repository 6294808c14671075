"""The tables that people read: on the terminal and in summary.md."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path

import pytest

from pipeline import layout
from pipeline.errors import DataError
from pipeline.reporting.console import table
from pipeline.reporting.figures import divergence
from pipeline.reporting.formats import fill
from pipeline.reporting.pictures.labels import place
from pipeline.reporting.pictures.points import PICTURES, Point
from pipeline.reporting.report import write_report
from tests.reporting.matrix import SPEED, Matrix
from tests.support.plans import LOOKS

pytestmark = pytest.mark.usefixtures("undrawn")

FORMATS = {name: look.format for name, look in LOOKS.items()}


def summary_of(matrix: Matrix) -> str:
    write_report(matrix.plan, matrix.root)
    return (matrix.root / "reports/summary.md").read_text()


def test_the_summary_has_an_aligned_row_per_cell(four: Matrix) -> None:
    lines = [line for line in summary_of(four).splitlines() if line.startswith(("| ", "|-"))]
    lines = lines[next(at for at, line in enumerate(lines) if line.startswith("| model")) :][:6]
    assert lines[0].startswith("| model") and len({len(line) for line in lines}) == 1
    assert "| int4      |" in lines[-1] and "2.8e-4" in lines[-1] and "410.0" in lines[-1]


def test_every_target_has_its_table_and_what_to_ship_there(matrix: Matrix) -> None:
    for target in ("cpu", "ios"):
        for precision in ("fp32", "int4"):
            cell = matrix.add(precision, target=target)
            matrix.run(cell)
            matrix.gate(cell, max_package_mb=5)
    page = summary_of(matrix)
    assert page.startswith("# phi-tiny on cpu, ios\n") and page.index("## ios") < page.index("![Quality against size]")
    for target in ("cpu", "ios"):
        said = page.partition(f"## {target}\n")[2].partition("\n## ")[0]
        assert said.startswith("\n**Ship int4 onnxruntime: ") and f"`phi-tiny_int4_onnxruntime_{target}`" in said
        table = page.partition(f"<summary>{target}: 2 cells: 2 ok</summary>")[2].partition("</details>")[0]
        assert len([line for line in table.splitlines() if line.startswith("| phi-tiny")]) == 2


def test_a_chapter_says_what_a_precision_costs_and_brings(four: Matrix) -> None:
    page = summary_of(four).partition("<summary>What each precision costs and brings</summary>")[2]
    chapter = page.partition("### INT4")[2]
    # against the same backend's fp32: 3.3 of 16.1 MB, as fast, and its own divergence
    assert "0.20 of fp32's bytes; 1.00 of its decode speed; KL 2.8e-4 nats per token." in chapter
    assert "| onnxruntime | cpu | int4 | 0.20 | 1.00 | 6.402 | 2.8e-4 | 98.32 | 75.0 % |" in chapter
    assert [page.count(f"### {title}\n") for title in ("FP32", "FP16", "INT8", "INT4", "INT3")] == [1, 1, 1, 1, 0]


def test_a_build_that_targets_share_is_one_row_of_its_chapter(matrix: Matrix) -> None:
    for target in ("cpu", "ios"):
        for precision in ("fp32", "int4"):
            matrix.run(matrix.add(precision, target=target))
    assert summary_of(matrix).partition("### INT4")[2].count("| onnxruntime | cpu | int4 |") == 1


def test_the_front_is_what_nothing_beats_in_both_figures() -> None:
    def point(x: float, y: float) -> Point:
        return Point(x, y, f"{x}", "onnxruntime", "int4", False)

    small, worse, good, slow = point(1, 0.1), point(2, 0.2), point(3, 0.01), point(3, 0.1)
    size, speed = PICTURES
    assert size.front([good, worse, small, slow]) == [small, good]
    assert speed.front([good, worse, small, slow]) == [good]


def test_the_summary_lists_excluded_combinations_with_reasons(four: Matrix) -> None:
    four.plan.excluded["phi-tiny_int4_mlx_cpu"] = "mlx does not run on cpu"
    assert "- `phi-tiny_int4_mlx_cpu`: mlx does not run on cpu\n" in summary_of(four)


def test_the_summary_gives_the_reason_of_a_failed_row_on_one_line(four: Matrix) -> None:
    four.record("quantize", "phi-tiny_int4_onnxruntime", "failed", "ended with 1:\n  no memory")
    text = summary_of(four)
    assert "**failed**" in text and "4 cells: 3 ok, 1 failed." in text
    assert (
        "- `phi-tiny_int4_onnxruntime_cpu`: quantize@phi-tiny_int4_onnxruntime failed: ended with 1: no memory" in text
    )


def test_the_summary_says_why_a_figure_is_not_there(four: Matrix) -> None:
    for precision in ("int4", "int8"):
        four.benchmark(f"phi-tiny_{precision}_onnxruntime_cpu", status="skipped", reason="no such device")
    cells = "`phi-tiny_int8_onnxruntime_cpu`, `phi-tiny_int4_onnxruntime_cpu`"
    assert f"- {cells}: no {', '.join(SPEED)}: no such device\n" in summary_of(four)


def test_noisy_speed_is_marked_and_explained_everywhere(four: Matrix) -> None:
    four.benchmark("phi-tiny_int4_onnxruntime_cpu", metrics=SPEED, noisy=True)
    rows = write_report(four.plan, four.root)
    assert rows[-1].noisy is True
    for text in (summary_of(four), table(rows)):
        assert text.count("410.0†") == 1 and "busy" in text


@pytest.mark.parametrize("columns", [120, 80, 70])
def test_the_terminal_table_fits_the_terminal(matrix: Matrix, monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    for backend, target in (("onnxruntime", "android-arm64"), ("openvino", "apple-silicon-laptop")):
        for precision in ("fp32", "int4-k-quant-with-a-long-name"):
            matrix.run(matrix.add(precision, "phi-3-5-mini-instruct-long", backend, target), size_bytes=123_456_789_012)
    cell = matrix.add("int8", "phi-tiny")
    matrix.evaluation(cell, status="failed", reason="a long reason, " * 30)
    text = table(write_report(matrix.plan, matrix.root))
    assert max(map(len, text.splitlines())) <= columns
    assert "123,457" in text and "failed" in text and "a long reason" in text
    assert ("without bits/w" in text) == (columns < 120)


def test_the_terminal_names_a_shared_axis_once_and_a_shared_reason_once(four: Matrix) -> None:
    four.record("convert", "phi-tiny_onnxruntime_fp32", "failed", "no memory")
    text = table(write_report(four.plan, four.root))
    assert text.splitlines()[0] == "4 cells: 4 failed · model phi-tiny · backend onnxruntime · target cpu"
    assert text.count("no memory") == 1 and text.count("_onnxruntime_cpu") == 4


def test_a_table_of_nothing_is_no_error() -> None:
    assert table([]).startswith("0 cells")


def test_divergence_is_written_in_two_digits() -> None:
    assert [divergence(value) for value in (0.0, 1.234e-9, 2.8e-4, 0.5)] == ["0", "1.2e-9", "2.8e-4", "5.0e-1"]


def test_labels_of_crowded_points_do_not_overlap() -> None:
    points = [(200.0 + 9 * (i % 4), 200.0 + 7 * (i // 4)) for i in range(12)]
    sizes = [(60.0, 12.0)] * 12
    centres = place(points, sizes, (0, 0, 500, 400), 12)
    for a, b in combinations(centres, 2):
        assert abs(a[0] - b[0]) >= 60 - 1e-6 or abs(a[1] - b[1]) >= 12 - 1e-6
    assert all(30 <= x <= 470 and 6 <= y <= 394 for x, y in centres)


def test_a_page_is_filled_between_its_markers_and_again(four: Matrix, tmp_path: Path) -> None:
    rows = write_report(four.plan, four.root)
    page = tmp_path / "formats.md"
    page.write_text("before\n<!-- figures: start -->\nold\n<!-- figures: end -->\nafter\n")
    for _ in range(2):
        fill(page, rows, FORMATS)
        lines = page.read_text().splitlines()
        assert lines[0] == "before" and lines[-1] == "after" and "old" not in lines
        assert "| phi-tiny | cpu | ONNX | int4 | 3.3 | 5.20 | 2.8e-4 | 98.32 | 410.0 |" in lines
    page.write_text("nothing here\n")
    with pytest.raises(DataError, match="it has no lines"):
        fill(page, rows, FORMATS)


def test_the_summary_shows_where_what_is_shipped_leaves_the_reference(four: Matrix) -> None:
    cell = "phi-tiny_int4_onnxruntime_cpu"
    for planned in four.plan.cells:
        four.gate(planned, max_package_mb=4)
    example = {"prompt": "Once\nupon", "reference": " a time | there", "build": " a `day`", "departs": 2}
    evaluation = json.loads((four.root / layout.evaluation("phi-tiny_int4_onnxruntime")).read_text())
    four.write(layout.evaluation("phi-tiny_int4_onnxruntime"), {**evaluation, "examples": [example]})
    page = summary_of(four)
    assert f"Where {cell} goes on otherwise than the reference" in page
    assert "| prompt | reference | int4 |" in page and "| `Once ↵ upon` | `a time \\| there` | `a ˋdayˋ` |" in page


def test_tasks_that_the_shipped_cell_answers_otherwise_are_shown(four: Matrix) -> None:
    page = summary_of(four)
    assert "answers otherwise than the reference" in page
    assert "passes: `Mobert is 73.`" in page and r"fails: `Mobert is \| 37.`" in page
    html = (four.root / "reports/index.html").read_text(encoding="utf-8")
    assert "The same task, another answer" in html and "<b>Mobert" not in html
    assert "tasks passed %" in html and "50.0 (15.0 to 85.0)" in html
