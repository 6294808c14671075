"""What a skipped entry leaves: every result that DVC looks for, and the reason in those that can say it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pipeline.files import read_json
from pipeline.harness.run import _skip


def test_a_skipped_evaluation_says_so_and_has_arrays_of_nothing(tmp_path: Path) -> None:
    said, arrays = tmp_path / "build.json", tmp_path / "build.npz"
    _skip((said, arrays), "not installed: mlx")
    assert read_json(said) == {"status": "skipped", "reason": "not installed: mlx"}
    with np.load(arrays) as held:
        assert held.files == []


def test_a_skipped_package_says_so_in_both_its_results(tmp_path: Path) -> None:
    _skip((tmp_path / "cell", tmp_path / "cell.json"), "no such device")
    for path in (tmp_path / "cell/manifest.json", tmp_path / "cell.json"):
        assert read_json(path)["status"] == "skipped"
