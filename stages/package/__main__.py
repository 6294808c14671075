"""DVC stage package@<cell>: python -m stages.package KEY"""

import sys

from pipeline.params import entry, read_params
from pipeline.runtime import main
from pipeline.steps.package import package
from pipeline.types import JSON


def _package(key: str, cell: JSON) -> str | None:
    return package(key, cell, entry(read_params(), "builds", cell["build"]))


if __name__ == "__main__":
    sys.exit(main("package", "cells", _package))
