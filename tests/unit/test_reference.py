"""What the reference stage computes at a time changes nothing: it is transformers, sequence by sequence."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline import layout
from pipeline.entries import Reference
from pipeline.files import read_json
from pipeline.model.greedy import answers, greedy
from pipeline.model.loading import load_model
from stages.reference import reference as stage
from stages.reference.reference import _whole
from tests.support.tiny import ROOT, SHIPPED

RANDOM = np.random.default_rng(5)


@pytest.fixture(scope="module")
def model() -> Iterator[Any]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)  # as the stage does
    yield load_model(SHIPPED, SHIPPED, "float32", False)
    torch.set_num_threads(before)


@pytest.mark.parametrize("threads", ["1", "3"])
@pytest.mark.parametrize("long", [math.inf, 20])
def test_states_come_in_order_whatever_the_threads(
    model: Any, long: float, threads: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    monkeypatch.setenv("PHI_DEPLOY_THREADS", threads)
    inputs = [RANDOM.integers(3, 2000, (1 + number % 3, length)) for number, length in enumerate((40, 7, 9, 30, 8, 41))]
    reported: list[int] = []
    found = list(_whole(model, inputs, lambda done, total: reported.append(done), long))
    assert reported == list(range(1, 7))
    with torch.inference_mode():
        for batch, states in zip(inputs, found, strict=True):
            for row, own in zip(batch, states, strict=True):
                wanted = model.model(input_ids=torch.from_numpy(row[None]), use_cache=False).last_hidden_state[0]
                assert np.abs(own - wanted.numpy()).max() < 1e-4


def test_a_greedy_continuation_is_transformers_own(model: Any) -> None:
    import torch

    prompts = np.asarray([np.arange(10, 26), np.arange(40, 56)])
    own = greedy(model, prompts, 12)
    made = model.generate(
        torch.from_numpy(prompts), do_sample=False, min_new_tokens=12, max_new_tokens=12, eos_token_id=None
    )
    assert own.shape == (2, 12) and (own == made[:, 16:].numpy()).all()


def test_an_answer_ends_at_its_end_token_whatever_else_is_computed_with_it(model: Any) -> None:
    prompts = [list(range(10, 26)), list(range(40, 56)), list(range(60, 70))]
    alone = [greedy(model, np.asarray([prompt]), 12)[0].tolist() for prompt in prompts]
    stop = alone[0][3]
    wanted = [row[: row.index(stop) + 1] if stop in row else row for row in alone]
    assert answers(model, prompts, 12, {stop}) == wanted and len(wanted[0]) <= 4


def test_a_reference_that_is_computed_by_layer_answers_what_the_whole_one_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / layout.model("tiny")).parent.mkdir(parents=True)
    (tmp_path / layout.model("tiny")).symlink_to(SHIPPED)
    entry = Reference(
        weights=str(SHIPPED),
        text=str(ROOT / "data/phi-tiny/evaluation.txt"),
        questions="",
        window=64,
        tokens=128,
        max_questions=0,
        decode_prompts=2,
        decode_tokens=8,
        trust_remote_code=False,
        tasks=(str(ROOT / "data/phi-tiny/tasks.jsonl"),),
        task_tokens=32,
        max_tasks=3,
    )
    made = []
    for above in (2e9, 0):
        monkeypatch.setattr(stage, "LAYERED_ABOVE", above)
        out = tmp_path / f"above-{above:g}"
        out.mkdir()
        stage.reference("tiny", entry, out)
        assert not list(out.glob("*.tmp*"))
        made.append((np.load(out / layout.NLL), read_json(out / layout.SUMMARY), read_json(out / layout.TASKS)))
    (nll, said, chats), (its, other, others) = made
    assert np.abs(nll - its).max() < 1e-4
    assert said["continuations"] == other["continuations"] and chats == others
    assert chats["answers"]["ended"] == [True] * 3
