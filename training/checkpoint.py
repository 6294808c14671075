"""What a Phi-3 checkpoint of this size is, and how it is written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training.tokenizer import BOS, END, END_OF_TEXT, VOCABULARY

if TYPE_CHECKING:
    from transformers import Phi3ForCausalLM

ARCHITECTURE: dict[str, Any] = {
    "architectures": ["Phi3ForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "bos_token_id": BOS,
    "embd_pdrop": 0.0,
    "eos_token_id": END_OF_TEXT,
    "hidden_act": "silu",
    "hidden_size": 256,
    "initializer_range": 0.02,
    "intermediate_size": 768,
    "max_position_embeddings": 2048,
    "model_type": "phi3",
    "num_attention_heads": 8,
    "num_hidden_layers": 4,
    "num_key_value_heads": 4,
    "original_max_position_embeddings": 2048,
    "pad_token_id": END_OF_TEXT,
    "resid_pdrop": 0.0,
    "rms_norm_eps": 1e-05,
    "rope_scaling": None,
    "rope_theta": 10000.0,
    "sliding_window": None,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "use_cache": True,
    "vocab_size": VOCABULARY,
}
GENERATION = {"bos_token_id": BOS, "eos_token_id": [END_OF_TEXT, END], "pad_token_id": END_OF_TEXT}


def fresh(seed: int) -> Phi3ForCausalLM:
    """A model with random weights."""
    import torch
    from transformers import Phi3Config, Phi3ForCausalLM

    torch.manual_seed(seed)
    settings = {key: value for key, value in ARCHITECTURE.items() if key != "torch_dtype"}
    return Phi3ForCausalLM(Phi3Config(**settings)).float()


def write(model: Phi3ForCausalLM, folder: Path) -> None:
    """Write configuration and weights (in bfloat16) to ``folder``; the weights appear there in one piece."""
    import torch
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    state = model.state_dict()
    weights = {name: value.detach().to(torch.bfloat16).contiguous() for name, value in state.items()}
    unfinished = folder / "model.safetensors.part"
    save_file(weights, unfinished, metadata={"format": "pt"})
    unfinished.chmod(0o644)
    unfinished.replace(folder / "model.safetensors")
    for name, content in (("config.json", ARCHITECTURE), ("generation_config.json", GENERATION)):
        (folder / name).write_text(f"{json.dumps(content, indent=2)}\n", encoding="utf-8", newline="\n")
