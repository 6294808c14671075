"""reference: transformers in fp32 on the evaluation windows, once per model. Every backend is held against it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline import layout
from pipeline.entries import Reference
from pipeline.files import read_json, write_json
from pipeline.harness.disk import require_result
from pipeline.harness.run import progress
from pipeline.matrix.sizes import reference_size
from pipeline.metrics.divergence import log_softmax
from pipeline.metrics.questions import accuracy, choice_scores, read_questions
from pipeline.model.architectures import ARCHITECTURES
from pipeline.model.checkpoint import parameters, read_headers, read_output_matrix
from pipeline.model.layer_by_layer import final_states
from pipeline.model.loading import load_model
from pipeline.model.texts import windows
from pipeline.model.tokenizer import load_tokenizer
from pipeline.packaging.manifest import sha256

LAYERED_ABOVE = 2e9  # bytes of a model in fp32
SCRATCH = "states.tmp"


def reference(key: str, entry: Reference, out: Path) -> None:
    """Write token ids int64 [n, window], NLL float64 [n, window-1], final hidden states float32 [n, window, width]."""
    source, weights = layout.model(key), Path(entry.weights)
    tokenizer = load_tokenizer(source)
    ids = windows(tokenizer, Path(entry.text), entry.window, entry.tokens)
    config, questions = read_json(source / "config.json"), []
    if entry.questions:
        longest = config["max_position_embeddings"]
        questions = read_questions(Path(entry.questions), tokenizer, entry.max_questions, longest)
    sequences = [*ids, *(np.asarray(choice, np.int64) for question in questions for choice in question.sequences)]
    width, layered = config["hidden_size"], _is_layered(source, weights)
    scratch = 4 * width * sum(map(len, sequences)) if layered else 0
    require_result(layout.ARTIFACTS, reference_size(ids.size, width), scratch)

    report = progress(f"reference@{key}")
    matrix, bias = read_output_matrix(weights)

    def logits(states: NDArray[np.float32]) -> NDArray[np.float32]:
        rows = states @ matrix.T
        return rows if bias is None else rows + bias

    np.save(out / layout.IDS, ids)
    hidden = np.lib.format.open_memmap(out / layout.HIDDEN, mode="w+", dtype=np.float32, shape=(*ids.shape, width))
    nll = np.empty((len(ids), ids.shape[1] - 1))
    states = _states(source, entry, sequences, out / SCRATCH if layered else None, report)
    for row, window in enumerate(ids):
        hidden[row] = next(states)
        scored = log_softmax(logits(hidden[row, :-1]))
        nll[row] = -scored[np.arange(len(window) - 1), window[1:]]
    hidden.flush()
    del hidden
    np.save(out / layout.NLL, nll)
    scores = [choice_scores(question, lambda _: logits(next(states))[None]) for question in questions]
    (out / SCRATCH).unlink(missing_ok=True)
    write_json(out / layout.QUESTIONS, [question.to_json() for question in questions])
    summary = {
        "windows": len(ids),
        "window": ids.shape[1],
        "perplexity": float(np.exp(nll.mean())),
        "task_accuracy": accuracy(questions, scores) if questions else None,
        "question_scores": scores,
        "decode_prompts": entry.decode_prompts,
        "data": {path: sha256(Path(path)) for path in (entry.text, entry.questions) if path},
    }
    write_json(out / layout.SUMMARY, summary)


def _is_layered(source: Path, weights: Path) -> bool:
    architecture = ARCHITECTURES[read_json(source / "config.json")["architectures"][0]]
    return 4 * parameters(read_headers(weights)) > LAYERED_ABOVE and architecture.layered


def _states(
    source: Path,
    entry: Reference,
    sequences: Sequence[NDArray[np.int64]],
    scratch: Path | None,
    report: Callable[[int, int], None],
) -> Iterator[NDArray[np.float32]]:
    """Final hidden states [length, width] of each sequence: by the whole model, or layer by layer through `scratch`."""
    weights = Path(entry.weights)
    if scratch:
        yield from final_states(source, weights, sequences, scratch, report)
        return
    import torch

    model = load_model(source, weights, "float32", entry.trust_remote_code)
    with torch.inference_mode():
        for number, sequence in enumerate(sequences, 1):
            done = model.model(input_ids=torch.from_numpy(sequence[None, :]), use_cache=False)
            report(number, len(sequences))
            yield done.last_hidden_state[0].numpy()
