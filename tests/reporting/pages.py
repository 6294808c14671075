"""Pages of planned matrices."""

from __future__ import annotations

from pipeline.reporting.report import write_report
from pipeline.rows import Row
from tests.reporting.matrix import PRECISIONS, Matrix


def html_of(matrix: Matrix) -> tuple[str, list[Row]]:
    rows = write_report(matrix.plan, matrix.root)
    return (matrix.root / "reports/index.html").read_text(encoding="utf-8"), rows


def many(matrix: Matrix) -> Matrix:
    """Two targets of two backends, gates that int4 misses on one."""
    for target in ("cpu", "ios"):
        for backend in ("onnxruntime", "openvino"):
            for precision in PRECISIONS:
                cell = matrix.add(precision, backend=backend, target=target)
                matrix.run(cell, decode_tokens_per_s=300.0 + 20 * len(matrix.plan.cells))
                matrix.gate(cell, max_kl_nats=1e-4 if target == "ios" else 1e-2, max_package_mb=3000)
    return matrix
