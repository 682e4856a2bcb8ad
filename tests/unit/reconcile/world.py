"""A cluster in memory: objects, and the controllers that act on them when time passes."""

import asyncio
import pickle
from collections import UserDict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, TypeVar

from tests.unit.reconcile.fake_load import FakeLoad
from tests.unit.reconcile.fake_triton import Claim, FakeTriton, ServerKilledError, Triton
from triton_operator import names
from triton_operator.adapters.telemetry import PrometheusTelemetry
from triton_operator.api.meta import ObjectMeta
from triton_operator.api.model import TritonModelStatus
from triton_operator.api.server import TritonServerStatus
from triton_operator.desired.metadata import Manifest
from triton_operator.errors import ClusterError, NameTakenError, OperatorError
from triton_operator.observed import (
    AUTOSCALER,
    COMPONENT_SYNC,
    Autoscaler,
    ModelRecord,
    Pod,
    ServerRecord,
    ServerWorld,
    SyncJob,
    Workload,
)
from triton_operator.observed import Claim as UsersClaim
from triton_operator.plan.events import Event
from triton_operator.ports import Key
from triton_operator.reconcile.models import ModelAssigner
from triton_operator.reconcile.scaler import Scaler
from triton_operator.reconcile.servers import ServerReconciler
from triton_operator.repository.manifest import LINKS
from triton_operator.repository.manifest import Manifest as Repository
from triton_operator.repository.outcome import Event as JobEvent
from triton_operator.repository.outcome import Failure, Outcome, encode_outcome
from triton_operator.settings import Settings

T = TypeVar("T")
Body = dict[str, Any]
Ref = tuple[str, str, str]
NAMESPACE = "team"
STEP = timedelta(seconds=2)


class KilledError(BaseException):
    """The operator's process ends here."""


