"""Several adapters of one base of the hub are several models, for which its weights are downloaded once."""

from __future__ import annotations

import numpy as np
from safetensors.numpy import load_file

from tests.support.adapters import by_hand
from tests.support.hub import COMMIT, REPO, serve
from tests.support.project import Project

QKV = "model.layers.0.self_attn.qkv_proj"
MODELS = ("base", "first", "second")
SHAPE = "  architecture: Phi3ForCausalLM\n  context_length: 2048\n  hidden_size: 256\n  intermediate_size: 256\n"


def test_the_base_is_downloaded_once_and_each_has_its_own_adapters_weights_and_licence(project: Project) -> None:
    tiny = project.root / "models/tiny"
    before = load_file(tiny / "model.safetensors")
    rows, columns = before[f"{QKV}.weight"].shape
    for seed, name in enumerate(MODELS[1:]):
        adapter = by_hand(tiny, project.root / "adapters" / name, {QKV: (rows, columns)}, seed)
        (adapter / "LICENSE").write_text(f"the licence of {name}", encoding="utf-8")
        (adapter / "README.md").write_text("---\nlicense: apache-2.0\n---\n", encoding="utf-8")
    (tiny / "LICENSE").write_text("the licence of the base", encoding="utf-8")
    for name in MODELS:
        own = "" if name == "base" else f"  adapter: adapters/{name}\n"
        text = f"{name}:\n  repo: {REPO}\n  revision: main\n  license: mit\n{own}{SHAPE}  parameters: 2000000\n"
        (project.root / f"conf/model/{name}.yaml").write_text(text, encoding="utf-8")
    done = project.pipeline("compose", "suite=smoke", f"model=[{','.join(MODELS)}]")
    assert done.returncode == 0, done.stderr
    assert project.stage("guard").returncode == 0
    with serve(tiny) as (endpoint, asked):
        environment = {"HF_ENDPOINT": endpoint, "HF_HOME": str(project.root / "hf"), "HF_HUB_DISABLE_XET": "1"}
        first = len(asked)
        for name in MODELS:
            done = project.stage("fetch", name, env=environment)
            assert done.returncode == 0, done.stderr
            first = first or len(asked)
    weights = [place for place, path in enumerate(asked) if "model.safetensors" in path]
    assert weights and max(weights) < first  # once, for the first of them
    made = {name: load_file(project.root / f"artifacts/models/{name}/model.safetensors") for name in MODELS}
    assert all(np.array_equal(made["base"][key], value) for key, value in before.items())
    for name in MODELS[1:]:
        changed = {key for key, value in before.items() if not np.array_equal(made[name][key], value)}
        assert changed == {f"{QKV}.weight"}
        manifest = project.json(f"artifacts/models/{name}/manifest.json")
        assert (manifest["revision"], manifest["source"], manifest["adapter"]["source"]) == (COMMIT, REPO, name)
        assert manifest["license_files"] == ["LICENSE", "LICENSE.adapter"]
        assert manifest["adapter"]["license"] == "apache-2.0"
        licence = project.root / f"artifacts/models/{name}/LICENSE.adapter"
        assert licence.read_text(encoding="utf-8") == f"the licence of {name}"
    one, other = (made[name][f"{QKV}.weight"] for name in MODELS[1:])
    assert not np.array_equal(one, other)
