"""ONNX Runtime GenAI: converted by its model builder, quantized by ONNX Runtime's own kernels and NNCF."""