class World:
    """Objects and their controllers; implements ``ports.Cluster``."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        self.objects: dict[Ref, Body] = {}
        self.claims: dict[str, Claim] = {}
        self.triton = FakeTriton()
        self.triton.died = self._container_ended
        self.load = FakeLoad(self.triton, lambda: self.now.timestamp())  # noqa: PLW0108 - now is replaced
        self.places: int | None = None
        """Pods of a server that find a node; None for all."""
        self.no_place = "Insufficient nvidia.com/gpu"
        """What the scheduler says of the others."""
        self.quota: int | None = None
        """Pods of a server that a quota allows; None for all."""
        self._refused: dict[str, str] = {}
        """Since when it allows no more pods of a Deployment."""
        self.writes: list[tuple[str, str, str]] = []
        """Verb, kind and name of every request that changes the cluster."""
        self.events: list[tuple[str, Event]] = []
        """Name of the object and what was said of it."""
        self.missing_sources: set[str] = set()
        self.failing: dict[tuple[str, str], OperatorError] = {}
        """Answers to a verb on a kind."""
        self.claim_reads = 0
        self.damaged: set[str] = set()
        """Models whose files on the claim are not as they should be."""
        self.missing_claims: set[str] = set()
        self.ended: dict[str, Triton] = {}
        """The last process by pod uid that could not start."""
        self.crashing: set[str] = set()
        """Servers whose processes end, whatever they load."""
        self.crash_log = "no CUDA-capable device is detected"
        """What these processes say; the kubelet keeps the end of it."""
        self.stuck_jobs = False
        self.copying: list[JobEvent] | None = None
        """While this is set, Jobs run on; it is their log."""
        self.silent_sources: set[str] = set()
        """Jobs that ask them run on, when they have published what does not need them."""
        self.log_reads: list[str] = []
        """The pods whose log was read."""
        self.moment = 0
        """Moments before and after every call that changes the cluster or a pod."""
        self.kill_at: int | None = None
        self.triton.interrupt = self.interrupt
        self.triton.timed_out = self._wait
        self._version = 0
        self._uids = 0
        self._applied: dict[Ref, Manifest] = {}
        self._job_logs: dict[str, list[JobEvent]] = {}

    # ---- what a user does -----------------------------------------------------------------

    def put(self, kind: str, name: str, spec: Mapping[str, Any], **metadata: Any) -> None:
        """Create an object, or change its spec."""
        ref = (kind, NAMESPACE, name)
        before = self.objects.get(ref)
        if before is None:
            self._add({"kind": kind, "metadata": {"name": name} | metadata, "spec": dict(spec)})
            return
        before["spec"] = _copied(spec)
        before["metadata"]["generation"] += 1

    def model(self, name: str, code: str = "pass", **spec: Any) -> None:
        versions = [{"version": 1, "files": {"model.py": code}}] if code else None
        fields = {"versions": versions} | spec
        self.put(names.KIND_MODEL, name, {k: v for k, v in fields.items() if v is not None})

    def server(self, name: str, **spec: Any) -> None:
        self.put(names.KIND_SERVER, name, spec)

    def autoscaler(self, name: str, target: str, kind: str = "Deployment") -> None:
        """Point a HorizontalPodAutoscaler at something."""
        api = "apps/v1" if kind == "Deployment" else names.API_VERSION
        reference = {"apiVersion": api, "kind": kind, "name": target}
        self.put(AUTOSCALER, name, {"scaleTargetRef": reference})

    def scale(self, server: str, replicas: int) -> None:
        """Set the number of a server's Deployment, as an autoscaler does."""
        deployment = self.objects[("Deployment", NAMESPACE, server)]
        deployment["spec"]["replicas"] = replicas
        deployment["metadata"]["generation"] += 1
        self.forget_applied("Deployment", server)

    def remove(self, kind: str, name: str) -> None:
        """Delete an object and what it owns, but for what a finalizer holds."""
        ref = (kind, NAMESPACE, name)
        body = self.objects[ref]
        if body["metadata"].get("finalizers"):
            body["metadata"].setdefault("deletionTimestamp", self.now.isoformat())
            return
        del self.objects[ref]
        self._applied.pop(ref, None)
        if kind == "Pod":
            self.triton.processes.pop(body["metadata"]["uid"], None)
        for (child_kind, _, child), other in list(self.objects.items()):
            owners = other["metadata"].get("ownerReferences") or ()
            if any(o["uid"] == body["metadata"]["uid"] for o in owners):
                self.remove(child_kind, child)

    def evict(self, pod: str, reason: str = "Evicted") -> None:
        """End a pod as the kubelet does: Kubernetes keeps it, and makes another one."""
        body = self.objects[("Pod", NAMESPACE, pod)]
        self.triton.processes.pop(body["metadata"]["uid"], None)
        body["status"] = {
            "phase": "Failed",
            "reason": reason,
            "message": "The node was low on disk",
        }
        self._touch(body)

    def forget_applied(self, kind: str, name: str) -> None:
        """Have the next apply see that somebody else changed an object."""
        self._applied.pop((kind, NAMESPACE, name), None)

    # ---- what a test asks -----------------------------------------------------------------

    def get(self, kind: str, name: str) -> Body | None:
        return self.objects.get((kind, NAMESPACE, name))

    def all_of(self, kind: str) -> set[str]:
        return {name for found, _, name in self.objects if found == kind}

    def model_status(self, name: str) -> TritonModelStatus:
        record = self.model_record(name)
        return record.status

    def model_record(self, name: str) -> ModelRecord:
        return _parsed(ModelRecord.parse, self.objects[(names.KIND_MODEL, NAMESPACE, name)])

    def server_status(self, name: str) -> TritonServerStatus:
        body = self.objects[(names.KIND_SERVER, NAMESPACE, name)]
        return _parsed(ServerRecord.parse, body).status

    def condition(self, name: str, kind: str = "Ready", of: str = names.KIND_MODEL) -> str:
        """Status and reason of a condition, as ``True Serving``."""
        status = self.model_status(name) if of == names.KIND_MODEL else self.server_status(name)
        for condition in status.conditions:
            if condition.type == kind:
                return f"{condition.status} {condition.reason}"
        return "none"

    def message(self, name: str, kind: str = "Ready") -> str:
        found = {c.type: c.message for c in self.model_status(name).conditions}
        return found.get(kind, "")  # type: ignore[call-overload]

    def processes(self, server: str) -> list[Triton]:
        return [p for p in self.triton.processes.values() if p.server == server]

    def serving(self, server: str) -> list[dict[str, str]]:
        """Hashes of what each process has loaded."""
        return [
            {model: generation.hash for model, generation in process.loaded.items()}
            for process in self.processes(server)
        ]

    def server_pods(self, server: str) -> list[Pod]:
        return [_parsed(Pod.parse, body) for body in self._pods_of(server)]

    def warnings(self, name: str) -> list[str]:
        return [e.reason for who, e in self.events if who == name and e.type == "Warning"]

    # ---- ports.Cluster: reads -------------------------------------------------------------

    def observe(self, server: Key) -> ServerWorld:
        found = {
            (ref[0], ref[2]): pickle.dumps(body)
            for ref, body in self.objects.items()
            if _concerns(body, server)
        }

        def of(kind: str, parse: Callable[[Body], T]) -> Iterator[T]:
            return (_parse(parse, stored) for ref, stored in found.items() if ref[0] == kind)

        return ServerWorld(
            server=self.server_record(server),
            models=tuple(of(names.KIND_MODEL, ModelRecord.parse)),
            pods=tuple(of("Pod", Pod.parse)),
            jobs=tuple(of("Job", SyncJob.parse)),
            autoscalers=tuple(of(AUTOSCALER, Autoscaler.parse)),
            children=_Snapshots(found),
        )

    def server_record(self, key: Key) -> ServerRecord | None:
        body = self.objects.get((names.KIND_SERVER, *key))
        return _parsed(ServerRecord.parse, body) if body else None

    async def claim(self, namespace: str, name: str) -> UsersClaim | None:
        self.claim_reads += 1
        body = self.objects.get(("PersistentVolumeClaim", namespace, name))
        if name in self.missing_claims:
            return None
        return UsersClaim.parse(body) if body else UsersClaim(name, frozenset({"ReadWriteMany"}))

    # ---- ports.Cluster: writes ------------------------------------------------------------

    async def apply(self, manifest: Manifest) -> bool:
        ref = _ref(manifest)
        live = self.objects.get(ref)
        if live is not None and _owner(live) != _owner(manifest):
            raise NameTakenError(f"{ref[0]} {ref[1]}/{ref[2]} exists and is not this object's")
        if live is not None and self._applied.get(ref) == manifest:
            return False
        async with self._write("apply", ref):
            copied = _copied(manifest)
            if live is None:
                self._add(copied)
            else:
                generation = live["metadata"]["generation"] + (live.get("spec") != copied["spec"])
                live["spec"] = copied["spec"]
                dropped = {*self._applied.get(ref, copied)["metadata"]} - {*copied["metadata"]}
                kept = {k: v for k, v in live["metadata"].items() if k not in dropped}
                live["metadata"] = kept | copied["metadata"] | {"generation": generation}
                self._touch(live)
            self._applied[ref] = _copied(manifest)
        return True

    async def create(self, manifest: Manifest) -> None:
        ref = _ref(manifest)
        async with self._write("create", ref):
            live = self.objects.get(ref)
            if live is None:
                self._add(_copied(manifest))
            elif _owner(live) != _owner(manifest):
                raise NameTakenError(f"{ref[0]} {ref[1]}/{ref[2]} exists")

    async def delete(self, kind: str, namespace: str, name: str) -> None:
        ref = (kind, namespace, name)
        async with self._write("delete", ref):
            body = self.objects.get(ref)
            if body is None:
                return
            if kind == "Job" and self.get("Pod", f"{name}-pod") is not None:
                # In the foreground: the Job goes only after its pod.
                body["metadata"]["deletionTimestamp"] = self.now.isoformat()
            else:
                self.remove(kind, name)

    async def control_key(self, server: ObjectMeta, secret: str, *, new: bool) -> str:
        ref = ("Secret", server.namespace, secret)
        deployment = self.get("Deployment", server.name)
        had = deployment is not None and secret == Workload.parse(deployment).control_key
        assert new is not had
        if ref not in self.objects:
            async with self._write("create", ref):
                owner = {"uid": server.uid, "controller": True}
                self._add(
                    {"kind": "Secret", "metadata": {"name": secret, "ownerReferences": [owner]}}
                )
        return self._key_in(secret) or ""

    async def find_control_key(self, server: ObjectMeta, secret: str) -> str | None:
        await asyncio.sleep(0)
        return self._key_in(secret)

    async def drop_control_key(self, server: ObjectMeta, secret: str) -> None:
        users = [pod.name for pod in self.server_pods(server.name) if pod.control_key == secret]
        assert not users, f"{users} cannot start again without {secret}"
        async with self._write("delete", ("Secret", server.namespace, secret)):
            self.objects.pop(("Secret", server.namespace, secret), None)

    def _key_in(self, secret: str) -> str | None:
        found = self.get("Secret", secret)
        return f"key {found['metadata']['uid']}" if found is not None else None

    async def write_status(
        self, kind: str, meta: ObjectMeta, status: TritonModelStatus | TritonServerStatus
    ) -> None:
        async with self._write("status", (kind, meta.namespace, meta.name)):
            body = self.objects.get((kind, meta.namespace, meta.name))
            if body is not None and body["metadata"]["uid"] == meta.uid:
                body["status"] = status.manifest()

    async def set_deletion_cost(self, namespace: str, pod: Pod, cost: str) -> None:
        ref = ("Pod", namespace, pod.name)
        async with self._write("annotate", ref):
            if (body := self.objects.get(ref)) is not None:
                annotations = body["metadata"].setdefault("annotations", {})
                annotations[names.ANNOTATION_DELETION_COST] = cost

    async def set_finalizers(
        self, kind: str, meta: ObjectMeta, finalizers: tuple[str, ...]
    ) -> None:
        ref = (kind, meta.namespace, meta.name)
        async with self._write("finalizers", ref):
            body = self.objects.get(ref)
            if body is None:
                return
            body["metadata"]["finalizers"] = list(finalizers)
            if not finalizers and "deletionTimestamp" in body["metadata"]:
                self.remove(kind, meta.name)

    async def record_event(self, kind: str, meta: ObjectMeta, event: Event) -> None:
        async with self._write("event", (kind, meta.namespace, meta.name)):
            self.events.append((meta.name, event))

    async def read_log(
        self,
        namespace: str,
        pod: Pod,
        *,
        lines: int = 5_000,
        seconds: int | None = None,
        previous: bool = False,
    ) -> str:
        self.log_reads.append(pod.name)
        if pod.component == COMPONENT_SYNC:
            events = self.copying or self._job_logs.get(pod.uid, ())
            return "\n".join(event.to_json() for event in events)
        if _label(self.objects[("Pod", namespace, pod.name)], names.LABEL_SERVER) in self.crashing:
            return self.crash_log
        ended, process = self.ended.get(pod.uid), self.triton.processes.get(pod.uid)
        found = ended if previous or process is None else process
        if found is None:
            raise ClusterError("GET", "log", status=400, message="no such container")
        return "\n".join(found.log)

    def interrupt(self) -> None:
        """End the operator's process here if the test wants it."""
        self.moment += 1
        if self.kill_at is not None and self.moment >= self.kill_at:
            raise KilledError

    def _write(self, verb: str, ref: Ref) -> "_Write":
        return _Write(self, verb, ref)

    # ---- time passes ----------------------------------------------------------------------

    def step(self) -> None:
        """Let every controller do its part once."""
        self.now += STEP
        for body in list(self.objects.values()):
            match body["kind"]:
                case "Job":
                    self._run_job(body)
                case "Deployment":
                    self._run_deployment(body)
        for body in list(self.objects.values()):
            if _is_server_pod(body):
                self._run_pod(body)
        for body in list(self.objects.values()):
            if body["kind"] == "Deployment":
                self._count(body)

    def _run_job(self, job: Body) -> None:
        name, meta = job["metadata"]["name"], job["metadata"]
        pod = self.get("Pod", f"{name}-pod")
        if "deletionTimestamp" in meta:
            if pod is not None:
                self.remove("Pod", f"{name}-pod")
            self.remove("Job", name)
            return
        if job.get("status") or self.stuck_jobs:
            return
        if pod is None:
            labels = job["spec"]["template"]["metadata"]["labels"]
            self._add(
                {
                    "kind": "Pod",
                    "metadata": {
                        "name": f"{name}-pod",
                        "labels": labels | {"batch.kubernetes.io/job-name": name},
                        "ownerReferences": [{"uid": meta["uid"], "controller": True}],
                    },
                    "status": {"phase": "Pending"},
                }
            )
            return
        containers = pod["status"].get("containerStatuses") or ()
        if any("terminated" in each["state"] for each in containers):
            # The kubelet, and then the controller of Jobs, say so one after the other.
            pod["status"]["phase"] = "Succeeded"
            complete = {"type": "Complete", "status": "True"}
            now = self.now.isoformat()
            job["status"] = {"conditions": [complete | {"lastTransitionTime": now}]}
        else:
            self._run_sync(job, pod)

    def _run_sync(self, job: Body, pod: Body) -> None:
        claim_name = _claim_of(job["spec"]["template"])
        if missing := _claims_of(job["spec"]["template"]) & self.missing_claims:
            message = f'persistentvolumeclaim "{min(missing)}" not found'
            pod["status"]["conditions"] = [
                {"type": "PodScheduled", "status": "False", "message": message}
            ]
            return
        if self.copying is not None:
            self._go_on(pod)
            return
        volumes = job["spec"]["template"]["spec"]["volumes"]
        config_map = next(v["configMap"]["name"] for v in volumes if "configMap" in v)
        text = self.objects[("ConfigMap", NAMESPACE, config_map)]["data"]["manifest.json"]
        container = job["spec"]["template"]["spec"]["containers"][0]
        if slow := self._find_slow(Repository.from_json(text)):
            self._go_on(pod)
            self._publish_some(self._claim(claim_name), Repository.from_json(text), slow, pod)
            return
        report = self._materialize(
            self._claim(claim_name),
            Repository.from_json(text),
            repair="--repair" in container["args"],
            mounted=_claims_of(job["spec"]["template"]),
        )
        at = self.now.isoformat()
        ended = {"terminated": {"exitCode": 0, "message": report, "finishedAt": at}}
        pod["status"] = {
            "phase": "Running",
            "containerStatuses": [{"name": "sync", "state": ended}],
        }

    def _go_on(self, pod: Body) -> None:
        """Have the pod of a Job run, and go on running."""
        since = pod["status"].setdefault("startTime", self.now.isoformat())
        state = {"running": {"startedAt": since}}
        pod["status"] |= {"containerStatuses": [{"name": "sync", "state": state}]}

    def _find_slow(self, manifest: Repository) -> set[str]:
        """Return the objects whose sources say nothing."""
        return {
            each.object
            for each in manifest.generations
            for version in each.versions
            if version.source is not None and version.source.uri in self.silent_sources
        }

    def _publish_some(self, claim: Claim, manifest: Repository, slow: set[str], pod: Body) -> None:
        """Do what a Job does while sources are silent; no ensemble of this world needs them."""
        log = self._job_logs.setdefault(pod["metadata"]["uid"], [])
        if log or manifest.immutable:
            return
        for generation in manifest.generations:
            if generation.object not in slow:
                claim.generations[(generation.object, generation.hash)] = generation
        claim.publish(manifest, slow)
        wanted = {link.model for link in manifest.links}
        for owner, model in list(claim.links):
            if owner == manifest.server and model not in wanted:
                del claim.links[(owner, model)]
        waiting = tuple(link.model for link in manifest.links if link.object in slow)
        log.append(JobEvent("waiting", models=waiting))

    def _materialize(
        self, claim: Claim, manifest: Repository, *, repair: bool, mounted: set[str]
    ) -> str:
        failed = {}
        mended = self.damaged if repair else set()
        self.damaged = self.damaged - mended
        for generation in manifest.generations:
            uris = {v.source.uri for v in generation.versions if v.source is not None}
            unmounted = {uri.split("/")[2] for uri in uris if uri.startswith("pvc://")} - mounted
            if uris & self.missing_sources or unmounted:
                failed[generation.object] = Failure("SourceNotFound", f"no {min(uris)}")
            else:
                claim.generations[(generation.object, generation.hash)] = generation
        held = claim.hold(manifest, failed)
        revision = claim.publish(manifest, failed, held)
        claim.prune(manifest, revision, held)
        pods = (body for body in self.objects.values() if body["kind"] == "Pod")
        for pod in (_parsed(Pod.parse, body) for body in pods):
            if pod.uid in self.triton.processes and pod.repository != LINKS:
                assert claim.has(manifest.server, pod.repository), f"{pod.name} cannot start again"
        outcome = Outcome(failed, mended=frozenset(mended), revision=revision)
        return encode_outcome(manifest.digest(), outcome)

    def _run_deployment(self, deployment: Body) -> None:
        name, spec = deployment["metadata"]["name"], deployment["spec"]
        template = spec["template"]
        pods = self._pods_of(name)
        revision = template["metadata"]["annotations"][names.ANNOTATION_REVISION]
        outdated = [p for p in pods if _annotation(p, names.ANNOTATION_REVISION) != revision]
        unready = [p for p in outdated if not p["status"].get("ready")]
        replicas, rolling = spec["replicas"], spec["strategy"]["rollingUpdate"]
        if spec.get("paused"):
            return
        available = sum(self._is_available(p, spec["minReadySeconds"]) for p in pods)
        if unready or (outdated and available > replicas - rolling["maxUnavailable"]):
            self.remove("Pod", (unready or outdated)[0]["metadata"]["name"])
        pods = self._pods_of(name)
        left = any(pod in pods for pod in outdated)
        wanted = replicas + (rolling["maxSurge"] if left else 0)
        pods.sort(key=lambda p: -int(_annotation(p, names.ANNOTATION_DELETION_COST) or 0))
        for surplus in pods[wanted:]:
            self.remove("Pod", surplus["metadata"]["name"])
        allowed = wanted if self.quota is None else min(wanted, self.quota)
        if len(pods) >= allowed < wanted:
            self._refused.setdefault(name, self.now.isoformat())
        else:
            self._refused.pop(name, None)
        for _ in range(allowed - len(pods)):
            self._uids += 1
            self._add(
                {
                    "kind": "Pod",
                    "metadata": {
                        "name": f"{name}-{self._uids}",
                        "labels": dict(template["metadata"]["labels"]),
                        "annotations": dict(template["metadata"]["annotations"]),
                        "ownerReferences": [
                            {"uid": deployment["metadata"]["uid"], "controller": True}
                        ],
                    },
                    "spec": _copied(template["spec"]),
                    "status": {"podIP": f"10.0.0.{self._uids}"},
                }
            )

    def _is_available(self, pod: Body, seconds: float) -> bool:
        since = _parsed(Pod.parse, pod).ready_since
        return since is not None and (self.now - since).total_seconds() >= seconds

    def has_pods_on_probation(self) -> bool:
        """Whether an old pod may go only because a ready one stays so."""
        return any(
            bool(pod["status"].get("ready"))
            and not self._is_available(pod, body["spec"]["minReadySeconds"])
            for (kind, _, name), body in self.objects.items()
            if kind == "Deployment"
            for pod in self._pods_of(name)
        )

    def _wait(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def _container_ended(self, uid: str) -> None:
        for (kind, _, _), pod in self.objects.items():
            if kind == "Pod" and pod["metadata"]["uid"] == uid:
                self._crash(pod)

    def _run_pod(self, pod: Body) -> None:
        uid, server = pod["metadata"]["uid"], _label(pod, names.LABEL_SERVER)
        if self.places is not None and pod not in self._pods_of(server)[: self.places]:
            pod["status"]["conditions"] = [
                {
                    "type": "PodScheduled",
                    "status": "False",
                    "message": self.no_place,
                    "lastTransitionTime": pod["metadata"]["creationTimestamp"],
                }
            ]
            return
        claim = self._claim(_claim_of(pod))
        if server in self.crashing:
            self.triton.processes.pop(uid, None)
            self._crash(pod)
            return
        process = self.triton.processes.get(uid)
        repository = _parsed(Pod.parse, pod).repository
        if process is None and claim.has(server, repository):
            key = self._key_in(Pod.parse(pod).control_key)
            if key is None:
                state = {"waiting": {"reason": "CreateContainerConfigError"}}
                self._set_pod(pod, state, ready=False)
                return
            process = Triton(server, claim, repository=repository, key=key, short=self.triton.short)
            if "crash" in pod["status"]:
                pod["status"]["restarts"] = pod["status"].get("restarts", 0) + 1
            try:
                process.start()
            except ServerKilledError:
                self.ended[uid] = process
                self._crash(pod)
                return
            self.triton.processes[uid] = process
            running = {"running": {"startedAt": self.now.isoformat()}}
            self._set_pod(pod, running, ready=False)
        if process is not None:
            probe = pod["spec"]["containers"][0]["readinessProbe"]["httpGet"]["path"]
            model = probe.split("/")[3] if "/models/" in probe else None
            self._set_pod(
                pod,
                pod["status"]["containerStatuses"][0]["state"],
                ready=model is None or model in process.loaded,
            )

    def _crash(self, pod: Body) -> None:
        pod["status"]["crash"] = {
            "reason": "Error",
            "exitCode": 139,
            "message": self.crash_log[-2048:],
            "finishedAt": self.now.isoformat(),
        }
        self._set_pod(pod, {"waiting": {"reason": "CrashLoopBackOff"}}, ready=False)

    def _set_pod(self, pod: Body, state: Body, *, ready: bool) -> None:
        last = pod["status"].get("crash")
        restarts = pod["status"].get("restarts", 0)
        before = pod["status"].get("conditions") or ({},)
        same = pod["status"].get("ready") == ready
        since = before[0].get("lastTransitionTime") if same else None
        since = since or self.now.isoformat()
        container = {"name": "triton", "state": state, "restartCount": restarts}
        pod["status"] |= {
            "ready": ready,
            "conditions": [
                {
                    "type": "Ready",
                    "status": "True" if ready else "False",
                    "lastTransitionTime": since,
                }
            ],
            "containerStatuses": [
                container | ({"lastState": {"terminated": last}} if last else {})
            ],
        }

    def _count(self, deployment: Body) -> None:
        pods = self._pods_of(deployment["metadata"]["name"])
        template = deployment["spec"]["template"]
        revision = _annotation(template, names.ANNOTATION_REVISION)
        updated = [p for p in pods if _annotation(p, names.ANNOTATION_REVISION) == revision]
        deployment["status"] = {
            "observedGeneration": deployment["metadata"]["generation"],
            "replicas": len(pods),
            "updatedReplicas": len(updated),
            "readyReplicas": sum(bool(p["status"].get("ready")) for p in pods),
            "conditions": self._refusals(deployment["metadata"]["name"], len(pods)),
        }

    def _refusals(self, deployment: str, pods: int) -> list[Body]:
        since, limit = self._refused.get(deployment), self.quota
        said = f"exceeded quota: all, requested: pods=1, used: pods={pods}, limited: pods={limit}"
        refusal = {
            "type": "ReplicaFailure",
            "status": "True",
            "reason": "FailedCreate",
            "message": f'pods "{deployment}-x" is forbidden: {said}',
            "lastTransitionTime": since,
        }
        return [refusal] if since is not None else []

    def _pods_of(self, server: str) -> list[Body]:
        return [
            body
            for body in self.objects.values()
            if _is_server_pod(body) and _label(body, names.LABEL_SERVER) == server
        ]

    def _claim(self, name: str) -> Claim:
        return self.claims.setdefault(name, Claim())

    def _add(self, body: Body) -> None:
        self._version += 1
        meta = {"namespace": NAMESPACE, "generation": 1} | body["metadata"]
        meta |= {"uid": f"uid-{self._version}", "creationTimestamp": self.now.isoformat()}
        added = {**body, "metadata": meta}
        self._touch(added)
        self.objects[_ref(added)] = added

    def _touch(self, body: Body) -> None:
        self._version += 1
        body["metadata"]["resourceVersion"] = str(self._version)


class _Write:
    """One request that changes the cluster: counted, refused or cut off as the test says."""

    def __init__(self, world: World, verb: str, ref: Ref) -> None:
        self._world, self._verb, self._ref = world, verb, ref

    async def __aenter__(self) -> None:
        await asyncio.sleep(0)
        world, verb = self._world, self._verb
        world.interrupt()
        if (error := world.failing.get((verb, self._ref[0]))) is not None:
            raise error
        world.writes.append((verb, self._ref[0], self._ref[2]))

    async def __aexit__(self, *_: object) -> None:
        self._world.interrupt()


class Cluster:
    """``ports.Cluster`` over a world: its two names that a test uses otherwise."""

    def __init__(self, world: World) -> None:
        self._world = world

    def __getattr__(self, name: str) -> Any:
        return getattr(self._world, name)

    def model(self, key: Key) -> ModelRecord | None:
        body = self._world.objects.get((names.KIND_MODEL, *key))
        return _parsed(ModelRecord.parse, body) if body else None

    def server(self, key: Key) -> ServerRecord | None:
        return self._world.server_record(key)


class Operator:
    """The operator's two passes over a world, with the memory that one process has."""

    def __init__(self, world: World, **settings: Any) -> None:
        self.world = world
        self.settings = settings
        self.restart()

    def restart(self) -> None:
        cluster = Cluster(self.world)
        settings = Settings(server_image="triton:test", sync_image="operator:test", **self.settings)

        def clock() -> datetime:
            return self.world.now

        self.telemetry = PrometheusTelemetry()
        self.woken: set[Key] = set()
        self.scaler = Scaler(
            cluster,
            self.world.load,
            settings,
            clock,
            self.woken.add,
            telemetry=self.telemetry,
            monotonic=lambda: self.world.now.timestamp(),  # noqa: PLW0108 - now is replaced
        )
        self.reconciler = ServerReconciler(
            cluster,
            self.world.triton,
            settings,
            clock,
            self.woken.add,
            scaler=self.scaler,
            telemetry=self.telemetry,
        )
        self.assigner = ModelAssigner(cluster, clock, self.woken.add)

    async def run_once(self) -> list[OperatorError]:
        """Make one pass over everything; return what failed and would be tried again."""
        failures: list[OperatorError] = []
        await self.scaler.tick()
        for model in sorted(self.world.all_of(names.KIND_MODEL)):
            try:
                await self.assigner.assign((NAMESPACE, model))
            except OperatorError as error:
                failures.append(error)
        for server in sorted(self.world.all_of(names.KIND_SERVER)):
            try:
                # At once again where nothing is left to wait for.
                for _ in range(10):
                    pause = await self.reconciler.reconcile((NAMESPACE, server))
                    await self._idle()
                    if pause > 0 and (NAMESPACE, server) not in self.woken:
                        break
                    self.woken.discard((NAMESPACE, server))
                else:
                    raise AssertionError(f"passes over {server} never rest")
            except OperatorError as error:
                failures.append(error)
        return failures

    async def _idle(self) -> None:
        """Let what goes on beside the passes go on for a while, and what its end calls."""
        for _ in range(19):
            if len(asyncio.all_tasks()) == 1:
                break
            await asyncio.sleep(0)
        await asyncio.sleep(0)

    async def settle(self, *, steps: int = 40, restarting: bool = False) -> None:
        """Go on until neither the operator nor the cluster changes anything any more."""
        quiet = 0
        for _ in range(steps):
            if restarting:
                self.restart()
            before = len(self.world.writes), self._moving()
            await self.run_once()
            self.world.step()
            same = (len(self.world.writes), self._moving()) == before
            quiet = quiet + 1 if same and not self.world.has_pods_on_probation() else 0
            if quiet == 4:
                return
        raise AssertionError(f"never settles; last writes: {self.world.writes[-12:]}")

    async def run(self, *, seconds: float) -> None:
        """Make a pass after every step of time."""
        until = self.world.now + timedelta(seconds=seconds)
        while self.world.now < until:
            await self.run_once()
            self.world.step()

    async def killed_at(self, moment: int) -> bool:
        """Settle, but die before or after one call; return whether that came."""
        self.world.kill_at = self.world.moment + moment
        try:
            await self.settle()
        except KilledError:
            rest = asyncio.all_tasks() - {asyncio.current_task()}
            for task in rest:
                task.cancel()
            await asyncio.gather(*rest, return_exceptions=True)
            self.world.kill_at = None
            self.restart()
            return True
        self.world.kill_at = None
        return False

    def _moving(self) -> list[Any]:
        return [
            (ref, body.get("status")) for ref, body in self.world.objects.items() if ref[0] == "Pod"
        ]


async def killed_at_each_moment(
    begun: Callable[[], Awaitable[tuple[World, Operator]]],
) -> AsyncIterator[tuple[int, World, Operator]]:
    """Yield each moment with a world whose operator was killed then; in the last one it was not."""
    moment, killed = 1, True
    while killed:
        world, operator = await begun()
        killed = await operator.killed_at(moment)
        yield moment, world, operator
        moment += 1


class _Snapshots(UserDict[tuple[str, str], Any]):
    """Objects as they were when they were read: whoever asks for one gets a copy."""

    def __getitem__(self, key: tuple[str, str]) -> Body:
        body: Body = pickle.loads(self.data[key])
        return body


def _copied(body: Mapping[str, Any]) -> Body:
    """Return what shares nothing with an object, as if it had gone over the wire."""
    copied: Body = pickle.loads(pickle.dumps(dict(body)))
    return copied


def _parsed(parse: Callable[[Body], T], body: Body) -> T:
    """Return what ``parse`` makes of an object as it is now."""
    return _parse(parse, pickle.dumps(body))


@lru_cache(maxsize=4096)
def _parse(parse: Callable[[Body], T], stored: bytes) -> T:
    """Parse an object; once for each change of it, as the mirror does."""
    return parse(pickle.loads(stored))


def _ref(body: Mapping[str, Any]) -> Ref:
    return (body["kind"], body["metadata"].get("namespace", NAMESPACE), body["metadata"]["name"])


def _owner(body: Mapping[str, Any]) -> str | None:
    owners = body["metadata"].get("ownerReferences") or ()
    return next((o["uid"] for o in owners if o.get("controller")), None)


def _is_server_pod(body: Body) -> bool:
    """Return whether it runs Triton, or is to; one that was evicted never will again."""
    if body["kind"] != "Pod" or _label(body, names.LABEL_COMPONENT) != "server":
        return False
    return bool(body["status"].get("phase") != "Failed")


def _label(body: Body, name: str) -> str:
    return str((body["metadata"].get("labels") or {}).get(name, ""))


def _annotation(body: Body, name: str) -> str:
    return str((body["metadata"].get("annotations") or {}).get(name, ""))


def _claim_of(template: Body) -> str:
    volumes = template["spec"]["volumes"]
    found = next(v for v in volumes if v["name"] == "repository")
    return str(found["persistentVolumeClaim"]["claimName"])


def _claims_of(template: Body) -> set[str]:
    claims = (v.get("persistentVolumeClaim") for v in template["spec"]["volumes"])
    return {claim["claimName"] for claim in claims if claim}


def _concerns(body: Body, server: Key) -> bool:
    if body["metadata"]["namespace"] != server[0]:
        return False
    if body["kind"] == names.KIND_MODEL:
        reference = (body["spec"].get("serverRef") or {}).get("name")
        last = (body.get("status") or {}).get("server")
        return server[1] in (reference or body["metadata"]["name"], last)
    if body["kind"] == AUTOSCALER:
        return _parsed(Autoscaler.parse, body).server == server[1]
    return _label(body, names.LABEL_SERVER) == server[1]
