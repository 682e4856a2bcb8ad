"""What GitOps tools make of an object: kstatus (Flux) and the health checks for Argo CD."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from lupa.lua51 import LuaRuntime  # Argo CD's Lua is 5.1, too

from tests.unit.chart.rendering import run_program

GITOPS = Path(__file__).parents[3] / "docs" / "gitops"
HEALTH = yaml.safe_load((GITOPS / "argocd" / "argocd-cm.yaml").read_text())["data"]

HEALTH_OF = {
    "InProgress": "Progressing",
    "Current": "Healthy",
    "Failed": "Degraded",
    "Terminating": "Progressing",
}
"""What Argo CD should say where kstatus says this; it has no word for what is being deleted."""

Object = dict[str, Any]


def judge_by_kstatus(objects: Sequence[Object]) -> list[str]:
    """Return the status that kstatus computes for each object."""
    done = run_program("kstatus", text=json.dumps(objects))
    assert done.returncode == 0, done.stderr
    return [each["status"] for each in json.loads(done.stdout)]


def judge_by_argo(body: Object) -> tuple[str, str]:
    """Return the health and the message that our check for Argo CD gives an object."""
    group = body["apiVersion"].partition("/")[0]
    script = HEALTH[f"resource.customizations.health.{group}_{body['kind']}"]
    lua = LuaRuntime()
    check = lua.eval(f"function(obj) {script} end")
    health = check(lua.table_from(body, recursive=True))
    return health.status, health.message
