"""Which imported models share a server, and what that server has to have."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from triton_operator.api.server import TritonServerSpec
from triton_operator.offline.naming import server_name
from triton_operator.plan.ensembles import is_ensemble, members
from triton_operator.repository.model_config_schema import ModelConfig, ModelInstanceGroup

_CACHE_SIZE: Final = "256Mi"


@dataclass(frozen=True, slots=True)
class Pool:
    """Models that one server serves."""

    server: str | None
    """Name of the ``TritonServer``; None for the own one of a single model."""
    models: tuple[str, ...]


def plan_pools(
    configs: Mapping[str, ModelConfig], objects: Mapping[str, str], *, shared: str | None
) -> tuple[Pool, ...]:
    """Return the pools, by name of the server.

    Parameters
    ----------
    configs
        The configs, by name of the model.
    objects
        Names of the ``TritonModel`` objects, by name of the model.
    shared
        The server of all of them; None to give each model its own, but for an ensemble, which
        shares one with all that it calls.

    """
    if shared is not None:
        return (Pool(server_name(shared), tuple(configs)),)
    pools = []
    for group in _connected(configs):
        called = {member for name in group for member in members(configs[name])}
        heads = [name for name in group if is_ensemble(configs[name]) and name not in called]
        head = (heads or group)[0]
        pools.append(Pool(objects[head] if len(group) > 1 else None, tuple(group)))
    return tuple(pools)


def build_server_spec(configs: Iterable[ModelConfig]) -> dict[str, Any]:
    """Return what a server needs to serve some models, as far as it is not the default."""
    configs = tuple(configs)
    spec: dict[str, Any] = {}
    if (gpus := _count_gpus(configs)) != TritonServerSpec().gpus:
        spec["gpus"] = gpus
    if any(config.response_cache.enable for config in configs):
        spec["responseCache"] = {"size": _CACHE_SIZE}
    return spec


def _count_gpus(configs: Iterable[ModelConfig]) -> int:
    """Return the GPUs that are named; one if none is and not everything runs on the CPU."""
    models = [config for config in configs if not is_ensemble(config)]
    groups = [group for config in models for group in config.instance_group]
    on_cpu = all(config.instance_group for config in models) and all(
        group.kind == ModelInstanceGroup.KIND_CPU for group in groups
    )
    if models and on_cpu:
        return 0
    return max((index + 1 for group in groups for index in group.gpus), default=1)


def _connected(configs: Mapping[str, ModelConfig]) -> list[list[str]]:
    """Return the models in groups: who calls whom, however indirectly, is in one."""
    group_of = {name: {name} for name in configs}
    for name, config in configs.items():
        for member in members(config):
            if member in configs and group_of[member] is not group_of[name]:
                group_of[name] |= group_of[member]
                for each in group_of[member]:
                    group_of[each] = group_of[name]
    groups = {id(group): sorted(group) for group in group_of.values()}
    return sorted(groups.values())
