"""What keeps Phi-3.5-vision from OpenVINO and MLX: faults of their runtimes, red when a new version mends one.

Beside each fault stands what the runtime does right, so that it is the fault that fails.
"""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.model.loading import load_model
from pipeline.pictures.processing import Picture, tiled
from pipeline.pictures.tower import features, load_tower
from pipeline.types import Checkpoint
from tests.support.phi3v import written
from tests.support.pictures import fetched
from tests.unit.test_pictures import drawn

WIDTH, ROWS = 1024, 4096  # both runtimes have them in their code
TEXTS = ("<|user|>\n", "\nWhat is shown?<|end|>\n<|assistant|>\n")
MENDED = pytest.mark.xfail(strict=True, reason="when this passes, the exclusion of phi-3.5-vision can go")
WITHOUT = "mlx-vlm is not installed: pip install --no-deps mlx-vlm, which its tower needs no more than mlx for"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    return fetched(written(folder / "source", width=WIDTH), folder / "phi3v")


@pytest.fixture(scope="module")
def pipeline(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """VLMPipeline on a folder of the same model: the decoder by the backend, the parts beside it made here."""
    from pipeline.backends.openvino.backend import BACKEND
    from pipeline.backends.openvino.files import ACCURACY
    from pipeline.backends.openvino.pictures import parts

    out = tmp_path_factory.mktemp("openvino")
    config = json.loads((model / "config.json").read_text("utf-8"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parts, "write_parts", write_parts)
        BACKEND.convert(Checkpoint("phi3v", model, model, config), {"precision": "fp32"}, out)
    import openvino_genai as genai

    return genai.VLMPipeline(str(out), "CPU", **ACCURACY, ATTENTION_BACKEND="SDPA")


def write_parts(checkpoint: Checkpoint, out: Path) -> None:
    """What VLMPipeline takes of a phi3_v: it puts rows together itself."""
    import openvino

    from pipeline.backends.openvino.files import EMBEDDING, PREPROCESSOR, PROJECTOR, TOWER

    tower = load_tower(checkpoint.folder)
    table = load_model(checkpoint.folder, checkpoint.weights, "float32").model.embed_tokens

    class Seeing(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.clip = tower.clip

        def forward(self, pixel_values: Any) -> Any:
            hidden = self.clip.pre_layrnorm(self.clip.embeddings(pixel_values))
            for layer in self.clip.encoder.layers:
                hidden = layer(hidden, None)
            return hidden[:, 1:]

    for name, module, example, shape, takes, gives in (
        (TOWER, Seeing(), torch.zeros(3, 3, 336, 336), [-1, 3, -1, -1], "pixel_values", "last_hidden_state"),
        (PROJECTOR, tower.img_projection, torch.zeros(1, 5, ROWS), [-1, -1, ROWS], "input", "last_hidden_state"),
        (EMBEDDING, table, torch.ones(1, 4, dtype=torch.long), [-1, -1], "input", "inputs_embeds"),
    ):  # fmt: skip
        with torch.no_grad():
            made = openvino.convert_model(module.eval(), example_input=(example,))
        port = made.input(0)
        port.get_tensor().set_names({takes})
        port.get_node().set_friendly_name(takes)
        port.get_node().set_partial_shape(openvino.PartialShape(shape))
        made.output(0).get_tensor().set_names({gives})
        made.validate_nodes_and_infer_types()
        openvino.save_model(made, out / name, compress_to_fp16=False)
    said = json.loads((out / "config.json").read_text("utf-8"))
    ends = {name: getattr(tower, name).detach().tolist() for name in ("glb_GN", "sub_GN")}
    said |= {"architectures": ["Phi3VForCausalLM"], "model_type": "phi3_v", **ends}
    (out / "config.json").write_text(json.dumps(said), encoding="utf-8")
    (out / PREPROCESSOR).write_text(json.dumps({"num_crops": 16, "num_img_tokens": 144}), encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize(
    "size", [(448, 448), pytest.param((300, 200), marks=MENDED), pytest.param((200, 300), marks=MENDED)], ids=str
)
def test_openvinos_pipeline_gives_a_grid_its_places(size: tuple[int, int], pipeline: Any) -> None:
    """conf/backend/openvino.yaml, left_out: with height and width exchanged a grid of 3 × 4 takes those of 4 × 3."""
    import openvino

    image, config = drawn(*size), pipeline.get_generation_config()
    config.max_new_tokens, config.apply_chat_template = 1, False
    pixels = openvino.Tensor(np.array(image)[None])
    said = pipeline.generate("<|image_1|>".join(TEXTS), images=[pixels], generation_config=config)
    texts = [pipeline.get_tokenizer().encode(text, add_special_tokens=False).input_ids.shape[1] for text in TEXTS]
    assert said.perf_metrics.get_num_input_tokens() == tiled(image).tokens + sum(texts)


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
