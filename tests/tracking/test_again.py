"""Delivering twice, after a change, after a crash, after a loss: nothing is missing and nothing is there twice."""

from __future__ import annotations

import json
import shutil
from concurrent.futures import ThreadPoolExecutor

from pipeline.tracking import track
from tests.tracking.results import CELLS, PARENT, Results, empty

FP32, INT4 = CELLS
ONCE = [PARENT, *CELLS]

KILL = """
import os, signal
from mlflow import MlflowClient
log, calls = MlflowClient.log_artifact, []
def log_artifact(*args, **kwargs):
    calls.append(args)
    if len(calls) == {call}:
        os.kill(os.getpid(), signal.SIGKILL)
    return log(*args, **kwargs)
MlflowClient.log_artifact = log_artifact
"""


def receipts(results: Results) -> dict[str, str]:
    (path,) = (results.root / ".tracking").glob("*.json")
    return json.loads(path.read_text(encoding="utf-8"))


def test_an_unchanged_result_is_not_delivered_again(delivered: Results) -> None:
    assert track(delivered.root, None).delivered == ()
    assert delivered.names() == ONCE


def test_nothing_new_does_not_import_mlflow(delivered: Results) -> None:
    code = "import atexit, sys; atexit.register(lambda: sys.stdout.write(str('mlflow' in sys.modules)))"
    done = delivered.stage(code=code)
    assert (done.returncode, done.stderr) == (0, "track: nothing new\n") and done.stdout.endswith("False")


def test_a_changed_cell_is_a_new_run_and_the_others_stay(delivered: Results) -> None:
    before = dict(delivered.query("select name, run_uuid from runs"))
    delivered.change(INT4, "perplexity", 14.0)
    assert track(delivered.root, None).delivered == (INT4,)
    assert delivered.names() == [PARENT, f"{PARENT} · measured again", FP32, INT4, INT4]
    tags = delivered.query(f"select value from tags where key = 'cell.{FP32}'")
    assert tags == [(before[FP32],), (before[FP32],)], "both sweeps name the one run of the unchanged cell"


def test_a_changed_card_is_a_new_run(delivered: Results) -> None:
    (delivered.root / "packages" / INT4 / "README.md").write_text("# other", encoding="utf-8")
    assert track(delivered.root, None).delivered == (INT4,)


def test_a_removed_cell_is_a_new_sweep_without_new_cells(delivered: Results) -> None:
    delivered.write(delivered.records[:1])
    assert track(delivered.root, None).delivered == ()
    assert delivered.names() == [PARENT, f"{PARENT} · 1 cell fewer", FP32, INT4]
    assert track(delivered.root, None).delivered == ()
    assert delivered.names() == [PARENT, f"{PARENT} · 1 cell fewer", FP32, INT4]


def test_a_delivery_killed_in_the_middle_is_completed_without_duplicates(results: Results) -> None:
    killed = results.stage(code=KILL.format(call=3))  # the second cell's first artifact
    assert killed.returncode < 0
    assert len(receipts(results)) == 1
    assert dict(results.query("select name, status from runs")) == {
        PARENT: "RUNNING",
        FP32: "FINISHED",
        INT4: "RUNNING",
    }
    assert track(results.root, None).delivered == (INT4,)
    assert results.names() == ONCE
    assert results.query("select distinct status from runs") == [("FINISHED",)]
    assert results.query("select max(points) from (select count(*) points from metrics group by run_uuid, key)") == [
        (1,)
    ]


def test_what_a_killed_delivery_left_of_results_that_changed_since_is_ended(results: Results) -> None:
    assert results.stage(code=KILL.format(call=3)).returncode < 0
    results.change(INT4, "perplexity", 14.0)
    assert track(results.root, None).delivered == (INT4,)
    assert results.query("select count(*) from runs where status = 'RUNNING'") == [(0,)]
    assert results.query("select name from runs where status = 'KILLED' order by name") == [(PARENT,), (INT4,)]
    results.change(INT4, "perplexity", 12.5)
    assert track(results.root, None).delivered == (INT4,)
    assert results.query("select count(*) from runs where status = 'KILLED'") == [(0,)]


def test_lost_or_broken_receipts_cost_a_search_and_no_duplicates(delivered: Results) -> None:
    before = receipts(delivered)
    shutil.rmtree(delivered.root / ".tracking")
    track(delivered.root, None)
    (path,) = (delivered.root / ".tracking").glob("*.json")
    assert receipts(delivered) == before
    path.write_text("{", encoding="utf-8")
    track(delivered.root, None)
    assert receipts(delivered) == before
    assert delivered.names() == ONCE


def test_two_deliveries_at_once_are_one(results: Results) -> None:
    with ThreadPoolExecutor() as both:
        outcomes = list(both.map(lambda _: track(results.root, None), range(2)))
    assert sorted(outcome.delivered for outcome in outcomes) == [(), CELLS]
    assert [outcome.waiting for outcome in outcomes] == [(), ()]
    assert results.names() == ONCE


def test_a_deleted_store_is_filled_again(delivered: Results) -> None:
    (delivered.root / "mlflow.db").unlink()
    assert track(delivered.root, None).delivered == CELLS
    assert delivered.names() == ONCE


def test_a_store_that_was_deleted_and_made_anew_by_others_is_filled_again(delivered: Results) -> None:
    empty(delivered.root / "mlflow.db")
    assert track(delivered.root, None).delivered == CELLS
    assert delivered.names() == ONCE


def test_a_copied_project_keeps_its_files_to_itself(once: Results, delivered: Results) -> None:
    before = sorted(once.root.rglob("*"))
    delivered.change(INT4, "perplexity", 14.0)
    track(delivered.root, None)
    assert sorted(once.root.rglob("*")) == before
    where = delivered.query("select artifact_uri from runs")
    assert all(uri.startswith(delivered.root.as_uri()) for (uri,) in where)
