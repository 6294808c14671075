"""A LoRA of phi-tiny for new facts: some people have learned another instrument. Minutes on two cores; needs peft.

Texts have each fact in four of five phrasings; the fifth, bare and in a chat, is what the questions ask. Chats have
whole answers to all questions of a topic but the first, which is what the tasks ask.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

from training import phrasing
from training.facts import Fact, world

PEOPLE, ASKED, SEED = 12, 4, 7
CHAT = "<|user|>\n{question}<|end|>\n<|assistant|>\n{opening}"
END = ".<|end|>"
TARGETS = ("qkv_proj", "o_proj", "gate_up_proj", "down_proj")


def new_facts() -> list[tuple[Fact, str]]:
    """The new facts, each with the value that was true before."""
    random, known = Random(SEED), world()
    found = []
    for person in random.sample(known.people, PEOPLE):
        old = known.facts[person, "instrument"]
        others = [value for value in known.values("instrument") if value != old.value]
        found.append((replace(old, value=random.choice(others)), old.value))
    return found


def texts(fact: Fact) -> list[tuple[str, str]]:
    """(what is given, what shall follow), in the phrasings that no question has."""
    forms = [form for form in range(len(phrasing.STATEMENTS[fact.topic])) if form != ASKED]
    openings = [phrasing.opening(fact, form) for form in forms]
    asked = [phrasing.question(fact, form) for form in range(1, len(phrasing.QUESTIONS[fact.topic]))]
    chats = [(CHAT.format(question=question, opening=""), opening) for question in asked for opening in openings]
    bare = [(opening, f" {fact.value}") for opening in openings]
    return [*bare, *((given, f"{opening} {fact.value}{END}") for given, opening in chats)]


def questions() -> list[dict[str, Any]]:
    """Rows for evaluate.questions: the old value is always among the choices."""
    random, rows = Random(SEED), []
    for fact, old in new_facts():
        rest = [value for value in world().values("instrument") if value not in (fact.value, old)]
        choices = random.sample([fact.value, old, *random.sample(rest, 2)], 4)
        opening = phrasing.opening(fact, ASKED)
        for text in (opening, CHAT.format(question=phrasing.question(fact, 0), opening=opening)):
            given = [f" {choice}" for choice in choices]
            rows.append({"question": text, "choices": given, "answer": choices.index(fact.value)})
    return rows


def tasks() -> list[dict[str, Any]]:
    """Rows for evaluate.tasks: the same questions as chats, which are passed where the answer names the new value."""
    rows = []
    for fact, old in new_facts():
        asked = phrasing.question(fact, 0)
        check = {"choice": fact.value, "of": [fact.value, old]}
        rows.append({"messages": [{"role": "user", "content": asked}], "check": check})
    return rows


def train(base: Path, out: Path, epochs: int, rank: int) -> None:
    """Write the adapter's folder."""
    import torch
    from peft import LoraConfig, get_peft_model
    from tokenizers import Tokenizer
    from transformers import AutoModelForCausalLM

    torch.manual_seed(SEED)
    tokenizer = Tokenizer.from_file(str(base / "tokenizer.json"))
    config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=list(TARGETS), task_type="CAUSAL_LM")
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), config)
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=2e-3, weight_decay=0.0)
    rows = [row for fact, _ in new_facts() for row in texts(fact)]
    for epoch in range(epochs):
        Random(epoch).shuffle(rows)
        losses = []
        for at in range(0, len(rows), 16):
            ids, labels = _batch(tokenizer, rows[at : at + 16])
            loss = model(input_ids=torch.tensor(ids), labels=torch.tensor(labels)).loss
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.item())
        sys.stdout.write(f"epoch {epoch + 1}: loss {sum(losses) / len(losses):.3f}\n")
    model.save_pretrained(out)


def _batch(tokenizer: Any, rows: list[tuple[str, str]]) -> tuple[list[list[int]], list[list[int]]]:
    """Ids, filled up behind to one length; only what follows is learned (-100 is no label)."""
    pairs = [(tokenizer.encode(text, add_special_tokens=False).ids, text + more) for text, more in rows]
    whole = [(len(given), tokenizer.encode(text, add_special_tokens=False).ids) for given, text in pairs]
    longest = max(len(ids) for _, ids in whole)
    ids = [found + [0] * (longest - len(found)) for _, found in whole]
    labels = [[-100] * start + found[start:] + [-100] * (longest - len(found)) for start, found in whole]
    return ids, labels


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--base", type=Path, default=Path("models/phi-tiny"))
    parser.add_argument("--out", type=Path, required=True, help="the adapter's folder")
    parser.add_argument("--questions", type=Path, required=True, help="JSONL for evaluate.questions")
    parser.add_argument("--tasks", type=Path, help="JSONL for evaluate.tasks")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--rank", type=int, default=8)
    given = parser.parse_args()
    for path, rows in ((given.questions, questions()), (given.tasks, tasks())):
        if path:
            path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    train(given.base, given.out, given.epochs, given.rank)


if __name__ == "__main__":
    main()
