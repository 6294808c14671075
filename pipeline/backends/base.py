"""What a backend is. The contract suite in tests/contract runs every backend against this page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from pipeline.types import JSON, Checkpoint, QuantizationStats, Recipe

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Progress = Callable[[int, int], None]  # (done, total), for a bar


@dataclass(frozen=True)
class Calibration:
    """Token ids of the calibration split, int64 [windows, window]."""

    ids: NDArray[np.int64]


class LogitsSession(Protocol):
    """The artifact itself, teacher-forced. `settings` are the runtime's precision settings, for the record."""

    @property
    def settings(self) -> Mapping[str, str]: ...

    def logits(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Logits float32 [batch, length, vocab] of token ids int64 [batch, length], from an empty cache."""
        ...


class Backend(Protocol):
    """Convert → quantize → logits → package. Methods write into `out`, an empty folder, and nowhere else."""

    name: str
    has_default_mode: bool  # what users' runtime computes by default differs from the accuracy mode of `open`
    batch: int  # windows that `logits` is given at a time
    unread: tuple[str, ...]  # files of a package that its runtime does not read, for other programs

    def convert(self, checkpoint: Checkpoint, form: Mapping[str, Any], out: Path) -> None:
        """Write the checkpoint in this backend's input `form` (a table of conf/backend/<name>.yaml)."""
        ...

    def quantize(
        self, export: Path, recipe: Recipe, calibration: Calibration | None, out: Path, progress: Progress
    ) -> QuantizationStats:
        """Write the build: an export under a recipe. Method `none` passes the export on."""
        ...

    def stream(
        self,
        checkpoint: Checkpoint,
        form: Mapping[str, Any],
        recipe: Recipe,
        calibration: Calibration | None,
        out: Path,
        progress: Progress,
    ) -> QuantizationStats:
        """`convert` and `quantize` in one, to the same build: how a large model goes, without an export on disk.

        Memory holds a tensor or a layer where the tool allows it. What can only be quantized as a file
        (`pipeline.backends.staged`) gets one for as long as that takes.
        """
        ...

    def why_no_default_mode(self) -> str:
        """Why the default mode cannot be measured on this machine, or nothing."""
        ...

    def open(self, build: Path, default_mode: bool = False) -> AbstractContextManager[LogitsSession]:
        """The build, ready for teacher-forced evaluation on this machine's CPU.

        Accuracy mode says what the weights are worth: everything else is computed in fp32 where the runtime can.
        `default_mode` is what users get, where the two differ (`has_default_mode`).
        """
        ...

    def package(self, build: Path, checkpoint: Checkpoint, target: Mapping[str, Any], out: Path) -> None:
        """Write the runtime's own files, so that `out` is a folder the runtime loads."""
        ...

    def run_instruction(self, package: Path, name: str) -> str:
        """Markdown that works when pasted: how to run the `package`, a folder called `name`, with its runtime."""
        ...


@dataclass(frozen=True)
class RuntimeRequest:
    """What a backend's `runtime` module is asked, as JSON on stdin, in a fresh process.

    `python -m pipeline.backends.<name>.runtime PACKAGE` imports that backend's runtime alone.
    task `generate`: greedy continuation of each of `prompts` (token ids) by `new_tokens` tokens;
    answers {"tokens": [[...], ...]}.
    task `measure`: load, then `warmup` + `runs` times prefill `prompt` and decode `new_tokens` tokens, with
    `threads` threads; answers {"load_s": float, "ttft_ms": [...], "prefill_tokens_per_s": [...],
    "decode_tokens_per_s": [...]}, one entry per counted run, and may add
    "extra": {<metric>: [...]}, what users of that runtime are used to. `device` is a target's device
    (pipeline.harness.host.DEVICES) to measure on, or empty for the CPU.
    """

    task: str
    prompts: Sequence[Sequence[int]]
    new_tokens: int
    threads: int = 0
    warmup: int = 0
    runs: int = 1
    device: str = ""

    def to_json(self) -> JSON:
        return {**self.__dict__, "prompts": [list(map(int, prompt)) for prompt in self.prompts]}
