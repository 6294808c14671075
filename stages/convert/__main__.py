"""DVC stage convert@<key>: python -m stages.convert KEY"""

import sys

from pipeline.runtime import main
from pipeline.steps.convert import convert

if __name__ == "__main__":
    sys.exit(main("convert", "exports", convert))
