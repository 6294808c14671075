"""DVC stage guard: python -m stages.guard (runs always; starts with the standard library alone)"""

import sys
from pathlib import Path

from pipeline.errors import PipelineError


def _guard() -> int:
    from pipeline.runtime import run_stage
    from pipeline.steps.guard import guard

    return run_stage("guard", "", guard)


if __name__ == "__main__":
    try:
        from pipeline.interpreter import check_python

        check_python(Path())
    except PipelineError as error:
        sys.stderr.write(f"error: guard: {error}\n")
        sys.exit(error.exit_code)
    sys.exit(_guard())
