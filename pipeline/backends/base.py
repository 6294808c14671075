"""What a backend is. The contract suite in tests/contract runs every backend against this page."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Protocol

from pipeline.errors import ConfigError, suggest
from pipeline.files import require_space
from pipeline.matrix.sizes import export_size
from pipeline.model.checkpoint import parameters, read_headers
from pipeline.types import Checkpoint, QuantizationStats, Recipe

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pipeline.backends.texts import Texts
    from pipeline.model.lowrank import LowRank
    from pipeline.pictures.media import Seen

Form = Mapping[str, Any]  # an input form: a table of conf/backend/<name>.yaml
Progress = Callable[[int, int], None]  # (done, total), for a bar
NONE = "none"  # the method that passes an export on


@dataclass(frozen=True)
class Calibration:
    """Token ids of the calibration split, int64 [windows, window]."""

    ids: NDArray[np.int64]


@dataclass(frozen=True)
class Contents:
    """What was counted in a build's files.

    Quantized operators; bits that store weights, scales and zero points included; how many weights they are; which
    tensors stayed above the recipe's bits.
    """

    operators: int
    stored_bits: int
    weights: int
    kept: Mapping[str, Any]


@dataclass(frozen=True)
class Order:
    """What shall be made of an export or a checkpoint, in `out`, an empty folder, and nowhere else.

    `calibration` is there for the recipes that need data, and for no other. `parameters` is how many numbers the
    checkpoint has: bits per weight are bits stored over them, also where a tied table is stored twice. 0: not known.
    `checkpoint` is what the export was made from, for the methods that run it.
    """

    recipe: Recipe
    calibration: Calibration | None
    out: Path
    progress: Progress
    parameters: int = 0
    checkpoint: Checkpoint | None = None


@dataclass(frozen=True)
class Method:
    """How a backend quantizes: an export, or without one on the disk, straight from the checkpoint (`stream`).

    Both write the same bytes. A method without `stream` takes nothing but a whole file, and gets one for as long as
    that takes.
    """

    quantize: Callable[[Path, Order], None]
    stream: Callable[[Checkpoint, Form, Order], None] | None = None


class LogitsSession(Protocol):
    """The artifact itself, teacher-forced. `settings` are the runtime's precision settings, for the record."""

    @property
    def settings(self) -> Mapping[str, str]: ...

    def logits(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Logits float32 [batch, length, vocab] of token ids int64 [batch, length], from an empty cache."""
        ...


class SightSession(Protocol):
    """A build that sees or hears, teacher-forced. `settings` as in LogitsSession."""

    @property
    def settings(self) -> Mapping[str, str]: ...

    def logits(self, ids: NDArray[np.int64], seen: Seen, /) -> NDArray[np.float32]:
        """Logits float32 [length, vocab] of ids int64 [length], the medium in its places, from an empty cache."""
        ...


class Backend(ABC):
    """Convert → quantize → logits → package. Methods write into `out`, an empty folder, and nowhere else.

    has_default_mode: what users' runtime computes by default differs from the accuracy mode of `open`.
    batch: windows that `logits` is given at a time. unread: files of a package that its runtime does not read.
    """

    name: str
    has_default_mode = False
    batch = 1
    unread: tuple[str, ...] = ()

    @abstractmethod
    def methods(self) -> Mapping[str, Method]:
        """All methods but `none`, by the names in conf/backend/<name>.yaml."""

    @abstractmethod
    def convert(self, checkpoint: Checkpoint, form: Form, out: Path) -> None:
        """Write the checkpoint in this backend's input form."""

    @abstractmethod
    def copy(self, export: Path, out: Path) -> None:
        """Pass an export on, as the build of method `none`."""

    @abstractmethod
    def contents(self, folder: Path) -> Contents:
        """What a build holds, counted in its files."""

    @abstractmethod
    def open(self, build: Path, default_mode: bool = False) -> AbstractContextManager[LogitsSession]:
        """The build, ready for teacher-forced evaluation on this machine's CPU.

        Accuracy mode says what the weights are worth: everything else is computed in fp32 where the runtime can.
        `default_mode` is what users get, where the two differ (`has_default_mode`).
        """

    def open_sight(self, build: Path, default_mode: bool = False) -> AbstractContextManager[SightSession]:
        """The build of a model that sees or hears, with the tower of its own; modes as in `open`."""
        raise ConfigError(f"{self.name} takes neither pictures nor sounds")

    def pack_tower(self, folder: Path, bits: int) -> None:
        """Store the weights of what sees or hears, in a build's folder, in so many bits (`tower_bits`)."""
        raise ConfigError(f"{self.name} keeps towers as they are")

    @abstractmethod
    def package(self, build: Path, checkpoint: Checkpoint, target: Mapping[str, Any], out: Path) -> None:
        """Write the runtime's own files, so that `out` is a folder the runtime loads."""

    @abstractmethod
    def run_instruction(self, package: Path, name: str, prompt: str, file: str = "") -> str:
        """Markdown that works when pasted: how to ask the `package`, a folder called `name`, the `prompt`.

        file: a picture or a sound in the package that it is asked of.
        """

    def add_adapters(self, package: Path, config: Mapping[str, Any], adapters: Mapping[str, LowRank]) -> None:
        """Write adapters for a base with this config.json into a package, which without one generates what it did.

        As files or folders called as they are, in the folder `adapters`. For builds of the methods that
        conf/backend/<name>.yaml names in `switches`.
        """
        raise ConfigError(f"{self.name} switches no adapters")

    def switch_instruction(self, name: str, prompt: str, adapters: Sequence[str]) -> str:
        """Markdown that works when pasted: how to ask the first of a package's adapters, and how to switch."""
        raise ConfigError(f"{self.name} switches no adapters")

    def texts(self, package: Path) -> Texts:
        """The package's own tokenizer and template."""
        from pipeline.backends.texts import FolderTexts

        return FolderTexts(package)

    def fitted(
        self, form: Form, name: str, rows: NDArray[np.float32], moments: NDArray[np.float32] | None
    ) -> NDArray[np.float32]:
        """Rows [rows, inputs] of a matrix as the runtime reads them in the format `name`, quantized as a build would.

        moments: of their inputs [inputs, inputs]; None for a table that is looked up. For the backends whose formats a
        search can choose (`table: fit`).
        """
        raise ConfigError(f"{self.name} has no formats to choose from")

    def stored_bits(self, form: Form, name: str, inputs: int, outputs: int) -> int | None:
        """Bits that a matrix takes in a format, with what belongs to it; None where it does not hold such a matrix."""
        raise ConfigError(f"{self.name} has no formats to choose from")

    def why_no_default_mode(self) -> str:
        """Why the default mode cannot be measured on this machine, or nothing."""
        return ""

    def streams(self, form: Form, recipe: Recipe) -> bool:
        """Whether this recipe can go straight from the checkpoint, where its method can."""
        return True

    def quantize(self, export: Path, order: Order) -> QuantizationStats:
        """Write the build: an export under a recipe. Raises ConfigError for a method that is not there."""
        if order.recipe.method == NONE:
            self.copy(export, order.out)
        else:
            self._method(order.recipe).quantize(export, order)
        return self._finished(order)

    def stream(self, checkpoint: Checkpoint, form: Form, order: Order) -> QuantizationStats:
        """`convert` and `quantize` in one, to the same build: how a large model goes, without an export on disk."""
        if order.recipe.method == NONE:
            self.convert(checkpoint, form, order.out)
            return self._statistics(order)
        stream = self._method(order.recipe).stream
        if stream is None or not self.streams(form, order.recipe):
            return self.through_export(checkpoint, form, order)
        stream(checkpoint, form, order)
        return self._finished(order)

    def through_export(self, checkpoint: Checkpoint, form: Form, order: Order) -> QuantizationStats:
        """`convert`, then `quantize`. The export lies inside `out`: a run that is killed leaves nothing elsewhere.

        Raises ArtifactError where the disk has no room for it.
        """
        require_space(order.out, export_size(parameters(read_headers(checkpoint.weights)), form))
        with TemporaryDirectory(dir=order.out, prefix="export-") as export:
            self.convert(checkpoint, form, Path(export))
            return self.quantize(Path(export), order)

    def _finished(self, order: Order) -> QuantizationStats:
        if bits := order.recipe.settings.get("tower_bits"):
            self.pack_tower(order.out, bits)
        return self._statistics(order)

    def _statistics(self, order: Order) -> QuantizationStats:
        found = self.contents(order.out)
        bits = found.stored_bits / (order.parameters or found.weights)
        return QuantizationStats(found.operators, round(bits, 4), found.kept)

    def _method(self, recipe: Recipe) -> Method:
        known = self.methods()
        if recipe.method not in known:
            raise ConfigError(
                f"{self.name} has no method '{recipe.method}'", hint=suggest(recipe.method, [NONE, *known])
            )
        return known[recipe.method]
