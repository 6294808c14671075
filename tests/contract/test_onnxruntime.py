"""ONNX Runtime keeps the contract."""

from tests.contract.contract import BackendContract


class TestOnnxRuntime(BackendContract):
    name = "onnxruntime"
