"""Goldens of the search on the shipped model: what a number of bits is predicted to cost may fall, and not rise.

Written anew, where the search got better, with `GOLDENS=write python -m pytest -n 0 tests/contract/test_goldens.py`.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from pipeline.backends.registry import load_backend
from pipeline.calibration.text import first_windows
from pipeline.entries import CalibrationText
from pipeline.matrix.searches import PLACES
from pipeline.model.checkpoint import elements, read_headers
from pipeline.search.choice import best
from pipeline.search.variants import variants
from tests.support.backends import conf_of
from tests.support.tiny import ROOT, SHIPPED

GOLDENS = ROOT / "tests/goldens/search.json"
BITS = (4.5, 5.0, 6.0)  # a weight
WINDOWS = 4
WORSE = 1.03


@pytest.mark.parametrize(
    "name", ["onnxruntime", *(pytest.param(name, marks=pytest.mark.slow) for name in ("openvino", "llamacpp", "mlx"))]
)
def test_the_search_does_not_get_worse(name: str, tmp_path: Path) -> None:
    goldens = json.loads(GOLDENS.read_text(encoding="utf-8"))
    conf = conf_of(name)
    recipe = conf["recipes"]["fit"]["default"]
    formats = {place: tuple(recipe.get(word, recipe["formats"])) for place, word in PLACES.items()}
    text = CalibrationText("data/english/calibration.txt", 512)
    ids = first_windows(SHIPPED, CalibrationText(str(ROOT / text.text), text.window), WINDOWS)
    form = conf["forms"][recipe["form"]]
    found = variants(load_backend(name), form, formats, SHIPPED, SHIPPED, ids, tmp_path, lambda *_: None)
    tensors = read_headers(SHIPPED)
    weights = sum(elements(tensors, matrix) for matrix in found)
    chosen = {bits: best(found, goldens["sensitivity"], int(bits * weights)) for bits in BITS}
    nats = {str(bits): solution.predicted for bits, solution in chosen.items() if solution}
    assert len(nats) == len(BITS)
    if os.environ.get("GOLDENS") == "write":
        goldens["nats"][name] = {bits: float(f"{value:.4g}") for bits, value in nats.items()}
        GOLDENS.write_text(json.dumps(goldens, indent=1) + "\n", encoding="utf-8")
    golden = goldens["nats"][name]
    assert {bits: value for bits, value in nats.items() if value > WORSE * golden[bits]} == {}
