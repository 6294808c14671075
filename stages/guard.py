"""guard: is this the right Python, is params.yaml what conf/ says, and what is this machine? Quick, no ML library."""

from __future__ import annotations

import logging

from pipeline import layout
from pipeline.errors import ToolError
from pipeline.files import write_json
from pipeline.harness import host
from pipeline.harness.due import count_due
from pipeline.harness.inputs import write_inputs
from pipeline.harness.params import read_params
from pipeline.harness.place import begin
from pipeline.matrix.conf import check_fresh
from pipeline.types import JSON

log = logging.getLogger("pipeline.guard")


def guard() -> None:
    """Write host/ and inputs/. Raises ToolError for the wrong tools, StaleParamsError for a stale params.yaml."""
    params = read_params()
    plan = check_fresh(params)
    for name, requires in _required(params).items():
        install = params["backend"][name]["install"] if name in params["backend"] else host.INSTALL
        facts = host.tool_facts(requires, install)
        for tool, wrong in facts["wrong"].items():
            raise ToolError(f"{tool}: {wrong}", where=f"backend {name}", hint=f"run: {install}")
        write_json(layout.host(name), facts)
    write_json(layout.host("machine"), host.machine_facts())
    write_inputs(plan)
    layout.FITS.mkdir(parents=True, exist_ok=True)  # the report depends on it, also where nothing is searched
    due, count = count_due(plan)
    begin(due, count)
    log.info("guard: %d stages, %s", count, f"{due} to run" if due else "nothing to run")


def _required(params: JSON) -> dict[str, dict[str, str]]:
    required = {name: dict(params["backend"][name]["requires"]) for name in params["backend"]}
    required["reference"] = {name: host.installed(name) or "" for name in host.REFERENCE_TOOLS}
    return required
