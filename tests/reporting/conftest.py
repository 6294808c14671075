"""Matrices to report on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.reporting.matrix import PRECISIONS, Matrix


@pytest.fixture
def matrix(tmp_path: Path) -> Matrix:
    """An empty matrix."""
    return Matrix(tmp_path)


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the pictures out, for tests of rows and tables."""
    monkeypatch.setattr("pipeline.reporting.report.draw", lambda *_: None)


@pytest.fixture
def four(matrix: Matrix) -> Matrix:
    """fp32, fp16, int8 and int4 of phi-tiny, all of them run."""
    for precision in PRECISIONS:
        matrix.run(matrix.add(precision))
    return matrix
