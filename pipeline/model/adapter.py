"""A PEFT adapter's folder: what its adapter_config.json says, and what of it is refused. Standard library only."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import CheckpointError
from pipeline.model.checkpoint import ADAPTER, Tensor, read_header

WEIGHTS, PICKLED = "adapter_model.safetensors", "adapter_model.bin"
# of no consequence for a merge; fan_in_fan_out is of layers that no Phi has
NEUTRAL = {
    *("auto_mapping", "base_model_name_or_path", "eva_config", "fan_in_fan_out", "inference_mode", "lora_dropout"),
    *("loftq_config", "megatron_core", "peft_type", "peft_version", "qalora_group_size", "revision", "task_type"),
}
HONOURED = {
    *("alpha_pattern", "bias", "ensure_weight_tying", "exclude_modules", "init_lora_weights", "layers_pattern"),
    *("layers_to_transform", "lora_alpha", "modules_to_save", "r", "rank_pattern", "target_modules"),
    *("use_dora", "use_rslora"),
}
PLAIN_STARTS = (True, False, None, "gaussian", "eva", "orthogonal", "mica")  # which leave the base as it was


@dataclass(frozen=True)
class Adapter:
    """An adapter's folder, its config, and where its tensors lie, by the names that they have in the file."""

    folder: Path
    config: Mapping[str, Any]
    tensors: Mapping[str, Tensor]

    @property
    def where(self) -> str:
        return f"adapter {self.folder}"

    def rank(self, module: str) -> int:
        """The rank that the config gives a module: of rank_pattern where a pattern of it ends the name, else r."""
        return int(_by_pattern(self.config.get("rank_pattern"), module, self.config["r"]))

    def scale(self, module: str) -> float:
        """alpha / r, with rsLoRA alpha / sqrt(r) (arXiv 2312.03732), as PEFT computes it."""
        alpha = float(_by_pattern(self.config.get("alpha_pattern"), module, self.config["lora_alpha"]))
        rank = self.rank(module)
        return alpha / math.sqrt(rank) if self.config.get("use_rslora") else alpha / rank

    def targets(self, module: str) -> bool:
        """Whether the config's targets have a module, by PEFT's rule."""
        config = self.config
        if _named(config.get("exclude_modules"), module) or _named(config.get("modules_to_save"), module):
            return False
        if config["target_modules"] == "all-linear":
            return not module.endswith(("lm_head", "embed_tokens"))
        if not _named(config["target_modules"], module):
            return False
        layers = config.get("layers_to_transform")
        if layers is None or layers == [] or isinstance(config["target_modules"], str):
            return True
        found = re.match(r".*?\.[^.]*\.(\d+)\.", module)
        return found is not None and int(found[1]) in (layers if isinstance(layers, list) else [layers])


