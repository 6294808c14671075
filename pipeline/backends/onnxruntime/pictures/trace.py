"""A torch module as an ONNX graph without its weights ever being in memory together.

The trace is given parameters of the right shapes that are one zero each; the graph takes them as inputs, by the
module's own names, and the checkpoint's tensors are put in their places one by one.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import CheckpointError
from pipeline.model.checkpoint import Tensor, read_float32

if TYPE_CHECKING:
    import onnx

OPSET = 18
LEAST = 1024  # values of a tensor that is stored in 16 bits
HALF = ".half"  # behind its name
ROOT = "embed."  # the traced modules call the one that they are made of so


def exported(
    module: Any, example: tuple[Any, ...], inputs: Sequence[str], output: str, axes: Mapping[str, Mapping[int, str]]
) -> onnx.ModelProto:
    """The graph of a module, whose parameters it takes as further inputs; axes: names of those of any length."""
    import onnx
    import torch

    with (
        TemporaryDirectory(prefix="phi-deploy-") as place,
        warnings.catch_warnings(),
        torch.inference_mode(),
    ):
        warnings.simplefilter("ignore")  # of the tracer, on what is the same for every picture or sound
        path = str(Path(place) / "graph.onnx")
        torch.onnx.export(
            module.eval(),
            example,
            path,
            input_names=list(inputs),
            output_names=[output],
            dynamic_axes={name: dict(named) for name, named in axes.items()},
            opset_version=OPSET,
            export_params=False,
            do_constant_folding=False,
            keep_initializers_as_inputs=True,  # else parameters of one shape, all zero here, would become one
            dynamo=False,
        )
        return onnx.load(path)


def put_weights(model: onnx.ModelProto, tensors: Mapping[str, Tensor], halved: bool) -> None:
    """Give the graph of `exported` the tensors that it takes as inputs; halved: in float16 where it holds them.

    A matrix that is only used transposed is stored so. Raises CheckpointError for a tensor that is missing.
    """
    graph = model.graph
    wanted = [each.name for each in graph.input if each.name.startswith(ROOT)]
    kept = [each for each in graph.input if not each.name.startswith(ROOT)]
    del graph.input[:]
    graph.input.extend(kept)
    users: dict[str, list[onnx.NodeProto]] = {name: [] for name in wanted}
    for node in graph.node:
        for name in node.input:
            if name in users:
                users[name].append(node)
    casts = []
    for name, nodes in users.items():
        if not nodes:
            continue
        own = name.removeprefix(ROOT)
        if own not in tensors:
            raise CheckpointError(f"its tower lacks {own}")
        values, turned = read_float32(tensors[own]), all(node.op_type == "Transpose" for node in nodes)
        if turned and values.ndim == 2:
            values = np.ascontiguousarray(values.T)
            for node in nodes:
                rename(graph, node.output[0], name)
                graph.node.remove(node)
        held, cast = stored(name, values, halved)
        graph.initializer.append(held)
        casts += cast
    prepend(graph, casts)


def stored(name: str, values: NDArray[Any], halved: bool) -> tuple[onnx.TensorProto, list[onnx.NodeProto]]:
    """An initializer, and what widens it where it is in float16: where `halved`, it is large and float16 holds it."""
    from onnx import TensorProto, helper, numpy_helper

    fits = values.dtype == np.float32 and values.size >= LEAST and np.abs(values).max() <= np.finfo(np.float16).max
    if not (halved and fits):
        return numpy_helper.from_array(values, name), []
    cast = helper.make_node("Cast", [f"{name}{HALF}"], [name], name=f"{name}.cast", to=TensorProto.FLOAT)
    return numpy_helper.from_array(values.astype(np.float16), f"{name}{HALF}"), [cast]


def halve(model: onnx.ModelProto) -> None:
    """The graph's matrices in float16, where it holds them, and widened as they are loaded."""
    from onnx import numpy_helper

    casts = []
    for held in model.graph.initializer:
        half, cast = stored(held.name, numpy_helper.to_array(held), halved=True)
        if cast:
            held.CopyFrom(half)
            casts += cast
    prepend(model.graph, casts)


def rename(graph: onnx.GraphProto, old: str, new: str) -> None:
    """Whatever takes `old` takes `new`."""
    for node in graph.node:
        for place, name in enumerate(node.input):
            if name == old:
                node.input[place] = new


def prepend(graph: onnx.GraphProto, nodes: Sequence[onnx.NodeProto]) -> None:
    behind = [*nodes, *graph.node]
    del graph.node[:]
    graph.node.extend(behind)
