"""Checkpoint → two ONNX graphs of fixed shapes in standard operators, as NPU compilers want them.

`prompt.onnx` takes a chunk of tokens, `token.onnx` one; both read a key-value cache of fixed length and return
what is new in it, and share their weights. Linear layers are 1×1 convolutions: the form in which QNN takes weights
that are quantized per channel (ONNX Runtime, "QNN Execution Provider").
"""

from __future__ import annotations

import json
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.backends.onnxruntime.files import FACTS, PROMPT, TOKEN, copy_side_files
from pipeline.backends.onnxruntime.fixed.weights import save_sharing_weights
from pipeline.errors import ToolError, first_line
from pipeline.model.caches import with_caches
from pipeline.model.loading import load_model
from pipeline.types import Checkpoint

TRACED, OPSET = 20, 21  # the exporter ends at 20; 21 only adds the types of 4 and 16 bits to what is used here
MASKED = -100.0  # e^-100 is 0 in fp32, and the range still leaves 16-bit activations their resolution


def convert(checkpoint: Checkpoint, form: Mapping[str, Any], out: Path) -> None:
    """Write both graphs, their weights, and `static.json`. The whole model is held in fp32 meanwhile."""
    model = load_model(checkpoint.folder, checkpoint.weights, "float32")
    config = model.config
    context = min(int(form["context"]), int(config.max_position_embeddings))
    chunk = min(int(form["chunk"]), context // 2)
    facts = {
        "context": context,
        "chunk": chunk,
        "layers": config.num_hidden_layers,
        "kv_heads": config.num_key_value_heads,
        "head_size": getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads,
        "sliding_window": getattr(config, "sliding_window", None),
        "masked": MASKED,
        "provider_options": [],
    }
    decoder = _prepared(model, context)
    with tempfile.TemporaryDirectory(prefix="phi-deploy-") as temporary:
        for name, length in ((PROMPT, chunk), (TOKEN, 1)):
            traced = Path(temporary) / name
            _trace(decoder, facts, length, traced, f"onnxruntime {checkpoint.model}")
            save_sharing_weights(_simplified(traced), out / name, first=name == PROMPT)
    (out / FACTS).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    copy_side_files(checkpoint.folder, out)


def caches(layers: int) -> list[str]:
    return [f"{layer}.{part}" for layer in range(layers) for part in ("key", "value")]


def _prepared(model: Any, context: int) -> Any:
    """The decoder as a function of its caches: 1×1 convolutions, rotary angles from a table, eager attention."""
    import torch

    with torch.no_grad():
        cos, sin = model.model.rotary_emb(torch.zeros(1, 1), torch.arange(context)[None])

    class Convolution(torch.nn.Module):
        def __init__(self, linear: Any) -> None:
            super().__init__()
            self.conv = torch.nn.Conv2d(linear.in_features, linear.out_features, 1, bias=linear.bias is not None)
            self.conv.weight = torch.nn.Parameter(linear.weight.detach()[:, :, None, None], requires_grad=False)
            if linear.bias is not None:
                self.conv.bias = torch.nn.Parameter(linear.bias.detach(), requires_grad=False)

        def forward(self, x: Any) -> Any:
            return self.conv(x.transpose(1, 2).unsqueeze(2)).squeeze(2).transpose(1, 2)

    class Table(torch.nn.Module):
        cos: torch.Tensor
        sin: torch.Tensor

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("cos", cos[0])
            self.register_buffer("sin", sin[0])

        def forward(self, x: Any, position_ids: Any) -> Any:
            return self.cos[position_ids], self.sin[position_ids]

    def only_new(logits: Any, caches: Sequence[Any], past: Sequence[Any]) -> tuple[Any, ...]:
        before = past[0].shape[2]
        return (logits, *(part[:, :, before:] for part in caches))

    for name, module in list(model.named_modules()):
        if isinstance(module, torch.nn.Linear):
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, Convolution(module))
    model.model.rotary_emb = Table()
    model.set_attn_implementation("eager")
    return with_caches(model, only_new)


def _trace(decoder: Any, facts: Mapping[str, Any], length: int, path: Path, where: str) -> None:
    import torch

    names = caches(facts["layers"])
    past = (1, facts["kv_heads"], facts["context"] - length, facts["head_size"])
    example = (
        torch.ones(1, length, dtype=torch.long),
        torch.zeros(1, 1, length, facts["context"]),
        torch.arange(length)[None],
        *(torch.zeros(past) for _ in names),
    )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the tracer's, on what is constant here by intent
            torch.onnx.export(
                decoder,
                example,
                str(path),
                dynamo=False,
                opset_version=TRACED,
                input_names=["input_ids", "attention_mask", "position_ids", *(f"past_key_values.{n}" for n in names)],
                output_names=["logits", *(f"present.{name}" for name in names)],
            )
    except Exception as error:  # the exporter's own types, and torch's
        raise ToolError(f"torch.onnx.export failed: {first_line(error)}", where=where) from error


def _simplified(path: Path) -> Any:
    """The traced graph with what is constant folded by ONNX Runtime, in opset 21."""
    import onnx
    import onnxruntime

    folded = path.with_suffix(".folded.onnx")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(folded)
    options.add_session_config_entry("session.optimized_model_external_initializers_file_name", f"{folded.name}.data")
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    model = _without_empty(onnx.load(folded, load_external_data=False))  # a proto ends at 2 GB
    onnx.load_external_data_for_model(model, str(folded.parent))
    del model.opset_import[:]
    model.opset_import.add(domain="", version=OPSET)
    return model


def _without_empty(model: Any) -> Any:
    """Concatenations without the parts of size 0 that a full rotary factor leaves, which NPU compilers refuse."""
    import onnx

    graph = onnx.shape_inference.infer_shapes(model).graph
    empty = {
        value.name
        for value in graph.value_info
        if any(size.HasField("dim_value") and size.dim_value == 0 for size in value.type.tensor_type.shape.dim)
    }
    nodes: list[Any] = []
    renamed: dict[str, str] = {}
    for node in model.graph.node:
        if empty & set(node.output):
            continue
        kept = [renamed.get(name, name) for name in node.input if name not in empty]
        if node.op_type == "Concat" and len(kept) == 1:
            renamed[node.output[0]] = kept[0]
            continue
        node.input[:] = kept
        nodes.append(node)
    used = {name for node in nodes for name in node.input}
    tensors = [tensor for tensor in model.graph.initializer if tensor.name in used]
    for field, values in ((model.graph.node, nodes), (model.graph.initializer, tensors)):
        values = [type(value).FromString(value.SerializeToString()) for value in values]
        del field[:]
        field.extend(values)
    return model
