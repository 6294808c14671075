"""In the place of evaluate, for a build that is too large to be scored here: one token that its runtime answers.

    python benchmarks/answer.py MODEL BUILD BACKEND ROWS        # in the project's root; ROWS are questions on pictures

The runtime that users run is given the first row's file and question, and must read them as the reference would. The
token becomes the decode check of a record without figures, which is what package needs of an evaluation.
"""

from __future__ import annotations

import sys
from pathlib import Path

from pipeline import layout
from pipeline.answers import Sample
from pipeline.backends.process import ask_runtime
from pipeline.backends.request import RuntimeRequest
from pipeline.files import copy_file, read_json, write_json
from pipeline.metrics.shared import quality
from pipeline.model.tokenizer import load_tokenizer
from pipeline.packaging.manifest import sha256
from pipeline.pictures.triples import Triple, read_triples
from pipeline.records import Decode, Evaluation, ReferenceFigures, Tails, Windows
from pipeline.strict import plain
from pipeline.types import Status

UNMEASURED = "one token was asked for, nothing was scored"


def answered(model: str, build: str, backend: str, rows: Path) -> tuple[Triple, list[int]]:
    """The question, and the token. Ends where the runtime reads it as other ids."""
    source = layout.model(model)
    (triple,) = read_triples(rows, source, read_json(source / "config.json")["max_position_embeddings"], 1)
    file = rows.parent / triple.file
    request = RuntimeRequest("generate", [], 1, asked=[triple.prompt], media=[str(file)])
    found = ask_runtime(backend, layout.build(build), request).value
    if found["ids"][0] != triple.asked.tolist():
        raise SystemExit(f"the runtime reads {len(found['ids'][0])} ids, the reference {len(triple.asked)}, or others")
    kept = layout.reference(model) / layout.MEDIA / triple.file
    kept.parent.mkdir(parents=True, exist_ok=True)
    copy_file(file, kept)
    return triple, found["tokens"][0]


def record(model: str, triple: Triple, tokens: list[int], rows: Path) -> Evaluation:
    """An evaluation that says nothing of quality."""
    none, tails = Windows((), (), (), (), (), ()), Tails((), (), (), ())
    said = str(load_tokenizer(layout.model(model)).decode(tokens))
    figures = quality(none, None, tails, (), None)
    return Evaluation(
        Status.OK,
        "",
        metrics=figures,
        reasons={name: UNMEASURED for name, value in plain(figures).items() if value is None},
        reference=ReferenceFigures(1.0, None, (), (), ()),
        windows=none,
        windows_default_mode=None,
        tails=tails,
        answered_right=(),
        answers=(),
        computed_in={},
        decode=Decode(len(tokens), 1.0, 0.0, (), tuple(tokens), triple.file, triple.prompt),
        data={rows.as_posix(): sha256(rows)},
        samples=(Sample(triple.question, triple.answer, said, False, triple.file, triple.prompt),),
    )


def main() -> int:
    model, build, backend, rows = *sys.argv[1:4], Path(sys.argv[4])
    triple, tokens = answered(model, build, backend, rows)
    write_json(layout.evaluation(build), plain(record(model, triple, tokens, rows)))
    sys.stdout.write(f"{len(triple.asked)} tokens asked, answered with {tokens}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
