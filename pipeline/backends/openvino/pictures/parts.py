"""What lies beside the decoder of a folder that `openvino_genai.VLMPipeline` runs as phi4mm.

The pipeline itself cuts pictures, finds the patches' positions and puts rows together again; of the model it takes the
tower, the projector and the embedding, and from config.json what goes between rows.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.backends.openvino.files import EMBEDDING, PREPROCESSOR, PROJECTOR, TOWER, save_model
from pipeline.files import read_json, write_json
from pipeline.model.checkpoint import EMBEDDING as TABLE
from pipeline.model.checkpoint import ITEM_BYTES, Tensor, read_bytes, read_headers
from pipeline.pictures.phi4mm import ARCHITECTURE
from pipeline.pictures.processing import MOST_CROPS, PATCHES, SIDE
from pipeline.pictures.tower import load_tower
from pipeline.types import Checkpoint

if TYPE_CHECKING:
    from numpy.typing import NDArray

LEAST = 1024  # values of a tensor that is stored in 16 bits, where these hold it
LOWEST = -1e9  # of an attention's logit: a patch that is no picture
PROCESSOR = {
    "processor_class": "Phi4MMProcessor",
    "image_processor_type": "Phi4MMImageProcessor",
    "dynamic_hd": MOST_CROPS,
}


def write_parts(checkpoint: Checkpoint, out: Path) -> None:
    """All of them; config.json is that of a Phi-4-multimodal again."""
    tower = load_tower(checkpoint.folder)
    between = {"glb_GN": tower.global_img_feature_extensor, "sub_GN": tower.sub_img_feature_extensor}
    ends = {name: value.detach().tolist() for name, value in between.items()}
    for make, name in ((_seeing, TOWER), (_projecting, PROJECTOR)):
        made = make(tower)
        store_16_bits(made)
        save_model(made, out / name)
        del made
    del tower, between
    table = read_headers(checkpoint.weights)[TABLE]
    values = _values(table)  # which the model below shares
    save_model(_embedding(table, values), out / EMBEDDING)
    config = {
        **read_json(out / "config.json"),
        "architectures": [ARCHITECTURE],
        "model_type": "phi4mm",
        **ends,
    }
    write_json(out / "config.json", config)
    write_json(out / PREPROCESSOR, PROCESSOR)


def _seeing(embed: Any) -> Any:
    """pixel_values [crops, 3, 448, 448], patch_attention_mask and patch_position_ids → [crops, 256, width]."""
    import torch

    tower = embed.img_processor
    layers = tower.encoder.layers[: len(tower.encoder.layers) + 1 + embed.layer_idx]

    class Tower(torch.nn.Module):  # type: ignore[misc]  # untyped base
        def __init__(self) -> None:
            super().__init__()
            self.embeddings, self.layers = tower.embeddings, layers

        def forward(self, pixel_values: Any, patch_attention_mask: Any, patch_position_ids: Any) -> Any:
            hidden = self.embeddings.patch_embedding(pixel_values).flatten(2).transpose(1, 2)
            hidden = hidden + self.embeddings.position_embedding(patch_position_ids)
            seen = patch_attention_mask.flatten(1)[:, None, None, :]
            bias = torch.where(seen, torch.tensor(0.0), torch.tensor(LOWEST))
            for layer in self.layers:
                hidden = layer(hidden, bias)
            grid = hidden.reshape(-1, PATCHES, PATCHES, hidden.shape[-1]).permute(0, 3, 1, 2)
            return embed.image_token_compression(grid).flatten(2).transpose(1, 2)

    example = (
        torch.zeros(3, 3, SIDE, SIDE),
        torch.ones(3, PATCHES, PATCHES, dtype=torch.bool),
        torch.zeros(3, PATCHES * PATCHES, dtype=torch.long),
    )
    inputs = {
        "pixel_values": [-1, 3, -1, -1],
        "patch_attention_mask": [-1, -1, -1],
        "patch_position_ids": [-1, -1],
    }
    return _traced(Tower(), example, inputs)


def _projecting(embed: Any) -> Any:
    """Rows [1, tokens, width] as the decoder takes them."""
    import torch

    module = torch.nn.Sequential(embed.img_projection_up, torch.nn.GELU(), embed.img_projection_down)
    width = embed.img_projection_up.in_features
    return _traced(module, (torch.zeros(1, 5, width),), {"input": [-1, -1, width]})


def _traced(module: Any, example: tuple[Any, ...], inputs: dict[str, list[int]]) -> Any:
    """A module as an OpenVINO model of inputs {name: shape} and the output `last_hidden_state`."""
    import openvino
    import torch

    with torch.no_grad():
        model = openvino.convert_model(module.eval(), example_input=example)
    for port, (name, shape) in zip(model.inputs, inputs.items(), strict=True):
        port.get_tensor().set_names({name})
        port.get_node().set_friendly_name(name)
        port.get_node().set_partial_shape(openvino.PartialShape(shape))
    model.output(0).get_tensor().set_names({"last_hidden_state"})
    model.validate_nodes_and_infer_types()
    return model


def store_16_bits(model: Any) -> None:
    """Constants in bfloat16 or float16 where these hold each value exactly, widened where they are used."""
    import numpy as np
    import openvino
    from openvino import opset13 as op

    for node in model.get_ordered_ops():
        if node.get_type_name() != "Constant" or node.get_element_type() != openvino.Type.f32:
            continue
        values = node.get_data()
        if values.size < LEAST:
            continue
        kind = None
        with np.errstate(over="ignore"):
            if not (values.view(np.uint32) & 0xFFFF).any():
                kind = openvino.Type.bf16
            elif (values.astype(np.float16) == values).all():
                kind = openvino.Type.f16
        if kind is None:
            continue
        held = op.constant(values, dtype=kind)
        held.set_friendly_name(node.get_friendly_name())
        wide = op.convert(held, openvino.Type.f32)
        for user in list(node.output(0).get_target_inputs()):
            user.replace_source_output(wide.output(0))
    model.validate_nodes_and_infer_types()


def _values(table: Tensor) -> NDArray[Any]:
    """The table's words as the file has them, mapped."""
    import numpy as np

    return read_bytes(table).view({2: np.float16, 4: np.float32}[ITEM_BYTES[table.dtype]]).reshape(table.shape)


def _embedding(table: Tensor, values: NDArray[Any]) -> Any:
    """input [batch, length] int64 → inputs_embeds float32 [batch, length, width]; rows stay in the file's own type."""
    import openvino
    from openvino import opset13 as op

    kinds = {"BF16": openvino.Type.bf16, "F16": openvino.Type.f16, "F32": openvino.Type.f32}
    rows = op.constant(openvino.Tensor(values, openvino.Shape(table.shape), kinds[table.dtype]), shared_memory=True)
    rows.set_friendly_name(TABLE)
    ids = op.parameter(openvino.PartialShape([-1, -1]), openvino.Type.i64, name="input")
    ids.output(0).get_tensor().set_names({"input"})
    looked_up = op.convert(op.gather(rows, ids, op.constant(0)), openvino.Type.f32)
    looked_up.output(0).get_tensor().set_names({"inputs_embeds"})
    return openvino.Model([looked_up.output(0)], [ids], "embedding")
