"""OpenVINO: traced from transformers into a stateful IR, compressed by NNCF, run by openvino_genai."""
