"""What a delivered cell looks like in MLflow, and what never gets there."""

from __future__ import annotations

import json
import logging

import pytest

from pipeline.errors import PipelineError
from pipeline.tracking import track
from tests.tracking.results import CELLS, PARENT, Results

FP32, INT4 = CELLS


def column(results: Results, table: str, run: str) -> dict[str, str]:
    sql = f"select key, value from {table} join runs using (run_uuid) where name = '{run}'"
    return dict(results.query(sql))


def files(results: Results, run: str) -> set[str]:
    folder = results.root / "mlartifacts" / results.query(f"select run_uuid from runs where name = '{run}'")[0][0]
    return {path.relative_to(folder / "artifacts").as_posix() for path in folder.rglob("*") if path.is_file()}


def test_every_cell_is_one_run_below_the_suite(delivered: Results) -> None:
    assert delivered.names() == [PARENT, FP32, INT4]
    parent = delivered.query(f"select run_uuid from runs where name = '{PARENT}'")[0][0]
    assert {column(delivered, "tags", cell)["mlflow.parentRunId"] for cell in CELLS} == {parent}
    assert delivered.query("select distinct status from runs") == [("FINISHED",)]


def test_the_parent_names_every_cells_run_and_holds_the_report(delivered: Results) -> None:
    runs = dict(delivered.query("select name, run_uuid from runs"))
    tags = column(delivered, "tags", PARENT)
    assert {tags[f"cell.{cell}"] for cell in CELLS} == {runs[cell] for cell in CELLS}
    assert files(delivered, PARENT) == {"summary.md", "cells.json", "quality_size.png"}
    assert (tags["cells"], tags["sweep"]) == ("2 pass", "phi-tiny")
    assert "# Summary" in tags["mlflow.note.content"]


def test_a_cells_settings_and_axes_are_params_and_tags(delivered: Results) -> None:
    params, tags = column(delivered, "params", INT4), column(delivered, "tags", INT4)
    assert params["quantize.settings.bits"] == "4"
    assert params["evaluate.window"] == "512"
    assert params["benchmark.runs"] == "5"
    assert params["convert.requires.onnx"] == "1.23.2"
    for name, value in {"precision": "int4", "backend": "onnxruntime", "target": "cpu", "suite": "default"}.items():
        assert params[name] == tags[name] == value
    assert tags["package_sha256"] == "ab" * 32
    assert tags["package_dvc_md5"] == f"{1:032x}.dir"
    assert len(tags["fingerprint"]) == 64


def test_a_figure_that_was_not_measured_is_no_metric_but_a_reason(delivered: Results) -> None:
    assert column(delivered, "metrics", INT4) == {"perplexity": 12.5, "size_mb": 0.001, "decode_tokens_per_s": 80.25}
    assert json.loads(column(delivered, "tags", INT4)["not_measured"]) == {"load_s": "no such device"}


def test_card_manifest_and_a_small_package_are_artifacts(delivered: Results) -> None:
    inner = {f"package/{name}" for name in ("manifest.json", "README.md", "model.onnx")}
    assert files(delivered, INT4) == {"manifest.json", "README.md"} | inner


def test_a_large_package_is_logged_by_digest_only(delivered: Results) -> None:
    records = delivered.records
    records[1]["package"]["size_bytes"] = 1_000_001
    delivered.write(records)
    outcome = track(delivered.root, None)
    assert outcome.delivered == (INT4,)
    newest = delivered.query("select run_uuid from runs where name like '%int4%' order by start_time desc")[0][0]
    folder = delivered.root / "mlartifacts" / newest / "artifacts"
    assert {path.name for path in folder.iterdir()} == {"manifest.json", "README.md"}


def test_failed_and_skipped_cells_are_runs_with_a_reason_and_no_package(results: Results) -> None:
    records = results.records
    for record, status in zip(records, ("failed", "skipped"), strict=True):
        record |= {"status": status, "reason": f"it {status}", "package": None}
    results.write(records)
    track(results.root, None)
    assert dict(results.query("select name, status from runs")) == {
        PARENT: "FINISHED",
        FP32: "FAILED",
        INT4: "FINISHED",
    }
    assert column(results, "tags", INT4)["status"] == "skipped"
    assert column(results, "tags", FP32)["reason"] == "it failed"
    assert files(results, FP32) == files(results, INT4) == set()


