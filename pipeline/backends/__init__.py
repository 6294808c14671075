"""One package per backend: convert, quantize, logits, generation. Backends never import each other."""
