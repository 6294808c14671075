"""reference: transformers in fp32 on the evaluation windows, once per model. Every backend is held against it."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import groupby, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from pipeline import layout
from pipeline.entries import Reference
from pipeline.errors import DataError
from pipeline.files import read_json, write_json
from pipeline.harness.disk import require_result
from pipeline.harness.host import threads
from pipeline.harness.run import progress
from pipeline.matrix.sizes import reference_size
from pipeline.metrics.divergence import negative_log_likelihood
from pipeline.metrics.questions import accuracy, batches, read_questions, score_questions
from pipeline.model.architectures import ARCHITECTURES
from pipeline.model.chats import rendered_all
from pipeline.model.checkpoint import parameters, read_headers, read_output_matrix
from pipeline.model.greedy import answers, greedy
from pipeline.model.greedy_by_layer import Prompt, answers_by_layer, scratch_size
from pipeline.model.layer_by_layer import final_states
from pipeline.model.loading import load_model
from pipeline.model.side_files import stop_ids
from pipeline.model.tasks import Answers, read_tasks
from pipeline.model.texts import windows
from pipeline.model.tokenizer import encode, load_tokenizer
from pipeline.packaging.manifest import sha256
from pipeline.types import JSON

if TYPE_CHECKING:
    from tokenizers import Tokenizer

LAYERED_ABOVE = 2e9  # bytes of a model in fp32
SCRATCH, KEPT = "states.tmp", "kept.tmp"
PROMPT_TOKENS = 32  # of the first windows: prompts that are gone on with


def reference(key: str, entry: Reference, out: Path) -> None:
    """Write token ids int64 [n, window], NLL float64 [n, window-1], final hidden states float32 [n, window, width]."""
    if entry.modality:
        from stages.reference.pictures import of_pictures

        of_pictures(key, entry, out)
        return
    source, weights = layout.model(key), Path(entry.weights)
    tokenizer = load_tokenizer(source)
    ids = windows(tokenizer, Path(entry.text), entry.window, entry.tokens)
    config, questions = read_json(source / "config.json"), []
    if entry.questions:
        longest = config["max_position_embeddings"]
        questions = read_questions(Path(entry.questions), tokenizer, entry.max_questions, longest)
    tasks = _read_tasks(source, entry, tokenizer, config["max_position_embeddings"]) if entry.tasks else None
    inputs = [*ids[:, None], *(batch.ids for batch in batches(questions, ids.shape[1]))]
    width, layered = config["hidden_size"], _is_layered(source, weights)
    prompts = ids[: entry.decode_prompts, :PROMPT_TOKENS]
    asked = _asked(source, tokenizer, prompts, entry.decode_tokens, tasks)
    scratch = 4 * width * sum(batch.size for batch in inputs) + scratch_size(config, asked) if layered else 0
    require_result(layout.ARTIFACTS, reference_size(ids.size, width), scratch)

    report = progress(f"reference@{key}")
    matrix, bias = read_output_matrix(weights)

    def logits(states: NDArray[np.float32]) -> NDArray[np.float32]:
        rows = states @ matrix.T
        return rows if bias is None else rows + bias

    np.save(out / layout.IDS, ids)
    hidden = np.lib.format.open_memmap(out / layout.HIDDEN, mode="w+", dtype=np.float32, shape=(*ids.shape, width))
    nll = np.empty((len(ids), ids.shape[1] - 1))
    if layered:
        found = answers_by_layer(source, weights, asked, logits, out / KEPT, report)
        states = _layer_by_layer(source, weights, inputs, out / SCRATCH, report)
    else:
        import torch

        torch.set_num_threads(1)  # `_whole` has a sequence on each
        model = load_model(source, weights, "float32", entry.trust_remote_code)
        states = _whole(model, inputs, report, config.get("original_max_position_embeddings") or math.inf)
        found = greedy(model, prompts, entry.decode_tokens).tolist()
        if tasks:
            torch.set_num_threads(threads())
            chats = asked[len(prompts) :]
            found += answers(model, [chat.ids.tolist() for chat in chats], entry.task_tokens, set(stop_ids(source)))
            torch.set_num_threads(1)
    with threadpool_limits(1, "blas"):  # beside torch's threads
        for row, window in enumerate(ids):
            hidden[row] = next(states)[0]
            nll[row] = negative_log_likelihood(logits(hidden[row, :-1]), window[1:])
        scores = score_questions(questions, lambda _: logits(next(states)), ids.shape[1], lambda _: None)
    hidden.flush()
    del hidden
    np.save(out / layout.NLL, nll)
    (out / SCRATCH).unlink(missing_ok=True)
    write_json(out / layout.QUESTIONS, [question.to_json() for question in questions])
    summary = {
        "windows": len(ids),
        "window": ids.shape[1],
        "perplexity": float(np.exp(nll.mean())),
        "task_accuracy": accuracy(questions, scores) if questions else None,
        "question_scores": scores,
        "prompts": prompts.tolist(),
        "continuations": found[: len(prompts)],
        "data": {path: sha256(Path(path)) for path in (entry.text, entry.questions) if path},
    }
    write_json(out / layout.SUMMARY, summary)
    if tasks:
        tasks["answers"] = _answers(source, tokenizer, found[len(prompts) :]).to_json()
        write_json(out / layout.TASKS, tasks)


def _read_tasks(source: Path, entry: Reference, tokenizer: Tokenizer, context: int) -> JSON:
    """The chat tasks with the text and the ids that the checkpoint's template makes of them, not answered yet.

    Raises DataError for one that leaves no room for an answer in the model's context.
    """
    read = read_tasks([Path(path) for path in entry.tasks], entry.max_tasks)
    texts = rendered_all(source, [(task.messages, where) for task, where in read])
    prompts = [encode(tokenizer, text) for text in texts]
    for ids, (_, where) in zip(prompts, read, strict=True):
        if len(ids) + entry.task_tokens > context:
            said = f"a chat of {len(ids)} tokens and an answer of evaluate.task_tokens={entry.task_tokens}"
            raise DataError(f"{said} are more than the model's context of {context}", where=where)
    return {
        "tasks": [task.to_json() for task, _ in read],
        "texts": texts,
        "tokens": entry.task_tokens,
        "context": max(map(len, prompts)) + entry.task_tokens,
        "answers": None,
        "data": {path: sha256(Path(path)) for path in entry.tasks},
    }


def _asked(
    source: Path, tokenizer: Tokenizer, prompts: NDArray[np.int64], count: int, tasks: JSON | None
) -> list[Prompt]:
    """What is gone on with: the prompts, `count` tokens each, then the chats, to their ends."""
    stops = set(stop_ids(source))
    chats = [np.asarray(encode(tokenizer, text), np.int64) for text in (tasks or {}).get("texts", ())]
    return [*(Prompt(ids, count) for ids in prompts), *(Prompt(ids, (tasks or {})["tokens"], stops) for ids in chats)]


def _answers(source: Path, tokenizer: Tokenizer, found: Sequence[Sequence[int]]) -> Answers:
    stops = set(stop_ids(source))
    ended = tuple(ids[-1] in stops for ids in found)
    said = tuple(str(tokenizer.decode(ids, skip_special_tokens=True)) for ids in found)
    return Answers(said, ended)


def _is_layered(source: Path, weights: Path) -> bool:
    architecture = ARCHITECTURES[read_json(source / "config.json")["architectures"][0]]
    return 4 * parameters(read_headers(weights)) > LAYERED_ABOVE and architecture.layered


def _layer_by_layer(
    source: Path, weights: Path, inputs: Sequence[NDArray[np.int64]], scratch: Path, report: Callable[[int, int], None]
) -> Iterator[NDArray[np.float32]]:
    """Final hidden states [batch, length, width] of each of the inputs [batch, length], through a file."""
    states = iter(final_states(source, weights, [row for batch in inputs for row in batch], scratch, report))
    for batch in inputs:
        yield np.stack([next(states) for _ in batch])


def _whole(
    model: Any, inputs: Sequence[NDArray[np.int64]], report: Callable[[int, int], None], long: float
) -> Iterator[NDArray[np.float32]]:
    """The same by a model that is held whole, some inputs at a time, each on a thread of its own.

    Threads that share one small product wait for each other longer than they compute. Inputs of more than `long` tokens
    are computed apart from the others: LongRoPE keeps the frequencies of the last ones in the model.
    """
    import torch

    def states(batch: NDArray[np.int64]) -> NDArray[np.float32]:
        with torch.inference_mode():
            done = model.model(input_ids=torch.from_numpy(batch), use_cache=False)
            found: NDArray[np.float32] = done.last_hidden_state.numpy()
            return found

    workers, done = threads(), 0
    with ThreadPoolExecutor(workers) as pool:
        for _, group in groupby(inputs, key=lambda batch: batch.shape[1] > long):
            waiting: deque[Future[NDArray[np.float32]]] = deque()
            rest = iter(group)
            while waiting or done < len(inputs):
                waiting += [pool.submit(states, batch) for batch in islice(rest, 2 * workers - len(waiting))]
                if not waiting:
                    break
                yield waiting.popleft().result()
                report(done := done + 1, len(inputs))
