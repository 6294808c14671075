"""worker: take stages of sweeps that other machines drive. It needs the pinned packages, no checkout and no git."""

from __future__ import annotations

import argparse
from pathlib import Path

HOME = Path("~/.cache/phi-deploy/worker")


def configure(parser: argparse.ArgumentParser) -> None:
    from pipeline.commands.run import add_link

    parser.add_argument("scheduler", metavar="ADDRESS", help="Dask's scheduler: tls://HOST:PORT, tcp://HOST:PORT")
    parser.add_argument("--name", default="", help="what the driver calls it (default: the host's name)")
    parser.add_argument("-j", "--jobs", type=int, default=0, metavar="N", help="stages at once (default: what fits)")
    parser.add_argument("--local-directory", default="", metavar="FOLDER", help=f"copies and cache (default: {HOME})")
    add_link(parser)


def run(arguments: argparse.Namespace) -> int:
    """Until it is stopped."""
    import gc
    import platform

    from pipeline.commands.run import tls_files
    from pipeline.engine.link import check_link, shake_hands
    from pipeline.engine.needs import cores_here, default_jobs, memory_here
    from pipeline.engine.serve import serve

    gc.enable()
    files = tls_files(arguments)
    check_link(arguments.scheduler, files, arguments.insecure)
    shake_hands(arguments.scheduler, files)
    folder = Path(arguments.local_directory or HOME).expanduser().absolute()
    jobs = arguments.jobs or default_jobs(cores_here(), memory_here())
    tls = [word for flag, path in files.items() if path for word in (flag, path)]
    serve(arguments.scheduler, arguments.name or platform.node(), jobs, folder, tls)
    return 0
