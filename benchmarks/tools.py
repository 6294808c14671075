"""The tools' own command lines: what a conversion and its package are compared with.

Both sides get the same settings, the tool's own defaults or its cookbook's, named. Where a tool is in no environment of
ours, its place is an argument: llama.cpp's script is in no package index, it comes from a checkout (or from
llama-cpp-python's sdist, vendor/llama.cpp), and its quantizer is its library's function, for both. optimum-intel wants
an older transformers than ours, and so has an environment of its own.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

QUANTIZE = """
import ctypes, sys, llama_cpp
options = llama_cpp.llama_model_quantize_default_params()
options.ftype, options.nthread = llama_cpp.LLAMA_FTYPE_MOSTLY_Q4_K_M, 0
sys.exit(llama_cpp.llama_model_quantize(sys.argv[1].encode(), sys.argv[2].encode(), ctypes.byref(options)))
"""
RECIPES = {  # ours with the settings of the command beside it
    "onnxruntime": "int4-rtn",
    "openvino": "int4-cookbook",
    "llamacpp": "int4-q4-k-m",
    "mlx": "int4-b64",
}


@dataclass(frozen=True)
class Tools:
    """Where the tools are that our environment does not hold."""

    llama_cpp: Path | None = None
    optimum_cli: Path | None = None

    @classmethod
    def of(cls, arguments: argparse.Namespace) -> Tools:
        """From the arguments that `add_arguments` adds."""
        return cls(arguments.llama_cpp, arguments.optimum_cli)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What both benchmarks against the tools take."""
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--backends", nargs="+", choices=RECIPES, default=list(RECIPES))
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--work", type=Path, default=None, help="a folder on a disk with room (default: beside it)")
    parser.add_argument("--llama-cpp", type=lambda text: Path(text).resolve(), default=None, help="a checkout of it")
    parser.add_argument(
        "--optimum-cli",
        type=lambda text: Path(text).absolute(),
        default=None,
        help="optimum-cli of an environment with optimum-intel[openvino,nncf]",
    )


def why_missing(backend: str, tools: Tools) -> str:
    """Why the tool's command cannot be run, or nothing."""
    if backend == "llamacpp" and not (tools.llama_cpp and (tools.llama_cpp / "convert_hf_to_gguf.py").is_file()):
        return "needs --llama-cpp, a folder with llama.cpp's convert_hf_to_gguf.py"
    if backend == "openvino" and not (tools.optimum_cli and tools.optimum_cli.is_file()):
        return "needs --optimum-cli, of an environment with optimum-intel[openvino,nncf]"
    return ""


def commands(backend: str, checkpoint: Path, out: Path, tools: Tools) -> list[list[str]]:
    """The command lines of the tool, one after the other."""
    python = sys.executable
    if backend == "onnxruntime":  # algo_config stays the default: `rtn` is another algorithm than ours
        tool = [python, "-m", "onnxruntime_genai.models.builder", "-i", str(checkpoint), "-o", str(out)]
        options = [
            "block_size=32",
            "is_symmetric=true",
            "accuracy_level=4",
        ]
        return [[*tool, "-p", "int4", "-e", "cpu", "-c", str(out / "cache"), "--extra_options", *options]]
    if backend == "openvino":
        tool = [str(tools.optimum_cli), "export", "openvino", "-m", str(checkpoint)]
        options = ["--weight-format", "int4", "--group-size", "128", "--ratio", "0.6", "--sym"]
        return [[*tool, "--task", "text-generation-with-past", *options, str(package(backend, out))]]
    if backend == "mlx":
        tool = [python, "-m", "mlx_lm", "convert", "--hf-path", str(checkpoint)]
        return [[*tool, "--mlx-path", str(package(backend, out)), "-q", "--q-bits", "4", "--q-group-size", "64"]]
    script, whole = str(Path(str(tools.llama_cpp)) / "convert_hf_to_gguf.py"), str(out / "whole.gguf")
    first = [python, script, str(checkpoint), "--outfile", whole, "--outtype", "bf16", "--model-name", "phi-3"]
    return [first, [python, "-c", QUANTIZE, whole, str(out / "model.gguf")]]


def package(backend: str, out: Path) -> Path:
    """The folder that the commands leave: some tools insist on making it."""
    return out / backend if backend in ("openvino", "mlx") else out


def shown(command: list[str], tools: Tools) -> str:
    """A command as a person types it."""
    text = " ".join("QUANTIZE" if part == QUANTIZE else part for part in command).replace(sys.executable, "python")
    for place in (tools.llama_cpp, tools.optimum_cli.parent if tools.optimum_cli else None):
        text = text.replace(f"{place}/", "") if place else text
    return text
