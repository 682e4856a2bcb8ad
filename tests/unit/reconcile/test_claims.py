"""What access modes, sizes and requests for a repair come to, from a user's change to rest."""

from typing import Any

import pytest

from tests.unit.reconcile.world import NAMESPACE, Operator, World, killed_at_each_moment
from triton_operator import names
from triton_operator.errors import ClusterError, OperatorError

SHARED = {"serverRef": {"name": "vision"}}
CLAIM = "PersistentVolumeClaim"
FORBIDDEN = ClusterError(
    "PATCH", "claim", status=403, message="the storageclass must support resize"
)


def have_claim(world: World, *modes: str) -> None:
    world.put(CLAIM, "models", {"accessModes": list(modes)})
    world.server("vision", repository={"claimName": "models"}, replicas=2)
    world.model("resnet", **SHARED)


def templates(world: World) -> list[Any]:
    """Pod templates of the server and of its last sync Job."""
    jobs = [world.get("Job", name) for name in sorted(world.all_of("Job"))]
    return [each["spec"]["template"] for each in (world.get("Deployment", "vision"), *jobs) if each]


def condition(world: World, kind: str) -> str:
    return world.condition("vision", kind, of=names.KIND_SERVER)


def server_message(world: World, kind: str) -> str:
    return next(c.message for c in world.server_status("vision").conditions if c.type == kind)


async def settle_refused(operator: Operator) -> list[OperatorError]:
    failures = await operator.run_once()
    operator.world.step()
    await operator.run_once()
    return failures


async def test_pods_and_jobs_on_a_claim_for_one_node_stay_together(
    world: World, operator: Operator
) -> None:
    have_claim(world, "ReadWriteOnce")
    await operator.settle()

    found = templates(world)
    assert len(found) == 2
    for template in found:
        assert template["metadata"]["labels"][names.LABEL_CLAIM] == "models"
        (term,) = template["spec"]["affinity"]["podAffinity"][
            "requiredDuringSchedulingIgnoredDuringExecution"
        ]
        assert term["labelSelector"]["matchLabels"] == {names.LABEL_CLAIM: "models"}
        assert term["topologyKey"] == "kubernetes.io/hostname"
    assert condition(world, "ScalingLimited") == "True ClaimNotShared"
    assert "ReadWriteMany" in server_message(world, "ScalingLimited")
    assert condition(world, "Ready") == "True AllPodsReady"
    assert world.condition("resnet") == "True Serving"


async def test_pods_on_a_shared_claim_go_anywhere(world: World, operator: Operator) -> None:
    have_claim(world, "ReadWriteMany")
    await operator.settle()

    for template in templates(world):
        assert "affinity" not in template["spec"]
        assert names.LABEL_CLAIM not in template["metadata"]["labels"]
    assert condition(world, "ScalingLimited") == "False NotLimited"


@pytest.mark.parametrize("mode", ["ReadWriteOncePod", "ReadOnlyMany"])
async def test_a_claim_that_cannot_be_shared_is_refused_before_anything_is_made(
    world: World, operator: Operator, mode: str
) -> None:
    have_claim(world, mode)

    failures = await settle_refused(operator)

    assert [each.reason for each in failures] == ["ClaimNotUsable"]
    assert condition(world, "Accepted") == "False ClaimNotUsable"
    assert world.condition("resnet") == "False ServerInvalid"
    assert not world.all_of("Deployment")
    assert not world.all_of("Job")


async def test_a_claim_is_looked_at_seldom(world: World, operator: Operator) -> None:
    have_claim(world, "ReadWriteOnce")
    await operator.settle()

    await operator.run(seconds=300)

    assert world.claim_reads == 1


async def test_a_claim_of_our_own_is_not_looked_at(world: World, operator: Operator) -> None:
    world.model("resnet")
    await operator.settle()

    assert world.claim_reads == 0


async def test_the_files_of_a_server_are_removed_from_a_claim_for_one_node(
    world: World, operator: Operator
) -> None:
    have_claim(world, "ReadWriteOnce")
    await operator.settle()

    world.remove(names.KIND_SERVER, "vision")
    await operator.settle()

    assert world.get(names.KIND_SERVER, "vision") is None
    assert world.claims["models"].links == {}


