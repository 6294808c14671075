"""DVC stage report: python -m stages.report"""

import sys

from pipeline.params import read_params
from pipeline.runtime import run_stage
from pipeline.steps.report import write_report


def _report() -> None:
    write_report(read_params())


if __name__ == "__main__":
    sys.exit(run_stage("report", "", _report))
