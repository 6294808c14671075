"""The reference of a model that sees, and what of its scores is kept."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

from pipeline import layout
from pipeline.entries import Reference
from pipeline.files import read_json
from pipeline.metrics.columns import archive, per_window
from pipeline.metrics.divergence import Scores
from stages.reference import pictures
from tests.support.pictures import PICTURES, SHIPPED, fetched


def test_layer_by_layer_is_the_whole_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    model = fetched(SHIPPED, Path(layout.model("vision")))
    entry = Reference(
        weights=str(model),
        text=str(PICTURES / "evaluation.jsonl"),
        questions=str(PICTURES),
        window=512,
        tokens=2048,
        max_questions=4,
        decode_prompts=2,
        decode_tokens=8,
        trust_remote_code=False,
        modality="vision",
    )
    made = []
    for above in (2e9, 0):
        monkeypatch.setattr(pictures, "LAYERED_ABOVE", above)
        out = tmp_path / f"above-{above:g}"
        out.mkdir()
        pictures.of_pictures("vision", entry, out)
        made.append((np.load(out / layout.HIDDEN), np.load(out / layout.NLL), read_json(out / layout.SUMMARY)))
        assert not list(out.glob("*.tmp"))
        assert (out / layout.MEDIA / "images/00.png").is_file()
    (whole, nll, said), (layered, its, other) = made
    assert np.abs(whole - layered).max() < 1e-4
    assert np.abs(nll - its).max() < 1e-5
    assert said["said"] == other["said"]
    assert [len(tokens) for tokens in said["continuations"]] == [len(tokens) for tokens in said["said"][:2]]
    assert other["continuations"] == said["continuations"]


def test_answers_of_several_lengths_are_kept_one_behind_the_other() -> None:
    scores = [Scores(np.full(n, 0.5), np.full(n, 0.1), np.ones(n, bool)) for n in (3, 5)]
    nll = [np.full(n, 0.4) for n in (3, 5)]
    sums = per_window(scores, nll)
    assert sums.tokens == (3, 5)
    assert sums.kl == pytest.approx((0.3, 0.5))
    with np.load(io.BytesIO(archive({"": scores}, nll))) as held:
        assert held["tokens"].tolist() == [3, 5]
        assert held["kl"].shape == held["top1"].shape == (8,)
