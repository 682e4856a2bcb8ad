"""The life of a release: installed, upgraded, tested, uninstalled, in namespaces that enforce the
Pod Security standard "restricted" on every pod we make.

Runs after all other modules, which need the operator.
"""

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from tests.cluster.support import triton
from tests.cluster.support.audit import AuditLog
from tests.cluster.support.installation import CHART, NAMESPACE, Installation
from tests.cluster.support.kube import Kube, Object, Refused, kubectl, path_of
from tests.cluster.support.load import Load
from tests.cluster.support.manifests import adds, claim, model, server, version
from tests.cluster.support.waiting import wait_for
from tests.cluster.support.world import World

pytestmark = pytest.mark.cluster

CRDS = ("tritonmodels.triton-operator.io", "tritonservers.triton-operator.io")
NEW_FIELD = "logVerbosity"
"""A field of a model's own server that the version before did not have."""


@pytest.fixture(scope="module", autouse=True)
def _strict(kube: Kube, operator: Installation) -> Iterator[None]:
    """The operator's namespace is a strict one, and there is an operator again afterwards."""
    restrict(kube, NAMESPACE)
    yield
    operator.install()


@pytest.fixture(scope="module")
def strict(world: World) -> World:
    """The module's namespace, which lets no pod in that is not restricted."""
    restrict(world.kube, world.namespace)
    return world


