"""DVC stage track: python -m stages.track (MLFLOW_TRACKING_URI names the store; by default mlflow.db)"""

import os
import sys
from pathlib import Path

from pipeline.runtime import run_stage
from pipeline.tracking import track


def _track() -> None:
    track(Path(), os.environ.get("MLFLOW_TRACKING_URI"))


if __name__ == "__main__":
    sys.exit(run_stage("track", "", _track))
