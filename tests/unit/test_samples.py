"""Questions as chats: what is asked, and which answer a card may print."""

from __future__ import annotations

from pathlib import Path

from pipeline.answers import Sample
from pipeline.metrics.questions import read_questions
from pipeline.metrics.samples import best, chat_prompts, samples
from pipeline.model.tokenizer import encode, load_tokenizer
from tests.support.tiny import ROOT

MODEL = ROOT / "models/phi-tiny"


def test_a_question_is_asked_as_a_turn_and_without_its_frame(tmp_path: Path) -> None:
    rows = (
        '{"question": "Question: Who is he?\\nAnswer:", "choices": [" Ann", " Bob"], "answer": 1}\n'
        '{"question": "<|user|>\\nWho?<|end|>\\n", "choices": ["a", "b"], "answer": 0}\n'
        '{"question": "Vasa\'s age is", "choices": [" 77", " 86"], "answer": 0}\n'
    )
    (tmp_path / "q.jsonl").write_text(rows, encoding="utf-8")
    tokenizer = load_tokenizer(MODEL)
    asked = chat_prompts(MODEL, read_questions(tmp_path / "q.jsonl", tokenizer), 8)
    assert [(prompt.question, prompt.answer) for prompt in asked] == [("Who is he?", "Bob"), ("Vasa's age is", "77")]
    assert tokenizer.decode(asked[0].ids, skip_special_tokens=False).startswith("<|user|>")
    said = encode(tokenizer, "It is 77.<|end|> and more")
    assert samples(MODEL, asked[1:], [said]) == (Sample("Vasa's age is", "77", "It is 77.", True),)
    assert len(chat_prompts(MODEL, read_questions(tmp_path / "q.jsonl", tokenizer), 1)) == 1


def test_a_model_without_a_template_is_not_asked(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_bytes((MODEL / "tokenizer.json").read_bytes())
    tokenizer = load_tokenizer(tmp_path)
    questions = read_questions(ROOT / "data/phi-tiny/questions.jsonl", tokenizer, 4)
    assert chat_prompts(tmp_path, questions, 8) == []


def test_the_card_prints_a_right_answer_or_none() -> None:
    wrong, cut, whole = (
        Sample("q", "Ann", said, end) for said, end in (("Bob", True), ("Ann i", False), ("Ann.", True))
    )
    assert best([wrong, cut, whole]) is whole
    assert best([wrong, cut]) is cut
    assert best([wrong]) is None