@pytest.fixture(scope="module")
def former(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The chart as a version before might have been: its CRD lacks a field."""
    chart = tmp_path_factory.mktemp("former") / CHART.name
    shutil.copytree(CHART, chart)
    about = chart / "Chart.yaml"
    about.write_text(re.sub(r"(?m)^version: .*", "version: 0.0.9", about.read_text()))
    path = chart / "files" / "crds" / f"{CRDS[0]}.yaml"
    crd = yaml.safe_load(path.read_text())
    del server_fields(crd)[NEW_FIELD]
    path.write_text(yaml.safe_dump(crd))
    return chart


def restrict(kube: Kube, namespace: str) -> None:
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    metadata = {"name": namespace, "labels": labels}
    kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})


def server_fields(crd: Object) -> Object:
    """Return the schema of each field of a model's own server."""
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    fields: Object = schema["properties"]["spec"]["properties"]["server"]["properties"]
    return fields


def live_fields(kube: Kube) -> Object:
    found = kube.get("CustomResourceDefinition", "", CRDS[0])
    assert found is not None
    return server_fields(found)


def children(world: World) -> dict[str, str]:
    """Which version everything has that serves a model."""
    return {
        f"{kind}/{body['metadata']['name']}": body["metadata"]["resourceVersion"]
        for kind in ("Service", "PersistentVolumeClaim", "Secret", "Job")
        for body in world.all(kind)
    } | {f"Pod/{pod.name}": pod.uid for pod in world.pods("own") + world.pods("guest")}


def test_without_keep_the_uninstall_leaves_nothing_at_all(operator: Installation) -> None:
    operator.install(**{"crds.keep": False})

    operator.uninstall()

    wait_for("nothing is left", lambda: not operator.leftovers(), 60, seen=operator.leftovers)
    for crd in CRDS:
        assert operator.kube.get("CustomResourceDefinition", "", crd) is None


def test_the_former_version_serves_models(
    strict: World, operator: Installation, former: Path
) -> None:
    operator.install(former)
    assert NEW_FIELD not in live_fields(strict.kube)
    strict.apply(
        claim("ours"),
        server("guest", repository={"claimName": "ours"}),
        model("on-guest", version(1, adds(1)), on="guest"),
        model("own", version(1, adds(1))),
    )

    strict.wait_ready("on-guest", "own")

    assert triton.number(strict.service("own"), "own") == 2.0


def test_an_upgrade_disturbs_no_request_and_brings_new_fields(
    strict: World, operator: Installation, figure: Callable[[str], None]
) -> None:
    before = children(strict)
    settled = strict.wait_condition("TritonModel", "own", "Ready", "True")
    with Load(strict.service("own"), "own") as load:
        operator.install()
        strict.wait_condition("TritonModel", "own", "Ready", "True")
        strict.apply(model("later", version(1, adds(4)), on="guest"))
        strict.wait_ready("later")
    figure(f"upgrade of the operator: {load.summary()}")

    assert load.requests()
    assert not load.failed()
    assert load.values().keys() == {2.0}
    assert strict.wait_condition("TritonModel", "own", "Ready", "True") == settled
    now = children(strict)
    assert {name: now.get(name) for name in before if "guest-sync" not in name} == {
        name: version for name, version in before.items() if "guest-sync" not in name
    }
    assert NEW_FIELD in live_fields(strict.kube)
    strict.patch("TritonModel", "own", {"server": {NEW_FIELD: 1}})
    wait_for(
        "the field reaches the server",
        lambda: strict.live("TritonServer", "own")["spec"].get(NEW_FIELD) == 1,
        30,
    )
    strict.wait_condition("TritonServer", "own", "Ready", "True", seconds=90)
    strict.wait_ready("own")


def test_helm_test_finds_that_it_works_and_leaves_nothing(operator: Installation) -> None:
    before = set(operator.leftovers())

    told = operator.test()

    assert re.search(r"Phase:\s+Succeeded", told), told
    assert set(operator.leftovers()) <= before


def test_helm_test_finds_an_operator_that_does_not_run(operator: Installation) -> None:
    operator.stop()

    with pytest.raises(AssertionError, match=r"0 of 0 pods"):
        operator.test()

    operator.start()
    assert "Succeeded" in operator.test()


def test_users_with_the_role_edit_may_write_models_and_with_view_only_read(strict: World) -> None:
    def may(role: str, *asked: str) -> bool:
        group = f"{role}ors"
        binding = {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": {"name": group, "namespace": strict.namespace},
            "roleRef": {
                "apiGroup": "rbac.authorization.k8s.io",
                "kind": "ClusterRole",
                "name": role,
            },
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": group}],
        }
        applied = kubectl("apply", "-f", "-", stdin=binding)
        assert applied.returncode == 0, applied.stderr
        who = ("--as", "somebody", "--as-group", group, "-n", strict.namespace)
        return kubectl("auth", "can-i", *asked, *who).stdout.strip() == "yes"

    wait_for("the roles are aggregated", lambda: may("view", "list", "tritonmodels"), 30)
    assert may("edit", "create", "tritonmodels")
    assert may("edit", "patch", "tritonservers", "--subresource=scale")
    assert not may("view", "create", "tritonmodels")
    assert not may("edit", "patch", "tritonmodels", "--subresource=status")


def test_the_uninstall_leaves_the_crds_and_what_serves_and_nothing_else(
    strict: World, operator: Installation
) -> None:
    operator.uninstall()

    kept = {f"customresourcedefinition.apiextensions.k8s.io/{name}" for name in CRDS}
    wait_for(
        "only the CRDs are left",
        lambda: set(operator.leftovers()) == kept,
        60,
        seen=operator.leftovers,
    )
    assert triton.number(strict.service("own"), "own") == 2.0
    assert triton.number(strict.service("guest"), "later") == 5.0


def test_an_operator_of_one_namespace_has_rights_nowhere_else(
    kube: Kube, strict: World, namespaces: Callable[[str], str], figure: Callable[[str], None]
) -> None:
    home, team = namespaces("ops"), namespaces("team")
    for name in (home, team):
        restrict(kube, name)
    mine = World(kube, team)
    own = Installation(kube, home, "team-triton-operator")
    log = AuditLog(f"system:serviceaccount:{home}:{own.release}") if AuditLog.exists() else None
    own.install(
        **{"watchNamespaces": [team], "crds.install": False, "rbac.aggregateClusterRoles": False}
    )

    mine.apply(model("mine", version(1, adds(1))))
    mine.wait_ready("mine")
    strict.apply(model("not-mine", version(1, adds(1))))
    told = own.test()

    assert re.search(r"Phase:\s+Succeeded", told), told
    assert not [name for name in own.leftovers() if name.startswith("clusterrole")]
    assert rights(own, team) == (True, True, False)
    assert rights(own, strict.namespace) == (False, False, False)
    assert rights(own, home) == (False, False, False)
    if log is not None:
        refused = [str(entry) for entry in log.entries() if entry.forbidden]
        figure(f"operator of one namespace: {len(log.entries())} requests, {len(refused)} refused")
        assert not refused
        assert {entry.namespace for entry in log.entries()} <= {team, home, ""}
    untouched = {"observedGeneration": -1}
    assert strict.status("TritonModel", "not-mine") == untouched

    mine.delete("TritonModel", "mine")
    mine.wait_gone("Deployment", "mine")
    own.uninstall()
    wait_for("nothing is left", lambda: not own.leftovers(), 60, seen=own.leftovers)


def rights(installation: Installation, namespace: str) -> tuple[bool, ...]:
    """Whether an operator may make Deployments, read one Secret, list them all somewhere."""
    account = f"system:serviceaccount:{installation.namespace}:{installation.release}"
    asked = (("create", "deployments"), ("get", "secrets"), ("list", "secrets"))
    return tuple(
        kubectl("auth", "can-i", *each, "--as", account, "-n", namespace).stdout.strip() == "yes"
        for each in asked
    )


def test_the_namespaces_are_as_strict_as_these_tests_need(strict: World) -> None:
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "lax"},
        "spec": {"containers": [{"name": "lax", "image": "lax"}]},
    }
    for namespace in (NAMESPACE, strict.namespace):
        with pytest.raises(Refused, match="violates PodSecurity"):
            strict.kube.json("POST", path_of("Pod", namespace), pod)
