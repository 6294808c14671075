"""The quality of a build that sees or hears, on questions: its own tower and decoder, over the answers' tokens.

Accuracy mode is given what the reference was given; the default mode what the runtime's own processing makes of a file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from pipeline import layout
from pipeline.answers import Example, Sample
from pipeline.backends.base import SightSession
from pipeline.backends.process import ask_runtime
from pipeline.backends.registry import load_backend
from pipeline.backends.request import RuntimeRequest
from pipeline.entries import Evaluate
from pipeline.errors import QualityError
from pipeline.files import read_json, write_bytes
from pipeline.harness.run import progress
from pipeline.metrics.columns import archive, per_window, tails
from pipeline.metrics.decode import check_decode
from pipeline.metrics.divergence import Scores, totals
from pipeline.metrics.examples import examples
from pipeline.metrics.media import Media, answered, files_of, hidden_of, media_of, score_answers, split, triples_of
from pipeline.metrics.scoring import read_reference
from pipeline.metrics.shared import OF_TASKS, changed, quality
from pipeline.model.side_files import stop_ids
from pipeline.model.tokenizer import load_tokenizer
from pipeline.pictures.media import Seen, of_arrays
from pipeline.pictures.rows import MEDIA
from pipeline.pictures.triples import Triple
from pipeline.records import Evaluation, ReferenceFigures
from pipeline.types import JSON, Status
from stages.evaluate.evaluate import check_exact

NO_TASKS = "models that see or hear are not given chat tasks"
SEES = 1e-3  # nats by which some token's likelihood changes with the picture or sound, at least


def on_pictures(key: str, entry: Evaluate) -> Evaluation:
    """The build's figures. Raises QualityError where it reads prompts otherwise, or does not look, or listen."""
    build, source = layout.build(key), layout.reference(entry.model)
    summary, backend = read_json(source / layout.SUMMARY), load_backend(entry.backend)
    triples = triples_of(source, entry.questions)
    prompts = triples[: entry.decode_prompts]
    files = files_of(source, triples)
    tokens = _generated(entry, build, prompts, files)
    own = _cut(entry.backend, build, files)
    media, hidden = media_of(layout.model(entry.model), files), hidden_of(source, triples)
    lm = read_reference(source / layout.HIDDEN, Path(entry.weights))
    report, steps = progress(f"evaluate@{key}"), 2 * len(triples)

    def scored(session: SightSession, seen: Media, before: int) -> tuple[list[Scores], list[list[int]]]:
        return score_answers(triples, hidden, lm, session.logits, seen, lambda done: report(before + done, steps))

    with backend.open_sight(build) as session:
        computed_in = {
            "accuracy": dict(session.settings),
            "default": {MEDIA[entry.modality].option: "the runtime's own processing"},
        }
        accurate, said = scored(session, media, 0)
        users = None if backend.has_default_mode else scored(session, own, len(triples))[0]
        decode = check_decode([triple.asked.tolist() for triple in prompts], tokens, _logits(session, prompts, media))
        _check_sight(session, triples, media, len(lm.lm_head))
    if users is None:
        with backend.open_sight(build, default_mode=True) as session:
            computed_in["default"] |= session.settings
            users, _ = scored(session, own, len(triples))
    check_exact(entry.family, totals(accurate).kl_nats_mean)
    nll = split(np.load(source / layout.NLL), [triple.answered for triple in triples])
    sums, percentiles, in_default = per_window(accurate, nll), tails(accurate), per_window(users, nll)
    right = tuple(own == triple.target[1:].tolist() for own, triple in zip(said, triples, strict=True))
    figures = _reference(nll, triples, summary)
    answers = tuple(int(own != its) for own, its in zip(said, summary["said"], strict=False))
    write_bytes(layout.scores(key), archive({"": accurate, "_default_mode": users}, nll))
    return Evaluation(
        Status.OK,
        "",
        metrics=quality(sums, in_default, percentiles, right, changed(answers, figures.answers)),
        reasons=dict.fromkeys(OF_TASKS, NO_TASKS),
        reference=figures,
        windows=sums,
        windows_default_mode=in_default,
        tails=percentiles,
        answered_right=right,
        answers=answers,
        computed_in=computed_in,
        decode=replace(decode, file=prompts[0].file, asked=prompts[0].prompt),
        data=summary["data"],
        examples=_examples(entry.model, prompts, summary["continuations"], tokens),
        samples=_samples(entry.model, prompts, tokens),
    )


