"""NNCF's weight compression in the words of `pipeline.matrix.recipes`, for every backend that NNCF can compress."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from pipeline.backends.base import Calibration
from pipeline.errors import ConfigError, ToolError, first_line

GROUPED = ("int4_sym", "int4_asym", "nf4", "mxfp4")  # modes that take a group size and a ratio
# Words that NNCF takes under the same name.
SWITCHES = ("awq", "scale_estimation", "gptq", "lora_correction")


def compress_weights(
    model: Any, settings: Mapping[str, Any], calibration: Calibration | None, feed: Callable[[Any], Any], where: str
) -> Any:
    """The compressed model; `feed` makes the model's inputs of token ids int64 [1, length].

    Raises ToolError with NNCF's words, ConfigError for a recipe that calibrates without calibration data.
    """
    nncf = quiet_nncf()
    options: dict[str, Any] = {word: True for word in SWITCHES if settings.get(word)}
    if settings["mode"] in GROUPED:
        options |= {"group_size": settings.get("group_size", -1), "ratio": float(settings.get("ratio", 1.0))}
    if settings.get("sensitivity_metric"):
        options["sensitivity_metric"] = nncf.SensitivityMetric(settings["sensitivity_metric"])
    if settings.get("all_layers"):
        options["all_layers"] = True
    if calibration is not None or options.keys() & set(SWITCHES):  # planning gives data to the recipes that need it
        options |= dataset(calibration, feed)
    return told(lambda: nncf.compress_weights(model, mode=nncf.CompressWeightsMode(settings["mode"]), **options), where)


def dataset(calibration: Calibration | None, feed: Callable[[Any], Any]) -> dict[str, Any]:
    """{dataset, subset_size} as NNCF's functions take them."""
    nncf = quiet_nncf()
    if calibration is None:
        raise ConfigError("this recipe needs calibration data", hint="set evaluate.calibration")
    items = [feed(window[None, :]) for window in calibration.ids]
    return {"dataset": nncf.Dataset(items), "subset_size": len(items)}


def told(work: Callable[[], Any], where: str) -> Any:
    """The result, or a ToolError of one line: NNCF raises its own and its backends' types."""
    try:
        return work()
    except Exception as error:
        raise ToolError(f"NNCF failed: {first_line(error)}", where=where) from error


def quiet_nncf() -> Any:
    os.environ.setdefault("NNCF_CI", "1")  # its switch for telemetry
    import nncf

    nncf.set_log_level(40)
    return nncf