def read_adapter(folder: Path) -> Adapter:
    """Read config and header. Raises CheckpointError for what is no adapter, or is not merged here, by name."""
    where = f"adapter {folder}"
    if not folder.is_dir():
        raise CheckpointError("there is no such folder", where=where, hint="set model.<name>.adapter to a PEFT folder")
    try:
        config = json.loads((folder / ADAPTER).read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise CheckpointError(f"it has no {ADAPTER}", where=where, hint="save_pretrained of PEFT writes it") from None
    except (ValueError, OSError, RecursionError) as error:
        raise CheckpointError(f"{ADAPTER} is corrupt: {error}", where=where) from None
    if not isinstance(config, dict):
        raise CheckpointError(f"{ADAPTER} is corrupt: no JSON object", where=where)
    _check_config(config, where)
    if not (folder / WEIGHTS).is_file():
        if (folder / PICKLED).is_file():
            raise CheckpointError(
                f"only pickled weights ({PICKLED}), which can run code when they are loaded",
                where=where,
                hint="save it again with PEFT, which writes safetensors",
            )
        raise CheckpointError(f"it has no {WEIGHTS}", where=where, hint="copy or save the adapter again")
    return Adapter(folder, config, read_header(folder / WEIGHTS))


def of_another_base(adapter: Adapter, names: Iterable[str]) -> str:
    """What to say where the adapter names a base by none of these names; empty where it names one, or says nothing."""
    said = str(adapter.config.get("base_model_name_or_path") or "")
    known = {_last(name) for name in names if name}
    if not said or not known or _last(said) in known:
        return ""
    return f"it says that its base is {said}; the shapes of {sorted(known)[0]} fit, and it is taken for that"


def saved_by(names: Any, module: str) -> bool:
    """Whether modules_to_save has a module, by PEFT's rule: its name ends so, `norm` means input_layernorm, too."""
    return any(module.endswith(str(name)) for name in names or ())


def _last(name: str) -> str:
    return re.split(r"[/\\]", name.rstrip("/\\"))[-1].casefold()


def _check_config(config: Mapping[str, Any], where: str) -> None:
    kind = config.get("peft_type")
    if kind != "LORA":
        raise CheckpointError(f"peft_type {kind!r:.40} is not supported", where=where, hint="LORA is, DoRA with it")
    if config.get("bias") not in ("none", None):
        raise CheckpointError(
            f"bias {config['bias']!r:.40} is not supported", where=where, hint="train with bias='none'"
        )
    for key, least in (("r", 1), ("lora_alpha", 0)):
        held = config.get(key)
        if not isinstance(held, int | float) or isinstance(held, bool) or not math.isfinite(held) or held < least:
            raise CheckpointError(f"{ADAPTER}'s {key} is {held!r:.40}, no number from {least}", where=where)
    start = config.get("init_lora_weights")
    if start not in PLAIN_STARTS:
        raise CheckpointError(
            f"init_lora_weights {start!r:.40} trains on another base than the one given",
            where=where,
            hint="save it as a plain LoRA: save_pretrained(…, path_initial_model_for_weight_conversion=…)",
        )
    for key, kinds in (("target_modules", (list, str)), ("modules_to_save", (list,)), ("exclude_modules", (list, str))):
        held = config.get(key)
        if not isinstance(held, (*kinds, type(None))) or (held is None and key == "target_modules"):
            raise CheckpointError(f"{ADAPTER}'s {key} is {held!r:.40}, no list of names", where=where)
    for key in ("rank_pattern", "alpha_pattern"):
        patterns = config.get(key) or {}
        if not isinstance(patterns, dict) or not all(isinstance(n, int | float) and n > 0 for n in patterns.values()):
            raise CheckpointError(f"{ADAPTER}'s {key} is no object of positive numbers", where=where)
    if config.get("layers_pattern") not in (None, "", [], "layers", ["layers"]):
        raise CheckpointError(
            f"{ADAPTER}'s layers_pattern is {config['layers_pattern']!r:.40}, not layers", where=where
        )
    odd = sorted(key for key, held in config.items() if held and key not in NEUTRAL | HONOURED)
    if odd:
        raise CheckpointError(f"{ADAPTER}'s {odd[0]} is not supported ({config[odd[0]]!r:.60})", where=where)
    for pattern in (*(config.get("rank_pattern") or {}), *(config.get("alpha_pattern") or {}), *_expressions(config)):
        try:
            re.compile(pattern)
        except re.error as error:
            raise CheckpointError(
                f"{ADAPTER}'s pattern {pattern!r:.60} does not compile: {error}", where=where
            ) from None


def _expressions(config: Mapping[str, Any]) -> list[str]:
    return [config[key] for key in ("target_modules", "exclude_modules") if isinstance(config.get(key), str)]


def _named(names: Any, module: str) -> bool:
    """A list has full names or last ones, text is an expression that matches all of the name."""
    if isinstance(names, str):
        return re.fullmatch(names, module) is not None
    return any(module == name or module.endswith(f".{name}") for name in names or ())


def _by_pattern(patterns: Mapping[str, Any] | None, module: str, default: Any) -> Any:
    held = (value for pattern, value in (patterns or {}).items() if re.match(rf"(.*\.)?({pattern})$", module))
    return next(held, default)
