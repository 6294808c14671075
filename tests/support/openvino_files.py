"""OpenVINO exports of random models."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
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
    from openvino import opset13 as op

    pixels = _taken("pixel_values", [-1, 3, 448, 448])
    some = op.slice(pixels, _numbers(0, 0), _numbers(448, 448), _numbers(28, 28), _numbers(2, 3))
    seen = op.transpose(op.reshape(some, _numbers(0, 3, 256), True), _numbers(0, 2, 1))
    others = [("patch_attention_mask", [-1, -1, -1], "boolean"), ("patch_position_ids", [-1, -1], "i64")]
    rows = _taken("input", [-1, -1, 3])

    def said(cache: Any, positions: Any) -> Any:
        last = op.gather(op.reshape(positions, _numbers(-1), False), _numbers(-1), op.constant(0))
        step = op.add(last, _numbers(4 - prompt))  # behind the three numbers of the first token, which is text
        number = op.gather(op.reshape(cache, _numbers(-1), False), step, op.constant(0))
        return op.floor(op.multiply(op.add(number, op.constant(np.float32(2))), op.constant(np.float32(1024))))

    config = {"hidden_size": 3, "sub_GN": [[[[0.5] * 3]]], "glb_GN": [[[-0.5] * 3]]}
    return _stub(export, folder, config, seen, [pixels, *(_taken(*one) for one in others)], rows, _same(rows), said)


def counting(export: Path, folder: Path) -> Path:
    """A Phi-3.5-vision's folder that sees nothing: what VLMPipeline makes a prompt of is how many tokens it has."""
    from openvino import opset13 as op

    pixels = _taken("pixel_values", [-1, 3, 336, 336])
    crops = op.gather(op.shape_of(pixels), _numbers(0), op.constant(0))
    seen = op.broadcast(op.constant(np.float32(0)), op.concat([crops, _numbers(576, 1024)], 0))
    rows = _taken("input", [-1, -1, 4096])
    some = op.slice(rows, _numbers(0), _numbers(3), _numbers(1), _numbers(2))
    config = {
        "model_type": "phi3_v",
        "architectures": ["Phi3VForCausalLM"],
        "hidden_size": 3,
        "sub_GN": [[[[0.0] * 4096]]],
        "glb_GN": [[[0.0] * 4096]],
    }
    made = _stub(export, folder, config, seen, [pixels], rows, some, lambda *_: op.constant(np.array([5], np.float32)))
    (made / "preprocessor_config.json").write_text(json.dumps({"num_crops": 16}), encoding="utf-8")
    return made


def _taken(name: str, shape: list[int], kind: str = "f32") -> Any:
    import openvino
    from openvino import opset13 as op

    node = op.parameter(openvino.PartialShape(shape), getattr(openvino.Type, kind), name=name)
    node.output(0).get_tensor().set_names({name})
    return node


def _numbers(*values: int) -> Any:
    from openvino import opset13 as op

    return op.constant(np.array(values, np.int64))


def _same(node: Any) -> Any:
    from openvino import opset13 as op

    return op.add(node, op.constant(np.float32(0)))


def _stub(
    export: Path,
    folder: Path,
    config: dict[str, Any],
    seen: Any,
    pictures: list[Any],
    rows: Any,
    projected: Any,
    said: Callable[[Any, Any], Any],
) -> Path:
    """An export's folder with other parts: a token is what is `said` of the prompt's rows, kept as cache, and places.

    seen, projected: outputs of tower and projector, of the inputs `pictures` and `rows`.
    """
    import shutil

    import openvino
    from openvino import opset13 as op

    from pipeline.backends.openvino.tracing import _make_stateful

    shutil.copytree(export, folder)
    for path in folder.glob("openvino_*_model.*"):
        path.unlink()

    def saved(nodes: dict[str, Any], inputs: list[Any], part: str) -> None:
        for name, node in nodes.items():
            node.output(0).get_tensor().set_names({name})
        model = openvino.Model([node.output(0) for node in nodes.values()], inputs, part)
        if part == "language":
            _make_stateful(model, ["0.key", "0.value"], "inputs_embeds")
        openvino.save_model(model, folder / f"openvino_{part}_model.xml", compress_to_fp16=False)

    saved({"last_hidden_state": seen}, pictures, "vision_embeddings")
    saved({"last_hidden_state": projected}, [rows], "vision_projection")
    ids = _taken("input", [-1, -1], "i64")
    words = op.gather(op.constant(np.zeros((200012, 3), np.float32)), ids, op.constant(0))
    saved({"inputs_embeds": words}, [ids], "text_embeddings")
    given = _taken("inputs_embeds", [-1, -1, 3])
    mask, positions = (_taken(name, [-1, -1], "i64") for name in ("attention_mask", "position_ids"))
    pasts = [_taken(f"past_key_values.0.{part}", [-1, 1, -1, 3]) for part in ("key", "value")]
    kept = [op.concat([past, op.unsqueeze(given, op.constant(1))], 2) for past in pasts]
    token = said(kept[0], positions)
    apart = op.negative(op.abs(op.subtract(op.constant(np.arange(4096, dtype=np.float32)), token)))
    length = op.gather(op.shape_of(given), _numbers(0, 1), op.constant(0))
    logits = op.broadcast(apart, op.concat([length, _numbers(4096)], 0))
    outputs = {"logits": logits, **dict(zip(("present.0.key", "present.0.value"), kept, strict=True))}
    saved(outputs, [given, mask, positions, *pasts], "language")
    own = json.loads((folder / "config.json").read_text("utf-8"))
    (folder / "config.json").write_text(json.dumps({**own, **config}), encoding="utf-8")
    return folder