def test_credentials_in_an_address_reach_neither_params_nor_tags(delivered: Results) -> None:
    secret = "http://user:secret@host/models"
    records = delivered.records
    records[0]["settings"]["source"]["path"] = secret
    records[0] |= {"status": "failed", "reason": f"cannot read {secret}?token=secret"}
    delivered.write(records)
    track(delivered.root, None)
    stored = delivered.query("select value from params union select value from tags")
    assert ("http://host/models",) in stored
    assert not [value for (value,) in stored if "secret" in value]


def test_more_settings_and_longer_ones_than_mlflow_takes_at_once_are_delivered(delivered: Results) -> None:
    settings = {f"option_{number}": number for number in range(230)} | {"long": "x" * 9000}
    records = delivered.records
    records[1]["settings"]["quantize"]["settings"] = settings
    delivered.write(records)
    assert track(delivered.root, None).delivered == (INT4,)
    assert delivered.query("select count(*) from params where key like 'quantize.settings.option_%'") == [(230,)]
    assert delivered.query("select length(value) from params where key = 'quantize.settings.long'") == [(6000,)]


@pytest.mark.parametrize("content", [None, "{", '{"cells": 1}'])
def test_missing_or_broken_results_are_a_clear_error(results: Results, content: str | None) -> None:
    path = results.root / "reports/cells.json"
    path.unlink() if content is None else path.write_text(content, encoding="utf-8")
    with pytest.raises(
        PipelineError, match=r"cells\.json: (the file is missing|no valid JSON|not a list of cells).*; "
    ):
        track(results.root, None)


def test_one_line_says_what_was_delivered_and_where(delivered: Results, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    delivered.change(INT4, "perplexity", 13.0)
    track(delivered.root, None)
    assert [record.getMessage() for record in caplog.records] == [
        "track: 1 cell delivered to sqlite:///mlflow.db (experiment phi-deploy)"
    ]


def test_the_same_package_is_uploaded_once(delivered: Results) -> None:
    delivered.change(INT4, "decode_tokens_per_s", 90.0)
    assert track(delivered.root, None).delivered == (INT4,)
    first, second = (
        run for (run,) in delivered.query(f"select run_uuid from runs where name = '{INT4}' order by start_time")
    )
    held = {
        run: sorted(path.name for path in (delivered.root / "mlartifacts" / run).rglob("*.onnx"))
        for run in (first, second)
    }
    assert held == {first: ["model.onnx"], second: []}
    assert (first,) in delivered.query(f"select value from tags where key = 'package_run' and run_uuid = '{second}'")


def test_each_quality_is_one_figure_and_of_the_tokens_that_are_compared() -> None:
    from pipeline.reporting.cells import METRICS
    from pipeline.rows import Figures
    from pipeline.tracking import words

    held = dict.fromkeys(METRICS) | {"kl_nats_mean": 2e-3, "kl_nats_mean_common": 1.23456789e-3, "peak_rss_bytes": 2e9}
    held |= {"kl_nats_mean_default_mode": 1.0, "kl_nats_mean_default_mode_common": 1.0, "common_tokens": 7}
    assert words.figures(Figures(**held)) == {
        "kl_nats_mean": 0.00123457,
        "kl_log10": -2.90849,
        "peak_rss_mb": 2000,
        "evaluated_tokens": 7,
    }


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ({"a": {"q.bits": "4"}}, {"a": {"q.bits": "8"}}, "bits 4 → 8"),
        (
            {"a": {"q.bits": "4"}, "b": {}},
            {"a": {"q.bits": "4", "data.text": "f0"}, "c": {}},
            "1 cell more, 1 cell fewer",
        ),
        ({"a": {}}, {"a": {}}, "measured again"),
        ({"a": {}}, {"a": {"x.p": "1", "x.q": "2", "x.r": "3"}}, "p none → 1, q none → 2, 1 more settings"),
        ({"a": {"p": "x" * 99}}, {"a": {"p": "y"}}, f"p {'x' * 57}…"),
    ],
)
def test_a_parents_name_says_what_changed(before: dict, after: dict, said: str) -> None:
    from pipeline.tracking.changes import what_changed

    assert what_changed(before, after) == said


def test_a_changed_setting_names_the_new_parent(delivered: Results) -> None:
    records = delivered.records
    records[1]["settings"]["quantize"]["settings"]["bits"] = 8
    delivered.write(records)
    track(delivered.root, None)
    assert delivered.names() == [PARENT, f"{PARENT} · bits 4 → 8", FP32, INT4, INT4]
