"""lm_eval's own command line, which knows `--model phi_deploy`: python -m pipeline.lmeval run --model phi_deploy …"""

from __future__ import annotations

import sys

from pipeline.errors import explain
from pipeline.harness.run import setup


def main() -> int:
    setup()
    from lm_eval.__main__ import cli_evaluate

    import pipeline.lmeval.model  # noqa: F401

    try:
        cli_evaluate()
    except Exception as error:
        said = explain(error)
        if said is None:
            raise
        sys.stderr.write(f"error: {said[0]}\n")
        return said[1]
    return 0


if __name__ == "__main__":
    sys.exit(main())
