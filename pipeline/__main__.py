"""The commands, each imported when it is used: `phi-deploy COMMAND`, or `python -m pipeline COMMAND`."""

from __future__ import annotations

import argparse
import gc
import os
import sys
from pathlib import Path

from pipeline.commands import COMMANDS, called, module_of, parser
from pipeline.errors import explain, suggest
from pipeline.terminal import paint
from pipeline.version import VERSION

