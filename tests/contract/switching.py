"""The contract's part on adapters: what a package's runtime switches."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from pipeline.backends.process import ask_runtime
from pipeline.backends.request import RuntimeRequest
from pipeline.model.adapter import read_adapter
from pipeline.model.checkpoint import read_headers
from pipeline.model.loading import load_model
from pipeline.model.lowrank import LowRank
from pipeline.model.merge import merge
from pipeline.model.switchable import low_rank
from pipeline.types import Checkpoint
from tests.contract.workshop import Workshop
from tests.support.adapters import by_hand


class Switching:
    """Of the backends whose conf/backend/<name>.yaml has `switches`."""

    name: str

    def test_adapters_are_switched_and_without_one_a_package_generates_what_it_did(
        self, workshop: Workshop, tmp_path: Path
    ) -> None:
        """In fp32 what transformers generates with the two merged; in int4 something else than without."""
        if not workshop.conf.get("switches"):
            return
        adapters = adapters_of(workshop.checkpoint, tmp_path)
        prompts = [row.tolist() for row in np.random.default_rng(2).integers(3, 2000, (2, 16))]
        request = RuntimeRequest("generate", prompts, 8)

        def generated(recipe: str, *names: str | None) -> list[list[list[int]]]:
            """Of a package with the adapters of these names; None is its build."""
            build, package = workshop.build(workshop.recipe(recipe, "default"))[0], tmp_path / recipe
            package.mkdir()
            workshop.backend.package(build, workshop.checkpoint, {}, package)
            workshop.backend.add_adapters(package, workshop.checkpoint.config, adapters)
            asked = [(build, "") if name is None else (package, name) for name in names]
            answers = (ask_runtime(self.name, folder, replace(request, adapter=name)) for folder, name in asked)
            return [answer.value["tokens"] for answer in answers]

        wanted = [greedy_with(workshop.checkpoint, tmp_path / name, prompts, 8) for name in adapters]
        assert generated("fp32", *adapters) == wanted
        built, without, with_one = generated("int4", None, "", "second")
        assert built == without != with_one
        code = workshop.backend.switch_instruction("fp32", 'Who "is" {he}?', list(adapters))
        code = code.partition("```python\n")[2].partition("```")[0]
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == 0, done.stderr


def adapters_of(checkpoint: Checkpoint, root: Path) -> dict[str, LowRank]:
    """Two of a one-layer model, in folders of their names: one on parts of fused matrices, one on other matrices."""
    parts = {"self_attn.q_proj": (256, 256), "self_attn.v_proj": (128, 256), "mlp.up_proj": (256, 256)}
    whole = {"self_attn.o_proj": (256, 256), "mlp.gate_up_proj": (512, 256), "mlp.down_proj": (256, 256)}
    made = {}
    for name, modules in (("first", parts), ("second", whole)):
        folder = by_hand(checkpoint.folder, root / name, {f"model.layers.0.{key}": its for key, its in modules.items()})
        made[name] = low_rank(read_adapter(folder), checkpoint.config)
    return made


def greedy_with(checkpoint: Checkpoint, adapter: Path, prompts: list[list[int]], count: int) -> list[list[int]]:
    """What transformers generates with an adapter merged, in fp32."""
    import torch

    merged = adapter / "merged"
    merged.mkdir()
    merge(read_adapter(adapter), read_headers(checkpoint.weights), checkpoint.config, merged)
    model = load_model(checkpoint.folder, merged, "float32")
    ids = torch.tensor(prompts)
    made = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=count, min_new_tokens=count)
    return made[:, ids.shape[1] :].tolist()
