"""What the administrator of the operator decides for all servers."""

from tests.unit.reconcile.world import NAMESPACE, Operator, World
from triton_operator import names
from triton_operator.settings import ServerAccess

ACCESS = ServerAccess(operator=({"podSelector": {}},))
SHARED = {"serverRef": {"name": "vision"}}


def pull_secrets(world: World) -> dict[str, list[str]]:
    """The Secrets of the pods of each Deployment and Job."""
    return {
        name: [s["name"] for s in body["spec"]["template"]["spec"].get("imagePullSecrets", ())]
        for (kind, _, name), body in world.objects.items()
        if kind in ("Deployment", "Job")
    }


async def test_servers_and_their_jobs_pull_with_the_secrets_of_the_administrator(
    world: World,
) -> None:
    world.server("vision")
    world.model("resnet", **SHARED)
    await Operator(world, image_pull_secrets=("registry", "other")).settle()

    found = pull_secrets(world)
    assert {"vision", "vision-sync-1"} <= set(found)
    assert set(map(tuple, found.values())) == {("registry", "other")}


async def test_a_server_that_names_its_own_secrets_keeps_them(world: World) -> None:
    world.server("vision", podTemplate={"imagePullSecrets": [{"name": "mine"}]})
    world.model("resnet", **SHARED)
    await Operator(world, image_pull_secrets=("registry",)).settle()

    assert set(map(tuple, pull_secrets(world).values())) == {("mine",)}


async def test_what_removes_files_of_a_server_pulls_with_them_too(world: World) -> None:
    operator = Operator(world, image_pull_secrets=("registry",))
    world.server("vision", repository={"claimName": "models"})
    world.model("resnet", **SHARED)
    await operator.settle()
    world.stuck_jobs = True
    before = set(pull_secrets(world))
    world.remove(names.KIND_SERVER, "vision")
    await operator.run_once()

    removal = {name: found for name, found in pull_secrets(world).items() if name not in before}
    assert list(removal.values()) == [["registry"]]


async def test_a_network_policy_comes_and_goes_with_the_wish_for_it(world: World) -> None:
    world.server("vision")
    world.model("resnet", **SHARED)
    await Operator(world).settle()
    assert world.all_of("NetworkPolicy") == set()

    await Operator(world, server_access=ACCESS).settle()
    assert world.all_of("NetworkPolicy") == {"vision"}
    before = len(world.writes)
    await Operator(world, server_access=ACCESS).settle()
    assert len(world.writes) == before

    await Operator(world).settle()
    assert world.all_of("NetworkPolicy") == set()


async def test_a_network_policy_goes_with_its_server(world: World) -> None:
    operator = Operator(world, server_access=ACCESS)
    world.server("vision")
    await operator.settle()
    policy = world.objects["NetworkPolicy", NAMESPACE, "vision"]
    server = world.objects[names.KIND_SERVER, NAMESPACE, "vision"]
    (owner,) = policy["metadata"]["ownerReferences"]
    assert owner["uid"] == server["metadata"]["uid"]


async def test_a_model_whose_backend_is_allowed_no_more_serves_on_as_it_was(world: World) -> None:
    world.server("vision")
    world.model("resnet", config={"backend": "python"}, **SHARED)
    await Operator(world).settle()
    served = world.serving("vision")

    world.model("resnet", "pass  # better", config={"backend": "python"}, **SHARED)
    await Operator(world, allowed_backends=("tensorrt",)).settle()
    assert world.condition("resnet", "Accepted") == "False BackendNotAllowed"
    assert world.serving("vision") == served != [{}]

    await Operator(world, allowed_backends=("tensorrt", "python")).settle()
    assert world.condition("resnet") == "True Serving"
    assert world.serving("vision") != served
