"""DVC stage package@<cell>: python -m stages.package KEY"""

import sys

from pipeline.runtime import main
from pipeline.steps.package import package

if __name__ == "__main__":
    sys.exit(main("package", "cells", package))
