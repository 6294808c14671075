"""A worker's process: Dask's own worker, in this process, until it is stopped."""

from __future__ import annotations

import os
from pathlib import Path

from distributed.cli.dask_worker import main

from pipeline.engine.link import no_answer
from pipeline.engine.worker import FOLDER, ended
from pipeline.errors import ToolError


def serve(scheduler: str, name: str, jobs: int, folder: Path, tls: list[str]) -> None:
    """Without Dask's nanny: its limits of threads would reach the stages. Raises ToolError where no scheduler answers.

    A stage's process ends with this one. tls: Dask's own flags.
    """
    folder.mkdir(parents=True, exist_ok=True)
    os.environ[FOLDER] = str(folder)
    words = [scheduler, "--name", name, "--nthreads", str(jobs), "--nworkers", "1", "--no-nanny", "--no-dashboard"]
    words += ["--memory-limit", "0", "--local-directory", str(folder / "dask"), "--death-timeout", "60", *tls]
    try:
        main(words, standalone_mode=False)
    except (OSError, TimeoutError, SystemExit) as error:
        raise no_answer(scheduler) from error
    if ended:
        raise ToolError(ended[0])
