"""What an error in a matrix costs: nats of KL per token, for a relative squared error of its outputs.

For a small change of a matrix by ΔW, KL ≈ α · t², with t² = E‖ΔW x‖² / E‖W x‖² and α a number of the model alone (the
linearity theorem of HIGGS, Malinovskii et al. 2024, arXiv 2411.17525, which has the error of the weights in its place).
Ways to α, all a layer at a time:

fisher: KL is half the quadratic form of the Fisher information of the outputs (Kullback 1959), here its diagonal: g is
the gradient of -ln p(y) by a matrix's outputs, y drawn from the model's own p. For a change without direction,
α = ½ · E‖Wx‖² / E‖x‖² · E[‖x‖² ‖g‖²] / outputs. One forward and one backward pass.

insertion: an error is put into one matrix, and KL is measured at the model's end; resumed from the states before its
layer, a run of half the model for each matrix. The error is what rounding to 4 bits leaves (`rounding`, the default),
or normal noise (`noise`, HIGGS'). Rounding errors have directions that noise has not: on phi-tiny, noise and Fisher
agree with each other (Spearman 0.98) and are 20 times off for the layer with massive activations and for the lm_head,
while the costs of rounded matrices add up to what they cost together.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.calibration import gptq
from pipeline.model.checkpoint import EMBEDDING, HEAD
from pipeline.search.run import Progress, Run, outputs

NOISE = 0.03  # relative, of the weights' norm: small enough that KL is quadratic in it
SMALLEST = 1e-8  # nats: less is rounding of the measurement
Error = Callable[[NDArray[np.float32], "NDArray[np.float32] | None", np.random.Generator], NDArray[np.float32]]


def fisher(
    folder: Path, weights: Path, ids: NDArray[np.int64], scratch: Path, seed: int, progress: Progress
) -> dict[str, float]:
    """{matrix: α} by the Fisher information; `scratch` is an empty folder for (layers + 1) · tokens · width floats."""
    import torch

    run = Run(folder, weights, ids, scratch)
    run.forward(progress)
    sums: dict[str, NDArray[np.float64]] = {}
    gradients = _from_the_head(run, sums, torch.Generator().manual_seed(seed))
    count = len(run.layers)
    for number in reversed(range(count)):
        with run.layers.layer(number) as module, outputs(module) as seen:
            for state, gradient in zip(run.before[number], gradients, strict=True):
                hidden = torch.from_numpy(np.array(state))[None].requires_grad_()
                out = run.layers.run(module, hidden)
                seen_now = dict(seen)
                found = torch.autograd.grad(out, [hidden, *(y for _, y in seen_now.values())], gradient[None])
                for (name, (x, y)), slope in zip(seen_now.items(), found[1:], strict=True):
                    _add(sums, f"{run.layers.prefix(number)}{name}.weight", x, y.detach(), slope)
                gradient[:] = found[0][0]
        progress(2 * count - number, 2 * count)
    for state, gradient in zip(run.before[0], gradients, strict=True):
        embedded = torch.from_numpy(np.array(state))
        _add(sums, EMBEDDING, embedded, embedded, gradient)
    return {name: float(0.5 * y / max(x, 1e-30) * both / tokens) for name, (x, y, both, tokens) in sums.items()}


def insertion(
    folder: Path, weights: Path, ids: NDArray[np.int64], scratch: Path, seed: int, progress: Progress, error: Error
) -> dict[str, float]:
    """{matrix: α} by an error in each matrix, the others as they are."""
    import torch

    run = Run(folder, weights, ids, scratch)
    run.forward(lambda *_: None)
    random, found, count = np.random.default_rng(seed), {}, len(run.layers)
    with run.layers.norm() as norm, torch.inference_mode():
        lasts = [norm(torch.from_numpy(state)) for state in run.before[-1]]
        shares = [torch.log_softmax(run.logits(last), -1) for last in lasts]
        whole = run.head
        run.head, change = _changed(whole, lasts, random, error)
        found[HEAD] = _cost(_divergence(run, lasts, shares), change)
        run.head = whole
        for number in range(count):
            with run.layers.layer(number) as module:
                inputs = _inputs(run, module, number)
            for name, seen in inputs.items():
                with run.layers.layer(number) as module:
                    part = module.get_submodule(name)
                    part.weight.data, change = _changed(part.weight.data, seen, random, error)
                    states = [run.layers.run(module, torch.from_numpy(state)[None])[0] for state in run.before[number]]
                states = _onward(run, number + 1, states)
                found[f"{run.layers.prefix(number)}{name}.weight"] = _cost(
                    _divergence(run, map(norm, states), shares), change
                )
            progress(number + 1, count)
        states, change = _other_embedding(run, random, error)
        found[EMBEDDING] = _cost(_divergence(run, map(norm, _onward(run, 0, states)), shares), change)
    return found


def rounded(weights: NDArray[np.float32], moments: NDArray[np.float32] | None, random: np.random.Generator) -> Any:
    """A matrix [inputs, outputs] at 4 bits in groups of 128, by GPTQ, or to nearest where it is looked up."""
    grid = gptq.Grid(4, 128, symmetric=True)
    if moments is None:
        return gptq.nearest(weights, np.ones(len(weights), np.float32), grid).values()
    return gptq.quantize(weights, moments, grid).values()


def noisy(weights: NDArray[np.float32], moments: NDArray[np.float32] | None, random: np.random.Generator) -> Any:
    """The matrix with normal noise."""
    drawn = random.standard_normal(weights.shape, np.float32)
    return weights + drawn * np.float32(NOISE * np.linalg.norm(weights) / np.linalg.norm(drawn))


def _changed(matrix: Any, inputs: list[Any], random: np.random.Generator, error: Error) -> tuple[Any, float]:
    """A matrix [outputs, inputs] with an error, and E‖ΔW x‖² / E‖W x‖² over its inputs [tokens, inputs]."""
    import torch

    moments = sum(x.T @ x for x in inputs) / sum(map(len, inputs))
    values = error(np.ascontiguousarray(matrix.T.numpy()), moments.numpy(), random)
    changed = torch.from_numpy(np.ascontiguousarray(values.T))
    delta = changed - matrix
    return changed, float(((delta @ moments) * delta).sum() / ((matrix @ moments) * matrix).sum())


def _other_embedding(run: Run, random: np.random.Generator, error: Error) -> tuple[list[Any], float]:
    """The embedded tokens of every window with an error in the table, and how large it is relative to them."""
    import torch

    states = [np.array(state) for state in run.before[0]]
    tokens, places = np.unique(np.concatenate(run.sequences), return_inverse=True)
    first = {int(at): row for row, at in reversed(list(enumerate(places)))}
    table = np.concatenate(states)[[first[at] for at in range(len(tokens))]]
    values = np.ascontiguousarray(error(np.ascontiguousarray(table.T), None, random).T)[places]
    clean = np.concatenate(states)
    change = float(((values - clean) ** 2).sum() / (clean**2).sum())
    return list(torch.from_numpy(values).split([len(state) for state in states])), change


def _inputs(run: Run, module: Any, number: int) -> dict[str, list[Any]]:
    """{linear layer: its inputs [tokens, inputs], a window each}."""
    import torch

    found: dict[str, list[Any]] = {}
    with outputs(module) as seen:
        for state in run.before[number]:
            run.layers.run(module, torch.from_numpy(state)[None])
            for name, (x, _) in seen.items():
                found.setdefault(name, []).append(x[0])
    return found


def _onward(run: Run, number: int, states: list[Any]) -> list[Any]:
    """States [length, width] before layer `number`, behind the last."""
    for later in range(number, len(run.layers)):
        with run.layers.layer(later) as module:
            states = [run.layers.run(module, state[None])[0] for state in states]
    return states


def _cost(divergence: float, change: float) -> float:
    return max(divergence, SMALLEST) / max(change, 1e-30)


def _divergence(run: Run, lasts: Any, shares: list[Any]) -> float:
    """Mean KL per token from the clean model's ln p."""
    import torch

    total = tokens = 0.0
    for last, clean in zip(lasts, shares, strict=True):
        own = torch.log_softmax(run.logits(last), -1)
        total += float((clean.exp() * (clean - own)).sum())
        tokens += len(own)
    return total / tokens


