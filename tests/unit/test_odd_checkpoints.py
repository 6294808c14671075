"""What a checkpoint folder may be: read as transformers reads it, or refused in one line that names the cause."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.entries import Fetch
from pipeline.errors import CheckpointError
from pipeline.model.architectures import ARCHITECTURES
from pipeline.model.checkpoint import read_headers
from pipeline.model.dimensions import dimensions_of, read_config
from pipeline.model.loading import load_model
from pipeline.model.side_files import stop_ids
from pipeline.model.tokenizer import load_tokenizer
from stages.fetch.fetch import fetch
from tests.support.odd import ODD, table, write_odd
from tests.support.tiny import ROOT

IDS = np.random.default_rng(0).integers(3, 2000, (1, 40))
READ = [name for name, odd in ODD.items() if not odd.refused]
REFUSED = [name for name, odd in ODD.items() if odd.refused]


def canonical(name: str, root: Path) -> tuple[Path, Path]:
    """The odd folder, and what fetch makes of it."""
    source, out = write_odd(name, root / "source"), root / "canonical"
    dimensions_of(read_config(source), "planning")
    out.mkdir()
    manifest = fetch("odd", Fetch(str(source), "", "", False), out)
    (out / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return source, out


def logits(model: Any) -> np.ndarray:
    import torch

    with torch.inference_mode():
        return model(torch.from_numpy(IDS)).logits.numpy()


@pytest.mark.parametrize("name", READ)
def test_it_is_the_model_that_transformers_makes_of_the_folder_as_it_came(name: str, tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    source, out = canonical(name, tmp_path)
    if name == "marks":  # transformers reads no byte-order mark
        raw = (source / "config.json").read_bytes()
        (source / "config.json").write_bytes(raw[3:])
    theirs = logits(AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32).eval())
    ours = logits(load_model(out, source, "float32"))
    assert np.abs(ours - theirs).max() < 1e-5


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_in_one_line_that_says_why(name: str, tmp_path: Path) -> None:
    odd = ODD[name]
    with pytest.raises(CheckpointError) as caught:
        if odd.planning:
            dimensions_of(read_config(write_odd(name, tmp_path / "source")), "planning")
        else:
            canonical(name, tmp_path)
    assert odd.refused in str(caught.value) and len(str(caught.value).splitlines()) == 1


def test_side_files_are_whole_and_plain(tmp_path: Path) -> None:
    for number, name in enumerate(READ):
        root = tmp_path / str(number)
        root.mkdir()
        source, out = canonical(name, root)
        found = {path.name for path in out.iterdir()}
        assert {"tokenizer.json", "tokenizer_config.json", "generation_config.json"} <= found, name
        for path in out.glob("*.json"):
            assert not path.read_bytes().startswith(b"\xef\xbb\xbf"), (name, path.name)
        assert json.loads((out / "tokenizer.json").read_text(encoding="utf-8"))["truncation"] is None
        assert len(load_tokenizer(out).encode("a b c d e f g h i j k l m n o p q r s t u v w x y z " * 4).ids) > 60
    assert stop_ids(out) and found


def test_named_templates_and_every_stop_id_are_kept(tmp_path: Path) -> None:
    for name in ("template list", "no generation_config"):
        (tmp_path / name).mkdir()
    _, out = canonical("template list", tmp_path / "template list")
    assert (out / "chat_template.jinja").read_text(encoding="utf-8") == "{{ messages[0]['content'] }}"
    assert (out / "additional_chat_templates/tool_use.jinja").read_text(encoding="utf-8") == "{{ tools }}"
    assert isinstance(json.loads((out / "tokenizer_config.json").read_text(encoding="utf-8"))["chat_template"], str)
    _, out = canonical("no generation_config", tmp_path / "no generation_config")
    assert stop_ids(out) == [2037, 2044, 2047]


def test_defaults_are_those_of_transformers() -> None:
    from transformers import Phi3Config, PhimoeConfig

    for name, kind in (("Phi3ForCausalLM", Phi3Config), ("PhiMoEForCausalLM", PhimoeConfig)):
        made = kind()
        for field, value in ARCHITECTURES[name].defaults.items():
            assert getattr(made, field) == value, (name, field)


def test_the_page_has_the_table_of_what_was_tried() -> None:
    assert table() in (ROOT / "docs/checkpoints.md").read_text(encoding="utf-8")


def test_rotary_tables_are_no_parameters(tmp_path: Path) -> None:
    assert not [name for name in read_headers(write_odd("inv_freq", tmp_path)) if "inv_freq" in name]
