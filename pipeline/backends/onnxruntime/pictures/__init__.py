"""What ONNX Runtime GenAI takes beside a decoder that sees: tower, embedding, and how a picture is cut."""
