"""New pods for new models: what they serve, and whose fault it is when they do not come up.

A pod of a server with ``modelUpdates: Rollout`` serves one revision from its start to its end, and
ends by itself when one model of it does not load: it is never ready with less.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from triton_operator.observed import Pod, Workload
from triton_operator.plan.assessment import Refusal
from triton_operator.plan.failure_log import find_start_error, find_unfinished
from triton_operator.plan.models import LOAD_FAILED, SERVER_DIED, ModelPlan
from triton_operator.plan.sync import SyncPlan, SyncState
from triton_operator.repository.manifest import LINKS, Manifest, revision_digest

_EMPTY = revision_digest(())
_CRASHES = 2
"""A container that ended this often in one pod does not do so by chance."""


def choose_repository(
    manifest: Manifest, sync: SyncPlan, workload: Workload, pods: Iterable[Pod]
) -> str:
    """Return what new pods are to serve: a revision of the repository, or LINKS.

    What is not proven to be on the claim replaces nothing that serves. The first pods of a server
    wait for it.
    """
    pods = tuple(pods)
    done = sync.state is SyncState.DONE
    target = LINKS
    if manifest.immutable:
        target = (sync.revision if done else "") or revision_digest(manifest.links)
    if not workload.exists:
        return target
    serving = {pod.repository for pod in pods if pod.ready}
    if target == _EMPTY and manifest.links and not serving:
        return workload.repository  # Pods wait for the first model that can be had.
    first = sync.start is not None and sync.start.sequence == 1 and not serving
    return target if done or first or target in serving else workload.repository


def template_repositories(workload: Workload, repository: str) -> frozenset[str]:
    """Return what pods may start from once new ones are to serve a repository.

    A ReplicaSet of an older template makes pods until the rollout away from it is complete.
    """
    if not workload.exists:
        return frozenset({repository})
    if repository == workload.repository:
        return workload.repositories
    current = {workload.repository} if workload.complete else workload.repositories
    return frozenset({repository, *current})


def needed_repositories(
    workload: Workload, pods: Iterable[Pod], repository: str
) -> tuple[str, ...]:
    """Return what must stay on the claim beside what is wanted there."""
    complete = workload.complete and repository == workload.repository
    templates = {repository} if complete else template_repositories(workload, repository)
    return tuple(sorted({*templates, *(pod.repository for pod in pods)}))


def is_changing_over(workload: Workload, pods: Iterable[Pod]) -> bool:
    """Return whether a server whose models are to be loaded into its pods has others still."""
    staying = (pod for pod in pods if not pod.terminating)
    present = {workload.repository, *(pod.repository for pod in staying)}
    return workload.exists and present != {LINKS}


def find_fallen(pods: Iterable[Pod], repository: str) -> Iterator[Pod]:
    """Yield the pods that were to serve a revision and whose server ended before it could."""
    for pod in pods:
        ended = pod.exit_code is not None or pod.waiting.startswith("CrashLoopBackOff")
        if ended and not pod.terminating and pod.repository == repository:
            yield pod


def blame(
    plans: Iterable[ModelPlan], unsynced: Mapping[str, object], pod: Pod, log: str
) -> dict[str, Refusal]:
    """Return by object the models that kept a fallen pod from serving, as its log tells.

    Only what changed can be taken back, so where the log names others, all changed models answer
    for it together; and where it shows that no model was the reason, none does.
    """
    linked = {plan.folder: plan for plan in plans if plan.link is not None}
    # What could not be had is in the revision as it was before, or not at all.
    judged = {name: plan for name, plan in linked.items() if plan.object not in unsynced}
    changed = [name for name, plan in judged.items() if plan.link == plan.wanted != plan.good]
    said = {name: why for name in linked if (why := find_start_error(log, name))}
    if said:
        guilty = {name: why for name, why in said.items() if name in changed}
        if not guilty and changed:
            others = "; ".join(f"{name} does not load: {why}" for name, why in said.items())
            guilty = dict.fromkeys(changed, f"with {_one_of(changed)} new, {others}")
        return {
            linked[name].object: Refusal(LOAD_FAILED, f"pod {pod.name}: {why}")
            for name, why in (guilty or said).items()
            if name in judged
        }
    unfinished = find_unfinished(log)
    crashing = pod.restarts >= _CRASHES or pod.waiting.startswith("CrashLoopBackOff")
    if unfinished is None or not crashing:
        return {}
    suspects = [name for name in unfinished if name in changed] or changed or [*judged]
    message = f"pod {pod.name}: the server died while it loaded {_one_of(suspects)}"
    return {linked[name].object: Refusal(SERVER_DIED, message) for name in suspects}


def _one_of(names: Iterable[str]) -> str:
    found: Sequence[str] = sorted(names)
    return found[0] if len(found) == 1 else f"one of {', '.join(found)}"
