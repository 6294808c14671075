"""DVC stage fetch@<key>: python -m stages.fetch KEY"""

import sys

from pipeline.runtime import main
from pipeline.steps.fetch import fetch

if __name__ == "__main__":
    sys.exit(main("fetch", "models", fetch))
