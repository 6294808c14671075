"""guard: is this the right Python, is params.yaml what conf/ says, and what is this machine? Quick, no ML library."""

from __future__ import annotations

from pipeline import host, layout
from pipeline.conf import conf_digest
from pipeline.errors import StaleParamsError, ToolError
from pipeline.files import write_json
from pipeline.inputs import write_inputs
from pipeline.params import COMPOSE, read_params
from pipeline.plan import make_plan
from pipeline.types import JSON


def guard() -> None:
    """Write host/ and inputs/. Raises ToolError for the wrong tools, StaleParamsError for a stale params.yaml."""
    params = read_params()
    check_fresh(params)
    required = _required(params)
    for name, requires in required.items():
        install = params["backend"][name]["install"] if name in params["backend"] else "make install"
        facts = host.tool_facts(requires, install)
        for tool, wrong in facts["wrong"].items():
            raise ToolError(f"{tool}: {wrong}", where=f"backend {name}", hint=f"run: {install}")
        write_json(layout.host(name), facts)
    write_json(layout.host("machine"), host.machine_facts())
    write_inputs(params["plan"])


def check_fresh(params: JSON) -> None:
    """Raises StaleParamsError when conf/ changed since, or the plan is not what the file's own settings give."""
    if params.get("conf_digest") != conf_digest():
        raise StaleParamsError("conf/ changed after params.yaml was composed", hint=f"run: {COMPOSE}")
    if make_plan(params) != params["plan"]:
        raise StaleParamsError("params.yaml's plan is not what its own settings give", hint=f"run: {COMPOSE}")


def _required(params: JSON) -> dict[str, dict[str, str]]:
    required = {name: dict(params["backend"][name]["requires"]) for name in params["backend"]}
    required["reference"] = {name: host.installed(name) or "" for name in host.REFERENCE_TOOLS}
    return required
