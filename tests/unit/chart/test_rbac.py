"""The chart's permissions are what the code uses, and nothing else."""

from collections.abc import Iterator

import pytest

from tests.unit.chart.rendering import NAME, NAMESPACE, Manifest, only, render
from triton_operator.adapters.api_client import KINDS
from triton_operator.adapters.leases import LEASE
from triton_operator.handlers.operator import CHILD_KINDS, FOREIGN_KINDS, OWN_KINDS

Permission = tuple[str, str, str]
"""API group, resource, verb."""

OURS = "triton-operator.io"

USED = {
    # kopf, and `Operator._refresh`
    *(
        (OURS, plural, verb)
        for plural in ("tritonmodels", "tritonservers")
        for verb in ("list", "watch")
    ),
    *(("apps", "deployments", verb) for verb in ("list", "watch")),
    *(("", "services", verb) for verb in ("list", "watch")),
    *(("", "persistentvolumeclaims", verb) for verb in ("list", "watch")),
    *(("networking.k8s.io", "networkpolicies", verb) for verb in ("list", "watch")),
    *(("policy", "poddisruptionbudgets", verb) for verb in ("list", "watch")),
    *(("batch", "jobs", verb) for verb in ("list", "watch")),
    *(("", "pods", verb) for verb in ("list", "watch")),
    *(("autoscaling", "horizontalpodautoscalers", verb) for verb in ("list", "watch")),
    # `KubeCluster.apply`: server-side apply of children, and of servers that models bring
    *((OURS, "tritonservers", verb) for verb in ("create", "patch")),
    *(("apps", "deployments", verb) for verb in ("create", "patch")),
    *(("", "services", verb) for verb in ("create", "patch")),
    *(("policy", "poddisruptionbudgets", verb) for verb in ("create", "patch")),
    *(("", "persistentvolumeclaims", verb) for verb in ("create", "patch")),
    # `KubeCluster.claim`
    ("", "persistentvolumeclaims", "get"),
    # `KubeCluster.create`: POST, then GET if it exists
    *(("batch", "jobs", verb) for verb in ("create", "get")),
    *(("", "configmaps", verb) for verb in ("create", "get")),
    # `KubeCluster.control_key`, `find_control_key`, `drop_control_key`
    *(("", "secrets", verb) for verb in ("create", "get", "delete")),
    # `KubeCluster.delete`: `ModelAssigner`, ends of servers, old Jobs, headless Services, pods
    (OURS, "tritonservers", "delete"),
    ("apps", "deployments", "delete"),
    ("", "services", "delete"),
    ("networking.k8s.io", "networkpolicies", "delete"),
    ("policy", "poddisruptionbudgets", "delete"),
    ("", "pods", "delete"),
    ("batch", "jobs", "delete"),
    ("", "configmaps", "delete"),
    # `KubeCluster.set_deletion_cost`
    ("", "pods", "patch"),
    # `KubeCluster.write_status`, `record_event`, `read_log`
    (OURS, "tritonmodels/status", "patch"),
    (OURS, "tritonservers/status", "patch"),
    ("events.k8s.io", "events", "create"),
    ("", "pods/log", "get"),
    # blockOwnerDeletion where OwnerReferencesPermissionEnforcement is on
    (OURS, "tritonmodels/finalizers", "update"),
    (OURS, "tritonservers/finalizers", "update"),
}


USED_FOR_NETWORK_POLICIES = {
    ("networking.k8s.io", "networkpolicies", verb) for verb in ("create", "patch")
}
"""Only where `servers.networkPolicy.enabled`."""


def permissions(role: Manifest) -> Iterator[Permission]:
    for rule in role["rules"]:
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                yield from ((group, resource, verb) for verb in rule["verbs"])


@pytest.fixture(scope="module")
def clusterwide() -> list[Manifest]:
    return render()


def test_the_operator_may_do_what_its_code_does_and_nothing_else(
    clusterwide: list[Manifest],
) -> None:
    granted = list(permissions(only("ClusterRole", clusterwide, name=NAME)))
    assert set(granted) == USED
    assert len(granted) == len(USED)


def test_every_kind_that_the_code_knows_has_a_rule(clusterwide: list[Manifest]) -> None:
    role = only("ClusterRole", clusterwide, name=NAME)
    granted = {(group, plural) for group, plural, _ in permissions(role)}
    assert granted >= {(kind.api.rpartition("/")[0], kind.plural) for kind in KINDS.values()}


def test_every_kind_that_is_watched_may_be_listed_and_watched(
    clusterwide: list[Manifest],
) -> None:
    granted = set(permissions(only("ClusterRole", clusterwide, name=NAME)))
    for kind in map(KINDS.__getitem__, (*OWN_KINDS, *CHILD_KINDS, *FOREIGN_KINDS)):
        group = kind.api.rpartition("/")[0]
        assert {(group, kind.plural, "list"), (group, kind.plural, "watch")} <= granted


def test_no_rule_holds_for_everything() -> None:
    for objects in (render(), render(watchNamespaces=["a"])):
        for role in (each for each in objects if each["kind"] in ("Role", "ClusterRole")):
            assert "*" not in {part for permission in permissions(role) for part in permission}


