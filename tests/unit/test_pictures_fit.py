"""Formats of a model that sees: the decoder's matrices, and builds measured on questions on pictures."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pipeline import layout
from pipeline.backends.onnxruntime.backend import BACKEND
from pipeline.entries import CalibrationText, Fit, Reference
from pipeline.metrics.divergence import totals
from pipeline.model.checkpoint import EMBEDDING, HEAD
from pipeline.search.variants import variants
from pipeline.types import Checkpoint, Family, Recipe
from stages.fit.fit import _measuring
from stages.reference.pictures import of_pictures
from tests.support.pictures import PICTURES, SHIPPED, fetched

ROWS = str(PICTURES / "evaluation.jsonl")
FORM = {"precision": "fp32", "provider": "cpu"}


def test_a_build_is_measured_on_the_references_questions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    model = fetched(SHIPPED, Path(layout.model("vision")))
    reference = Path(layout.reference("vision"))
    reference.mkdir(parents=True)
    asked = Reference(str(model), ROWS, str(PICTURES), 512, 2048, 4, 2, 8, False, modality="vision")
    of_pictures("vision", asked, reference)
    config = json.loads((model / "config.json").read_text("utf-8"))
    (tmp_path / "build").mkdir()
    BACKEND.convert(Checkpoint("vision", model, model, config), FORM, tmp_path / "build")
    recipe, text = Recipe("default", Family.INT4, "weight-only", "fp32", {}), CalibrationText(ROWS, 512)
    names = ("vision", "onnxruntime", "export", str(model), "variants")
    score, nll, tokens = _measuring(Fit(*names, recipe, text, {}, 3, 1, 0, "vision"), BACKEND)
    found = score(tmp_path / "build")
    assert len(found) == 3 and sum(len(each.nll) for each in found) == tokens
    assert totals(found).kl_nats_mean < 1e-6
    assert nll == pytest.approx(float(np.log(totals(found).perplexity)), abs=1e-5)


def test_its_embedding_has_no_formats_and_a_tied_lm_head_its_own(tmp_path: Path) -> None:
    model = fetched(SHIPPED, tmp_path / "vision")
    ids = np.random.default_rng(0).integers(0, 390, (4, 32))
    formats = {"lm_head": ("int4-32", "int8-32"), "layers": ("int4-32",)}
    found = variants(BACKEND, FORM, formats, model, model, ids, tmp_path, lambda *_: None)
    assert EMBEDDING not in found and len(found) == 3 * 4 + 1
    assert {name: set(variant.errors) for name, variant in found[HEAD].items()} == {
        "int4-32": {HEAD},
        "int8-32": {HEAD},
    }
