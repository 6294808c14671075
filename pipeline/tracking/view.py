"""The runs page as people should find it: which columns, in which order, which charts.

MLflow keeps a shared view of its runs page as a tag of the experiment, JSON in the words of its user interface
(`uiState` in mlflow/server/js, as "Share" writes it); a link names the tag. Of MLflow 3.17; another release ignores
words that it does not know. Imports no MLflow.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

TAG = "mlflow.sharedViewState."
KIND = {"mlflow.experimentKind": "custom_model_development"}  # no traces and prompts: models
CELLS, SWEEPS = "cells", "sweeps"
SHOWN = (
    *("kl_nats_mean", "top1_agreement", "perplexity", "task_accuracy"),
    *("size_mb", "bits_per_weight", "decode_tokens_per_s", "ttft_ms_p50", "peak_rss_mb"),
)
NEWEST = {"orderByKey": "attributes.start_time", "orderByAsc": False}
BEST = {"orderByKey": "metrics.`kl_nats_mean`", "orderByAsc": True}  # by time, MLflow folds cells into their parents
SECTION = "phi-deploy"


def view_tags() -> dict[str, str]:
    """Tags of the experiment: the views of its cells and of its sweeps."""
    axes = [f"params.`{name}`" for name in ("precision", "backend", "target")]
    metrics = [f"metrics.`{name}`" for name in SHOWN]
    cells = {
        **_state([*axes, *metrics, "tags.`gates`", "tags.`ships_to`"]),
        **BEST,
        "searchFilter": "tags.id LIKE '%'",
        "runsHiddenMode": "SHOW_ALL",
        "compareRunCharts": _charts(),
        "compareRunSections": [{"uuid": SECTION, "name": "Quality, size, speed", "display": True, "isReordered": True}],
        "isAccordionReordered": True,
    }
    sweeps = {
        **_state(["attributes.`Description`", "tags.`cells`", "tags.`git_commit`"]),
        **NEWEST,
        "searchFilter": "tags.sweep LIKE '%'",
    }
    views = {CELLS: cells, SWEEPS: sweeps}
    return {**KIND, **{f"{TAG}{name}": json.dumps(state, sort_keys=True) for name, state in views.items()}}


def link(server: str, experiment: str, view: str = CELLS, mode: str = "") -> str:
    """The address of a view at a server; `mode` CHART shows the charts beside the table."""
    words = {"workflowType": "machine_learning", "viewStateShareKey": view}
    if mode:
        words["compareRunsMode"] = mode
    return f"{server.rstrip('/')}/#/experiments/{experiment}/runs?{urlencode(words)}"


def _state(columns: list[str]) -> dict[str, Any]:
    return {"selectedColumns": columns, "columnOrder": columns}


def _charts() -> list[dict[str, Any]]:
    """KL against size and against speed, then bars; what MLflow would add by itself (a bar per metric) is put away."""
    drawn = [
        _scatter("KL (log10) against size", "size_mb", "kl_log10"),
        _scatter("KL (log10) against speed", "decode_tokens_per_s", "kl_log10"),
        _bar("kl_log10", "KL divergence, log10 of nats"),
        _bar("top1_agreement", "Top-1 agreement"),
        _bar("decode_tokens_per_s", "Decoding, tokens/s"),
        _bar("size_mb", "Package, MB"),
    ]
    seen = {chart.get("metricKey") for chart in drawn}
    hidden = ("perplexity", "evaluated_tokens", "load_s", "ttft_ms_p95", "prefill_tokens_per_s")
    put_away = [name for name in (*SHOWN, *hidden) if name not in seen]
    return [*drawn, *({**_bar(name, name), "deleted": True} for name in put_away)]


def _bar(metric: str, name: str) -> dict[str, Any]:
    return {**_card(f"bar-{metric}", "BAR", name), "metricKey": metric}


def _scatter(name: str, x: str, y: str) -> dict[str, Any]:
    def axis(key: str) -> Mapping[str, Any]:
        return {"key": key, "type": "METRIC"}

    return {**_card(f"scatter-{x}", "SCATTER", name), "xaxis": axis(x), "yaxis": axis(y), "runsCountToCompare": 100}


def _card(uuid: str, kind: str, name: str) -> dict[str, Any]:
    return {
        "uuid": uuid,
        "type": kind,
        "displayName": name,
        "metricSectionId": SECTION,
        "runsCountToCompare": 20,
        "deleted": False,
        "isGenerated": False,
    }
