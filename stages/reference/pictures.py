"""The reference of a model that sees or hears: transformers' tower and decoder in fp32, on questions."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline import layout
from pipeline.entries import Reference
from pipeline.files import copy_file, read_json, write_json
from pipeline.harness.disk import require_result
from pipeline.harness.run import progress
from pipeline.matrix.sizes import reference_size
from pipeline.metrics.divergence import log_softmax
from pipeline.model.checkpoint import parameters, read_headers, read_output_matrix
from pipeline.model.greedy_by_layer import Prompt, answers_by_layer, scratch_size
from pipeline.model.layer_by_layer import final_states
from pipeline.model.loading import load_model
from pipeline.packaging.manifest import sha256
from pipeline.pictures.media import read_medium
from pipeline.pictures.tower import features, kind_of, load_tower
from pipeline.pictures.triples import Triple, read_triples

LAYERED_ABOVE = 2e9  # bytes of a decoder in fp32
SCRATCH, KEPT, SEEN = "states.tmp", "kept.tmp", "seen.tmp"
States = NDArray[np.float32]


def of_pictures(key: str, entry: Reference, out: Path) -> None:
    """Write the triples, final hidden states float32 [n, width] of their answers and the token before each, and NLL.

    The files lie beside them: what a model is given is made of them again wherever it is needed.
    """
    source, weights, rows = layout.model(key), Path(entry.weights), Path(entry.text)
    config = read_json(source / "config.json")
    triples = read_triples(rows, source, config["max_position_embeddings"], entry.max_questions)
    width, layered = config["hidden_size"], 4 * parameters(read_headers(weights)) > LAYERED_ABOVE
    kept = sum(len(triple.target) for triple in triples)
    asked = triples[: entry.decode_prompts]
    prompts = [Prompt(_words(triple, triple.asked), triple.answered) for triple in asked]
    states_size = 4 * width * sum(len(triple.ids) for triple in triples)
    scratch = states_size + scratch_size(config, prompts) if layered else 0
    require_result(layout.ARTIFACTS, reference_size(kept, width), scratch)
    files = list(dict.fromkeys(triple.file for triple in triples))
    for file in files:
        (out / layout.MEDIA / file).parent.mkdir(parents=True, exist_ok=True)
        copy_file(rows.parent / file, out / layout.MEDIA / file)

    report = progress(f"reference@{key}")
    seen = _seen(source, [rows.parent / file for file in files], width, out / SEEN)
    rows_of = dict(zip(files, seen, strict=True))
    matrix, bias = read_output_matrix(weights)

    def logits(states: States) -> States:
        return states @ matrix.T + (0 if bias is None else bias)

    if layered:
        put = _putting([(triple.asked, triple) for triple in asked], rows_of)
        continuations = answers_by_layer(source, weights, prompts, logits, out / KEPT, report, put)
        states = _layer_by_layer(source, weights, triples, rows_of, out / SCRATCH, report)
    else:
        model = load_model(source, weights, "float32", entry.trust_remote_code)
        states = _whole(model, triples, rows_of, report)
        continuations = [_greedy(model, triple, rows_of[triple.file]) for triple in asked]
    hidden = np.lib.format.open_memmap(out / layout.HIDDEN, mode="w+", dtype=np.float32, shape=(kept, width))
    nll, right, said, at = [], [], [], 0
    for triple, state in zip(triples, states, strict=True):
        target = triple.target
        hidden[at : at + len(target)] = state[-len(target) :]
        scored = logits(state[-len(target) : -1])
        nll.append(-log_softmax(scored)[np.arange(triple.answered), target[1:]])
        said.append(scored.argmax(axis=-1).tolist())
        right.append(said[-1] == target[1:].tolist())
        at += len(target)
    hidden.flush()
    del hidden, states
    np.save(out / layout.NLL, np.concatenate(nll))
    for name in (SCRATCH, SEEN):
        (out / name).unlink(missing_ok=True)
    write_json(out / layout.TRIPLES, [triple.to_json() for triple in triples])
    summary = {
        "questions": len(triples),
        "files": files,
        "perplexity": float(np.exp(np.concatenate(nll).mean())),
        "task_accuracy": sum(right) / len(right),
        "said": said,
        "continuations": continuations,
        "data": {rows.as_posix(): sha256(rows), rows.parent.as_posix(): _digest(rows.parent, files)},
    }
    write_json(out / layout.SUMMARY, summary)


def _seen(source: Path, files: Sequence[Path], width: int, scratch: Path) -> list[States]:
    """What the decoder is given of each picture or sound, float32 [tokens, width], as views of a file."""
    tower, kind, made = load_tower(source), kind_of(source), []
    with scratch.open("wb") as kept:
        for file in files:
            rows = features(tower, read_medium(file, kind))
            made.append(len(rows))
            kept.write(rows.tobytes())
    flat = np.memmap(scratch, np.float32, "r", shape=(sum(made), width))
    ends = np.cumsum(made)
    return [flat[end - count : end] for end, count in zip(ends, made, strict=True)]


def _digest(folder: Path, files: Sequence[str]) -> str:
    """SHA-256 of the list of the files' own, as `sha256sum` writes it."""
    return hashlib.sha256("".join(f"{sha256(folder / name)}  {name}\n" for name in files).encode()).hexdigest()


def _words(triple: Triple, ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """Ids of a question, the places of its picture or sound as any: they are replaced."""
    return np.where(ids == triple.place, 0, ids)


def _putting(
    asked: Sequence[tuple[NDArray[np.int64], Triple]], seen: dict[str, States]
) -> Callable[[int, States], None]:
    """What puts pictures or sounds into the rows [length, width] of the embedding of each question's ids, by number."""

    def put(number: int, rows: States) -> None:
        ids, triple = asked[number]
        rows[ids == triple.place] = seen[triple.file]

    return put


def _layer_by_layer(
    source: Path,
    weights: Path,
    triples: Sequence[Triple],
    seen: dict[str, States],
    scratch: Path,
    report: Callable[[int, int], None],
) -> Iterator[States]:
    put = _putting([(triple.ids, triple) for triple in triples], seen)
    sequences = [_words(triple, triple.ids) for triple in triples]
    return iter(final_states(source, weights, sequences, scratch, report, put))


def _embedded(model: Any, triple: Triple, seen: States, ids: NDArray[np.int64]) -> Any:
    """inputs_embeds [1, length, width] of ids with the picture or sound in its places."""
    import torch

    words = model.model.embed_tokens(torch.from_numpy(_words(triple, ids)))
    words[torch.from_numpy(ids == triple.place)] = torch.from_numpy(np.array(seen))
    return words[None]


def _whole(
    model: Any, triples: Sequence[Triple], seen: dict[str, States], report: Callable[[int, int], None]
) -> Iterator[States]:
    """Final hidden states [length, width] by a model that is held whole."""
    import torch

    for done, triple in enumerate(triples, 1):
        with torch.inference_mode():
            words = _embedded(model, triple, seen[triple.file], triple.ids)
            found: States = model.model(inputs_embeds=words, use_cache=False).last_hidden_state[0].numpy()
        yield found
        report(done, len(triples))


def _greedy(model: Any, triple: Triple, seen: States) -> list[int]:
    """The most likely tokens after the question, as many as the answer has."""
    import torch

    made: list[int] = []
    with torch.inference_mode():
        done = model(inputs_embeds=_embedded(model, triple, seen, triple.asked), use_cache=True)
        while len(made) < triple.answered:
            made.append(int(done.logits[0, -1].argmax()))
            done = model(input_ids=torch.tensor([made[-1:]]), past_key_values=done.past_key_values, use_cache=True)
    return made
