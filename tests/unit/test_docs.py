"""README and docs: every command parses and composes, every link leads somewhere, every page is in the site."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from pipeline.commands import COMMANDS, module_of
from tests.support.tiny import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(bash|yaml)\n(.*?)^```", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"^(?:python -m pipeline|phi-deploy) (?P<words>.+)$")
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)|<img[^>]* src=\"([^\"]+)\"|!\[[^\]]*\]\(([^)\s]+)\)")
# what a reader puts in, and what is there in its place
PLACES = {
    "/models/my-phi": "models/phi-tiny",
    "/models/phi-base": "models/phi-tiny",
    "/models/my-adapter": "''",  # none: tests/unit/test_adapter.py has them
    "/models/phi-3.5-mini": "models/phi-tiny",
    "/data/smollm2": "models/phi-tiny",
    "my-text.txt": "data/english/evaluation.txt",
    "my-questions.jsonl": "data/english/questions.jsonl",
    "my-tasks.jsonl": "data/phi-tiny/tasks.jsonl",
}


def commands() -> Iterator[tuple[str, str]]:
    """Each line of a shell block, as `page: line`; lines that go on, and parts behind && and |, apart."""
    for page in PAGES:
        for kind, block in BLOCK.findall(page.read_text(encoding="utf-8")):
            if kind != "bash":
                continue
            whole = re.sub(r"\\\n\s*", "", block)
            for line in whole.splitlines():
                for part in re.split(r"\s+&&\s+|\s+\|\s+", line.partition(" #")[0].strip()):
                    yield page.name, part


LINES = list(dict.fromkeys(commands()))
OURS = [(page, COMMAND.match(line)["words"]) for page, line in LINES if COMMAND.match(line)]
COMPOSED = [(page, words) for page, words in OURS if words.split()[0] in ("plan", "compose")]


def test_there_are_commands_to_look_at() -> None:
    assert len(OURS) > 20 and len(COMPOSED) > 10 and len(LINES) > len(OURS)


@pytest.mark.parametrize(("page", "words"), OURS)
def test_a_command_of_ours_parses(page: str, words: str) -> None:
    name, *rest = shlex.split(words)
    assert name in COMMANDS, page
    parser = argparse.ArgumentParser(exit_on_error=False)
    module_of(name).configure(parser)
    parser.parse_args(rest)


@pytest.mark.parametrize(("page", "words"), COMPOSED)
def test_a_matrix_of_the_pages_can_be_composed(page: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.matrix.compose import compose_config, settings_of
    from pipeline.matrix.plan import make_plan

    monkeypatch.chdir(ROOT)
    for named, there in PLACES.items():
        words = words.replace(named, there)
    overrides = [word for word in shlex.split(words)[1:] if not word.startswith("--")]
    assert make_plan(compose_config(overrides, settings_of)).cells, page


@pytest.mark.parametrize(("page", "line"), [pair for pair in LINES if pair[1].startswith("dvc exp run")])
def test_an_experiment_of_the_pages_can_be_composed(page: str, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.matrix.compose import compose_config, settings_of

    monkeypatch.chdir(ROOT)
    words = shlex.split(line)
    compose_config([after for before, after in zip(words, words[1:], strict=False) if before == "-S"], settings_of)


def test_every_command_of_others_is_one_of_the_tools_and_every_make_target_is_there() -> None:
    known = (
        "dvc",
        "make",
        "git",
        "source",
        "pip",
        "python",
        "mlflow",
        "hf",
        "cd",
        "export",
        "mlx_lm.generate",
        "npm",
        "chromium",
    )
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for page, line in LINES:
        words = shlex.split(line)
        if not words or words[0] == "#" or "=" in words[0] or COMMAND.match(line):
            continue
        assert words[0] in known, f"{page}: {line}"
        if words[0] == "make":
            (target, *_) = [word for word in words[1:] if "=" not in word] or ["repro"]
            assert f"\n{target}:" in makefile, f"{page}: {line}"


def test_every_link_between_pages_leads_somewhere() -> None:
    wrong = []
    for page in PAGES:
        for target in filter(None, (group for found in LINK.findall(page.read_text("utf-8")) for group in found)):
            if "://" in target or target.startswith("mailto:"):
                continue
            name, _, anchor = target.partition("#")
            path = page.parent / name if name else page
            if not path.exists() or (anchor and anchor not in anchors(path)):
                wrong.append(f"{page.name}: {target}")
    assert not wrong


def anchors(page: Path) -> set[str]:
    """Of headings, as GitHub and MkDocs make them."""
    found = re.findall(r"^#+\s+(.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in found}


def test_every_page_is_in_the_site_and_the_site_has_no_other() -> None:
    site = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    listed = re.findall(r"[\w.-]+\.md", yaml.safe_dump(site["nav"]))
    assert sorted(listed) == sorted(page.name for page in PAGES if page.parent == ROOT / "docs")


def test_what_the_pages_say_goes_into_conf_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import shutil

    from pipeline.matrix.compose import compose_config, settings_of
    from pipeline.matrix.plan import make_plan

    for folder in ("conf", "models", "data"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    text = (ROOT / "docs/extend.md").read_text(encoding="utf-8")
    for block in (block for kind, block in BLOCK.findall(text) if kind == "yaml"):
        (key, held), *_ = yaml.safe_load(block).items()
        group = {"repo": "model", "family": "precision", "backends": "target"}
        named = next((folder for word, folder in group.items() if word in held), "")
        if named:
            (tmp_path / "conf" / named / f"{key}.yaml").write_text(block, encoding="utf-8")
        else:
            recipe = f"+backend.onnxruntime.recipes.int4.{key}={{{', '.join(f'{n}: {v}' for n, v in held.items())}}}"
    monkeypatch.chdir(tmp_path)
    mine = ["model=[phi-mine]", "precision=[int4,int4-b64]", "target=[till,cpu]", recipe.replace("True", "true")]
    plan = make_plan(compose_config(mine, settings_of))
    assert {"phi-mine_int4_openvino_till", "phi-mine_int4-b64_onnxruntime_cpu"} <= plan.cells.keys()
