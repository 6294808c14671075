"""What ONNX Runtime GenAI takes beside a decoder that sees or hears: tower, embedding, and how a file is read."""
