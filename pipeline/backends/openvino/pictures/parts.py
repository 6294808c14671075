"""What lies beside the decoder of a folder that `openvino_genai.VLMPipeline` runs as phi4mm.

The pipeline itself cuts pictures, finds the patches' positions and puts rows together again; of the model it takes the
tower, the projector and the embedding, and from config.json what goes between rows.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.backends.openvino.files import EMBEDDING, PREPROCESSOR, PROJECTOR, TOWER, save_model
from pipeline.errors import CheckpointError
from pipeline.files import read_json, write_json
from pipeline.model.checkpoint import EMBEDDING as TABLE
from pipeline.model.checkpoint import ITEM_BYTES, Tensor, read_bytes, read_float32, read_headers
from pipeline.pictures.phi4mm import ARCHITECTURE
from pipeline.pictures.processing import MOST_CROPS, PATCHES, SIDE
from pipeline.pictures.tower import folder_of, weightless_tower
from pipeline.types import Checkpoint

if TYPE_CHECKING:
    from numpy.typing import NDArray

LOWEST = -1e9  # of an attention's logit: a patch that is no picture
PROCESSOR = {
    "processor_class": "Phi4MMProcessor",
    "image_processor_type": "Phi4MMImageProcessor",
    "dynamic_hd": MOST_CROPS,
}


def write_parts(checkpoint: Checkpoint, out: Path) -> None:
    """All of them; config.json is that of a Phi-4-multimodal again. Raises CheckpointError where a tensor is missing.

    Parts are traced without their weights, which are then mapped from the checkpoint, in its own type.
    """
    tower, tensors = weightless_tower(checkpoint.folder), read_headers(folder_of(checkpoint.folder))
    names = {id(value): name for name, value in tower.named_parameters()}
    for make, file in ((_seeing, TOWER), (_projecting, PROJECTOR)):
        made, weights = make(tower)
        shared = _put(made, {name: _one_of(tensors, name) for name in (names[id(weight)] for weight in weights)})
        save_model(made, out / file)
        del made, shared
    made, words = _embedding(read_headers(checkpoint.weights)[TABLE])
    save_model(made, out / EMBEDDING)
    del words
    ends = {"glb_GN": "global_img_feature_extensor", "sub_GN": "sub_img_feature_extensor"}
    config = {
        **read_json(out / "config.json"),
        "architectures": [ARCHITECTURE],
        "model_type": "phi4mm",
        **{end: read_float32(_one_of(tensors, name)).tolist() for end, name in ends.items()},
    }
    write_json(out / "config.json", config)
    write_json(out / PREPROCESSOR, PROCESSOR)


def _one_of(tensors: Mapping[str, Tensor], name: str) -> Tensor:
    if name not in tensors:
        raise CheckpointError(f"its tower lacks {name}")
    return tensors[name]


def _seeing(embed: Any) -> tuple[Any, list[Any]]:
    """pixel_values [crops, 3, 448, 448], patch_attention_mask and patch_position_ids → [crops, 256, width]."""
    import torch

    tower = embed.img_processor
    layers = tower.encoder.layers[: len(tower.encoder.layers) + 1 + embed.layer_idx]

    class Tower(torch.nn.Module):
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
        torch.zeros(2, 3, SIDE, SIDE),
        torch.ones(2, PATCHES, PATCHES, dtype=torch.bool),
        torch.zeros(2, PATCHES * PATCHES, dtype=torch.long),
    )
    inputs = {
        "pixel_values": [-1, 3, -1, -1],
        "patch_attention_mask": [-1, -1, -1],
        "patch_position_ids": [-1, -1],
    }
    return _traced(Tower(), example, inputs)


def _projecting(embed: Any) -> tuple[Any, list[Any]]:
    """Rows [1, tokens, width] as the decoder takes them."""
    import torch

    module = torch.nn.Sequential(embed.img_projection_up, torch.nn.GELU(), embed.img_projection_down)
    width = embed.img_projection_up.in_features
    return _traced(module, (torch.zeros(1, 5, width),), {"input": [-1, -1, width]})


def _traced(module: Any, example: tuple[Any, ...], inputs: dict[str, list[int]]) -> tuple[Any, list[Any]]:
    """A module as an OpenVINO model of inputs {name: shape} and the output `last_hidden_state`; and its parameters.

    These are further inputs, in this order: as constants, OpenVINO would hold them several times over.
    """
    import openvino
    import torch

    named = dict(module.named_parameters())

    class Called(torch.nn.Module):
        def forward(self, *given: Any) -> Any:
            for name, weight in zip(named, given[len(example) :], strict=True):
                at, _, own = name.rpartition(".")
                parent = module.get_submodule(at)
                parent._parameters.pop(own, None)
                setattr(parent, own, weight)
            return module(*given[: len(example)])

    given = (*example, *named.values())
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the tracer, on what is the same for every picture
        traced = torch.jit.trace(Called(), given, check_trace=False)
        model = openvino.convert_model(traced, example_input=given)
    for port, (name, shape) in zip(model.inputs[: len(example)], inputs.items(), strict=True):
        port.get_tensor().set_names({name})
        port.get_node().set_friendly_name(name)
        port.get_node().set_partial_shape(openvino.PartialShape(shape))
    model.output(0).get_tensor().set_names({"last_hidden_state"})
    return model, list(named.values())


def _put(model: Any, weights: Mapping[str, Tensor]) -> list[NDArray[Any]]:
    """The weights in the places of a model's last inputs. What is returned is shared with the model, and must live."""
    shared = []
    for port, (name, tensor) in zip(model.inputs[-len(weights) :], weights.items(), strict=True):
        stored, values = _stored(name, tensor)
        shared.append(values)
        for user in list(port.get_target_inputs()):
            user.replace_source_output(_widened(stored))
        model.remove_parameter(port.get_node())
    model.validate_nodes_and_infer_types()
    return shared


def _stored(name: str, tensor: Tensor) -> tuple[Any, NDArray[Any]]:
    """A constant in the file's own type, and its mapped words, which it shares."""
    import numpy as np
    import openvino
    from openvino import opset13 as op

    words = {2: np.float16, 4: np.float32}[ITEM_BYTES[tensor.dtype]]
    kind = {"BF16": openvino.Type.bf16, "F16": openvino.Type.f16, "F32": openvino.Type.f32}[tensor.dtype]
    values = read_bytes(tensor).view(words)
    constant = op.constant(openvino.Tensor(values, openvino.Shape(tensor.shape), kind), shared_memory=True)
    constant.set_friendly_name(name)
    return constant, values


def _widened(node: Any) -> Any:
    """Its output in float32."""
    import openvino
    from openvino import opset13 as op

    narrow = node.get_element_type() != openvino.Type.f32
    return (op.convert(node, openvino.Type.f32) if narrow else node).output(0)


def _embedding(table: Tensor) -> tuple[Any, NDArray[Any]]:
    """input [batch, length] int64 → inputs_embeds float32 [batch, length, width]; and what the model shares."""
    import openvino
    from openvino import opset13 as op

    rows, values = _stored(TABLE, table)
    ids = op.parameter(openvino.PartialShape([-1, -1]), openvino.Type.i64, name="input")
    ids.output(0).get_tensor().set_names({"input"})
    looked_up = _widened(op.gather(rows, ids, op.constant(0)))
    looked_up.get_tensor().set_names({"inputs_embeds"})
    return openvino.Model([looked_up], [ids], "embedding"), values