async def test_a_source_on_a_claim_that_is_not_there_holds_back_one_model(
    world: World, operator: Operator
) -> None:
    world.missing_claims.add("gone")
    world.server("vision")
    world.model("resnet", **SHARED)
    source = {"uri": "pvc://gone/model.onnx"}
    world.model("bert", versions=[{"version": 1, "source": source}], **SHARED)
    await operator.run(seconds=60)

    assert world.condition("resnet") == "True Serving"
    assert world.condition("bert") == "False SourceNotFound"

    world.missing_claims.clear()
    await operator.run(seconds=400)
    assert world.condition("bert") == "True Serving"


# ---- size -------------------------------------------------------------------------------------


def size(world: World) -> str:
    claim = world.get(CLAIM, "vision-repository")
    assert claim is not None
    return str(claim["spec"]["resources"]["requests"]["storage"])


async def test_a_larger_size_enlarges_the_claim_once(world: World, operator: Operator) -> None:
    world.server("vision", repository={})
    world.model("resnet", **SHARED)
    await operator.settle()
    before = len(world.writes)

    world.server("vision", repository={"size": "20Gi"})
    await operator.settle()

    assert size(world) == "20Gi"
    assert world.writes[before:].count(("apply", CLAIM, "vision-repository")) == 1


async def test_a_claim_that_somebody_enlarged_is_left_alone(
    world: World, operator: Operator
) -> None:
    world.server("vision", repository={"size": "10Gi"})
    await operator.settle()
    claim = world.get(CLAIM, "vision-repository")
    assert claim is not None
    claim["spec"]["resources"]["requests"]["storage"] = "100Gi"

    world.server("vision", repository={"size": "20Gi"})
    await operator.settle()

    assert size(world) == "100Gi"


async def test_a_claim_that_gets_no_volume_is_told_by_its_name_until_it_has_one(
    world: World, operator: Operator
) -> None:
    world.places = 0
    world.no_place = "pod has unbound immediate PersistentVolumeClaims. not found"
    world.server("vision", repository={"storageClassName": "nosuchclass"})
    await operator.run_once()
    claim = world.get(CLAIM, "vision-repository")
    claim["status"] = {"phase": "Pending"}
    await operator.run(seconds=20)

    assert condition(world, "ClaimReady") == "False ClaimNotBound"
    for kind in ("ClaimReady", "Ready", "ScalingLimited"):
        assert "claim 'vision-repository' (StorageClass 'nosuchclass')" in server_message(
            world, kind
        )

    claim["status"] = {"phase": "Bound"}
    world.places = None
    await operator.settle()

    assert condition(world, "ClaimReady") == "True AsSpecified"
    assert condition(world, "Ready") == "True AllPodsReady"


async def test_a_users_claim_that_was_pending_is_looked_at_again_soon(
    world: World, operator: Operator
) -> None:
    have_claim(world, "ReadWriteMany")
    world.places = 0
    world.no_place = "pod has unbound immediate PersistentVolumeClaims"
    claim = world.get(CLAIM, "models")
    claim["status"] = {"phase": "Pending"}
    await operator.run(seconds=20)
    assert condition(world, "ClaimReady") == "False ClaimNotBound"

    claim["status"] = {"phase": "Bound"}
    await operator.run(seconds=20)

    assert condition(world, "ClaimReady") == "True AsSpecified"


async def test_a_claim_that_cannot_grow_is_told_and_everything_serves_on(
    world: World, operator: Operator
) -> None:
    world.server("vision", repository={"size": "10Gi"})
    world.model("resnet", **SHARED)
    await operator.settle()
    world.failing[("apply", CLAIM)] = FORBIDDEN

    world.server("vision", repository={"size": "20Gi"})
    await operator.settle()

    assert condition(world, "ClaimReady") == "False ClaimNotEnlarged"
    message = server_message(world, "ClaimReady")
    assert "stays at 10Gi" in message
    assert "must support resize" in message
    assert "allowVolumeExpansion" in message
    assert condition(world, "Ready") == "True AllPodsReady"
    assert world.condition("resnet") == "True Serving"

    world.failing.clear()
    await operator.run(seconds=320)

    assert size(world) == "20Gi"
    assert condition(world, "ClaimReady") == "True AsSpecified"


