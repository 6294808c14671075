"""DVC stage quantize@<key>: python -m stages.quantize KEY"""

import sys

from pipeline.runtime import main
from pipeline.steps.quantize import quantize

if __name__ == "__main__":
    sys.exit(main("quantize", "builds", quantize))
