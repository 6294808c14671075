"""ONNX Runtime GenAI: converted by its model builder, quantized by its own kernels, GPTQ and NNCF."""
