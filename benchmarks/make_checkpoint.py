"""A checkpoint of a real Phi shape with random weights, written shard by shard: memory holds one tensor.

    python benchmarks/make_checkpoint.py phi-3.5-mini /data/phi-3.5-mini-random [--layers 4]

Shapes are the models' own (hidden sizes, heads, layers, vocabulary); weights are normal with a deviation of 0.02, in
bfloat16, in shards of up to 5 GB with an index, as the hub has them. The tokenizer is phi-tiny's, with its vocabulary
filled up to the model's. LongRoPE factors are made up: they change no size. Models that see or hear are in Microsoft's
own layouts, whole: both modalities, and what no cell reads.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import multimodal  # noqa: E402

SHIPPED = ROOT / "models" / "phi-tiny"
SEEING = ROOT / "models" / "phi-tiny-vision"  # its tokenizer has the tokens of pictures and sounds
SHARD = 5_000_000_000
COPIED = (
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "generation_config.json",
    "preprocessor_config.json",
)


def shape(hidden: int, inner: int, layers: int, heads: int, kv_heads: int, vocab: int, **more: Any) -> dict[str, Any]:
    return {
        "hidden_size": hidden,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "vocab_size": vocab,
        **more,
    }


def longrope(dims: int) -> dict[str, Any]:
    factors = {"short_factor": [1.0 + i / 100 for i in range(dims)], "long_factor": [1.0 + i for i in range(dims)]}
    lengths = {"max_position_embeddings": 131072, "original_max_position_embeddings": 4096}
    return {**lengths, "rope_scaling": {"type": "longrope", **factors}}


SHAPES = {
    "phi-3-mini-4k": shape(3072, 8192, 32, 32, 32, 32064, max_position_embeddings=4096, sliding_window=2047),
    "phi-3.5-mini": shape(3072, 8192, 32, 32, 32, 32064, **longrope(48)),
    "phi-4-mini": shape(
        3072, 8192, 32, 24, 8, 200064, **longrope(48), partial_rotary_factor=0.75, tie_word_embeddings=True
    ),
    "phi-3-medium": shape(5120, 17920, 40, 40, 10, 32064, max_position_embeddings=4096),
    "phi-4": shape(5120, 17920, 40, 40, 10, 100352, max_position_embeddings=16384, rope_theta=250000.0),
}
MULTIMODAL: dict[str, dict[str, Any]] = {  # the decoder's of another shape, and what is said beside it
    "phi-3.5-vision": {**SHAPES["phi-3.5-mini"], **multimodal.SAID[multimodal.PHI3V]},
    "phi-4-multimodal": {**SHAPES["phi-4-mini"], **multimodal.SAID[multimodal.PHI4MM]},
}


def tensors(config: dict[str, Any]) -> Iterator[tuple[str, tuple[int, ...]]]:
    """(name, shape) of every weight of a Phi-3 decoder."""
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    head = hidden // config["num_attention_heads"]
    yield "model.embed_tokens.weight", (config["vocab_size"], hidden)
    for layer in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{layer}."
        queries = config["num_attention_heads"] + 2 * config["num_key_value_heads"]
        yield prefix + "self_attn.qkv_proj.weight", (head * queries, hidden)
        yield prefix + "self_attn.o_proj.weight", (hidden, head * config["num_attention_heads"])
        yield prefix + "mlp.gate_up_proj.weight", (2 * inner, hidden)
        yield prefix + "mlp.down_proj.weight", (hidden, inner)
        yield prefix + "input_layernorm.weight", (hidden,)
        yield prefix + "post_attention_layernorm.weight", (hidden,)
    yield "model.norm.weight", (hidden,)
    if not config.get("tie_word_embeddings"):
        yield "lm_head.weight", (config["vocab_size"], hidden)


def bfloat16(name: str, size: tuple[int, ...], random: np.random.Generator) -> bytes:
    """Random values as the upper halves of float32; norms are about 1."""
    values = random.standard_normal(int(np.prod(size)), dtype=np.float32) * np.float32(0.02)
    if len(size) == 1 and not name.endswith("bias"):
        values += 1
    return (values.view(np.uint32) >> 16).astype(np.uint16).tobytes()


def shards(config: dict[str, Any]) -> list[list[tuple[str, tuple[int, ...]]]]:
    groups: list[list[tuple[str, tuple[int, ...]]]] = [[]]
    held = 0
    for name, size in multimodal.laid_out(tensors(config), config):
        count = 2 * int(np.prod(size))
        if groups[-1] and held + count > SHARD:
            groups.append([])
            held = 0
        groups[-1].append((name, size))
        held += count
    return groups


def write_weights(folder: Path, config: dict[str, Any]) -> int:
    """safetensors shards and their index; returns the bytes of all weights."""
    random, groups = np.random.default_rng(0), shards(config)
    total, index = 0, {}
    for number, group in enumerate(groups, 1):
        name = "model.safetensors" if len(groups) == 1 else f"model-{number:05}-of-{len(groups):05}.safetensors"
        header, at = {}, 0
        for tensor, size in group:
            count = 2 * int(np.prod(size))
            header[tensor] = {"dtype": "BF16", "shape": list(size), "data_offsets": [at, at + count]}
            at += count
            index[tensor] = name
        text = json.dumps({"__metadata__": {"format": "pt"}, **header}).encode()
        text += b" " * (-len(text) % 8)
        with (folder / name).open("wb") as file:
            file.write(len(text).to_bytes(8, "little") + text)
            for tensor, size in group:
                file.write(bfloat16(tensor, size, random))
        total += at
    if len(groups) > 1:
        content = {"metadata": {"total_size": total}, "weight_map": index}
        (folder / "model.safetensors.index.json").write_text(json.dumps(content, indent=2) + "\n")
    return total


def write_tokenizer(folder: Path, size: int, shipped: Path = SHIPPED) -> None:
    """A shipped tokenizer with made-up words up to the vocabulary's size: they are never the result of a merge."""
    content = json.loads((shipped / "tokenizer.json").read_text(encoding="utf-8"))
    vocabulary = content["model"]["vocab"]
    vocabulary.update({token["content"]: token["id"] for token in content["added_tokens"]})  # else they would move
    taken = set(vocabulary.values())
    vocabulary.update({f"\u2581filler{i}": i for i in range(size) if i not in taken})
    (folder / "tokenizer.json").write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    for name in COPIED:
        if (shipped / name).is_file():
            shutil.copyfile(shipped / name, folder / name)


