"""The engine's reading of the plan, against DVC's own; the calls into DVC that are private; what stages ask for."""

from __future__ import annotations

import inspect
import os
from pathlib import Path

import pytest

from pipeline.engine.jobs import below, jobs_of, upstream
from pipeline.engine.needs import BESIDE, Share, default_jobs, machine, shares
from pipeline.harness.params import read_params, read_templates
from tests.support.project import Project, make_project
from tests.support.tiny import ROOT

SUITES = sorted(path.stem for path in (ROOT / "conf/suite").glob("*.yaml"))


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = make_project(tmp_path_factory.mktemp("engine") / "project")
    for name in ("models/phi-tiny", "models/phi-tiny-vision"):
        (project.root / name).parent.mkdir(exist_ok=True)
        (project.root / name).symlink_to(ROOT / name)
    return project


@pytest.mark.parametrize("suite", [*(f"suite={name}" for name in SUITES), "precision=[fit]"])
def test_stages_and_their_graph_are_those_that_dvc_reads(
    bare: Project, suite: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dvc.repo import Repo

    monkeypatch.chdir(bare.root)
    done = bare.pipeline("compose", suite)
    assert done.returncode == 0, done.stderr
    jobs = jobs_of(read_templates())
    graph = Repo(".").index.graph
    stages = {stage.name: stage for stage in graph if "@" in stage.name}
    assert set(jobs) == set(stages) and jobs
    above = upstream(jobs)
    for name, job in jobs.items():
        stage = stages[name]
        assert job.cmd == stage.cmd and job.file == stage.path_in_repo.partition(":")[0]
        assert list(job.deps) == [dep.def_path for dep in stage.deps]
        assert list(job.outs) == [out.def_path for out in stage.outs]
        assert set(above[name]) == {maker.name for maker in graph.successors(stage) if maker.name in jobs}


def test_the_run_cache_knows_a_stage_by_the_key_that_dvc_gives_it(copy: Project) -> None:
    """A stage made without dvc.yaml and dvc.lock is found in the run cache of a `dvc repro`."""
    from dvc.repo import lock_repo
    from dvc.stage.cache import _get_stage_hash

    from pipeline.engine.workspace import Workspace

    os.chdir(copy.root)
    space, jobs = Workspace(copy.root), jobs_of(read_templates())
    with lock_repo(space.repo):
        for job in jobs.values():
            stage = space.stage(job)
            stage.save_deps()
            key = _get_stage_hash(stage)
            assert (copy.root / ".dvc/cache/runs" / key[:2] / key).is_dir(), job.name
    known = _known(copy.root)
    assert not any(space.changed(jobs.values(), known))
    evaluation = next(iter(job for job in jobs.values() if job.stage == "evaluate"))
    with (copy.root / evaluation.outs[0]).open("a", encoding="utf-8") as file:
        file.write(" ")
    looked = dict(zip(jobs, space.changed(jobs.values(), known), strict=True))
    changed = {name.partition("@")[0] for name, it_did in looked.items() if it_did}
    assert changed == {"evaluate", "package"}


def _known(root: Path) -> dict[str, dict[str, object]]:
    from pipeline.engine.locks import lock_entries

    return lock_entries(root)


CALLS = {  # what the engine takes of DVC and Dask beside what they document, with the arguments that it gives
    "dvc.repo.lock_repo": ("repo",),
    "dvc.repo.Repo.__init__": ("root_dir", "_wait_for_lock"),
    "dvc.repo.Repo.reproduce": ("targets", "single_item"),
    "dvc.repo.Repo._reset": (),
    "dvc.repo.Repo.config": None,
    "dvc.rwlock.rwlock": ("tmp_dir", "fs", "cmd", "read", "write", "hardlink"),
    "dvc.output.Output._build": ("args", "kwargs"),
    "dvc.utils.serialize.dumps_yaml": ("d",),
    "dvc.fs.MemoryFileSystem": None,
    "dvc.repo.scm_context.SCMContext.track_file": ("paths",),
    "dvc_data.hashfile.state.State.close": (),
    "diskcache.Cache.close": (),
    "dvc.dvcfile.ProjectFile.__init__": ("repo", "path"),
    "dvc.dvcfile.ProjectFile.dump_stages": ("stages", "update_pipeline"),
    "dvc.stage.loader.StageLoader.load_stage": ("dvcfile", "name", "stage_data", "lock_data"),
    "dvc.stage.Stage.reproduce": (),
    "dvc.stage.Stage.run": (),
    "dvc.stage.run.run_stage": ("run_env",),
    "dvc.stage.Stage.changed_stage": (),
    "dvc.output.Output.status": (),
    "dvc.dependency.base.Dependency.status": (),
    "dvc.stage.serialize.to_single_stage_lockfile": ("stage",),
    "dvc.stage.exceptions.StageCmdFailedError": ("cmd",),
    "dvc.exceptions.ReproductionError": (),
    "dvc.stage.decorators.unlocked_repo": ("f",),
    "dvc.lock.Lock.lock": (),
    "dvc.lock.Lock.unlock": (),
    "dvc.lock.Lock.is_locked": None,
    "dvc.data_cloud.DataCloud.push": ("objs", "remote"),
    "dvc.data_cloud.DataCloud.pull": ("objs", "remote"),
    "dvc.data_cloud.DataCloud.get_remote_odb": ("name", "command", "hash_name"),
    "dvc.stage.Stage.get_used_objs": ("kwargs",),
    "dvc.stage.Stage.outs_cached": (),
    "dvc.stage.Stage.checkout": ("kwargs",),
    "dvc.stage.Stage.save_deps": (),
    "dvc.stage.cache.StageCache.save": ("stage",),
    "dvc.stage.cache.StageCache._get_cache_dir": ("key",),
    "dvc.stage.cache.StageCache._get_cache_path": ("key", "value"),
    "dvc.stage.cache._get_cache_hash": ("cache",),
    "dvc.stage.cache._get_stage_hash": ("stage",),
    "distributed.scheduler.SchedulerState.bulk_schedule_unrunnable_after_adding_worker": ("ws",),
    "distributed.scheduler.Scheduler.transitions": ("recommendations", "stimulus_id"),
    "distributed.worker.Worker.set_resources": ("resources",),
    "distributed.worker.Worker.close": ("reason",),
    "distributed.Reschedule": None,
    "distributed.cli.dask_worker.main": None,
    "dvc_objects.fs.base.FileSystem.pipe_file": ("path", "value"),
    "dvc_objects.fs.base.FileSystem.remove": ("path",),
}


@pytest.mark.parametrize("name", sorted(CALLS))
def test_dvc_and_dask_have_what_the_engine_calls(name: str) -> None:
    from importlib import import_module

    path, found = name, None
    while found is None:
        path = path.rpartition(".")[0]
        assert path, f"there is no {name}"
        try:
            found = import_module(path)
        except ImportError:
            continue
    for part in name[len(path) + 1 :].split("."):
        assert hasattr(found, part), f"there is no {name}"
        found = getattr(found, part)
    if CALLS[name] is None:  # no function
        return
    missing = set(CALLS[name] or ()) - set(inspect.signature(found).parameters)
    assert not missing, f"{name} takes no {', '.join(missing)}"


def test_dvc_logs_why_a_file_was_not_moved() -> None:
    """It counts them; the reason is in this logger's records alone."""
    from dvc_data.hashfile import transfer

    assert transfer.logger.name == "dvc_data.hashfile.transfer"
    assert "logger.error(\"failed to transfer '%s'\", oid, exc_info=exc)" in inspect.getsource(transfer)


def test_dvc_gives_its_lock_back_while_a_command_runs() -> None:
    """The engine puts its own lock in the place of `repo.lock`: DVC must go through that attribute."""
    from dvc.repo import lock_repo
    from dvc.stage.decorators import rwlocked, unlocked_repo

    assert "stage.repo.lock.unlock()" in inspect.getsource(unlocked_repo)
    assert "repo.lock" in inspect.getsource(lock_repo) and "repo.lock.is_locked" in inspect.getsource(rwlocked)


def test_dvc_takes_what_the_engine_keeps_open_and_does_once_by_the_names_that_are_replaced() -> None:
    """One lock of a stage's files, one look at its dependencies, one connection: see pipeline/engine/lean.py."""
    from dvc.dependency.base import Dependency
    from dvc.output import Output
    from dvc.repo import Repo, lock_repo
    from dvc.stage import Stage
    from dvc.stage.decorators import rwlocked, unlocked_repo
    from dvc_data.hashfile import build, tree
    from dvc_data.hashfile.state import State

    assert "from dvc.rwlock import rwlock" in inspect.getsource(rwlocked)  # when it is called
    assert '@rwlocked(read=["deps"], write=["outs"])\n    def reproduce' in inspect.getsource(Stage)
    assert "repo._reset()" in inspect.getsource(lock_repo) and "repo._reset()" in inspect.getsource(unlocked_repo)
    assert "self.state.close()" in inspect.getsource(Repo._reset)
    assert "self.hashes.close()" in inspect.getsource(State.close) and "self.links" in inspect.getsource(State.set_link)
    for method in (Output._get_hash_meta, Output.save):
        assert "self._build(" in inspect.getsource(method)
    assert issubclass(Dependency, Output)
    assert "MemoryFileSystem()" in inspect.getsource(build._get_staging) + inspect.getsource(tree.Tree.digest)


def test_two_that_do_not_fit_into_memory_do_not_start_together() -> None:
    here = machine(8e9)
    large = Share(memory=6e9).resources(8e9)
    assert large["memory"] <= here["memory"] < 2 * large["memory"]
    assert Share(memory=20e9).resources(8e9)["memory"] == here["memory"]
    assert Share(alone=True).resources(8e9)["machine"] == here["machine"]
    assert Share(all_cores=True).resources(8e9)["cores"] == here["cores"] and not Share().resources(8e9)["cores"]
    assert 0 < BESIDE * 64 < here["machine"]
    assert [default_jobs(8, 64e9), default_jobs(8, 1e9), default_jobs(2, 0.1e9)] == [8, 2, 1]


def test_a_large_model_has_its_cores_and_a_small_one_shares_them(
    bare: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline.matrix.plan import make_plan

    monkeypatch.chdir(bare.root)
    done = bare.pipeline("compose", "model=[phi-tiny,phi-3.5-mini]", "precision=[int4,fit]", "target=[cpu]")
    assert done.returncode == 0, done.stderr
    params = read_params()
    jobs = jobs_of(read_templates())
    found = shares(make_plan(params), params, jobs, 2)
    assert set(found) == set(jobs)
    assert found["reference@phi-3-5-mini"].all_cores and not found["reference@phi-tiny"].all_cores
    assert found["quantize@phi-3-5-mini_int4_openvino"].memory > 4e9
    assert {job.stage for job in jobs.values() if found[job.name].alone} == {"benchmark"}


def test_what_stands_on_a_stage_is_found_at_any_depth() -> None:
    above = {"a": (), "b": ("a",), "c": ("b",), "d": ()}
    assert below(["a"], above) == {"b", "c"}
