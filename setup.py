"""The wheel has what a project is made of beside the package, for `phi-deploy init`; all else is in pyproject.toml."""

import runpy
import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

INIT = runpy.run_path("pipeline/commands/init.py")


class BuildWithProject(build_py):
    def run(self) -> None:
        super().run()
        if self.editable_mode:  # the checkout has it
            return
        held = Path(self.build_lib) / "pipeline" / INIT["HELD"]
        shutil.rmtree(held, ignore_errors=True)
        for name in INIT["PROJECT"]:
            INIT["_copy"](Path(name), held / name)


setup(cmdclass={"build_py": BuildWithProject})