def write_checkpoint(folder: Path, name: str, layers: int = 0) -> int:
    """The whole folder; returns the bytes of its weights."""
    own = {**SHAPES, **MULTIMODAL}[name]
    shipped = SEEING if own.get("model_type") == multimodal.PHI4MM else SHIPPED
    config = json.loads((shipped / "config.json").read_text(encoding="utf-8"))
    config.pop("vision_tower", None)  # of full size are the sizes in Microsoft's code
    config.update(own)
    config.setdefault("original_max_position_embeddings", config["max_position_embeddings"])
    if "rope_scaling" not in own:
        config["original_max_position_embeddings"] = config["max_position_embeddings"]
    config["num_hidden_layers"] = layers or config["num_hidden_layers"]
    folder.mkdir(parents=True, exist_ok=False)
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    write_tokenizer(folder, config["vocab_size"], shipped)
    return write_weights(folder, config)


def main() -> int:
    parser = argparse.ArgumentParser(description="A checkpoint of a real Phi shape with random weights.")
    parser.add_argument("shape", choices=[*SHAPES, *MULTIMODAL])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--layers", type=int, default=0, help="fewer layers than the model has")
    arguments = parser.parse_args()
    if arguments.folder.exists():
        parser.error(f"{arguments.folder} is there already")
    written = write_checkpoint(arguments.folder, arguments.shape, arguments.layers)
    sys.stdout.write(f"{arguments.folder}: {written / 1e9:.2f} GB of weights\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
