"""The formulas, held against values computed another way."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import DataError, QualityError
from pipeline.metrics.decode import check_decode
from pipeline.metrics.divergence import TAIL, Scores, log_softmax, negative_log_likelihood, score, score_window, totals
from pipeline.metrics.examples import examples
from pipeline.metrics.questions import accuracy, batches, chosen, read_questions, score_questions
from pipeline.model.texts import windows
from pipeline.model.tokenizer import load_tokenizer
from pipeline.records import Decode
from tests.support.tiny import SHIPPED

RANDOM = np.random.default_rng(7)


def naive(ids: np.ndarray, ours: np.ndarray, theirs: np.ndarray) -> tuple[float, float, int]:
    """Position by position, with probabilities: the definition, written out."""
    nll = kl = 0.0
    top1 = 0
    for position in range(len(ids) - 1):
        q = np.exp(ours[position].astype(float)) / np.exp(ours[position].astype(float)).sum()
        p = np.exp(theirs[position].astype(float)) / np.exp(theirs[position].astype(float)).sum()
        nll -= np.log(q[ids[position + 1]])
        kl += sum(p[token] * np.log(p[token] / q[token]) for token in range(len(p)))
        top1 += int(q.argmax() == p.argmax())
    return nll, kl, top1


def test_sums_equal_the_definition_on_any_block_boundary() -> None:
    for length in (2, 64, 65, 66, 130):
        ids = RANDOM.integers(0, 50, length)
        hidden, head = RANDOM.normal(size=(length, 8)).astype("f4"), RANDOM.normal(size=(50, 8)).astype("f4")
        logits = RANDOM.normal(size=(length, 50)).astype("f4")
        sums = score_window(ids, logits, hidden, head)
        nll, kl, top1 = naive(ids, logits, hidden @ head.T)
        assert sums.nll.shape == sums.kl.shape == sums.top1.shape == (length - 1,)
        assert sums.nll.sum() == pytest.approx(nll, rel=1e-7)
        assert sums.kl.sum() == pytest.approx(kl, rel=1e-5)
        assert sums.top1.sum() == top1


@pytest.mark.parametrize("vocab", [50, 2048, 70_000])
@pytest.mark.parametrize("apart", [1e-6, 1e-3, 0.1, 1.0, 30.0, 300.0])
def test_float32_is_as_exact_as_the_docstring_says(vocab: int, apart: float) -> None:
    """From an fp32 build to garbage, in a vocabulary that is scored whole and one of which a row is a part."""
    reference = 6 * RANDOM.normal(size=(9, vocab)).astype("f4")
    logits = (reference + apart * RANDOM.normal(size=reference.shape)).astype("f4")
    tokens = RANDOM.integers(0, vocab, 9)
    theirs, ours = log_softmax(reference), log_softmax(logits)
    wanted = (np.exp(theirs) * (theirs - ours)).sum(axis=-1)
    nll, kl, top1 = score(tokens, logits.copy(), reference.copy())
    assert (np.abs(kl - wanted) <= 6e-8 * TAIL + 5e-6 * wanted).all()
    assert kl.mean() == pytest.approx(wanted.mean(), rel=5e-6 if apart > 1e-5 else 0.02)
    assert np.abs(nll + ours[np.arange(9), tokens]).max() <= 1e-6 * max(1, apart)
    assert (top1 == (reference.argmax(-1) == logits.argmax(-1))).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("whose", [0, 1])
def test_a_window_with_a_logit_that_is_not_finite_fails(bad: float, whose: int) -> None:
    both = RANDOM.normal(size=(2, 5, 64)).astype("f4")
    both[whose, 3, 40] = bad
    with pytest.raises(QualityError, match="not finite"), np.errstate(all="ignore"):
        score(np.arange(5), both[0], both[1])


@pytest.mark.parametrize("vocab", [50, 2048, 70_000])
@pytest.mark.parametrize("scale", [1.0, 6.0, 300.0])
def test_the_references_own_nll_is_as_exact_as_its_docstring_says(vocab: int, scale: float) -> None:
    logits, tokens = (scale * RANDOM.normal(size=(9, vocab))).astype("f4"), RANDOM.integers(0, vocab, 9)
    wanted = -log_softmax(logits)[np.arange(9), tokens]
    assert np.abs(negative_log_likelihood(logits, tokens) - wanted).max() <= 2e-7


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_reference_with_a_logit_that_is_not_finite_fails(bad: float) -> None:
    logits = RANDOM.normal(size=(5, 64)).astype("f4")
    logits[3, 40] = bad
    with pytest.raises(QualityError, match="not finite"), np.errstate(all="ignore"):
        negative_log_likelihood(logits, np.arange(5))


def test_a_build_equal_to_the_reference_has_no_divergence() -> None:
    hidden, head = RANDOM.normal(size=(10, 8)).astype("f4"), RANDOM.normal(size=(50, 8)).astype("f4")
    sums = score_window(RANDOM.integers(0, 50, 10), hidden @ head.T, hidden, head)
    assert np.abs(sums.kl).max() < 1e-12 and sums.top1.all()


def test_uniform_logits_have_the_vocabulary_as_perplexity() -> None:
    hidden, head = np.zeros((9, 4), "f4"), np.zeros((32, 4), "f4")
    sums = score_window(np.arange(9), np.zeros((9, 32), "f4"), hidden, head)
    assert totals([sums, sums]).perplexity == pytest.approx(32)


def test_totals_weigh_windows_by_their_tokens() -> None:
    one = Scores(np.array([1.0]), np.array([0.5]), np.array([True]))
    made = totals([one, Scores(np.array([1.0, 2.0, 4.0]), np.array([0.1, 0.2, 0.0]), np.zeros(3, bool))])
    assert asdict(made) == {
        "perplexity": pytest.approx(np.exp(2.0)),
        "kl_nats_mean": pytest.approx(0.2),
        "top1_agreement": 0.25,
        "evaluated_tokens": 4,
    }


def test_large_logits_do_not_overflow() -> None:
    assert np.isfinite(log_softmax(np.array([[1e4, -1e4, 0.0]], "f4"))).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_logits_that_are_not_finite_fail(bad: float) -> None:
    with pytest.raises(QualityError, match="not finite"):
        log_softmax(np.array([[bad, 0.0]], "f4"))


def test_logits_of_another_shape_fail() -> None:
    with pytest.raises(QualityError, match="logits of shape"):
        score_window(np.arange(4), np.zeros((1, 32), "f4"), np.zeros((4, 2), "f4"), np.zeros((32, 2), "f4"))


def write(path: Path, *questions: dict) -> Path:
    path.write_text("\n".join(json.dumps(question) for question in questions), encoding="utf-8")
    return path


def test_the_choice_with_the_best_score_per_character_wins(tmp_path: Path) -> None:
    path = write(tmp_path / "q.jsonl", {"question": "The river is", "choices": [" a", " a very long one"], "answer": 1})
    (question,) = read_questions(path, load_tokenizer(SHIPPED))
    (scores,) = score_questions([question], lambda ids: np.zeros((*ids.shape, 2048), "f4"), 512, lambda _: None)
    tokens = [len(sequence) - start for sequence, start in zip(question.sequences, question.starts, strict=True)]
    assert scores == pytest.approx([-np.log(2048) * count for count in tokens])
    assert question.lengths == (1, 15)
    assert chosen(question, [-1.0, -14.0]) == 1 and chosen(question, [-0.5, -14.0]) == 0
    assert accuracy([question, question], [[-1.0, -14.0], [-0.5, -14.0]]) == 0.5


def test_choices_of_one_length_are_scored_together_as_they_are_alone(tmp_path: Path) -> None:
    made = [
        {"question": f"{'so ' * (number % 3)}the river", "choices": [" is a", " was two", " of"], "answer": number % 3}
        for number in range(7)
    ]
    questions = read_questions(write(tmp_path / "q.jsonl", *made), load_tokenizer(SHIPPED))
    rows = RANDOM.normal(size=(2048, 2048)).astype("f4")
    shapes: list[tuple[int, ...]] = []
    reported: list[int] = []

    def logits(ids: np.ndarray) -> np.ndarray:
        shapes.append(ids.shape)
        return rows[ids]

    found = score_questions(questions, logits, 24, reported.append)
    assert sum(batch for batch, _ in shapes) == 21 and len(shapes) < 21
    assert max(batch * length for batch, length in shapes) <= 24 and reported == sorted(reported) and reported[-1] == 7
    assert [batch.ids.shape for batch in batches(questions, 24)] == shapes
    for question, scores in zip(questions, found, strict=True):
        for sequence, start, its in zip(question.sequences, question.starts, scores, strict=True):
            ids = np.asarray(sequence)
            assert its == pytest.approx(log_softmax(rows[ids])[np.arange(start - 1, len(ids) - 1), ids[start:]].sum())


def test_a_choice_longer_than_a_batch_is_scored_alone(tmp_path: Path) -> None:
    path = write(tmp_path / "q.jsonl", {"question": "a long " * 20, "choices": [" is", " was"], "answer": 0})
    assert all(len(batch.ids) == 1 for batch in batches(read_questions(path, load_tokenizer(SHIPPED)), 8))


def test_examples_are_the_prompts_where_the_build_departs_first() -> None:
    prompts = [[number] for number in range(8)]
    reference = [[9, 9, 9, 9]] * 8
    build = [[9] * number + [0] * (4 - number) if number < 4 else [9] * 4 for number in (3, 1, 4, 0, 4, 2, 0, 1)]
    found = examples(prompts, reference, build, lambda ids: " ".join(map(str, ids)))
    assert [example.prompt for example in found] == ["3", "6", "1", "7", "5"]
    assert [example.departs for example in found] == [0, 0, 1, 1, 2]
    assert found[2].reference == "9 9 9 9" and found[2].build == "9 0 0 0"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "no valid JSON"),
        ('{"question": "a", "choices": ["b", "c"]}', "no JSON object with `question`"),
        ('{"question": "a", "choices": ["b"], "answer": 0}', "two or more"),
        ('{"question": "a", "choices": ["b", "c"], "answer": 2}', "no index into 2 choices"),
        ("", "there are no questions"),
    ],
)
def test_a_bad_question_is_named_with_its_line(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "q.jsonl"
    path.write_text(line, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        read_questions(path, load_tokenizer(SHIPPED))


def test_windows_are_consecutive_and_the_incomplete_last_one_is_dropped(tmp_path: Path) -> None:
    text = tmp_path / "t.txt"
    text.write_text("word and word. " * 200, encoding="utf-8")
    tokenizer = load_tokenizer(SHIPPED)
    ids = tokenizer.encode(text.read_text(encoding="utf-8"), add_special_tokens=False).ids
    made = windows(tokenizer, text, 64, 10_000)
    assert made.ravel().tolist() == ids[: len(ids) // 64 * 64]
    assert windows(tokenizer, text, 64, 200).shape == (3, 64)


def test_jsonl_text_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "t.jsonl", {"text": "one two " * 40}, {"text": "three four " * 40})
    assert windows(load_tokenizer(SHIPPED), path, 16, 64).shape == (4, 16)


def test_a_text_too_short_for_one_window_fails(tmp_path: Path) -> None:
    text = tmp_path / "t.txt"
    text.write_text("short", encoding="utf-8")
    with pytest.raises(DataError, match="too short for one window of 512 tokens"):
        windows(load_tokenizer(SHIPPED), text, 512, 20480)


def test_text_that_is_no_utf8_fails(tmp_path: Path) -> None:
    text = tmp_path / "t.txt"
    text.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="no UTF-8 text"):
        windows(load_tokenizer(SHIPPED), text, 512, 20480)


def counting(ids: np.ndarray) -> np.ndarray:
    """A model whose next token is always the last one plus one."""
    rows = np.zeros((1, ids.shape[1], 100), "f4")
    rows[0, np.arange(ids.shape[1]), (ids[0] + 1) % 100] = 10.0
    return rows


def test_generation_that_follows_the_logits_passes() -> None:
    assert check_decode([[1, 2]], [[3, 4, 5]], counting) == Decode(3, 1.0, 0.0, (1, 2), (3, 4, 5))


def test_generation_of_garbage_fails() -> None:
    with pytest.raises(QualityError, match="departs from the model's own logits"):
        check_decode([[1, 2]], [[7, 7, 7]], counting)
