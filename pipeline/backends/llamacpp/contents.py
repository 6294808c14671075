"""What a GGUF file holds: counted in the file, not remembered from how it was made."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

from pipeline.backends.base import Contents
from pipeline.backends.llamacpp.files import file_type, model_file, read_gguf

FLOATS = ("F32", "F16", "BF16")
WHOLE = 256  # values of a K-quant's block
ROTARY = "rope_factors"
PLACES = {"token_embd.weight": "embedding", "output.weight": "lm_head"}


def contents(folder: Path) -> Contents:
    """Quantized matrices, bits per weight (block scales included), and the types of embedding and lm_head."""
    reader = read_gguf(model_file(folder))
    tensors = [tensor for tensor in reader.tensors if not tensor.name.startswith(ROTARY)]
    quantized = sum(tensor.tensor_type.name not in FLOATS for tensor in tensors)
    bits = 8 * sum(int(tensor.n_bytes) for tensor in tensors)
    weights = sum(int(tensor.n_elements) for tensor in tensors)
    kept = {PLACES[tensor.name]: tensor.tensor_type.name for tensor in tensors if tensor.name in PLACES}
    kept.setdefault("lm_head", kept.get("embedding", ""))  # tied
    return Contents(quantized, bits, weights, {**dict(sorted(kept.items())), **_fallbacks(reader)})


def _fallbacks(reader: Any) -> dict[str, str]:
    """{"rows of 576": "76 × Q5_0, 15 × Q8_0"} of a mixture of 256-value types whose rows do not all hold them."""
    if not re.search("_K|IQ4_XS", file_type(reader)):
        return {}
    rows: dict[int, Counter[str]] = {}
    for tensor in reader.tensors:
        kind, length = tensor.tensor_type.name, int(tensor.shape[0])
        if kind not in FLOATS and length % WHOLE:
            rows.setdefault(length, Counter())[kind] += 1
    return {
        f"rows of {length}": ", ".join(f"{count} × {kind}" for kind, count in kinds.most_common())
        for length, kinds in sorted(rows.items())
    }