# ---- repair -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["vision-repository", "models"])
async def test_a_claim_that_was_lost_and_made_anew_is_filled_again(
    world: World, operator: Operator, name: str
) -> None:
    theirs = name == "models"
    if theirs:
        have_claim(world, "ReadWriteMany")
    spec = {"repository": {"claimName": name}} if theirs else {}
    world.server("vision", **spec)
    world.model("resnet", **SHARED)
    await operator.settle()
    links = world.claims[name].links

    world.server("vision", **spec, replicas=0)
    await operator.settle()
    world.remove(CLAIM, name)
    del world.claims[name]
    if theirs:
        world.put(CLAIM, name, {"accessModes": ["ReadWriteMany"]})
    await operator.run(seconds=900)
    assert world.claims[name].links == links

    world.server("vision", **spec, replicas=1)
    await operator.settle()
    assert world.condition("resnet") == "True Serving"
    assert len(world.all_of("Job")) == 1


def ask(world: World, token: str) -> None:
    world.objects[(names.KIND_SERVER, NAMESPACE, "vision")]["metadata"]["annotations"] = {
        names.ANNOTATION_REPAIR: token
    }


def loads(world: World) -> list[list[str]]:
    return [list(process.loads) for process in world.processes("vision")]


async def test_a_repair_runs_once_and_every_pod_loads_what_was_mended(
    world: World, operator: Operator
) -> None:
    world.server("vision", replicas=2)
    world.model("resnet", **SHARED)
    world.model("bert", **SHARED)
    await operator.settle()
    before = loads(world)
    world.damaged = {"resnet"}

    ask(world, "monday")
    await operator.settle()

    assert world.damaged == set()
    assert loads(world) == [[*earlier, "resnet"] for earlier in before]
    status = world.server_status("vision")
    assert status.repair is not None
    assert (status.repair.request, status.repair.mended) == ("monday", ("resnet",))
    events = [e.message for who, e in world.events if who == "vision" and e.reason == "Repaired"]
    assert events == ["request 'monday': mended resnet"]
    assert world.condition("resnet") == "True Serving"

    jobs, writes = world.all_of("Job"), len(world.writes)
    await operator.run(seconds=300)
    assert world.all_of("Job") == jobs
    assert len(world.writes) == writes

    ask(world, "tuesday")
    await operator.settle()
    status = world.server_status("vision")
    assert status.repair is not None
    assert (status.repair.request, status.repair.mended) == ("tuesday", ())
    assert loads(world) == [[*earlier, "resnet"] for earlier in before]


async def test_a_repair_survives_an_operator_that_is_restarted(
    world: World, operator: Operator
) -> None:
    world.server("vision")
    world.model("resnet", **SHARED)
    await operator.settle()
    world.damaged = {"resnet"}

    ask(world, "monday")
    await operator.settle(restarting=True)

    status = world.server_status("vision")
    assert status.repair is not None
    assert status.repair.mended == ("resnet",)
    assert world.damaged == set()


async def test_a_change_after_a_repair_does_not_repair_again(
    world: World, operator: Operator
) -> None:
    world.server("vision")
    world.model("resnet", **SHARED)
    ask(world, "monday")
    await operator.settle()
    world.damaged = {"resnet"}

    world.model("resnet", "pass  # 2", **SHARED)
    await operator.settle()

    assert world.damaged == {"resnet"}
    assert world.condition("resnet") == "True Serving"


@pytest.mark.exhaustive
async def test_an_operator_killed_at_any_moment_of_a_repair_still_has_it_made_and_loaded() -> None:
    async def begun() -> tuple[World, Operator]:
        world = World()
        operator = Operator(world)
        world.server("vision", replicas=2)
        world.model("resnet", **SHARED)
        await operator.settle()
        world.damaged = {"resnet"}
        ask(world, "monday")
        return world, operator

    untouched, _ = await begun()
    before = loads(untouched)
    async for moment, world, operator in killed_at_each_moment(begun):
        await operator.settle()

        assert world.damaged == set()
        status = world.server_status("vision")
        assert status.repair is not None, f"killed at moment {moment}"
        assert (status.repair.request, status.repair.mended) == ("monday", ("resnet",))
        for earlier, now in zip(before, loads(world), strict=True):
            assert now[: len(earlier)] == earlier
            assert "resnet" in now[len(earlier) :], f"killed at moment {moment}"
    assert moment > 8
