"""DVC stage evaluate@<key>: python -m stages.evaluate KEY"""

import sys

from pipeline.hidden import hide
from pipeline.runtime import main
from pipeline.steps.evaluate import evaluate

if __name__ == "__main__":
    # Evaluation is the runtime's alone. mlx-lm imports transformers, which would import torch wherever it is installed.
    hide("torch")
    sys.exit(main("evaluate", "builds", evaluate))
