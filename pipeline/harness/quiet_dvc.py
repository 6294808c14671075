"""python -m pipeline.harness.quiet_dvc …: DVC with its warnings and errors alone; `dvc -q` hides errors as well."""

from __future__ import annotations

import logging
import os
import sys
from contextlib import redirect_stdout
from pathlib import Path


def main() -> int:
    """DVC's exit code."""
    from dvc.cli import main as dvc

    for name in ("dvc", "dvc_objects", "dvc_data"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("dvc.output").addFilter(_says_more)
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
        return int(dvc(sys.argv[1:]))


def _says_more(record: logging.LogRecord) -> bool:
    """Not that a folder is empty which the report depends on: a matrix without searches has none in artifacts/fits."""
    return not record.getMessage().endswith("' is empty.")


if __name__ == "__main__":
    sys.exit(main())