def _generated(entry: Evaluate, build: Path, prompts: Sequence[Triple], files: Mapping[str, Path]) -> list[list[int]]:
    """Greedy tokens, as many as each answer has, in the runtime that users run, from the files."""
    request = RuntimeRequest(
        "generate",
        [],
        min(entry.decode_tokens, max(triple.answered for triple in prompts)),
        asked=[triple.prompt for triple in prompts],
        media=[str(files[triple.file]) for triple in prompts],
    )
    answer = ask_runtime(entry.backend, build, request).value
    for triple, ids in zip(prompts, answer["ids"], strict=True):
        if ids != triple.asked.tolist():
            raise QualityError(
                f"the runtime reads a question on {triple.file} as {len(ids)} tokens, the reference as "
                f"{len(triple.asked)}, or as others",
                hint=f"its processing of {MEDIA[entry.modality].option} is another",
            )
    return [tokens[: triple.answered] for triple, tokens in zip(prompts, answer["tokens"], strict=True)]


def _cut(backend: str, build: Path, files: Mapping[str, Path]) -> dict[str, Seen]:
    """What the runtime's own processing makes of the files."""
    with TemporaryDirectory(prefix="phi-deploy-") as place:
        cut = [str(Path(place) / f"{number}.npz") for number in range(len(files))]
        ask_runtime(backend, build, RuntimeRequest("see", [], 0, media=[*map(str, files.values())], cut=cut))
        made = {}
        for file, path in zip(files, cut, strict=True):
            with np.load(path) as held:
                made[file] = of_arrays(held)
    return made


def _logits(
    session: SightSession, prompts: Sequence[Triple], media: Media
) -> Callable[[NDArray[np.int64]], NDArray[np.float32]]:
    """What the decode check asks, prompt by prompt in their order."""
    order = iter(prompts)
    return lambda ids: session.logits(ids[0], media[next(order).file])[None]


def _check_sight(session: SightSession, triples: Sequence[Triple], media: Media, vocab: int) -> None:
    """Another picture or sound of as many places must change what is answered."""
    first = triples[0]
    other = next((t.file for t in triples if t.file != first.file and t.places == first.places), None)
    if other is None:
        return
    own, its = (answered(session.logits, first, media[file], vocab) for file in (first.file, other))
    if float(np.abs(own - its).max()) < SEES:
        raise QualityError(f"it answers alike to {first.file} and {other}: it takes in neither")


def _reference(nll: Sequence[NDArray[np.float64]], triples: Sequence[Triple], summary: JSON) -> ReferenceFigures:
    """Of what transformers says on the same: an answer is right where each of its tokens is the most likely one."""
    right = tuple(said == triple.target[1:].tolist() for said, triple in zip(summary["said"], triples, strict=False))
    return ReferenceFigures(
        perplexity=float(np.exp(np.concatenate(nll).mean())),
        task_accuracy=sum(right) / len(right),
        nll=tuple(float(own.sum()) for own in nll),
        answered_right=right,
        answers=(0,) * len(right),
    )


def _examples(
    model: str, prompts: Sequence[Triple], reference: list[list[int]], own: list[list[int]]
) -> tuple[Example, ...]:
    """Questions that the build answers otherwise."""
    tokenizer, count = load_tokenizer(layout.model(model)), len(own)
    asked = [[*triple.before, *triple.after[: -triple.answered]] for triple in prompts]
    return examples(asked, reference[:count], own, lambda ids: str(tokenizer.decode(ids, skip_special_tokens=False)))


def _samples(model: str, prompts: Sequence[Triple], tokens: Sequence[Sequence[int]]) -> tuple[Sample, ...]:
    """What was said to each question, up to the token that ends an answer."""
    tokenizer, stops, made = load_tokenizer(layout.model(model)), set(stop_ids(layout.model(model))), []
    for triple, ids in zip(prompts, tokens, strict=True):
        end = next((place for place, token in enumerate(ids) if token in stops), len(ids))
        said = str(tokenizer.decode(list(ids[:end]))).strip()
        made.append(Sample(triple.question, triple.answer, said, end < len(ids), triple.file, triple.prompt))
    return tuple(made)
