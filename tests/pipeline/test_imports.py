"""What each stage's own process imports: nothing that it does not use."""

from __future__ import annotations

import pytest

from tests.support.project import Project

HEAVY = {
    *("torch", "transformers", "onnx", "onnx_ir", "onnxruntime", "onnxruntime_genai", "openvino", "openvino_genai"),
    *("nncf", "mlx", "mlx_lm", "gguf", "llama_cpp", "mlflow", "dvc", "hydra", "matplotlib"),
}
BUILD, CELL = "local_int4_onnxruntime", "local_int4_onnxruntime_cpu"
RUN = """
import runpy, sys
sys.argv = ["stage", *{words!r}]
try:
    runpy.run_module({module!r}, run_name="__main__")
except SystemExit as done:
    assert not done.code, done.code
print("imported", *sorted(name for name in {heavy!r} if sys.modules.get(name)))
"""


@pytest.mark.parametrize(
    ("stage", "key", "allowed"),
    [
        ("guard", "", set()),
        ("fetch", "local", set()),
        ("quantize", BUILD, {"onnx_ir", "onnx", "onnxruntime", "torch", "transformers"}),  # it calibrates
        ("evaluate", BUILD, {"onnxruntime"}),
        ("package", CELL, set()),
        ("benchmark", CELL, set()),
    ],
)
def test_a_stage_imports_no_library_that_it_does_not_use(
    copy: Project, stage: str, key: str, allowed: set[str]
) -> None:
    assert imported(copy, "stages", stage, *([key] if key else [])) <= allowed


@pytest.mark.parametrize("words", [["--help"], ["plan", "--help"]])
def test_help_imports_no_library(copy: Project, words: list[str]) -> None:
    assert imported(copy, "pipeline", *words) == set()


def imported(project: Project, module: str, *words: str) -> set[str]:
    """Which of the heavy libraries were imported when the module ran to its end."""
    import sys

    done = project.run(sys.executable, "-c", RUN.format(words=list(words), module=module, heavy=sorted(HEAVY)))
    assert done.returncode == 0, done.stdout + done.stderr
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("imported"))
    return set(line.split()[1:])
