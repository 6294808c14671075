"""llama.cpp: GGUF written tensor by tensor, quantized and run by llama.cpp's own library."""