def _from_the_head(run: Run, sums: dict[str, NDArray[np.float64]], generator: Any) -> list[Any]:
    """Gradients [length, width] of Σ -ln p(y) by the last layer's outputs, y drawn from p; the lm_head's sums."""
    import torch

    gradients = []
    with run.layers.norm() as norm:
        for state in run.before[-1]:
            hidden = torch.from_numpy(np.array(state)).requires_grad_()
            last = norm(hidden)
            with torch.no_grad():
                rows = run.logits(last.detach())
                slope = torch.softmax(rows, -1)
                drawn = torch.multinomial(slope, 1, generator=generator)
                slope.scatter_add_(-1, drawn, torch.full_like(slope[:, :1], -1.0))
                _add(sums, HEAD, last.detach(), rows, slope)
                back = slope @ run.head
            gradients.append(torch.autograd.grad(last, hidden, back)[0])
    return gradients


def _add(sums: dict[str, NDArray[np.float64]], name: str, x: Any, y: Any, slope: Any) -> None:
    """Sums of ‖x‖², ‖y‖² and ‖x‖²‖g‖²/outputs over tokens, and their number."""
    inputs, square = (x * x).sum(-1).flatten().double(), (slope * slope).mean(-1).flatten().double()
    values = [inputs.sum(), (y.double() ** 2).sum(), (inputs * square).sum(), len(inputs)]
    sums[name] = sums.get(name, np.zeros(4)) + np.asarray([float(value) for value in values])
