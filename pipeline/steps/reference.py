"""reference: transformers in fp32 on the evaluation windows, once per model. Every backend is held against it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pipeline import layout
from pipeline.files import fresh_folder, read_json, require_space, write_json
from pipeline.loading import load_model
from pipeline.metrics.divergence import log_softmax
from pipeline.metrics.questions import accuracy, choice_scores, read_questions
from pipeline.runtime import progress
from pipeline.tokenizer import load_tokenizer, windows
from pipeline.types import JSON


def reference(key: str, entry: JSON) -> None:
    """Write token ids int64 [n, window], NLL float64 [n, window-1], final hidden states float32 [n, window, width]."""
    settings = entry["reference"]
    source = layout.model(key)
    tokenizer = load_tokenizer(source)
    ids = windows(tokenizer, Path(settings["text"]), settings["window"], settings["tokens"])
    questions = []
    if settings["questions"]:
        questions = read_questions(Path(settings["questions"]), tokenizer, settings["max_questions"])
    width = read_json(source / "config.json")["hidden_size"]
    require_space(layout.ARTIFACTS, ids.size * width * 4)

    import torch

    torch.manual_seed(settings["seed"])
    model = load_model(source, Path(entry["weights"]), "float32", settings["trust_remote_code"])
    report = progress(f"reference@{key}")
    with fresh_folder(layout.reference(key)) as out, torch.inference_mode():
        np.save(out / layout.IDS, ids)
        hidden = np.lib.format.open_memmap(out / layout.HIDDEN, mode="w+", dtype=np.float32, shape=(*ids.shape, width))
        nll = np.empty((len(ids), ids.shape[1] - 1))
        for row, window in enumerate(ids):
            states = model.model(input_ids=torch.from_numpy(window[None, :]), use_cache=False).last_hidden_state
            hidden[row] = states[0].numpy()
            scored = log_softmax(model.lm_head(states[:, :-1])[0].numpy())
            nll[row] = -scored[np.arange(len(window) - 1), window[1:]]
            report(row + 1, len(ids) + len(questions))
        hidden.flush()
        del hidden
        np.save(out / layout.NLL, nll)
        scores = []
        for number, question in enumerate(questions, len(ids) + 1):
            scores.append(
                choice_scores(question, lambda x: model(input_ids=torch.from_numpy(x), use_cache=False).logits.numpy())
            )
            report(number, len(ids) + len(questions))
        write_json(out / layout.QUESTIONS, [question.to_json() for question in questions])
        write_json(
            out / layout.SUMMARY,
            {
                "windows": len(ids),
                "window": ids.shape[1],
                "perplexity": float(np.exp(nll.mean())),
                "task_accuracy": accuracy(questions, scores) if questions else None,
                "question_scores": scores,
                "decode_prompts": settings["decode_prompts"],
            },
        )
