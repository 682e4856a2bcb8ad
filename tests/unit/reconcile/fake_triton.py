"""Triton as it was measured, on pods that read a claim.

What a model does is written in its own files, so that a test breaks a model as a user would:

* ``raise``: the load is refused with 400, whatever was loaded keeps serving;
* ``silent``: as ``raise``, but a *re*load answers 200, and only the log has the reason;
* ``die``: the load takes the server down, and its container is started again;
* ``wedge``: the load and all later ones of the model never answer;
* ``hang``: the load answers only when ``release`` is set;
* ``unfit``: only an ensemble that ``takes anything`` can call it, whatever its config says.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from types import MappingProxyType

from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig

from triton_operator import names
from triton_operator.errors import ServerUnreachableError
from triton_operator.observed import Pod, Served, ServedModel, ServedVersion
from triton_operator.plan.ensembles import check_ensemble, members
from triton_operator.repository.config_pbtxt import steps_of, tensors_of
from triton_operator.repository.groups import (
    called_models,
    find_all_called,
    find_broken_groups,
)
from triton_operator.repository.manifest import (
    LINKS,
    Generation,
    Link,
    Manifest,
    revision_digest,
)
from triton_operator.repository.outcome import Failure

UNLOADED = "unloaded"
Held = Mapping[str, tuple[str, str] | None]
"""Links that stay as they are, with the object and hash that they lead to, if they are there."""


@dataclass
class Claim:
    """What lies on a claim: generations, and links of servers to them."""

    generations: dict[tuple[str, str], Generation] = field(default_factory=dict)
    links: dict[tuple[str, str], tuple[str, str]] = field(default_factory=dict)
    """Object and hash, by server and model."""
    servers: set[str] = field(default_factory=set)
    """Servers whose folder exists: before that, a pod waits."""
    revisions: dict[tuple[str, str], dict[str, tuple[str, str]]] = field(default_factory=dict)
    """Object and hash by model, of every revision of a server."""

    def has(self, server: str, repository: str) -> bool:
        if repository == LINKS:
            return server in self.servers
        return (server, repository) in self.revisions

    def linked(self, server: str, repository: str = LINKS) -> dict[str, Generation]:
        if repository == LINKS:
            links = {model: at for (owner, model), at in self.links.items() if owner == server}
        else:
            links = self.revisions[(server, repository)]
        return {model: self.generations[target] for model, target in links.items()}

    def hold(self, manifest: Manifest, failed: dict[str, Failure]) -> Held:
        """Return the links that stay as they are; tell of those that wait for one of a group."""
        now = self._present(manifest)
        then = {link.model: (link.object, link.hash) for link in manifest.links}
        listed = {(each.object, each.hash): each for each in manifest.generations}

        def calls(state: Mapping[str, tuple[str, str]]) -> dict[str, frozenset[str]]:
            found = {n: listed.get(ref) or self.generations.get(ref) for n, ref in state.items()}
            return {n: called_models(each.config) for n, each in found.items() if each}

        changing = {name for name in {*now, *then} if now.get(name) != then.get(name)}
        broken = {name for name, (object_, _) in then.items() if object_ in failed}
        held = set[str]().union(*find_broken_groups(changing, broken, calls(now), calls(then)))
        for name in held & then.keys():
            failed.setdefault(then[name][0], Failure("WaitingForMember", f"for {min(broken)!r}"))
        linked = {ref for name, ref in then.items() if name not in held}
        standing = {ref for ref in manifest.standing if not manifest.immutable or ref in linked}
        before = (self.generations[ref] for ref in standing if ref in self.generations)
        called = (name for each in before for name in called_models(each.config))
        needed = find_all_called(called, calls(now)) & now.keys() - then.keys()
        return {name: now.get(name) for name in held | needed}

    def _present(self, manifest: Manifest) -> dict[str, tuple[str, str]]:
        """Return what the links lead to, or those of the revision that has what is good."""
        server, good = manifest.server, {*manifest.keep, *manifest.standing}
        links = {model: at for (owner, model), at in self.links.items() if owner == server}
        if not manifest.immutable:
            return links
        revisions = {LINKS: links} | {d: at for (s, d), at in self.revisions.items() if s == server}
        found = [revisions[digest] for digest in manifest.keep_revisions if digest in revisions]
        return max(found, key=lambda each: len(good.intersection(each.values())), default={})

    def publish(
        self,
        manifest: Manifest,
        failed: Collection[str],
        held: Held = MappingProxyType({}),
    ) -> str:
        """Make the links of a manifest, or a revision of them; return the revision."""
        server, kept = manifest.server, dict(manifest.keep)
        found: dict[str, tuple[str, str]] = {n: ref for n, ref in held.items() if ref}
        for link in manifest.links:
            if link.model in held:
                continue
            target, good = (link.object, link.hash), (link.object, kept.get(link.object, ""))
            linked = not manifest.immutable and (server, link.model) in self.links
            assert target in self.generations or link.object in failed, f"{target} is nowhere"
            if target in self.generations:
                found[link.model] = target
            elif good in self.generations and not linked:
                found[link.model] = good
        if manifest.immutable:
            revision = revision_digest(Link(model, *target) for model, target in found.items())
            self.revisions[(server, revision)] = found
            return revision
        self.servers.add(server)
        self.links |= {(server, model): target for model, target in found.items()}
        return ""

    def prune(self, manifest: Manifest, revision: str, held: Collection[str]) -> None:
        """Take away what a manifest does not name, and what is not held."""
        server, keep = manifest.server, {revision, *manifest.keep_revisions}
        if manifest.remove or (manifest.immutable and LINKS not in keep):
            self.servers.discard(server)
        wanted = {link.model for link in manifest.links} | {*held}
        for owner, model in list(self.links):
            named = manifest.immutable or model in wanted
            if owner == server and not (server in self.servers and named):
                del self.links[(owner, model)]
        for owner, digest in list(self.revisions):
            if owner == server and (manifest.remove or digest not in keep):
                del self.revisions[(owner, digest)]
        revisions = (links.values() for links in self.revisions.values())
        needed = {*self.links.values(), *manifest.keep, *(t for links in revisions for t in links)}
        objects = {object_ for object_, _ in needed}
        self.generations = {
            key: generation
            for key, generation in self.generations.items()
            if key in needed or key[0] not in objects
        }


class LoadRefusedError(Exception):
    pass


class ServerKilledError(Exception):
    pass


@dataclass
class Triton:
    """One server process: from the start of its container to its end."""

    server: str
    claim: Claim
    loaded: dict[str, Generation] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)
    """Why a model is not loaded, by its name."""
    log: list[str] = field(default_factory=list)
    loads: list[str] = field(default_factory=list)
    repository: str = LINKS
    key: str = ""
    """What opens its model-control API, from its start on."""
    overridden: set[str] = field(default_factory=set)
    wedged: set[str] = field(default_factory=set)
    short: set[str] = field(default_factory=set)
    """Models that there is no memory for now."""

    def start(self) -> None:
        for model in sorted(self.linked()):
            if model not in self.loaded:
                try:
                    self.load(model)
                except LoadRefusedError:
                    continue
        if self.repository != LINKS and self.broken:
            raise ServerKilledError

    def linked(self) -> dict[str, Generation]:
        return self.claim.linked(self.server, self.repository)

    def load(self, model: str, *, along: str = "") -> None:
        generation = self.linked().get(model)
        if generation is None:
            raise LoadRefusedError(f"failed to load '{model}', failed to poll from repository")
        if model in self.overridden and model in self.loaded:
            # Its folder has not changed: there is nothing to do.
            return
        self.overridden.discard(model)
        self.loads.append(model)
        self.log.append(f'I0101 00:00:00.000000 1 model_lifecycle.cc:472] "loading: {model}:1"')
        code = "".join(text for v in generation.versions for text in v.files.values())
        if "die" in code:
            raise ServerKilledError
        self._read(model, code)
        refuses = "raise" in code or "silent" in code or model in self.short
        problem = "RuntimeError: boom" if refuses else ""
        for member in members(config_of(generation)):
            new = self.linked().get(member)
            if (member not in self.loaded or new not in (None, self.loaded[member])) and (
                not problem
            ):
                try:
                    self.load(member, along=model)
                except LoadRefusedError as error:
                    problem = f"ensemble '{model}' depends on '{member}': {error}"
        if problem:
            self.log.append(
                f"E0101 00:00:00.000000 1 model_lifecycle.cc:642] \"failed to load '{model}'"
                f' version 1: Internal: {problem}\\n\\nAt:\\n model.py(1)"'
            )
            if model in self.loaded and "silent" in code:
                return
            if model not in self.loaded:
                self.broken[model] = problem
            raise LoadRefusedError(f"load failed for model '{model}': {problem};\n")
        self.loaded[model] = generation
        self.log.append(
            f"I0101 00:00:00.000000 1 model_lifecycle.cc:839] \"successfully loaded '{model}'\""
        )
        self.broken.pop(model, None)
        for other, above in list(self.loaded.items()):
            # What a member does not fit any more is dropped, with no more than a line in the log.
            if other == along or model not in members(config_of(above)):
                continue
            if problem := self._misfit(other, code):
                self.log.append(
                    "E0101 00:00:00.000000 1 model_repository_manager.cc:703]"
                    f' "Invalid argument: in ensemble {other}, {problem}"'
                )
                self.unload(other)

    def _read(self, model: str, code: str) -> None:
        if "unread" in code:
            self.log.append(
                "E0101 00:00:00.000000 1 model_repository_manager.cc:1460]"
                f" \"Poll failed for model directory '{model}': 'max_batch_size' must be"
                f' non-negative value for {model}"'
            )
            raise LoadRefusedError(
                f"failed to load '{model}', failed to poll from model repository"
            )

    def override(self, model: str) -> None:
        """Load a model with a config from a request, as whoever has the key can."""
        there = self.loaded[model]
        config = there.config.replace(there.hash, "")
        self.loaded[model] = replace(there, hash="", config=config)
        self.overridden.add(model)

    def _misfit(self, ensemble: str, code: str) -> str | None:
        if "unfit" in code and "takes anything" not in str(self.linked()):
            return "inconsistent shape"
        configs = {name: config_of(g) for name, g in self.loaded.items()}
        ready = {name: self.served(name).ready_versions for name in self.loaded}
        return check_ensemble(ensemble, configs, ready)

    def unload(self, model: str) -> None:
        if self.loaded.pop(model, None) is not None:
            self.broken[model] = UNLOADED
        for other, above in list(self.loaded.items()):
            if model in members(config_of(above)):
                self.unload(other)

    def index(self) -> Served:
        """What the repository lists, and what is loaded although its folder is gone."""
        names = {*self.linked(), *self.loaded}
        return {model: self.served(model) for model in sorted(names)}

    def served(self, model: str) -> ServedModel:
        if model in self.loaded:
            generation = self.loaded[model]
            present = [v.version for v in generation.versions] or [1]
            states = tuple(ServedVersion(str(v), "READY") for v in present[-1:])
            config = config_of(generation)
            return ServedModel(states, generation.hash, tensors_of(config), steps_of(config))
        if model in self.broken:
            return ServedModel((ServedVersion("1", "UNAVAILABLE", self.broken[model]),))
        return ServedModel((ServedVersion("", ""),))


class FakeTriton:
    """Triton's API on the pods of a world."""

    def __init__(self) -> None:
        self.processes: dict[str, Triton] = {}
        """The running process by pod uid; none while a container is down."""
        self.short: set[str] = set()
        """Models that no pod has the memory for now."""
        self.deaf: set[str] = set()
        """Names of pods that do not answer."""
        self.release = asyncio.Event()
        self.interrupt: Callable[[], None] = lambda: None
        self.died: Callable[[str], None] = lambda uid: None
        """Told of a server that a load took down."""
        self.timed_out: Callable[[float], None] = lambda seconds: None
        """Told of a request that was waited for in vain."""

    async def observe(self, pod: Pod, key: str) -> Served:
        await asyncio.sleep(0)
        return self._process(pod, key).index()

    async def load(self, pod: Pod, key: str, model: str, *, timeout_seconds: float) -> str | None:
        await asyncio.sleep(0)
        process = self._process(pod, key)
        self.interrupt()
        if process.repository != LINKS:
            return "explicit model load / unload is not allowed if polling is enabled"
        code = str(process.linked().get(model, ""))
        if "hang" in code:
            await self.release.wait()
        if "wedge" in code or model in process.wedged:
            process.wedged.add(model)
            self.timed_out(timeout_seconds)
            raise ServerUnreachableError(f"pod {pod.name}: timed out")
        try:
            process.load(model)
        except LoadRefusedError as error:
            return str(error)
        except ServerKilledError as error:
            self.interrupt()
            del self.processes[pod.uid]
            self.died(pod.uid)
            raise ServerUnreachableError(f"pod {pod.name}: server disconnected") from error
        self.interrupt()
        return None

    async def unload(self, pod: Pod, key: str, model: str) -> str | None:
        await asyncio.sleep(0)
        self.interrupt()
        assert pod.repository == LINKS, "a pod of a revision is never told to unload"
        self._process(pod, key).unload(model)
        self.interrupt()
        return None

    def _process(self, pod: Pod, key: str) -> Triton:
        process = self.processes.get(pod.uid)
        if process is None or pod.name in self.deaf:
            raise ServerUnreachableError(f"pod {pod.name} ({pod.ip}): connection refused")
        assert key == process.key, "Triton answers 403 to a wrong key"
        return process


def config_of(generation: Generation) -> ModelConfig:
    config = _parse(generation.config)
    assert config.parameters[names.CONFIG_HASH_PARAMETER].string_value == generation.hash
    return config


@lru_cache(maxsize=1024)
def _parse(text: str) -> ModelConfig:
    return text_format.Parse(text, ModelConfig())


def hashes(process: Triton) -> Mapping[str, str]:
    return {model: generation.hash for model, generation in process.loaded.items()}
