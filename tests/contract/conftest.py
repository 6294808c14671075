"""Runs every recipe of a backend's YAML through the contract."""

from __future__ import annotations

import pytest

from tests.contract.contract import recipes_of


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "recipe" in metafunc.fixturenames and metafunc.cls is not None:
        recipes = recipes_of(metafunc.cls.name)
        metafunc.parametrize("recipe", recipes, ids=["-".join(recipe) for recipe in recipes])
