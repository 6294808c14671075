"""The picture of searches: what was predicted, what was built, and the fixed recipes beside them."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline import layout
from pipeline.entries import CalibrationText, Fit
from pipeline.found import Fit as Found
from pipeline.found import Point, Trial
from pipeline.planned import FitEntry
from pipeline.reporting.report import write_report
from pipeline.reporting.searched import searched as found_points
from pipeline.strict import plain
from pipeline.types import Status
from tests.reporting.matrix import Matrix
from tests.support.chromium import CHROMIUM, opened

pytestmark = pytest.mark.usefixtures("undrawn")
in_chromium = pytest.mark.skipif(not CHROMIUM, reason="no Chromium here: apt-get install chromium")
TRIALS = ((3_000_000, 0.2), (2_000_000, 0.05))  # bytes of weights, KL


def html_of(matrix: Matrix) -> str:
    write_report(matrix.plan, matrix.root)
    return (matrix.root / "reports/index.html").read_text(encoding="utf-8")


def searched(matrix: Matrix) -> Matrix:
    """int4 beside a build whose formats were found in two trials."""
    for precision in ("int4", "fit"):
        matrix.run(matrix.add(precision))
    cell = matrix.plan.cells["phi-tiny_fit_onnxruntime_cpu"]
    recipe = cell.package.recipe
    text = CalibrationText("text", 512)
    entry = Fit("phi-tiny", "onnxruntime", "", "", "", recipe, text, {"max_kl_nats": 0.1}, 0, 3, 4)
    matrix.plan.fits[cell.build] = FitEntry("phi-tiny", "onnxruntime", "", "", "", "", entry)
    trials = [Trial({"int4-32": 9}, 8 * size, size + 10**6, kl * 0.9, kl, 0.9, 0.01) for size, kl in TRIALS]
    points = (Point(8_000_000, 0.2), Point(30_000_000, 0.001))
    found = Found(Status.OK, "", {"a": "int4-32"}, {"max_kl_nats": 0.1}, tuple(trials), 1, 1.0, 1.0, points, 4088)
    matrix.write(layout.fit(cell.build), plain(found))
    return matrix


def test_what_a_search_predicted_and_measured_is_shown_beside_the_recipes(matrix: Matrix) -> None:
    plan, root = searched(matrix).plan, matrix.root
    rows = write_report(plan, root)
    points = found_points(plan, rows, root)
    kinds = [(point["kind"], point["label"], round(point["size"], 3), point["kl"]) for point in points]
    assert kinds == [
        ("predicted", "predicted", 2.0, 0.2),  # a megabyte of the build is no weights
        ("predicted", "predicted", 4.75, 0.001),
        ("built", "fit, trial 1", 4.0, 0.2),
        ("built", "fit", 3.0, 0.05),
        ("recipe", "int4", 3.3, 2.8e-4),
    ]
    (root / layout.fit("phi-tiny_fit_onnxruntime")).unlink()
    assert not found_points(plan, rows, root) and "What searches found" not in html_of(matrix)


@in_chromium
def test_a_browser_draws_what_a_search_found(matrix: Matrix, tmp_path: Path) -> None:
    html_of(searched(matrix))
    dom, errors = opened(matrix.root / "reports/index.html", tmp_path / "profile")
    assert not errors and dom.count("marks-svg") + dom.count('class="marks"') == 3
    assert "What searches found" in dom and ">fit<" in dom
