"""What clients get of a model: which versions, where, and why nothing."""

from triton_operator.api.conditions import ConditionType
from triton_operator.api.model import ModelUrls
from triton_operator.observed import ServedModel
from triton_operator.plan.acceptance import Accepted
from triton_operator.plan.assessment import Assessment
from triton_operator.plan.findings import Finding
from triton_operator.plan.models import ModelPlan

HTTP_PORT, _GRPC_PORT = 8000, 8001


def explain_unreached(seen: Assessment) -> Finding | None:
    """Return why no client reaches a model that all pods serve; None if clients do."""
    why = seen.unreachable
    return Finding(ConditionType.READY, False, why.reason, str(why)) if why is not None else None


def lags(plan: ModelPlan, seen: Assessment) -> bool:
    """Return whether clients may still be answered by another generation than the link's."""
    return any(
        served is not None
        and served.get(plan.folder, ServedModel()).config_hash not in (None, plan.link)
        for served in seen.answering().values()
    )


def find_versions(plan: ModelPlan, seen: Assessment) -> tuple[int, ...]:
    """Return the versions that every pod serves, be it one that is to be replaced."""
    if not _has_name(plan):
        return ()
    found = [
        set(served.get(plan.folder, ServedModel()).ready_versions)
        for served in seen.answering().values()
        if served is not None
    ]
    return tuple(sorted(set.intersection(*found))) if found else ()


def find_urls(plan: ModelPlan, seen: Assessment) -> ModelUrls | None:
    """Return where clients reach a model; None where somebody else, or nobody, would answer."""
    if not _has_name(plan) or seen.unreachable is not None:
        return None
    host = f"{seen.server}.{seen.namespace}.svc"
    return ModelUrls(
        http=f"http://{host}:{HTTP_PORT}/v2/models/{plan.folder}", grpc=f"{host}:{_GRPC_PORT}"
    )


def _has_name(plan: ModelPlan) -> bool:
    """Return whether the name that clients use is, or is to be, the model's; not another's."""
    return isinstance(plan.verdict, Accepted) or plan.good is not None
