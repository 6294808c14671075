"""The licence beside a checkpoint: its files, and its id in the model's own card."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.model.licence_files import card_licence, copy_licence


@pytest.mark.parametrize(
    ("text", "licence"),
    [
        ("---\nlicense: MIT\n---\n# x", "mit"),
        ("\ufeff---\r\nlicense: apache-2.0\r\n---\r\n", "apache-2.0"),
        ("---\nlicense: other\nlicense_name: my-licence\n---\n", "my-licence"),
        ("---\nlicense: [a, b]\n---\n", ""),
        ("---\n: {\n---\n", ""),
        ("# no front matter\nlicense: mit\n", ""),
        (None, ""),
    ],
)
def test_the_id_is_the_front_matters(tmp_path: Path, text: str | None, licence: str) -> None:
    if text is not None:
        (tmp_path / "README.md").write_bytes(text.encode())
    assert card_licence(tmp_path) == licence


def test_the_files_are_those_that_are_called_so(tmp_path: Path) -> None:
    source, out = tmp_path / "source", tmp_path / "out"
    source.mkdir()
    out.mkdir()
    for name in ("LICENSE", "LICENCE.txt", "Notice.md", "USE_POLICY.md", "licensed_words.json", "model.safetensors"):
        (source / name).write_text(name, encoding="utf-8")
    (source / "LICENSE.bin").write_bytes(b"0" * 1_000_001)
    assert copy_licence(source, out) == ["LICENCE.txt", "LICENSE", "Notice.md", "USE_POLICY.md"]
    assert {path.name for path in out.iterdir()} == {"LICENCE.txt", "LICENSE", "Notice.md", "USE_POLICY.md"}
