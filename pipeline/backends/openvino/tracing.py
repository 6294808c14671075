"""A transformers decoder as a stateful OpenVINO model: traced with explicit caches, which then become state."""

from __future__ import annotations

from typing import Any

from pipeline.model.caches import with_caches

SAVED = "decompression_0"  # the one note on a node that an IR keeps: stored in 16 bits, computed in 32


def trace(module: Any, embedded: bool = False) -> Any:
    """The OpenVINO model of a Phi-3 decoder (torch module, any float dtype).

    Inputs input_ids, attention_mask, position_ids [batch, length] int64 and beam_idx [batch] int32; output
    logits [batch, length, vocab] float32; the key-value cache float32 [batch, kv_heads, length, head] is state.
    embedded: inputs_embeds float32 [batch, length, width] in the place of input_ids.
    """
    import openvino
    import torch

    config = module.config
    layers, kv_heads = config.num_hidden_layers, config.num_key_value_heads
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    if next(module.parameters()).dtype is not torch.float32:
        from openvino.frontend.pytorch import patch_model

        patch_model.__make_16bit_traceable(module)
    past = [torch.zeros(2, kv_heads, 3, head) for _ in range(2 * layers)]
    given = "inputs_embeds" if embedded else "input_ids"
    example = (
        torch.ones(2, 4, config.hidden_size) if embedded else torch.ones(2, 4, dtype=torch.long),
        torch.ones(2, 7, dtype=torch.long),
        torch.arange(3, 7)[None].repeat(2, 1),
        *past,
    )
    with torch.no_grad():
        # LongRoPE makes its long frequencies at the first call: before the trace, which is checked against a second one
        module.model.rotary_emb(past[0], torch.zeros(1, 1, dtype=torch.long))
        model = openvino.convert_model(_traceable(module, given), example_input=example)
    caches = [f"{layer}.{part}" for layer in range(layers) for part in ("key", "value")]
    width = config.hidden_size if embedded else None
    _name(model, caches, kv_heads, head, width)
    _make_stateful(model, caches, given)
    _forget(model)
    return model


def _traceable(module: Any, given: str) -> Any:
    """The decoder as a function of its caches, with a 4-D mask made from the positions, and logits in fp32."""
    import torch

    window = getattr(module.config, "sliding_window", None)

    def mask(attention_mask: Any, position_ids: Any, dtype: Any) -> Any:
        keys = (attention_mask.cumsum(-1) - 1)[:, None, None, :]
        queries = position_ids[:, None, :, None]
        seen = (keys <= queries) & (attention_mask[:, None, None, :] > 0)
        if window is not None:
            seen = seen & (keys > queries - window)
        lowest = torch.tensor(torch.finfo(torch.float32).min)
        return torch.where(seen, torch.tensor(0.0), lowest).to(dtype)

    return with_caches(module, lambda logits, caches, past: (logits.float(), *caches), mask, given)


def _name(model: Any, caches: list[str], kv_heads: int, head: int, width: int | None) -> None:
    """The names and dynamic shapes that OpenVINO GenAI looks for; `width`: of inputs_embeds, if it takes them."""
    import openvino

    first = "input_ids" if width is None else "inputs_embeds"
    names = [first, "attention_mask", "position_ids", *(f"past_key_values.{cache}" for cache in caches)]
    if len(model.inputs) != len(names):
        raise RuntimeError(f"the trace has {len(model.inputs)} inputs, {len(names)} were expected")
    for port, name in zip(model.inputs, names, strict=True):
        port.get_tensor().set_names({name})
        node = port.get_node()
        node.set_friendly_name(name)
        cache = name.startswith("past_key_values")
        shape = [-1, kv_heads, -1, head] if cache else [-1, -1, width] if name == "inputs_embeds" else [-1, -1]
        node.set_partial_shape(openvino.PartialShape(shape))
        if cache:
            node.set_element_type(openvino.Type.f32)
    for port, name in zip(model.outputs, ["logits", *(f"present.{cache}" for cache in caches)], strict=True):
        port.get_tensor().set_names({name})
    model.validate_nodes_and_infer_types()


def _make_stateful(model: Any, caches: list[str], given: str) -> None:
    """Caches become state, reordered by beam_idx; at the first step of a batch they are empty."""
    import numpy as np
    import openvino
    from openvino import opset13 as op
    from openvino._offline_transformations import apply_make_stateful_transformation

    beams = op.parameter(openvino.PartialShape([-1]), openvino.Type.i32, name="beam_idx")
    beams.output(0).get_tensor().add_names({"beam_idx"})
    model.add_parameters([beams])
    for cache in caches:
        port = model.input(f"past_key_values.{cache}")
        consumers = port.get_target_inputs()
        reordered = op.gather(port, beams, op.constant(0))
        for consumer in consumers:
            consumer.replace_source_output(reordered.output(0))
    model.validate_nodes_and_infer_types()
    apply_make_stateful_transformation(model, {f"past_key_values.{cache}": f"present.{cache}" for cache in caches})
    shape = op.shape_of(model.input(given), output_type="i64")
    batch = op.gather(shape, op.constant([0]), op.constant(0))
    for node in model.get_ops():
        if node.get_type_name() == "ReadValue":
            least = [size.min_length for size in node.get_output_partial_shape(0)]
            sizes = [batch, *(op.constant(np.array([size], np.int64)) for size in least[1:])]
            zero = op.constant(0.0, dtype=node.get_output_element_type(0))
            node.set_arguments([op.broadcast(zero, op.concat(sizes, axis=0))])
    model.validate_nodes_and_infer_types()


def _forget(model: Any) -> None:
    """Drop the converter's notes to itself (constants not to be folded, and others), which no IR has.

    With them the CPU plugin fuses less, and what NNCF measures differs in the last bit from what it measures of the
    saved model.
    """
    for node in model.get_ops():
        notes = node.get_rt_info()
        for name in list(notes.keys()):
            if name != SAVED:
                del notes[name]
