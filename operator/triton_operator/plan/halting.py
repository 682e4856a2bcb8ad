"""When a rollout must not go on, although its new pods are ready: they serve less than older ones.

On a server that several models share, one model must not decide whether a pod is ready. So a new
image that cannot load what served, as TensorRT's next version cannot load the plans of the last,
would replace every pod that can.
"""

from collections.abc import Iterable, Mapping

from triton_operator.observed import Pod, Served, ServedModel
from triton_operator.plan.models import ModelPlan


def find_loss(
    plans: Iterable[ModelPlan],
    pods: Mapping[Pod, Served | None],
    revision: str,
    *,
    paused: bool = False,
) -> str:
    """Return what a new pod cannot load that an older one serves; empty if there is nothing.

    ``revision`` is that of up-to-date pods; ``pods`` are the server's with what they serve, None
    for one that does not answer. A rollout that is ``paused`` goes on only when a new pod serves
    the model, not while it is tried again, or a change of it has yet to be proven.
    """
    older, newer = list[Served](), list[tuple[Pod, Served]]()
    for pod, served in pods.items():
        if pod.takes_requests and served is not None:
            if pod.revision == revision:
                newer.append((pod, served))
            else:
                older.append(served)
    for plan in plans:
        if plan.link is None or (plan.link != plan.good and not paused):
            continue  # It is to go, or on trial: nobody has to serve it.
        if not any(_find(plan, served).ready_versions for served in older):
            continue
        for pod, served in newer:
            model = _find(plan, served)
            if not model.ready_versions and (model.reason or paused):
                said = f": {model.reason}" if model.reason else ""
                return (
                    f"pod {pod.name} of the new revision cannot load model {plan.folder!r}, which"
                    f" older pods serve{said}; the rollout is paused: put back what was changed,"
                    " or change the model"
                )
    return ""


def _find(plan: ModelPlan, served: Served) -> ServedModel:
    return served.get(plan.folder, ServedModel())
