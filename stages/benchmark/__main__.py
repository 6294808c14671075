"""DVC stage benchmark@<key>: python -m stages.benchmark KEY"""

import sys

from pipeline.runtime import main
from pipeline.steps.benchmark import benchmark

if __name__ == "__main__":
    sys.exit(main("benchmark", "cells", benchmark))
