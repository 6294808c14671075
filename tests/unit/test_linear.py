"""What a plan costs grows with its stages, and no faster: counted in calls, since no clock is to be trusted."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from pipeline import layout
from pipeline.engine.board import Board
from pipeline.engine.jobs import Job, below, upstream
from pipeline.engine.locks import lock_entries
from pipeline.engine.needs import Share
from pipeline.engine.workspace import Workspace
from pipeline.files import write_json
from pipeline.harness.place import begin, place

FEW, MORE, MANY = 8, 20, 32
NEARLY = 1.005  # names differ in their digits


def calls(work: Callable[..., object], *arguments: Any) -> int:
    """How many calls, of Python's functions and of C's, and how many steps of generators, some work takes."""
    count = 0

    def one_more(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(one_more)
    try:
        work(*arguments)
    finally:
        sys.setprofile(None)
    return count


def grows_evenly(work: Callable[[int], object]) -> bool:
    """Whether the last twelve cost what the twelve before them did."""
    few, more, many = (calls(work, count) for count in (FEW, MORE, MANY))
    return many - more <= NEARLY * (more - few)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository in which builds are copies of exports."""
    from dvc.repo import Repo

    folder = tmp_path_factory.mktemp("linear")
    for stage in ("convert", "quantize"):
        (folder / layout.STAGES / stage).mkdir(parents=True)
    for number in range(MANY):
        write_json(folder / f"inputs/{number:03}.json", {"number": number})
    Repo.init(str(folder), no_scm=True).close()
    return folder


def jobs(count: int) -> list[Job]:
    """Exports and builds of them, folders with a manifest."""
    found = []
    for number in range(count):
        key = f"{number:03}"
        export, build = layout.export(key).as_posix(), layout.build(key).as_posix()
        made = f"mkdir -p {export} && cp inputs/{key}.json {export}/manifest.json"
        found.append(Job("convert", key, made, (f"inputs/{key}.json",), (export,)))
        built = f"mkdir -p artifacts/builds && cp -r {export} {build}"
        found.append(Job("quantize", key, built, (f"inputs/{key}.json", export), (build,)))
    return sorted(found, key=lambda job: job.stage)


@pytest.fixture(scope="module")
def ran(root: Path) -> tuple[Workspace, dict[str, Any], list[int]]:
    """DVC in the repository, the lock entries of all stages, and the calls of each of the builds."""
    space, done, counted = Workspace(root), {}, []

    def run(job: Job) -> None:
        done[job.name] = space.run(job, None, {})

    for job in jobs(MANY):
        counted.append(calls(run, job))
    return space, done, counted[MANY:]


def test_the_last_stage_costs_what_the_first_did(ran: tuple[Workspace, dict[str, Any], list[int]]) -> None:
    _, done, counted = ran
    assert len(done) == 2 * MANY
    assert max(counted[-4:]) <= NEARLY * max(counted[:4])


def test_what_changed_is_found_in_the_time_that_the_stages_take(
    ran: tuple[Workspace, dict[str, Any], list[int]],
) -> None:
    space, done, _ = ran
    assert not any(space.changed(jobs(MANY), done))
    assert grows_evenly(lambda count: list(space.changed(jobs(count), done)))


def test_lock_files_are_written_in_the_time_that_their_entries_take(
    root: Path, ran: tuple[Workspace, dict[str, Any], list[int]]
) -> None:
    space, done, _ = ran

    def write(count: int) -> None:
        for path in layout.locks(root):
            path.unlink()
        space.write_locks(jobs(count), done)

    assert grows_evenly(write)
    assert lock_entries(root) == done
    assert grows_evenly(lambda count: space.write_locks(jobs(count), done))  # into files that have them


def test_the_graph_takes_the_time_that_its_stages_take() -> None:
    def graph(count: int) -> None:
        named = {job.name: job for job in jobs(count)}
        above = upstream(named)
        below(list(above)[:1], above)

    assert grows_evenly(graph)


def test_a_stage_knows_its_place_without_looking_at_all_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    begin(MANY, MANY)
    before = calls(place)
    for number in range(MANY):
        write_json(layout.record("fetch", str(number)), {})
    assert calls(place) == before


def test_an_ending_stage_is_counted_without_looking_at_all_others() -> None:
    class Terminal:
        def isatty(self) -> bool:
            return True

        def write(self, text: str) -> int:
            return len(text)

        def flush(self) -> None: ...

    def end(board: Board) -> None:
        for number in range(FEW):
            board.ended(f"quantize@{number}")

    def counted(count: int) -> int:
        stream: Any = Terminal()
        board = Board({f"quantize@{number}": Share() for number in range(count)}, 2, stream)
        for number in range(FEW):
            board.event({"name": f"quantize@{number}"})
        try:
            return calls(end, board)
        finally:
            board.close()

    assert counted(10 * MANY) <= 1.1 * counted(MANY)
