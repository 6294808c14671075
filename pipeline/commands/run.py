"""run: what `repro` does, with as many stages at once as the machine has room for."""

from __future__ import annotations

import argparse
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.engine.link import Link

INTERRUPTED = 130


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("overrides", nargs="*", help="as Hydra takes them; none: params.yaml as it is")
    parser.add_argument(
        "-j", "--jobs", type=int, default=0, metavar="N", help="stages at once (default: what cores and memory allow)"
    )
    parser.add_argument("--dashboard", action="store_true", help="Dask's page, with what runs and how long each took")
    cluster = parser.add_argument_group("on other machines")
    cluster.add_argument("--scheduler", default="", metavar="ADDRESS", help="Dask's: tls://HOST:PORT, tcp://HOST:PORT")
    cluster.add_argument("--remote", default="", metavar="NAME", help="the DVC remote that results go through")
    cluster.add_argument("--like", default="", metavar="WORKER", help="whose instruction set, not this one's")
    add_link(cluster)
    parser.add_argument("--json", action="store_true", help="print reports/cells.json instead of the table")


def add_link(parser: Any) -> None:
    """Dask's own flags for TLS, and what goes without."""
    for name, text in (("ca-file", "certificate authority"), ("cert", "certificate"), ("key", "private key")):
        parser.add_argument(f"--tls-{name}", default="", metavar="FILE", help=f"{text}, as of Dask")
    parser.add_argument("--insecure", action="store_true", help="tcp:// to another machine, on a network of your own")


def tls_files(arguments: argparse.Namespace) -> dict[str, str]:
    """Authority, certificate and key by their flags; empty where there are none."""
    given = {name: getattr(arguments, f"tls_{name.replace('-', '_')}") for name in ("ca-file", "cert", "key")}
    return {f"--tls-{name}": str(Path(path).absolute()) if path else "" for name, path in given.items()}


def run(arguments: argparse.Namespace) -> int:
    import gc

    from pipeline.commands import compose, report
    from pipeline.errors import ConfigError

    gc.enable()  # a long run
    if arguments.jobs < 0:
        raise ConfigError(f"-j {arguments.jobs} is no number of stages")
    link = _link(arguments)
    with redirect_stdout(sys.stderr):
        if arguments.overrides:
            compose.run(argparse.Namespace(overrides=arguments.overrides, check=False, json=False))
        else:
            compose.set_aside_broken_locks()
    from pipeline.engine.driver import How, drive

    code = drive(How(arguments.jobs, arguments.dashboard, link))
    if code == INTERRUPTED:
        return code
    told = report.run(argparse.Namespace(json=arguments.json, fill=None, compare=None))
    return told or code


def _link(arguments: argparse.Namespace) -> Link | None:
    from pipeline.errors import ConfigError

    if not arguments.scheduler:
        if arguments.remote or arguments.like:
            raise ConfigError("--remote and --like are of a cluster", hint="add --scheduler ADDRESS")
        return None
    if not arguments.remote:
        raise ConfigError("a cluster's results go through a DVC remote", hint="add --remote NAME")
    from pipeline.engine.link import Link, check_link

    files = tls_files(arguments)
    check_link(arguments.scheduler, files, arguments.insecure)
    return Link(arguments.scheduler, arguments.remote, arguments.like, *files.values())
