"""MLX keeps the contract."""

from tests.contract.contract import BackendContract


class TestMlx(BackendContract):
    name = "mlx"
    kl_bound = {**BackendContract.kl_bound, "int6": 2e-2, "int5": 5e-2, "int3": 1.0}
