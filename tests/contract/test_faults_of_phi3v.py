"""What keeps Phi-3.5-vision from MLX: a fault of its runtime, red when a new version mends it.

Beside the fault stands what the runtime does right, so that it is the fault that fails. OpenVINO's is in
test_openvino_pictures.py.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from pipeline.pictures.processing import Picture
from pipeline.pictures.tower import features, load_tower
from tests.support.phi3v import written
from tests.support.pictures import fetched

WIDTH = 1024  # it is in the runtime's code
MENDED = pytest.mark.xfail(strict=True, reason="when this passes, the exclusion of phi-3.5-vision can go")
WITHOUT = "mlx-vlm is not installed: pip install --no-deps mlx-vlm, which its tower needs no more than mlx for"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    return fetched(written(folder / "source", width=WIDTH), folder / "phi3v")


@pytest.mark.slow
@pytest.mark.parametrize("grid", [(2, 1), pytest.param((1, 2), marks=MENDED)], ids=str)
def test_mlx_vlm_puts_tiles_together(grid: tuple[int, int], model: Path) -> None:
    """conf/backend/mlx.yaml, left_out: rows of tiles that lie beside each other are mixed; one column is right."""
    mx = pytest.importorskip("mlx.core")
    pytest.importorskip("mlx_vlm", reason=WITHOUT)
    from mlx_vlm.models.phi3_v.vision import VisionModel
    from safetensors.torch import load_file

    pixels = np.random.default_rng(0).normal(size=(3, 3, 336, 336)).astype(np.float32)
    image = Picture(pixels, np.ones((3, 24, 24), bool), 336 * grid[0], 336 * grid[1])
    own = {"num_hidden_layers": 2, "intermediate_size": 64}
    sizes = SimpleNamespace(**{**vars(VisionModel.CLIP_VIT_LARGE_PATCH14_336_CONFIG), **own})
    tower = type("Small", (VisionModel,), {"CLIP_VIT_LARGE_PATCH14_336_CONFIG": sizes})(
        SimpleNamespace(model_type="phi3_v", hidden_size=256)
    )
    source = load_file(model.parent / "source" / "model.safetensors")
    prefix = "model.vision_embed_tokens."
    held = {
        name.removeprefix(prefix): mx.array(value.float().numpy())
        for name, value in source.items()
        if name.startswith(prefix)
    }
    tower.load_weights(list(tower.sanitize(held).items()), strict=True)
    sizes_of = mx.array([[image.height, image.width]])
    rows = tower(mx.array(image.pixels[None]), mx.zeros((1, image.tokens, 256)), sizes_of, positions=[(0, 0)])
    assert np.abs(np.array(rows[0]) - features(load_tower(model), image)).max() < 1e-3