def test_the_cluster_wide_role_is_bound_to_the_service_account(
    clusterwide: list[Manifest],
) -> None:
    binding = only("ClusterRoleBinding", clusterwide)
    account = only("ServiceAccount", clusterwide, name=NAME)["metadata"]
    assert binding["roleRef"] == {
        "apiGroup": "rbac.authorization.k8s.io",
        "kind": "ClusterRole",
        "name": NAME,
    }
    assert binding["subjects"] == [
        {"kind": "ServiceAccount", "name": account["name"], "namespace": account["namespace"]}
    ]


def test_listed_namespaces_get_the_same_rights_one_by_one_and_the_cluster_none() -> None:
    objects = render(watchNamespaces=["team-a", "team-b"], rbac={"aggregateClusterRoles": False})
    assert not [each for each in objects if each["kind"].startswith("ClusterRole")]
    for namespace in ("team-a", "team-b"):
        role = only("Role", objects, namespace=namespace)
        binding = only("RoleBinding", objects, namespace=namespace)
        assert set(permissions(role)) == USED
        assert binding["roleRef"]["name"] == role["metadata"]["name"]
        assert binding["subjects"] == [
            {"kind": "ServiceAccount", "name": NAME, "namespace": NAMESPACE}
        ]


def test_the_operator_may_read_and_renew_its_own_lease_and_no_other() -> None:
    for objects in (render(), render(watchNamespaces=["team-a", NAMESPACE])):
        role = only("Role", objects, name=f"{NAME}-lease")
        binding = only("RoleBinding", objects, name=f"{NAME}-lease")
        assert role["metadata"]["namespace"] == binding["metadata"]["namespace"] == NAMESPACE
        # `KubeLeases.read` and `write`: GET, PATCH, POST if there is none
        group = LEASE.api.rpartition("/")[0]
        assert sorted(permissions(role)) == sorted(
            (group, LEASE.plural, verb) for verb in ("get", "patch", "create")
        )
        named = next(rule for rule in role["rules"] if "patch" in rule["verbs"])
        lease = only("Lease", objects, namespace=NAMESPACE)
        assert named["resourceNames"] == [lease["metadata"]["name"]]
        assert "create" not in named["verbs"]
        assert binding["roleRef"]["name"] == role["metadata"]["name"]
        assert binding["subjects"] == [
            {"kind": "ServiceAccount", "name": NAME, "namespace": NAMESPACE}
        ]


def test_beside_the_operator_only_its_own_deployment_may_be_scaled() -> None:
    objects = render()
    role = only("Role", objects, namespace=NAMESPACE, name=f"{NAME}-release")
    assert set(permissions(role)) == {("apps", "deployments/scale", "patch"), ("", "pods", "list")}
    scale = next(rule for rule in role["rules"] if rule["apiGroups"] == ["apps"])
    assert scale["resourceNames"] == [only("Deployment", objects)["metadata"]["name"]]


@pytest.mark.parametrize("watched", [[], ["team-a"]])
def test_network_policies_are_written_only_where_they_are_wanted(watched: list[str]) -> None:
    objects = render(
        watchNamespaces=watched, servers={"networkPolicy": {"enabled": True, "clients": []}}
    )
    kind = "Role" if watched else "ClusterRole"
    granted = list(permissions(only(kind, objects, name=NAME)))
    assert set(granted) == USED | USED_FOR_NETWORK_POLICIES
    assert len(granted) == len(set(granted))


@pytest.mark.parametrize("watched", [[], ["team-a"]])
def test_users_get_rights_by_their_roles_and_the_operator_none_of_them(watched: list[str]) -> None:
    objects = render(watchNamespaces=watched)
    granted: dict[str, set[Permission]] = {"view": set(), "edit": set(), "admin": set()}
    for name in (f"{NAME}-view", f"{NAME}-edit"):
        role = only("ClusterRole", objects, name=name)
        for to, found in granted.items():
            if role["metadata"]["labels"].get(f"rbac.authorization.k8s.io/aggregate-to-{to}"):
                found |= set(permissions(role))
    assert {verb for *_, verb in granted["view"]} == {"get", "list", "watch"}
    assert granted["edit"] == granted["admin"] > granted["view"]
    assert {(OURS, "tritonmodels", verb) for verb in ("create", "update", "patch", "delete")} <= (
        granted["edit"]
    )
    # The status is the operator's word.
    assert not [resource for _, resource, _ in granted["edit"] if resource.endswith("/status")]
    bound = {each["roleRef"]["name"] for each in objects if each["kind"].endswith("RoleBinding")}
    assert not bound & {f"{NAME}-view", f"{NAME}-edit"}


def test_the_test_of_an_installation_has_its_own_rights_while_it_runs() -> None:
    objects = render()
    of_test = [each for each in objects if each["metadata"]["name"] == f"{NAME}-test"]
    assert {each["kind"] for each in of_test} == {"ServiceAccount", "Role", "RoleBinding", "Pod"}
    for each in of_test:
        annotations = each["metadata"]["annotations"]
        assert annotations["helm.sh/hook"] == "test"
        assert annotations["helm.sh/hook-delete-policy"] == "before-hook-creation,hook-succeeded"
    assert set(permissions(only("Role", of_test))) == {
        ("apps", "deployments/scale", "get"),
        ("", "pods", "list"),
        (OURS, "tritonmodels", "create"),
    }
    binding, pod = only("RoleBinding", of_test), only("Pod", of_test)
    assert binding["roleRef"]["name"] == f"{NAME}-test"
    assert [each["name"] for each in binding["subjects"]] == [f"{NAME}-test"]
    assert pod["spec"]["serviceAccountName"] == f"{NAME}-test"
