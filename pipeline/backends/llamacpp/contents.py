"""What a GGUF file holds: counted in the file, not remembered from how it was made."""

from __future__ import annotations

from pathlib import Path

from pipeline.backends.base import Contents
from pipeline.backends.llamacpp.files import model_file, read_gguf

FLOATS = ("F32", "F16", "BF16")
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
    return Contents(quantized, bits, weights, dict(sorted(kept.items())))
