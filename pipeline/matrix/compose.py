"""Hydra composition: conf/ and overrides in, params.yaml out. With patterns, the only module that imports hydra."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pipeline import layout
from pipeline.errors import ConfigError, PipelineError, suggest
from pipeline.matrix.checks import AXES
from pipeline.matrix.conf import conf_digest, project_root, write_plan
from pipeline.matrix.patterns import PATTERN, matching, merged
from pipeline.matrix.plan import SETTINGS, make_plan
from pipeline.matrix.schema import Config
from pipeline.types import JSON

MANY = 16  # options of an axis
TOGETHER = "options-together"


def register(write: bool = False) -> None:
    """Tell Hydra the schema and the resolvers; safe to call twice.

    `write`: resolving the config writes the plan as well. DVC, which composes by itself, has no other hook for it.
    """
    ConfigStore.instance().store(name="schema", node=Config)
    OmegaConf.register_new_resolver("plan", _write_plan if write else layout.PLAN.as_posix, replace=True)
    OmegaConf.register_new_resolver("conf_digest", conf_digest, replace=True)


def compose_config(overrides: Sequence[str], finish: Callable[[DictConfig], Any] | None = None) -> Any:
    """The resolved config, or what `finish` makes of the unresolved one.

    Raises ConfigError with one clear line for every mistake in conf/ or overrides.
    """
    root = project_root()
    overrides = _options(root / layout.CONF, overrides)
    try:
        with initialize_config_dir(str((root / layout.CONF).resolve()), version_base="1.3"):
            register()  # after Hydra has found hydra_plugins/, which is DVC's
            config = compose("config", [_together(override) for override in overrides])
            _check_keys(config, "")
            if finish:
                return finish(config)
            OmegaConf.resolve(config)
            return config
    except (HydraException, OmegaConfBaseException) as error:
        raise _clear(error) from None


def to_yaml(config: DictConfig) -> str:
    """params.yaml's text: byte for byte what `dvc exp run` writes."""
    return OmegaConf.to_yaml(config)


def settings_of(config: Any) -> JSON:
    """The plain containers a plan is made from. Raises ConfigError when a mandatory value is missing."""
    plain: JSON = {}
    for key in SETTINGS:
        node = config[key]
        plain[key] = (
            OmegaConf.to_container(node, resolve=True, throw_on_missing=True) if OmegaConf.is_config(node) else node
        )
    return plain


def _write_plan(*, _root_: Any) -> str:
    write_plan(make_plan(settings_of(_root_)), project_root())
    return layout.PLAN.as_posix()


def _options(conf: Path, overrides: Sequence[str]) -> list[str]:
    """The overrides, with patterns of options (`int4*`) written out.

    Unknown options get a suggestion; Hydra's own message lists all over many lines.
    """
    written = []
    for override in overrides:
        group, _, value = override.lstrip("+~").partition("=")
        if group not in (*AXES, "suite"):
            written.append(override)
            continue
        known = {path.stem for path in (conf / group).glob("*.yaml")}
        given = [option.strip().strip("'\"") for option in value.strip().strip("[]").split(",")]
        if group in AXES and re.search(r"\b(glob|choice)\(", value):
            plain = value.strip().partition("(")[2].rstrip(")").strip()
            raise ConfigError(f"{override}: no sweeps", hint=f"an axis is a list, patterns too: '{group}=[{plain}]'")
        if group in AXES and value and not value.strip().startswith("["):
            raise ConfigError(f"{override}: {group} is a list", hint=f"write '{group}=[{value}]'")
        found = [name for option in given if option for name in _matching(group, option, known)]
        patterns = any(set(option) & set(PATTERN) for option in given)
        written.append(f"{group}=[{','.join(dict.fromkeys(found))}]" if patterns and group in AXES else override)
    return written


def _together(override: str) -> str:
    """`model=[…]` with very many options as one option of the same contents."""
    group, _, value = override.partition("=")
    names = [option.strip().strip("'\"") for option in value.strip().strip("[]").split(",")]
    if group not in AXES or len(names) < MANY or (whole := merged(group, names)) is None:
        return override
    ConfigStore.instance().store(name=TOGETHER, group=group, node=whole)
    return f"{group}=[{TOGETHER}]"


def _matching(group: str, option: str, known: Iterable[str]) -> list[str]:
    """The options that a name or a pattern names."""
    if not set(option) & set(PATTERN) or group not in AXES:
        if option not in known:
            raise ConfigError(f"unknown {group} '{option}'", hint=suggest(option, known))
        return [option]
    found = matching(group, option)
    if not found:
        plain = option.translate(dict.fromkeys(map(ord, PATTERN)))
        raise ConfigError(f"no {group} matches '{option}'", hint=suggest(plain, known))
    return found


def _check_keys(node: Any, where: str) -> None:
    """Keys that `+key=value` added and the schema does not know."""
    kind = OmegaConf.get_type(node)
    known = getattr(kind, "__dataclass_fields__", None)
    for key in node:
        if known is not None and key not in known:
            raise ConfigError(f"unknown key '{key}'", where=f"config {where}{key}", hint=suggest(key, known))
        if OmegaConf.is_dict(child := node._get_node(key)) and not child._is_missing():
            _check_keys(child, f"{where}{key}.")


def _clear(error: Exception) -> ConfigError:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, PipelineError):
            return ConfigError(str(cause))
        cause = cause.__cause__ or cause.__context__
    key = getattr(error, "full_key", None)
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[0] if lines else type(error).__name__
    where = next((line.partition(":")[2].strip() for line in lines if line.startswith("full_key:")), key) or ""
    unknown = re.search(r"Key '(\w[\w-]*)' (?:is )?not in '(\w+)'", str(error))
    hint = ""
    if unknown:
        import pipeline.matrix.schema as schema

        owner = getattr(schema, unknown[2], None)
        hint = suggest(unknown[1], getattr(owner, "__dataclass_fields__", {}))
        text = f"unknown key '{unknown[1]}'"
    elif "Missing mandatory value" in text:
        hint = "give it a value: <key>=<value>"
    elif "Could not override" in text:
        where = re.sub(r".*override '([^']*)'.*", r"\1", text)
        text, hint = "there is no such key", "see conf/config.yaml for what there is"
        added = next((line.split()[-1] for line in lines if line.startswith("To append to your config use ")), "")
        hint += f"; to add it: '{added}'" if added else ""
        nested = next((line for line in lines if line.startswith("Key ")), "")
        text = nested or text
    elif "Error merging override" in text:
        reason = str(error.__cause__ or "").strip().splitlines()
        text, where = (reason or [text])[0], text.removeprefix("Error merging override ")
        if "is not a ListConfig" in text:
            key, _, value = where.partition("=")
            text, hint = "it is a list", f"write '{key}=[{value}]'"
    return ConfigError(text.removesuffix("."), where=f"config {where}".strip(), hint=hint)
