"""A package with switchable adapters: the base's build as it is, adapters beside it, tried, listed and described."""

from __future__ import annotations

import numpy as np

from tests.support.adapters import by_hand, retrained
from tests.support.project import Project

KEY = "local_int4_onnxruntime_cpu"
O_PROJ = "model.layers.0.self_attn.o_proj"
A = f"base_model.model.{O_PROJ}.lora_A.weight"


def inputs(project: Project) -> dict[str, str]:
    folder = project.root / "inputs"
    return {path.relative_to(folder).as_posix(): path.read_text("utf-8") for path in folder.glob("*/*.json")}


def test_its_adapters_are_the_packages_alone_and_are_tried_and_described(copy: Project) -> None:
    before = inputs(copy)
    adapter = by_hand(copy.root / "models/tiny", copy.root / "adapters/music", {O_PROJ: (256, 256)})
    (adapter / "LICENSE").write_text("of the adapter", encoding="utf-8")
    (adapter / "README.md").write_text("---\nlicense: apache-2.0\n---\n", encoding="utf-8")
    copy.compose("+model.local.adapters.music=adapters/music")
    assert copy.stage("guard").returncode == 0
    planned = inputs(copy)
    changed = {name for name, text in planned.items() if before[name] != text}
    assert changed == {f"package/{KEY}.json", "package/local_fp32_onnxruntime_cpu.json"}
    old = copy.json(f"packages/{KEY}/manifest.json")["files"]
    done = copy.stage("package", KEY)
    assert done.returncode == 0, done.stderr
    package = copy.root / "packages" / KEY
    manifest = copy.json(f"packages/{KEY}/manifest.json")
    new = {name for name in manifest["files"] if name not in old}
    assert new == {"adapters/music.onnx_adapter", "LICENSE.music"}
    assert manifest["files"]["model.onnx.data"] == old["model.onnx.data"]
    said = manifest["adapters"]["music"]
    assert (said["source"], said["method"], said["rank"], said["license"]) == ("music", "LoRA", 4, "apache-2.0")
    card = (package / "README.md").read_text(encoding="utf-8")
    assert "## Adapters" in card and "- `music`: LoRA `music`, rank 4, under apache-2.0" in card
    assert "With `music`, the same question is answered:" in card and said["said"]
    assert 'generator.set_active_adapter(adapters, "music")' in card
    assert copy.pipeline("verify", f"packages/{KEY}").returncode == 0
    assert "With an adapter:" in copy.json(f"artifacts/packaged/{KEY}.json")["run"]

    retrained(lambda tensors: tensors[A].__setitem__((0, 0), np.nan))(adapter)
    assert copy.stage("guard").returncode == 0
    assert inputs(copy)[f"package/{KEY}.json"] != planned[f"package/{KEY}.json"]  # so that DVC runs it again
    done = copy.stage("package", KEY)
    assert done.returncode == 2 and done.stderr.strip().endswith(f"{A} has NaN or infinity in it"), done.stderr
    retrained(lambda tensors: tensors.update({A: np.ones((4, 512), np.float32)}))(adapter)
    done = copy.stage("guard")
    assert done.returncode == 2 and "an adapter for another base" in done.stderr, done.stderr
