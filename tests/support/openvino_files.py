"""OpenVINO exports of random models."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.backends.openvino.backend import OpenVinoBackend
from pipeline.harness.run import setup
from pipeline.types import Checkpoint
from tests.support.tiny import tiny_config, write_checkpoint


def converted(root: Path, **changes: Any) -> Path:
    setup()
    folder = write_checkpoint(root / "model", **changes)
    out = root / "export"
    out.mkdir()
    OpenVinoBackend().convert(Checkpoint("tiny", folder, folder, tiny_config(**changes)), {"precision": "fp32"}, out)
    return out


def constants(folder: Path) -> Counter[str]:
    """How many matrices the IR holds in each element type."""
    import openvino

    model = openvino.Core().read_model(folder / "openvino_model.xml")
    found = [node for node in model.get_ops() if node.get_type_name() == "Constant"]
    return Counter(
        node.get_element_type().get_type_name()
        for node in found
        if np.prod(list(node.get_output_shape(0))) >= 256 * 256
    )


def leaking(export: Path, folder: Path, prompt: int) -> Path:
    """A folder that sees, whose tower passes every 28th pixel on, whose decoder then says rows of its prompt as tokens.

    The `prompt`'s rows, three numbers each, are kept as its cache; of those behind its first token, the n-th is said in
    step n, as ⌊1024 · (2 + number)⌋.
    """
    import shutil

    import openvino
    from openvino import opset13 as op

    from pipeline.backends.openvino.tracing import _make_stateful

    shutil.copytree(export, folder)
    for path in folder.glob("openvino_*_model.*"):
        path.unlink()
    integer, real = openvino.Type.i64, openvino.Type.f32

    def taken(name: str, shape: list[int], kind: Any) -> Any:
        node = op.parameter(openvino.PartialShape(shape), kind, name=name)
        node.output(0).get_tensor().set_names({name})
        return node

    def numbers(*values: int) -> Any:
        return op.constant(np.array(values, np.int64))

    def saved(node: Any, inputs: list[Any], part: str) -> None:
        node.output(0).get_tensor().set_names({"inputs_embeds" if part == "text_embeddings" else "last_hidden_state"})
        openvino.save_model(openvino.Model([node.output(0)], inputs, part), folder / f"openvino_{part}_model.xml")

    pixels = taken("pixel_values", [-1, 3, 448, 448], real)
    others = [
        taken("patch_attention_mask", [-1, -1, -1], openvino.Type.boolean),
        taken("patch_position_ids", [-1, -1], integer),
    ]
    some = op.slice(pixels, numbers(0, 0), numbers(448, 448), numbers(28, 28), numbers(2, 3))
    flat = op.reshape(some, numbers(0, 3, 256), True)
    saved(op.transpose(flat, numbers(0, 2, 1)), [pixels, *others], "vision_embeddings")
    rows = taken("input", [-1, -1, 3], real)
    saved(op.add(rows, op.constant(np.float32(0))), [rows], "vision_projection")
    ids = taken("input", [-1, -1], integer)
    words = op.gather(op.constant(np.zeros((200012, 3), np.float32)), ids, op.constant(0))
    saved(words, [ids], "text_embeddings")

    given = taken("inputs_embeds", [-1, -1, 3], real)
    mask, positions = taken("attention_mask", [-1, -1], integer), taken("position_ids", [-1, -1], integer)
    pasts = [taken(f"past_key_values.0.{part}", [-1, 1, -1, 3], real) for part in ("key", "value")]
    kept = [op.concat([past, op.unsqueeze(given, op.constant(1))], 2) for past in pasts]
    last = op.gather(op.reshape(positions, numbers(-1), False), numbers(-1), op.constant(0))
    step = op.add(last, numbers(4 - prompt))  # behind the three numbers of the first token, which is text
    number = op.gather(op.reshape(kept[0], numbers(-1), False), step, op.constant(0))
    token = op.floor(op.multiply(op.add(number, op.constant(np.float32(2))), op.constant(np.float32(1024))))
    apart = op.negative(op.abs(op.subtract(op.constant(np.arange(4096, dtype=np.float32)), token)))
    length = op.gather(op.shape_of(given), numbers(0, 1), op.constant(0))
    logits = op.broadcast(apart, op.concat([length, numbers(4096)], 0))
    results = []
    for node, name in ((logits, "logits"), *zip(kept, ("present.0.key", "present.0.value"), strict=True)):
        node.output(0).get_tensor().set_names({name})
        results.append(node.output(0))
    model = openvino.Model(results, [given, mask, positions, *pasts], "language")
    _make_stateful(model, ["0.key", "0.value"], "inputs_embeds")
    openvino.save_model(model, folder / "openvino_language_model.xml", compress_to_fp16=False)
    config = json.loads((folder / "config.json").read_text("utf-8"))
    config |= {"hidden_size": 3, "sub_GN": [[[[0.5] * 3]]], "glb_GN": [[[-0.5] * 3]]}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder
