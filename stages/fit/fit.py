"""fit: the formats of a build, matrix by matrix: chosen by prediction, built, measured, chosen again."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np

from pipeline import layout
from pipeline.backends.base import Backend, Calibration, Order
from pipeline.backends.registry import load_backend
from pipeline.calibration.text import calibration_ids
from pipeline.entries import Fit
from pipeline.files import scratch_folder, size_of
from pipeline.found import Fit as Found
from pipeline.found import Sensitivity, Variants
from pipeline.harness.kept import Kept, made_of
from pipeline.harness.outcome import read_ok
from pipeline.harness.run import progress
from pipeline.metrics.divergence import Scores, totals
from pipeline.metrics.media import files_of, hidden_of, media_of, score_answers, triples_of
from pipeline.metrics.scoring import read_reference, score_windows
from pipeline.model.checkpoint import EMBEDDING, elements, open_checkpoint, read_headers, stored_parameters
from pipeline.records import Export
from pipeline.search.exchange import Measured
from pipeline.search.loop import Limits, meets, rank, search
from pipeline.types import QuantizationStats, Status


def fit(key: str, entry: Fit) -> Found:
    """The table of formats within the entry's bounds. Raises QualityError where nothing is, with the best there is."""
    folder = layout.model(entry.model)
    backend, exported = load_backend(entry.backend), read_ok(Export, layout.export(entry.export))
    checkpoint = open_checkpoint(entry.model, entry.weights)
    text = calibration_ids(folder, entry.calibration, entry.recipe.settings)
    score, nll, tokens = _measuring(entry, backend)

    report, made = progress(f"fit@{key}"), count(1)
    tensors = read_headers(Path(entry.weights))
    number, kept = stored_parameters(tensors), Kept(key)
    best: list[tuple[float, dict[str, str], QuantizationStats]] = []
    kept.drop()

    def measure(table: Mapping[str, str]) -> Measured:
        recipe = replace(entry.recipe, settings={**entry.recipe.settings, "table": dict(table)})
        with scratch_folder(layout.fit(key)) as out:
            order = Order(recipe, Calibration(text), out, lambda *_: None, number, checkpoint)
            if exported.deferred:
                stats = backend.stream(checkpoint, exported.form, order)
            else:
                stats = backend.quantize(layout.export(entry.export), order)
            found = totals(score(out))
            report(next(made), entry.builds + entry.exchanges)
            increase = found.perplexity / math.exp(nll) - 1
            measured = Measured(size_of(out), found.kl_nats_mean, found.top1_agreement, increase)
            if meets(measured, entry.bounds) and (not best or rank(measured, entry.bounds) < best[-1][0]):
                best.append((rank(measured, entry.bounds), dict(table), stats))
                kept.put(out)
            return measured

    matrices = read_ok(Variants, layout.variants(entry.variants)).matrices
    sensitivity = read_ok(Sensitivity, layout.sensitivity(entry.model)).matrices
    chosen = {name for formats in matrices.values() for variant in formats.values() for name in variant.errors}
    weights = sum(elements(tensors, name) or elements(tensors, EMBEDDING) for name in matrices)  # a tied lm_head's
    found = search(
        matrices,
        {name: alpha for name, alpha in sensitivity.items() if name in chosen},
        entry.bounds,
        measure,
        Limits(entry.builds, entry.exchanges, weights),
    )
    if best and best[-1][1] == found["table"]:
        of = made_of(key, entry.export, entry.weights, entry.calibration, found["table"])
        kept.seal(of, best[-1][2])
    return Found(Status.OK, "", tokens=tokens, **found)


def _measuring(entry: Fit, backend: Backend) -> tuple[Callable[[Path], list[Scores]], float, int]:
    """What scores a build on the reference, the reference's mean NLL there, and how many tokens that are."""
    source = layout.reference(entry.model)
    reference, nll = read_reference(source / layout.HIDDEN, Path(entry.weights)), np.load(source / layout.NLL)
    if not entry.modality:
        ids = np.load(source / layout.IDS)[: entry.windows or None]

        def on_windows(build: Path) -> list[Scores]:
            with backend.open(build) as session:
                return score_windows(ids, reference, session.logits, backend.batch, lambda _: None)

        return on_windows, float(nll[: len(ids)].mean()), int(ids.size - len(ids))
    triples = triples_of(source, entry.windows)
    media, hidden = media_of(layout.model(entry.model), files_of(source, triples)), hidden_of(source, triples)
    tokens = sum(triple.answered for triple in triples)

    def on_questions(build: Path) -> list[Scores]:
        with backend.open_sight(build) as session:
            return score_answers(triples, hidden, reference, session.logits, media, lambda _: None)[0]

    return on_questions, float(nll[:tokens].mean()), tokens
