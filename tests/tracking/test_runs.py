"""What a delivered cell looks like in MLflow, and what never gets there."""

from __future__ import annotations

import json
import logging

import pytest

from pipeline.errors import PipelineError
from pipeline.tracking import track
from tests.tracking.results import CELLS, Results

FP32, INT4 = CELLS


def column(results: Results, table: str, run: str) -> dict[str, str]:
    sql = f"select key, value from {table} join runs using (run_uuid) where name = '{run}'"
    return dict(results.query(sql))


def files(results: Results, run: str) -> set[str]:
    folder = results.root / "mlartifacts" / results.query(f"select run_uuid from runs where name = '{run}'")[0][0]
    return {path.relative_to(folder / "artifacts").as_posix() for path in folder.rglob("*") if path.is_file()}


def test_every_cell_is_one_run_below_the_suite(delivered: Results) -> None:
    assert delivered.names() == ["default", FP32, INT4]
    parent = delivered.query("select run_uuid from runs where name = 'default'")[0][0]
    assert {column(delivered, "tags", cell)["mlflow.parentRunId"] for cell in CELLS} == {parent}
    assert delivered.query("select distinct status from runs") == [("FINISHED",)]


def test_the_parent_names_every_cells_run_and_holds_the_report(delivered: Results) -> None:
    runs = dict(delivered.query("select name, run_uuid from runs"))
    tags = column(delivered, "tags", "default")
    assert {tags[f"cell.{cell}"] for cell in CELLS} == {runs[cell] for cell in CELLS}
    assert files(delivered, "default") == {"summary.md", "cells.json", "quality_size.png"}
    assert column(delivered, "metrics", "default") == {"cells_ok": 2, "cells_skipped": 0, "cells_failed": 0}


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
    assert column(delivered, "metrics", INT4) == {"perplexity": 12.5, "size_bytes": 1000, "decode_tokens_per_s": 80.25}
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
        "default": "FINISHED",
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
