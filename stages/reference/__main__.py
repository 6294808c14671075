"""DVC stage reference@<key>: python -m stages.reference KEY"""

import sys

from pipeline.runtime import main
from pipeline.steps.reference import reference

if __name__ == "__main__":
    sys.exit(main("reference", "models", reference))
