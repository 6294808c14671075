"""The toy against the contract of all backends."""

from __future__ import annotations

from tests.contract.contract import BackendContract


class TestToy(BackendContract):
    name = "toy"
    tokenizes = False
