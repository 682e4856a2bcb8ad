"""What holds of every object that is made for a server."""

import base64
import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.unit.desired.servers import (
    CASES,
    FULL,
    KEY,
    LONGEST_NAME,
    Case,
    every_case,
    meta,
    own,
    pod_specs,
    server,
)
from triton_operator import names
from triton_operator.adapters.api_client import KINDS
from triton_operator.api.quantity import parse_quantity, quantity_bytes
from triton_operator.api.server import TritonServer
from triton_operator.desired.claim import build_claim
from triton_operator.desired.control_key import ControlKey, build_control_key, read_control_key
from triton_operator.desired.deployment import build_deployment, template_revision
from triton_operator.desired.metadata import ChildNames, build_selector
from triton_operator.desired.placement import build_claim_label, build_placement
from triton_operator.desired.sync_job import build_sync_job
from triton_operator.desired.sync_mounts import source_claims
from triton_operator.observed import Pod, Workload
from triton_operator.repository.manifest import Manifest

LABEL = re.compile(r"^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$")
FULL_CASE, SHARED_CASE = CASES[1], CASES[2]


def parts(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every dict and list below a value, with its place."""
    if isinstance(value, dict):
        yield path, value
        for key, inner in value.items():
            yield from parts(inner, f"{path}.{key}")
    if isinstance(value, list):
        yield path, value
        for index, inner in enumerate(value):
            yield from parts(inner, f"{path}[{index}]")


def deployment(case: Case) -> dict[str, Any]:
    return dict(case.children().deployment)


def triton(case: Case) -> dict[str, Any]:
    (container,) = deployment(case)["spec"]["template"]["spec"]["containers"]
    return dict(container)


def test_what_removes_a_servers_files_needs_nothing_that_may_have_gone_with_it() -> None:
    sync = {"serviceAccountName": "reader", "caBundle": {"name": "ca"}, "secretRef": {"name": "s"}}
    job = build_sync_job(
        server("vision", repository={"claimName": "models", "sync": sync}),
        Manifest("vision", remove=True),
        sequence=2,
        attempt=0,
        image="i",
        image_pull_policy="Always",
        memory_limit="1Gi",
    )
    spec = job["spec"]["template"]["spec"]
    assert "serviceAccountName" not in spec
    assert {volume["name"] for volume in spec["volumes"]} == {"repository", "manifest", "tmp"}


@every_case
def test_no_two_objects_share_a_part(case: Case) -> None:
    seen: dict[int, str] = {}
    objects = case.objects()
    for manifest in objects:
        for path, part in parts(manifest, f"{manifest['kind']}"):
            assert id(part) not in seen, f"{path} is {seen[id(part)]}"
            seen[id(part)] = path


@every_case
def test_what_is_made_is_json_and_is_made_alike_every_time(case: Case) -> None:
    def text() -> str:
        return json.dumps([m for m in case.objects() if m["kind"] != "Secret"])

    assert text() == text()


@every_case
def test_every_object_is_named_labelled_and_owned(case: Case) -> None:
    for manifest in case.objects():
        found = manifest["metadata"]
        assert manifest["kind"] in KINDS
        assert manifest["apiVersion"] == KINDS[manifest["kind"]].api
        assert LABEL.match(found["name"]), found["name"]
        assert found["namespace"] == "team"
        assert found["labels"][names.LABEL_MANAGED_BY] == names.MANAGED_BY
        assert found["labels"][names.LABEL_SERVER] == case.server.metadata.name
        (owner,) = found["ownerReferences"]
        assert owner["controller"] is owner["blockOwnerDeletion"] is True
        owned_by = case.owner if manifest["kind"] == names.KIND_SERVER else case.server
        assert owned_by is not None
        assert owner["uid"] == owned_by.metadata.uid
        assert owner["apiVersion"] == names.API_VERSION
    found_names = [(m["kind"], m["metadata"]["name"]) for m in case.objects()]
    assert len(set(found_names)) == len(found_names)


def test_the_names_of_the_longest_server_fit_with_what_kubernetes_adds() -> None:
    child = ChildNames(LONGEST_NAME)

    assert len(f"{child.deployment}-6d4b75cb6d-x7k2p") <= 63
    assert len(f"{child.sync_job(999_999)}-x7k2p") <= 63
    assert all(
        len(name) <= 63
        for name in (
            child.headless_service,
            child.network_policy,
            child.control_key("monday"),
            child.claim,
            child.manifest("a" * 16),
        )
    )


@every_case
def test_the_selector_is_stable_and_selects_servers_only(case: Case) -> None:
    spec = deployment(case)["spec"]
    expected = {names.LABEL_SERVER: case.server.metadata.name, names.LABEL_COMPONENT: "server"}

    assert build_selector(case.server.metadata.name) == expected
    assert spec["selector"] == {"matchLabels": expected}
    assert expected.items() <= spec["template"]["metadata"]["labels"].items()
    assert case.children().service["spec"]["selector"] == expected
    job = next(m for m in case.objects() if m["kind"] == "Job")
    assert not expected.items() <= job["spec"]["template"]["metadata"]["labels"].items()


def test_a_users_labels_cannot_replace_the_operators() -> None:
    mine = {names.LABEL_SERVER: "other", names.LABEL_COMPONENT: "x", names.LABEL_MANAGED_BY: "y"}
    found = build_deployment(
        server("vision", podTemplate={"metadata": {"labels": mine}}),
        image="i",
        replicas=1,
        control_key=KEY,
        probe_model=None,
    )

    labels = found["spec"]["template"]["metadata"]["labels"]
    assert build_selector("vision").items() <= labels.items()
    assert labels[names.LABEL_MANAGED_BY] == names.MANAGED_BY


def test_a_deployment_tells_what_pods_of_older_templates_start_from() -> None:
    given = {"image": "i", "replicas": 1, "control_key": KEY, "probe_model": None}
    found = build_deployment(server("vision"), **given, repository="bb", startable=("bb", "aa"))
    plain = build_deployment(server("vision"), **given, repository="bb", startable=("bb",))
    live = {**found, "metadata": {**found["metadata"], "generation": 1}}

    assert Workload.parse(live).repository == "bb"
    assert Workload.parse(live).repositories == {"aa", "bb"}
    assert "annotations" not in plain["metadata"]
    assert found["spec"] == plain["spec"]
    pod = Pod.parse(
        {
            **found["spec"]["template"],
            "metadata": {"name": "x", **found["spec"]["template"]["metadata"]},
        }
    )
    assert pod.repository == "bb"


def test_pods_of_another_mode_or_revision_are_others() -> None:
    found = {revision({}, repository=each) for each in ("links", "aa", "bb")}
    assert len(found) == 3


# ---- security ---------------------------------------------------------------------------------


@every_case
def test_pods_keep_to_pod_security_restricted(case: Case) -> None:
    """The checks of Kubernetes' `restricted` level, for what the operator itself writes."""
    for spec in pod_specs(case):
        assert not any(spec.get(each) for each in ("hostNetwork", "hostPID", "hostIPC"))
        pod = spec["securityContext"]
        assert pod["runAsNonRoot"] is True
        assert pod["runAsUser"] != 0
        assert pod["seccompProfile"] == {"type": "RuntimeDefault"}
        assert "sysctls" not in pod
        assert "privileged" not in pod
        for volume in spec["volumes"]:
            kinds = set(volume) - {"name"}
            assert kinds <= {"configMap", "emptyDir", "persistentVolumeClaim", "secret"}
        for container in spec["containers"]:
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert not context.get("privileged")
            assert not any("hostPort" in port for port in container.get("ports", ()))


@every_case
def test_pods_are_hardened_beyond_that(case: Case) -> None:
    for spec in pod_specs(case):
        assert spec["automountServiceAccountToken"] is False
        assert spec["enableServiceLinks"] is False
        assert all(c["securityContext"]["readOnlyRootFilesystem"] for c in spec["containers"])


@pytest.mark.parametrize(
    "wish",
    [
        {"runAsNonRoot": False},
        {"privileged": True},
        {"seccompProfile": {"type": "Unconfined"}},
        {"sysctls": [{"name": "kernel.msgmax", "value": "1"}]},
    ],
)
def test_a_pod_template_says_who_runs_but_never_with_what_rights(wish: dict[str, Any]) -> None:
    hardened = Case("x", server("vision"), ())
    weakened = Case("x", server("vision", podTemplate={"securityContext": wish}), ())

    assert list(pod_specs(weakened)) == list(pod_specs(hardened))


@every_case
def test_the_server_cannot_write_to_the_repository(case: Case) -> None:
    spec = deployment(case)["spec"]["template"]["spec"]

    volume = next(v for v in spec["volumes"] if v["name"] == "repository")
    mount = next(m for m in triton(case)["volumeMounts"] if m["name"] == "repository")
    assert volume["persistentVolumeClaim"]["readOnly"] is mount["readOnly"] is True


@every_case
def test_the_key_of_the_control_api_is_in_the_secret_only(case: Case) -> None:
    secret = build_control_key(case.server.metadata, case.secret)
    key = read_control_key(secret)
    assert len(key) >= 40
    assert read_control_key(build_control_key(case.server.metadata, case.secret)) != key
    assert secret["immutable"] is True

    args = triton(case)["args"]
    closed = [a for a in args if "restricted" in a]
    assert len(closed) == 2
    for argument in closed:
        assert argument.endswith("=$(TRITON_CONTROL_KEY)")
        assert "model-repository" in argument
    (variable,) = [e for e in triton(case)["env"] if e["name"] == "TRITON_CONTROL_KEY"]
    assert variable["valueFrom"]["secretKeyRef"]["name"] == secret["metadata"]["name"]
    encoded = base64.b64encode(key.encode()).decode()
    others = json.dumps([m for m in case.objects() if m["kind"] != "Secret"])
    assert key not in others
    assert encoded not in others


def test_a_users_variable_does_not_replace_the_key_and_none_is_set_twice() -> None:
    mine = {"TRITON_CONTROL_KEY": "known", "TRITON_POD_IP": "::1", "HOME": "/data"}
    listed = [{"name": name, "value": value} for name, value in mine.items()]
    env = triton(Case("x", server("vision", env=listed), ()))["env"]

    assert {each["name"]: each.get("value") for each in env} == {
        "TRITON_CONTROL_KEY": None,
        "TRITON_POD_IP": None,
        "HOME": "/data",
    }
    assert len(env) == 3


@pytest.mark.parametrize(
    ("address", "more"), [("10.0.0.7", []), ("fd00::7", ["--http-address=ipv6:::"])]
)
def test_triton_listens_where_the_kubelet_and_the_operator_ask(
    tmp_path: Path, address: str, more: list[str]
) -> None:
    """The script itself runs, with a program in Triton's place that prints its arguments."""
    container = triton(FULL_CASE)
    shell, flag, script, _folder, *arguments = container["args"]
    fake = tmp_path / "tritonserver"
    fake.write_text("#!/bin/sh\nprintf '%s\\n' \"$@\"\n")
    fake.chmod(0o755)

    done = subprocess.run(
        [shell, flag, script, tmp_path, *arguments],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin", "TRITON_POD_IP": address},
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout.splitlines() == [*more, *arguments]
    assert {
        "name": "TRITON_POD_IP",
        "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}},
    } in container["env"]


@every_case
def test_users_arguments_come_after_the_operators_and_do_not_repeat_them(case: Case) -> None:
    args = triton(case)["args"]
    flags = [a.split("=")[0] for a in args if a.startswith("--")]

    assert len(set(flags)) == len(flags)
    own = list(case.server.spec.args)
    assert not own or args[-len(own) :] == own
    assert {"--allow-sagemaker=false", "--allow-vertex-ai=false"} <= set(args)


# ---- what the spec asks for -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "limits"),
    [
        ({}, {"nvidia.com/gpu": "1"}),
        ({"gpus": 0}, {}),
        ({"gpus": 2, "gpuResourceName": "nvidia.com/mig-1g.5gb"}, {"nvidia.com/mig-1g.5gb": "2"}),
        ({"resources": {"limits": {"cpu": 2}}}, {"cpu": "2", "nvidia.com/gpu": "1"}),
    ],
)
def test_gpus_are_limits(spec: dict[str, Any], limits: dict[str, str]) -> None:
    found = triton(Case("x", server("vision", **spec), ()))

    assert found["resources"].get("limits", {}) == limits


@pytest.mark.parametrize(("gpus", "value"), [(0, "void"), (1, None)])
def test_a_pod_without_gpus_gets_none_and_the_device_plugin_alone_says_which_the_others_get(
    gpus: int, value: str | None
) -> None:
    env = triton(Case("x", server("vision", gpus=gpus), ()))["env"]

    assert {each["name"]: each.get("value") for each in env}.get("NVIDIA_VISIBLE_DEVICES") == value


def test_the_grace_of_a_pod_is_longer_than_all_that_happens_in_it() -> None:
    for case in CASES:
        drain = case.server.spec.drain_seconds
        arguments = dict(a.split("=", 1) for a in triton(case)["args"] if a.startswith("--"))
        exit_timeout = int(arguments["--exit-timeout-secs"])
        grace = deployment(case)["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]

        assert grace > drain + exit_timeout
        if drain:
            assert triton(case)["lifecycle"]["preStop"] == {"sleep": {"seconds": drain}}
            assert int(arguments["--grpc-max-connection-age"]) < drain * 1000
        # It would cut off requests and loads that take longer.
        assert "--grpc-max-connection-age-grace" not in arguments


def test_a_pod_may_take_its_startup_time_before_it_is_restarted() -> None:
    probe = triton(FULL_CASE)["startupProbe"]

    assert probe["periodSeconds"] * probe["failureThreshold"] >= 600
    assert deployment(FULL_CASE)["spec"]["progressDeadlineSeconds"] > 600


def test_the_pods_of_a_single_model_are_ready_when_the_model_is() -> None:
    assert triton(own("resnet"))["readinessProbe"]["httpGet"]["path"] == "/v2/models/resnet/ready"
    assert triton(SHARED_CASE)["readinessProbe"]["httpGet"]["path"] == "/v2/health/ready"


def test_new_pods_take_the_room_of_the_old_ones_unless_there_is_to_be_a_spare() -> None:
    def rolling(case: Case) -> Any:
        return deployment(case)["spec"]["strategy"]["rollingUpdate"]

    assert rolling(SHARED_CASE) == {"maxSurge": 0, "maxUnavailable": 1}
    assert rolling(FULL_CASE) == {"maxSurge": 1, "maxUnavailable": 0}


@pytest.mark.parametrize(
    ("rollout", "in_place", "surge"),
    [("Auto", False, 1), ("Auto", True, 0), ("Availability", True, 1), ("ResourceAware", False, 0)],
)
def test_only_auto_depends_on_the_room_there_is(rollout: str, in_place: bool, surge: int) -> None:
    case = Case("", server("vision", rollout=rollout), ())
    strategy = case.children(in_place=in_place).deployment["spec"]["strategy"]

    assert strategy["rollingUpdate"] == {"maxSurge": surge, "maxUnavailable": 1 - surge}


def test_the_claim_of_the_user_is_used_and_not_made() -> None:
    assert build_claim(SHARED_CASE.server) is None
    for spec in pod_specs(SHARED_CASE):
        volume = next(v for v in spec["volumes"] if v["name"] == "repository")
        assert volume["persistentVolumeClaim"]["claimName"] == "models"


def test_jobs_run_where_the_pods_run_and_as_the_same_user() -> None:
    pods, job = list(pod_specs(FULL_CASE))

    for part in ("nodeSelector", "tolerations", "affinity", "imagePullSecrets", "securityContext"):
        assert job[part] == pods[part]
    assert job["securityContext"]["runAsUser"] == 1234


def test_a_job_mounts_the_claims_of_its_sources_for_reading_and_its_own_only_once() -> None:
    _, job = pod_specs(FULL_CASE)
    source = next(v for v in job["volumes"] if v["name"] == "source-0")
    assert source["persistentVolumeClaim"] == {"claimName": "weights", "readOnly": True}
    assert "--claim=weights=/sources/weights" in job["containers"][0]["args"]

    _, shared = pod_specs(SHARED_CASE)
    assert not [v for v in shared["volumes"] if v["name"].startswith("source")]
    assert source_claims(SHARED_CASE.manifest) == {"models"}


def test_a_job_and_its_manifest_are_found_by_digest_and_sequence() -> None:
    manifest = FULL_CASE.manifest
    *_, config_map, job = FULL_CASE.objects()

    assert Manifest.from_json(config_map["data"]["manifest.json"]) == manifest
    assert config_map["immutable"] is True
    assert job["metadata"]["name"] == "vision-sync-7"
    assert job["metadata"]["annotations"] == {
        names.ANNOTATION_MANIFEST: manifest.digest(),
        names.ANNOTATION_CONFIG_MAP: config_map["metadata"]["name"],
        names.ANNOTATION_SEQUENCE: "7",
        names.ANNOTATION_ATTEMPT: "1",
    }
    assert job["spec"]["backoffLimit"] == 0


def test_the_own_server_of_a_model_has_the_models_spec() -> None:
    (owned, *_) = own("resnet").objects()

    parsed = TritonServer.parse({**owned, "metadata": {**owned["metadata"], "uid": "u"}})
    assert parsed.spec == TritonServer.parse({"metadata": {"name": "x"}}).spec
    assert owned["spec"] == {}


# ---- revisions --------------------------------------------------------------------------------


def revision(spec: dict[str, Any], **options: Any) -> str:
    given = {"image": "i", "replicas": 1, "control_key": KEY, "probe_model": None} | options
    return template_revision(build_deployment(server("vision", **spec), **given))


@pytest.mark.parametrize(
    "change",
    [
        {"replicas": 9},
        {"rollout": "ResourceAware"},
        {"service": {"type": "NodePort"}},
        {"repository": FULL["repository"] | {"size": "200Gi"}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_does_not_reach_the_pods_leaves_the_revision(change: dict[str, Any]) -> None:
    assert revision(FULL | change) == revision(FULL)
    assert revision(FULL, replicas=5) == revision(FULL)


@pytest.mark.parametrize(
    "change",
    [
        {"gpus": 1},
        {"gpuResourceName": "nvidia.com/gpu"},
        {"resources": {}},
        {"responseCache": {"size": "257Mi"}},
        {"sharedMemorySize": "5Gi"},
        {"logVerbosity": 2},
        {"args": []},
        {"env": []},
        {"podTemplate": {}},
        {"drainSeconds": 31},
        {"startupTimeoutSeconds": 601},
        {"imagePullPolicy": "Always"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_reaches_the_pods_changes_the_revision(change: dict[str, Any]) -> None:
    assert revision(FULL | change) != revision(FULL)


def test_a_new_control_key_makes_new_pods() -> None:
    assert revision({}, control_key=ControlKey(KEY.secret, "other")) != revision({})
    assert revision({}, control_key=ControlKey("other", KEY.key)) != revision({})
    assert revision({}, control_key=replace(KEY, others=frozenset({"older"}))) == revision({})


def test_the_revision_covers_the_image_and_the_probe() -> None:
    assert revision({}, image="other") != revision({})
    assert revision({}, probe_model="m") != revision({})


def test_the_revision_does_not_depend_on_a_users_annotation_of_its_name() -> None:
    mine = {"podTemplate": {"metadata": {"annotations": {names.ANNOTATION_REVISION: "mine"}}}}

    assert revision(mine) != "mine"


# ---- quantities -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("quantity", "number"),
    [
        ("1", "1"),
        ("1.5", "1.5"),
        ("1500m", "1.5"),
        ("2k", "2000"),
        ("2Ki", "2048"),
        ("1.5Gi", str(1024**3 * 3 // 2)),
        ("3Ei", str(3 * 1024**6)),
        ("3E", str(3 * 10**18)),
    ],
)
def test_a_quantity_is_a_number(quantity: str, number: str) -> None:
    assert str(parse_quantity(quantity).normalize().__format__("f")) == number


@pytest.mark.parametrize("text", ["", ".", "Gi", "1x", "1.2.3", "-1", "1 Gi", "None"])
def test_what_is_no_quantity_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no quantity"):
        parse_quantity(text)


def test_bytes_are_whole() -> None:
    assert quantity_bytes("256Mi") == 256 * 1024**2
    assert quantity_bytes("1500m") == 1


def test_the_key_of_a_server_is_owned_by_it() -> None:
    found = build_control_key(meta("vision"), "vision-control-key")

    assert found["metadata"]["ownerReferences"][0]["uid"] == "uid-vision"


# ---- one node ---------------------------------------------------------------------------------


def test_pods_that_share_a_claim_for_one_node_keep_the_users_affinity() -> None:
    mine = {"topologyKey": "zone", "labelSelector": {"matchLabels": {"app": "cache"}}}
    required = "requiredDuringSchedulingIgnoredDuringExecution"
    wishes = {"nodeAffinity": {"x": 1}, "podAffinity": {required: [mine]}}
    template = server("vision", podTemplate={"affinity": wishes}).spec.pod_template

    found = build_placement(template, shares="models")["affinity"]

    assert found["nodeAffinity"] == {"x": 1}
    first, second = found["podAffinity"][required]
    assert first == mine
    assert second["labelSelector"]["matchLabels"] == {names.LABEL_CLAIM: "models"}
    assert build_placement(template)["affinity"] == wishes


def test_the_longest_claim_has_a_label_of_its_own() -> None:
    (first,), (second,) = (build_claim_label("c" * 100 + end).values() for end in ("-one", "-two"))

    assert first != second
    assert len(first) == len(second) == 63
    assert build_claim_label("models") == {names.LABEL_CLAIM: "models"}
