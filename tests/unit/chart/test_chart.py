"""What the chart installs."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import chart_values
from tests.unit.chart.rendering import (
    CHART,
    NAME,
    NAMESPACE,
    RELEASE,
    REPOSITORY,
    Manifest,
    helm,
    only,
    parse,
    render,
    template,
)
from triton_operator.api.model import TritonModel
from triton_operator.desired.metadata import build_labels
from triton_operator.desired.service import GRPC_PORT, HTTP_PORT, METRICS_PORT
from triton_operator.handlers.operator import CHILD_SELECTOR
from triton_operator.settings import PREFIX, ServerAccess, Settings

SHOP = {"namespaceSelector": {"matchLabels": {"team": "shop"}}}
MONITORING = {"podSelector": {"matchLabels": {"app": "prometheus"}}}
OPERATOR = {
    "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": NAMESPACE}},
    "podSelector": {
        "matchLabels": {
            "app.kubernetes.io/name": "triton-operator",
            "app.kubernetes.io/instance": RELEASE,
            "app.kubernetes.io/component": "operator",
        }
    },
}

POD = {"metadata.name": f"{NAME}-1"}
RELEASED: dict[str, Any] = {
    "lease_namespace": NAMESPACE,
    "lease_name": NAME,
    "identity": POD["metadata.name"],
}
"""What is different in every release."""

CRDS = sorted((REPOSITORY / "crds").glob("*.yaml"))


@pytest.fixture(scope="module")
def objects() -> list[Manifest]:
    return render()


EVERYTHING: dict[str, Any] = {"networkPolicy": {"enabled": True}}
WORKLOADS = ("Deployment", "Job", "Pod")
"""The operator, the hook before the uninstall, and the test."""


def pod_of(workload: Manifest) -> Manifest:
    if workload["kind"] == "Pod":
        return dict(workload["spec"])
    return dict(workload["spec"]["template"]["spec"])


def container_of(workload: Manifest) -> Manifest:
    containers: list[Manifest] = pod_of(workload)["containers"]
    assert len(containers) == 1
    return containers[0]


def settings_of(workload: Manifest) -> Settings:
    environment = {
        each["name"]: each.get("value") or POD[each["valueFrom"]["fieldRef"]["fieldPath"]]
        for each in container_of(workload)["env"]
    }
    known = {PREFIX + name.upper() for name in Settings.__dataclass_fields__}
    assert set(environment) <= known
    return Settings.from_environment(environment)


# ---- the chart itself ---------------------------------------------------------------------


def test_helm_has_nothing_to_complain_about() -> None:
    linted = helm("lint", "--strict", CHART)
    assert linted.returncode == 0, linted.stdout + linted.stderr


def test_the_chart_is_of_the_same_version_as_the_package() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    package = re.search(r'^version = "(.+)"', (REPOSITORY / "pyproject.toml").read_text(), re.M)
    assert package is not None
    assert chart["version"] == chart["appVersion"] == package[1]


def test_every_value_is_explained_and_described_by_the_schema() -> None:
    text = (CHART / "values.yaml").read_text()
    values, schema = (
        yaml.safe_load(text),
        yaml.safe_load((CHART / "values.schema.json").read_text()),
    )
    assert set(values) == set(schema["properties"]) - {"global", "enabled"}
    for block in text.split("\n\n"):
        assert block.startswith("#") or "\n  #" in block, f"no comment:\n{block}"
    assert len(list(chart_values.read_values(text))) > 40


def test_descriptions_and_table_of_the_values_are_those_of_their_comments() -> None:
    for path, content in chart_values.generate().items():
        assert path.read_text() == content, "run `make chart`"


def test_a_value_without_a_comment_is_found() -> None:
    values = chart_values.read_values("# Known.\na: {b: 1}\nc:\n  # Told.\n  d: 2\n  e: 3\n")
    assert next(values) == chart_values.Value(("a",), {"b": 1}, "Known.")
    assert next(values) == chart_values.Value(("c", "d"), 2, "Told.")
    with pytest.raises(ValueError, match=r"c\.e has no comment"):
        next(values)


def test_no_part_of_the_schema_takes_what_it_does_not_know() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())

    def walk(part: Any, path: str) -> Iterator[str]:
        if isinstance(part, dict):
            if "properties" in part and part.get("additionalProperties") is not False:
                yield path
            for name, each in part.items():
                yield from walk(each, f"{path}.{name}")

    assert list(walk(schema, "")) == []


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"watchNamespaces": "team-a"}, "watchNamespaces"),
        ({"watchNamespaces": ["team-*"]}, "watchNamespaces"),
        ({"watchNamespaces": ["a", "a"]}, "watchNamespaces"),
        ({"resyncSeconds": "soon"}, "resyncSeconds"),
        ({"resyncSeconds": 0}, "resyncSeconds"),
        ({"autoscaling": {"intervalSeconds": 0}}, "intervalSeconds"),
        ({"autoscaling": {"maxGPUs": -1}}, "maxGPUs"),
        ({"autoscaling": {"namespaceMaxGPUs": {"team-a": 0}}}, "namespaceMaxGPUs"),
        ({"autoscaling": {"namespaceMaxGPUs": {"team a": 1}}}, "team a"),
        ({"image": {"pullPolicy": "Sometimes"}}, "pullPolicy"),
        ({"image": {"tag": 1.0}}, "tag"),
        ({"imagePullSecrets": ["registry"]}, "imagePullSecrets"),
        ({"serverImage": ""}, "serverImage"),
        ({"crds": {"keep": "yes"}}, "keep"),
        ({"podLabels": {"a": 1}}, "podLabels"),
        ({"logLevel": "loud"}, "logLevel"),
        ({"syncMemoryLimit": "1"}, "syncMemoryLimit"),
        ({"syncMemoryLimit": "64Mi"}, "syncMemoryLimit"),
        ({"syncMemoryLimit": "255Mi"}, "syncMemoryLimit"),
        ({"servers": {"imagePullSecrets": ["registry"]}}, "imagePullSecrets"),
        ({"servers": {"networkPolicy": {"clients": [{"team": "a"}]}}}, "team"),
        ({"servers": {"networkPolicy": {"clients": [{}]}}}, "clients"),
        ({"extraEnv": [{"name": "TRITON_OPERATOR_NAMESPACES", "value": "a"}]}, "extraEnv"),
        ({"networkPolicy": {"apiServerPorts": []}}, "apiServerPorts"),
        ({"networkPolicy": {"apiServerCIDRs": ["10.0.0.1"]}}, "apiServerCIDRs"),
        ({"revisionHistoryLimit": -1}, "revisionHistoryLimit"),
        ({"replicas": "two"}, "replicas"),
        ({"leaderElection": {"leaseDurationSeconds": 2}}, "leaseDurationSeconds"),
        ({"logFormat": "xml"}, "logFormat"),
        ({"security": {"authorsNeedPodRights": "yes"}}, "authorsNeedPodRights"),
        ({"security": {"allowedImages": ["nvcr.io/"]}}, "allowedImages"),
        ({"security": {"allowedImages": ["a' + 'b"]}}, "allowedImages"),
        ({"security": {"allowedBackends": ["python,onnxruntime"]}}, "allowedBackends"),
        ({"metrics": {"podMonitor": {"interval": "often"}}}, "interval"),
        ({"metrics": {"rules": {"labels": {"a": 1}}}}, "labels"),
    ],
)
def test_the_schema_refuses(values: Manifest, message: str) -> None:
    refused = template(values)
    assert refused.returncode != 0
    assert "values don't meet the specifications of the schema" in refused.stderr
    assert message in refused.stderr


def test_the_first_model_of_the_notes_is_a_model() -> None:
    notes = (CHART / "templates" / "NOTES.txt").read_text()
    found = re.search(r"<<'END'\n(.*?)\n +END\n", notes, re.S)
    assert found is not None
    model = yaml.safe_load(found[1])
    model["metadata"] |= {"namespace": "default", "uid": "0"}
    TritonModel.model_validate(model)
    compile(model["spec"]["versions"][0]["files"]["model.py"], "model.py", "exec")


# ---- the CRDs -----------------------------------------------------------------------------


def test_the_chart_carries_the_generated_crds() -> None:
    copies = sorted((CHART / "files" / "crds").glob("*"))
    assert [copy.name for copy in copies] == [crd.name for crd in CRDS]
    for copy, crd in zip(copies, CRDS, strict=True):
        assert copy.read_bytes() == crd.read_bytes(), f"copy {crd} to {copy.parent}"


def test_crds_are_installed_word_for_word_and_kept() -> None:
    objects = render()
    for path in CRDS:
        wanted = yaml.safe_load(path.read_text())
        found = only("CustomResourceDefinition", objects, name=wanted["metadata"]["name"])
        assert found["metadata"].pop("annotations") == {"helm.sh/resource-policy": "keep"}
        assert found["metadata"].pop("labels")
        assert found == wanted


def test_crds_go_with_the_release_if_they_are_not_to_be_kept() -> None:
    crds = [
        each for each in render(crds={"keep": False}) if each["kind"] == "CustomResourceDefinition"
    ]
    assert len(crds) == len(CRDS)
    assert not any("annotations" in crd["metadata"] for crd in crds)


def test_crds_can_be_left_to_somebody_else() -> None:
    kinds = {each["kind"] for each in render(crds={"install": False})}
    assert "CustomResourceDefinition" not in kinds


# ---- the Deployment -----------------------------------------------------------------------


def test_an_upgrade_ends_the_old_operator_only_when_the_new_one_can_take_over(
    objects: list[Manifest],
) -> None:
    spec = only("Deployment", objects)["spec"]
    rolling = {"maxUnavailable": 0, "maxSurge": 1}
    assert spec["replicas"] == 1
    assert spec["strategy"] == {"type": "RollingUpdate", "rollingUpdate": rolling}


def test_several_operators_are_spread_and_not_evicted_together() -> None:
    objects = render(replicas=2)
    deployment, budget = only("Deployment", objects), only("PodDisruptionBudget", objects)
    assert deployment["spec"]["replicas"] == 2
    assert budget["spec"]["maxUnavailable"] == 1
    assert budget["spec"]["selector"] == deployment["spec"]["selector"]
    (spread,) = pod_of(deployment)["topologySpreadConstraints"]
    assert spread["labelSelector"] == deployment["spec"]["selector"]
    assert spread["topologyKey"] == "kubernetes.io/hostname"
    assert spread["whenUnsatisfiable"] == "ScheduleAnyway"


def test_the_only_operator_can_be_evicted(objects: list[Manifest]) -> None:
    assert not [each for each in objects if each["kind"] == "PodDisruptionBudget"]


def test_every_release_has_a_lease_of_its_own(objects: list[Manifest]) -> None:
    settings = settings_of(only("Deployment", objects))
    assert (settings.lease_namespace, settings.lease_name) == (NAMESPACE, NAME)
    assert only("Lease", objects, namespace=NAMESPACE, name=NAME).keys() == {
        "apiVersion",
        "kind",
        "metadata",
    }
    assert settings.identity == POD["metadata.name"]


@pytest.mark.parametrize("kind", WORKLOADS)
def test_pods_meet_the_restricted_standard(objects: list[Manifest], kind: str) -> None:
    workload = only(kind, objects)
    pod, container = pod_of(workload), container_of(workload)
    assert pod["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": 1000,
        "runAsGroup": 1000,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod["volumes"] == [{"name": "tmp", "emptyDir": {}}]
    assert container["volumeMounts"] == [{"name": "tmp", "mountPath": "/tmp"}]
    assert container["resources"] == {
        "requests": {"cpu": "50m", "memory": "128Mi"},
        "limits": {"memory": "512Mi"},
    }


def test_probes_ask_where_the_operator_answers(objects: list[Manifest]) -> None:
    container = container_of(only("Deployment", objects))
    assert container["args"] == ["run"]
    assert container["ports"] == [
        {"name": "probes", "containerPort": Settings().probe_port},
        {"name": "metrics", "containerPort": Settings().metrics_port},
    ]
    for probe in ("startupProbe", "livenessProbe"):
        assert container[probe]["httpGet"] == {"path": "/healthz", "port": "probes"}
    assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "probes"}


def test_the_defaults_of_values_and_code_agree(objects: list[Manifest]) -> None:
    image = container_of(only("Deployment", objects))["image"]
    assert image == "ghcr.io/triton-operator/triton-operator:0.1.0"
    assert settings_of(only("Deployment", objects)) == Settings(sync_image=image, **RELEASED)


def test_values_reach_the_operator() -> None:
    objects = render(
        image={"repository": "registry.example/operator", "tag": "1.2", "pullPolicy": "Always"},
        serverImage="registry.example/tritonserver:1",
        watchNamespaces=["team-a", "team-b"],
        resyncSeconds=7.5,
        syncMemoryLimit="2Gi",
        autoscaling={
            "intervalSeconds": 10,
            "scrapeDeadlineSeconds": 1.5,
            "maxGPUs": 16,
            "namespaceMaxGPUs": {"team-a": 8, "team-b": 12},
        },
        logLevel="debug",
        servers={
            "imagePullSecrets": [{"name": "registry"}, {"name": "other"}],
            "networkPolicy": {"enabled": True, "clients": [SHOP], "scrapers": [MONITORING]},
        },
        leaderElection={"leaseDurationSeconds": 20},
        security={"allowedBackends": ["tensorrt", "onnxruntime"]},
        logFormat="text",
    )
    wanted = Settings(
        server_image="registry.example/tritonserver:1",
        sync_image="registry.example/operator:1.2",
        sync_image_pull_policy="Always",
        namespaces=("team-a", "team-b"),
        resync_seconds=7.5,
        sync_memory_limit="2Gi",
        autoscaling_interval_seconds=10,
        scrape_deadline_seconds=1.5,
        max_gpus=16,
        namespace_max_gpus={"team-a": 8, "team-b": 12},
        log_level="debug",
        image_pull_secrets=("registry", "other"),
        allowed_backends=("tensorrt", "onnxruntime"),
        server_access=ServerAccess(operator=(OPERATOR,), clients=(SHOP,), scrapers=(MONITORING,)),
        lease_seconds=20,
        **RELEASED,
        log_format="text",
    )
    for kind in WORKLOADS:
        workload = only(kind, objects)
        assert settings_of(workload) == wanted
        assert container_of(workload)["image"] == "registry.example/operator:1.2"
        assert container_of(workload)["imagePullPolicy"] == "Always"
    assert settings_of(only("Deployment", render(syncImage="mine:1"))).sync_image == "mine:1"


def test_large_numbers_reach_the_operator() -> None:
    """Helm reads the numbers of a values file as floating-point ones."""
    found = settings_of(
        only(
            "Deployment",
            render(
                resyncSeconds=3_600_000,
                autoscaling={"maxGPUs": 2_000_000, "namespaceMaxGPUs": {"team-a": 1_000_000}},
                leaderElection={"leaseDurationSeconds": 1_234_567},
            ),
        )
    )
    assert (found.resync_seconds, found.lease_seconds) == (3_600_000, 1_234_567)
    assert (found.max_gpus, found.namespace_max_gpus) == (2_000_000, {"team-a": 1_000_000})


def test_a_map_or_list_that_is_left_empty_is_as_if_it_were_not_there(
    objects: list[Manifest],
) -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    required = json.loads((CHART / "values.schema.json").read_text())["required"]
    empty = [
        name for name, default in values.items() if default in ({}, []) and name not in required
    ]
    assert {"podLabels", "commonLabels", "tolerations"} <= set(empty)
    assert render(**dict.fromkeys(empty)) == objects


@pytest.mark.parametrize("kind", WORKLOADS)
def test_placement_reaches_the_pods(kind: str) -> None:
    placement: dict[str, Any] = {
        "nodeSelector": {"pool": "system"},
        "tolerations": [{"key": "system", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}},
        "priorityClassName": "system-cluster-critical",
        "imagePullSecrets": [{"name": "registry"}],
    }
    pod = pod_of(only(kind, render(**placement)))
    assert {name: pod[name] for name in placement} == placement


def test_labels_of_the_user_do_not_undo_those_of_the_chart() -> None:
    labels = {"team": "ml", "app.kubernetes.io/component": "mine"}
    deployment = only("Deployment", render(podLabels=labels, podAnnotations={"note": "a"}))
    pod = deployment["spec"]["template"]["metadata"]
    assert pod["annotations"] == {"note": "a"}
    assert pod["labels"]["team"] == "ml"
    assert pod["labels"].items() >= deployment["spec"]["selector"]["matchLabels"].items()


def test_nothing_of_the_chart_looks_like_a_child_of_a_server(objects: list[Manifest]) -> None:
    label, _, value = CHILD_SELECTOR.partition("=")
    assert not any(each["metadata"]["labels"].get(label) == value for each in objects)


def test_a_service_account_of_the_user_is_used() -> None:
    objects = render(serviceAccount={"create": False, "name": "mine"})
    assert not [each for each in objects if each["kind"] == "ServiceAccount"]
    assert only("ClusterRoleBinding", objects)["subjects"][0]["name"] == "mine"
    for kind in WORKLOADS:
        assert pod_of(only(kind, objects))["serviceAccountName"] == "mine"
    for binding in (each for each in objects if each["kind"] == "RoleBinding"):
        assert [each["name"] for each in binding["subjects"]] == ["mine"]


def test_names_are_not_too_long_whatever_the_release_is_called() -> None:
    objects = render(fullnameOverride="x" * 63, crds={"install": False})
    assert all(len(each["metadata"]["name"]) <= 63 for each in objects)


@pytest.mark.parametrize("enabled", [True, False])
def test_a_chart_that_depends_on_it_may_have_a_condition(tmp_path: Path, enabled: bool) -> None:
    name = "triton-operator"
    depends = [{"name": name, "version": "*", "condition": f"{name}.enabled"}]
    umbrella = {"apiVersion": "v2", "name": "umbrella", "version": "1.0.0", "dependencies": depends}
    (tmp_path / "Chart.yaml").write_text(json.dumps(umbrella))
    (tmp_path / "values.yaml").write_text(json.dumps({name: {"enabled": enabled}}))
    (tmp_path / "charts").mkdir()
    shutil.copytree(CHART, tmp_path / "charts" / name)

    rendered = parse(helm("template", RELEASE, tmp_path, "--kube-version", "1.34.0"))
    assert ("Deployment" in {each["kind"] for each in rendered}) == enabled


def test_what_users_add_to_pods_is_there() -> None:
    added: dict[str, Any] = {
        "extraEnv": [{"name": "HTTPS_PROXY", "value": "http://proxy:3128"}],
        "extraVolumes": [{"name": "ca", "configMap": {"name": "ca"}}],
        "extraVolumeMounts": [{"name": "ca", "mountPath": "/ca", "readOnly": True}],
    }
    objects = render(
        **added,
        topologySpreadConstraints=[{"maxSkew": 1}],
        revisionHistoryLimit=0,
        podSecurityContext={"runAsUser": None, "runAsGroup": None, "fsGroup": 7},
        securityContext={"runAsUser": 7},
    )
    for kind in WORKLOADS:
        pod, container = pod_of(only(kind, objects)), container_of(only(kind, objects))
        assert added["extraEnv"][0] in container["env"]
        assert [each["name"] for each in pod["volumes"]] == ["tmp", "ca"]
        assert container["volumeMounts"][1:] == added["extraVolumeMounts"]
        assert pod["securityContext"] == {
            "runAsNonRoot": True,
            "fsGroup": 7,
            "seccompProfile": {"type": "RuntimeDefault"},
        }
        assert container["securityContext"]["runAsUser"] == 7
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
    deployment = only("Deployment", objects)
    assert deployment["spec"]["revisionHistoryLimit"] == 0
    assert pod_of(deployment)["topologySpreadConstraints"] == [{"maxSkew": 1}]


def test_common_labels_are_on_all_objects_and_undo_none() -> None:
    before = {(each["kind"], each["metadata"]["name"]): each for each in render(**EVERYTHING)}
    own = {"app.kubernetes.io/name": "mine", "app.kubernetes.io/component": "mine"}
    objects = render(commonLabels={"team": "ml", **own}, **EVERYTHING)
    assert len(objects) == len(before)
    for each in objects:
        former = before[each["kind"], each["metadata"]["name"]]["metadata"]["labels"]
        assert each["metadata"]["labels"] == {"team": "ml", **former}
    deployment = only("Deployment", objects)["spec"]
    assert deployment["selector"] == only("Deployment", list(before.values()))["spec"]["selector"]
    pod = deployment["template"]["metadata"]["labels"]
    assert pod.items() >= deployment["selector"]["matchLabels"].items()


def test_no_network_policy_is_there_unasked(objects: list[Manifest]) -> None:
    assert "NetworkPolicy" not in {each["kind"] for each in objects}


# ---- the network --------------------------------------------------------------------------


def network_policy(**values: Any) -> Manifest:
    settings = {"enabled": True, **values.pop("networkPolicy", {})}
    return dict(only("NetworkPolicy", render(networkPolicy=settings, **values))["spec"])


def test_the_network_policy_is_about_all_pods_of_the_release() -> None:
    selected = network_policy()["podSelector"]["matchLabels"]
    objects = render()
    for kind in WORKLOADS:
        workload = only(kind, objects)
        metadata = (workload if kind == "Pod" else workload["spec"]["template"])["metadata"]
        assert metadata["labels"].items() >= selected.items()


def test_probes_and_who_reads_metrics_come_in_and_nothing_else() -> None:
    assert network_policy()["ingress"] == [{"ports": [{"port": "probes"}, {"port": "metrics"}]}]


def test_names_the_api_server_and_servers_can_be_reached(objects: list[Manifest]) -> None:
    names, api, servers, operator = network_policy()["egress"]
    assert names["ports"] == [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]
    assert api == {"ports": [{"port": 443}, {"port": 6443}]}
    assert [each["port"] for each in servers["ports"]] == [HTTP_PORT, GRPC_PORT, METRICS_PORT]
    (peer,) = servers["to"]
    assert peer["namespaceSelector"] == {}
    assert build_labels("any", "server").items() >= peer["podSelector"]["matchLabels"].items()
    assert operator["ports"] == [{"port": Settings().probe_port}]
    assert operator["to"][0]["podSelector"] == only("Deployment", objects)["spec"]["selector"]


def test_what_can_be_reached_is_narrowed_and_widened() -> None:
    proxy = {"to": [{"ipBlock": {"cidr": "10.1.0.0/16"}}]}
    egress = network_policy(
        watchNamespaces=["team-a", "team-b"],
        networkPolicy={
            "apiServerCIDRs": ["10.0.0.1/32"],
            "apiServerPorts": [8443],
            "extraEgress": [proxy],
        },
    )["egress"]
    assert egress[1] == {
        "ports": [{"port": 8443}],
        "to": [{"ipBlock": {"cidr": "10.0.0.1/32"}}],
    }
    (expression,) = egress[2]["to"][0]["namespaceSelector"]["matchExpressions"]
    assert (expression["key"], expression["values"]) == (
        "kubernetes.io/metadata.name",
        ["team-a", "team-b"],
    )
    assert egress[-1] == proxy


def test_the_operators_peer_selects_the_operator(objects: list[Manifest]) -> None:
    deployment = only("Deployment", objects)
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert deployment["metadata"]["namespace"] == NAMESPACE
    assert labels.items() >= OPERATOR["podSelector"]["matchLabels"].items()


# ---- the uninstall ------------------------------------------------------------------------


def test_before_the_uninstall_a_job_stops_this_operator_and_lets_go_of_its_servers(
    objects: list[Manifest],
) -> None:
    job, deployment = only("Job", objects), only("Deployment", objects)
    assert job["metadata"]["annotations"] == {
        "helm.sh/hook": "pre-delete",
        "helm.sh/hook-delete-policy": "before-hook-creation,hook-succeeded",
        "helm.sh/hook-output-log-policy": "hook-succeeded,hook-failed",
    }
    assert container_of(job)["args"][:2] == ["release", f"--deployment={NAMESPACE}/{NAME}"]
    assert deployment["metadata"]["name"] == NAME
    assert job["spec"]["backoffLimit"] == 3
    assert job["spec"]["activeDeadlineSeconds"] < 300
    assert pod_of(job)["serviceAccountName"] == pod_of(deployment)["serviceAccountName"]


def test_the_job_does_not_wait_for_its_own_pod(objects: list[Manifest]) -> None:
    selector = only("Deployment", objects)["spec"]["selector"]["matchLabels"]
    labels = only("Job", objects)["spec"]["template"]["metadata"]["labels"]
    assert not labels.items() >= selector.items()


def test_without_the_hook_neither_the_job_nor_its_rights_are_there() -> None:
    objects = render(uninstall={"release": False})
    assert not [each for each in objects if each["kind"] == "Job"]
    assert not [each for each in objects if each["metadata"]["name"].endswith("-release")]
