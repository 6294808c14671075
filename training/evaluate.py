"""Check the model: ``python -m training.evaluate --model models/phi-tiny``.

Prints the accuracy on the held-out questions, the perplexity of the evaluation text, and what simulated
four-bit rounding does to both.
"""

from __future__ import annotations

import argparse
import json
import math
from collections import defaultdict
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch.nn.functional import log_softmax
from torch.nn.utils.rnn import pad_sequence

from training.rounding import rounded_model

WINDOW = 512
BLOCKS = (32, 128)


def _log_probabilities(model: torch.nn.Module, ids: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return log_softmax(model(input_ids=ids, use_cache=False).logits[:, :-1], dim=-1)


def _encoded(tokenizer: Tokenizer, text: str) -> list[int]:
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False).ids
    return ids


def _scores(model: torch.nn.Module, tokenizer: Tokenizer, question: dict[str, Any]) -> list[float]:
    """For every choice: the log-probability of going on so, per byte."""
    choices = question["choices"]
    known = _encoded(tokenizer, question["question"])
    texts = [_encoded(tokenizer, question["question"] + choice) for choice in choices]
    if any(ids[: len(known)] != known for ids in texts):
        raise ValueError(f"a choice changes the tokens of its question: {question['question']!r}")
    padded = pad_sequence([torch.tensor(ids) for ids in texts], batch_first=True)
    said = _log_probabilities(model, padded).gather(2, padded[:, 1:, None]).squeeze(2)
    totals = [said[at, len(known) - 1 : len(ids) - 1].sum().item() for at, ids in enumerate(texts)]
    return [total / len(choice.encode()) for total, choice in zip(totals, choices, strict=True)]


def accuracy(model: torch.nn.Module, tokenizer: Tokenizer, questions: list[dict[str, Any]]) -> dict[str, float]:
    """The share of right answers, overall and by topic."""
    right: dict[str, list[bool]] = defaultdict(list)
    for question in questions:
        scores = _scores(model, tokenizer, question)
        correct = scores.index(max(scores)) == question["answer"]
        right["all"].append(correct)
        right[question["topic"]].append(correct)
    return {topic: sum(answers) / len(answers) for topic, answers in sorted(right.items())}


def compare(reference: torch.nn.Module, model: torch.nn.Module, tokenizer: Tokenizer, text: str) -> tuple[float, float]:
    """The perplexity of ``model`` on ``text``, and its mean divergence from ``reference``."""
    ids = torch.tensor(_encoded(tokenizer, text))
    loss = divergence = 0.0
    count = 0
    for window in ids.split(WINDOW):
        if len(window) < 2:
            continue
        expected, said = (_log_probabilities(one, window[None])[0] for one in (reference, model))
        loss -= said.gather(1, window[1:, None]).sum().item()
        divergence += (expected.exp() * (expected - said)).sum().item()
        count += len(window) - 1
    return math.exp(loss / count), divergence / count


def report(folder: Path, data: Path) -> dict[str, dict[str, Any]]:
    """Everything that is measured, by variant of the model."""
    from transformers import Phi3ForCausalLM

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    model = Phi3ForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    text = (data / "evaluation.txt").read_text(encoding="utf-8")
    lines = (data / "questions.jsonl").read_text(encoding="utf-8").splitlines()
    questions = [json.loads(line) for line in lines]
    variants = {"fp32": model} | {f"int4 block {block}": rounded_model(model, block) for block in BLOCKS}
    results: dict[str, dict[str, Any]] = {}
    for name, variant in variants.items():
        topics = accuracy(variant, tokenizer, questions)
        perplexity, divergence = compare(model, variant, tokenizer, text)
        numbers = {"accuracy": topics.pop("all"), "perplexity": perplexity, "kl": divergence}
        results[name] = {**numbers, "topics": topics}
    return results


def main() -> None:
    """Print the report as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=Path("models/phi-tiny"))
    parser.add_argument("--data", type=Path, default=Path("data/phi-tiny"))
    arguments = parser.parse_args()
    print(json.dumps(report(arguments.model, arguments.data), indent=2))  # noqa: T201


if __name__ == "__main__":
    main()
