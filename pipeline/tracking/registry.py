"""The model registry: the winner of each target as a version, with the target as its alias."""

from __future__ import annotations

import contextlib
from typing import Any

from pipeline.tracking.sweep import Winner

OLD = ("gates",)  # a version's tags of earlier releases


def register(client: Any, winner: Winner, run: str) -> None:
    """A version of the model for the run that holds the winner's package, found again by it; what it is said of it.

    The source is that run's package: a server refuses paths of this machine. A package too large to upload is named
    by its digest and path.
    """
    from mlflow.exceptions import MlflowException

    with contextlib.suppress(MlflowException):  # it is there already
        client.create_registered_model(winner.name)
    if client.get_registered_model(winner.name).description != winner.about:
        client.update_registered_model(winner.name, winner.about)
    versions = client.search_model_versions(f"name = '{winner.name}'")
    version = next((found for found in versions if found.run_id == run), None)
    if version is None:
        version = client.create_model_version(winner.name, f"runs:/{run}/package", run, tags=dict(winner.tags))
    held = dict(version.tags)
    for name, text in winner.tags.items():
        if held.get(name) != text:
            client.set_model_version_tag(winner.name, version.version, name, text)
    for name in held:
        if name not in winner.tags and name.startswith(("gate.", *OLD)):
            client.delete_model_version_tag(winner.name, version.version, name)
    if version.description != winner.note:
        client.update_model_version(winner.name, version.version, winner.note)
    client.set_registered_model_alias(winner.name, winner.target, version.version)


def withdraw(client: Any, winner: Winner) -> None:
    """Nothing passes any more: the alias must not go on naming what once did."""
    from mlflow.exceptions import MlflowException

    with contextlib.suppress(MlflowException):  # no such model, or no such alias
        client.delete_registered_model_alias(winner.name, winner.target)
