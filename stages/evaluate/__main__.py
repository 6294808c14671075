"""DVC stage evaluate@<key>: python -m stages.evaluate KEY"""

import sys

from pipeline.runtime import main
from pipeline.steps.evaluate import evaluate

if __name__ == "__main__":
    sys.exit(main("evaluate", "builds", evaluate))
