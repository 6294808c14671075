"""Graphs of fixed shapes in standard operators, as NPU compilers want them: made, quantized and run."""
