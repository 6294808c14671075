"""The winner of each target is a version in the model registry, with the target as its alias."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.matrix.gates import judge
from pipeline.rows import Figures
from pipeline.strict import plain, read
from pipeline.tracking import track
from tests.tracking.results import CELLS, PARENT, Results
from tests.tracking.server import Server

FP32, INT4 = CELLS


def gate(results: Results, largest_kl: float) -> None:
    """Two cells whose divergence is judged: fp32 has none, int4 has 0.05."""
    records = results.records
    for record, kl, size in zip(records, (0.0, 0.05), (1000, 400), strict=True):
        record["metrics"] |= {"kl_nats_mean": kl, "kl_nats_mean_common": kl, "size_bytes": size}
        record["metrics"]["decode_tokens_per_s"] = None
        record["gates"] = plain(judge(read(Figures, record["metrics"]), None, {"max_kl_nats": largest_kl}))
    results.write(records)


def aliases(uri: str) -> dict[str, str]:
    """alias → the cell of the version that it names."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    model = client.get_registered_model("phi-deploy.phi-tiny")
    versions = {alias: client.get_model_version(model.name, version) for alias, version in model.aliases.items()}
    for version in versions.values():
        assert version.source == f"runs:/{version.run_id}/package"
    return {alias: client.get_run(version.run_id).info.run_name for alias, version in versions.items()}


def test_the_winner_of_a_target_is_registered_and_moves_with_the_gates(results: Results) -> None:
    from mlflow import MlflowClient

    uri = f"sqlite:///{results.root / 'mlflow.db'}"
    gate(results, largest_kl=0.1)
    track(results.root, None)
    assert aliases(uri) == {"cpu": INT4}
    client = MlflowClient(tracking_uri=uri)
    version = client.get_model_version_by_alias("phi-deploy.phi-tiny", "cpu")
    assert version.tags["package_sha256"] == "ab" * 32
    assert (version.tags["gate.max_kl_nats"], version.tags["gates"]) == ("passed, 0.05 of 0.1", "passed")
    assert {name: version.tags[name] for name in ("kl_nats_mean", "size_mb", "precision")} == {
        "kl_nats_mean": "0.05",
        "size_mb": "0.0004",
        "precision": "int4",
    }
    assert "**phi-tiny int4 onnxruntime** for cpu" in version.description
    assert "phi-tiny" in client.get_registered_model("phi-deploy.phi-tiny").description

    gate(results, largest_kl=0.01)
    track(results.root, None)
    assert aliases(uri) == {"cpu": FP32}
    gate(results, largest_kl=0.1)
    track(results.root, None)
    assert aliases(uri) == {"cpu": INT4}, "the verdict came back, and with it the alias"
    assert len(client.search_model_versions("name = 'phi-deploy.phi-tiny'")) == 2
    assert results.names() == [PARENT, *CELLS], "a changed gate logs no run again"
    tags = dict(results.query(f"select key, value from tags join runs using (run_uuid) where name = '{INT4}'"))
    assert (tags["gate.max_kl_nats"], tags["ships_to"]) == ("passed, 0.05 of 0.1", "cpu")
    gate(results, largest_kl=-1)
    track(results.root, None)
    assert aliases(uri) == {}


def test_a_run_that_a_person_deleted_is_delivered_again(results: Results) -> None:
    from mlflow import MlflowClient

    gate(results, largest_kl=0.1)
    track(results.root, None)
    assert track(results.root, None).delivered == ()
    run = results.query(f"select run_uuid from runs where name = '{INT4}'")[0][0]
    MlflowClient(tracking_uri=f"sqlite:///{results.root / 'mlflow.db'}").delete_run(run)
    assert track(results.root, None).delivered == (INT4,)
    assert track(results.root, None).delivered == ()


def test_nothing_is_registered_where_nothing_passes_or_no_target_has_gates(results: Results) -> None:
    gate(results, largest_kl=-1)
    track(results.root, None)
    assert results.query("select count(*) from registered_models") == [(0,)]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    folder = tmp_path / "server"
    folder.mkdir()
    made = Server(folder)
    made.start()
    made.wait()
    yield made
    made.stop()


def test_a_real_server_takes_the_source_by_its_run(server: Server, results: Results) -> None:
    gate(results, largest_kl=0.1)
    uri = f"http://127.0.0.1:{server.port}"
    assert track(results.root, uri).delivered == CELLS
    assert aliases(uri) == {"cpu": INT4}


def test_another_gate_leaves_no_tag_of_the_old_one(results: Results) -> None:
    gate(results, largest_kl=0.1)
    track(results.root, None)
    records = results.records
    for record in records:
        record["gates"] = plain(judge(read(Figures, record["metrics"]), None, {"max_package_mb": 0.0005}))
    results.write(records)
    track(results.root, None)
    tags = dict(results.query(f"select key, value from tags join runs using (run_uuid) where name = '{FP32}'"))
    assert (tags["gates"], tags["gate.max_package_mb"]) == ("missed 1 of 1", "missed, 0.001 of 0.0005")
    assert "gate.max_kl_nats" not in tags
    assert "misses max_package_mb" in tags["mlflow.note.content"]
    parent = dict(results.query(f"select key, value from tags join runs using (run_uuid) where name = '{PARENT}'"))
    assert (parent["cells"], parent["winner.cpu"]) == ("1 pass, 1 miss a gate", "int4 onnxruntime · KL 5.0e-2 · 0.0 MB")
    records[1]["gates"] = records[0]["gates"]
    results.write(records)
    track(results.root, None)
    parent = dict(results.query(f"select key, value from tags join runs using (run_uuid) where name = '{PARENT}'"))
    assert (parent["cells"], "winner.cpu" in parent) == ("2 miss a gate", False)
