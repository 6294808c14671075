"""Licences under which a package, a changed copy of the weights, may not be passed on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

FORBID_REDISTRIBUTION = ("msr-la", "microsoft-research-license", "cc-by-nd-4.0", "cc-by-nc-nd-4.0", "proprietary")


def forbids_redistribution(license: str) -> bool:
    return license.lower() in FORBID_REDISTRIBUTION


def check_license(name: str, model: Mapping[str, Any]) -> str | None:
    """Why packages of this model may not be made without a word from the user, or None."""
    if model["redistribute"] or not forbids_redistribution(model["license"]):
        return None
    return (
        f"model.{name}: its licence {model['license']} forbids redistribution; "
        f"for packages on your own devices, or with leave of the owner, set model.{name}.redistribute=true"
    )
