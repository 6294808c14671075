"""An adapter as low-rank factors of a base's linear layers: what runtimes take that switch adapters while they run.

They add scale · B A x to what a matrix makes of x, and change nothing else of a model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Factors:
    """A float32 [rank, columns] and B float32 [rows, rank] of a matrix [rows, columns]."""

    a: NDArray[np.float32]
    b: NDArray[np.float32]


@dataclass(frozen=True)
class LowRank:
    """Factors by module, all of one `rank`: W x becomes W x + alpha / rank · B A x.

    Modules have their names in the checkpoint, qkv_proj and gate_up_proj whole.
    """

    rank: int
    alpha: float
    factors: Mapping[str, Factors]

    @property
    def scale(self) -> float:
        return self.alpha / self.rank
