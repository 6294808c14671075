"""A switchable adapter as llama.cpp takes it: a GGUF file, key for key what its convert_lora_to_gguf.py writes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline import layout
from pipeline.files import write_text
from pipeline.model.lowrank import LowRank


def add_adapters(package: Path, config: Mapping[str, Any], adapters: Mapping[str, LowRank]) -> None:
    """A file for each, and a Modelfile with which Ollama takes it."""
    folder = package / layout.ADAPTERS
    folder.mkdir()
    whole = (package / "Modelfile").read_text(encoding="utf-8")
    first, _, rest = whole.partition("\n")
    for name, adapter in adapters.items():
        write_adapter(adapter, config, name, folder / f"{name}.gguf")
        write_text(package / f"Modelfile.{name}", f"{first}\nADAPTER ./{layout.ADAPTERS}/{name}.gguf\n{rest}")


def write_adapter(adapter: LowRank, config: Mapping[str, Any], name: str, target: Path) -> None:
    """Write the adapter, called `name`, for a base with this config.json."""
    import gguf

    writer = gguf.GGUFWriter(target, gguf.MODEL_ARCH_NAMES[gguf.MODEL_ARCH.PHI3])
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    writer.add_name(name)
    writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, adapter.alpha)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.PHI3, config["num_hidden_layers"])
    for module, factors in adapter.factors.items():
        tensor = f"{names.get_name(module)}.weight"
        writer.add_tensor(f"{tensor}.lora_a", factors.a)
        writer.add_tensor(f"{tensor}.lora_b", factors.b)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
