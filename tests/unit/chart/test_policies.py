"""The policies that bound what authors give to pods; tests/cluster/test_authors.py tries them."""

import re

import pytest

from tests.unit.chart.rendering import NAME, NAMESPACE, Manifest, only, render
from triton_operator.api.model import TritonModel
from triton_operator.api.schema import build_schema
from triton_operator.api.server import TritonServer

POLICY, BINDING = "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"
KINDS = {"tritonmodels": TritonModel, "tritonservers": TritonServer}
every_kind = pytest.mark.parametrize("resource", KINDS)


def name_of(resource: str) -> str:
    return f"{NAME}-{resource.removeprefix('triton')}"


def policy(resource: str, objects: list[Manifest]) -> Manifest:
    return dict(only(POLICY, objects, name=name_of(resource))["spec"])


@every_kind
def test_each_kind_has_a_policy_that_denies(resource: str) -> None:
    objects = render()
    (rule,) = policy(resource, objects)["matchConstraints"]["resourceRules"]
    assert (rule["apiGroups"], rule["resources"]) == (["triton-operator.io"], [resource])
    assert set(rule["operations"]) == {"CREATE", "UPDATE"}
    binding = only(BINDING, objects, name=name_of(resource))["spec"]
    assert binding == {"policyName": name_of(resource), "validationActions": ["Deny"]}


@every_kind
def test_the_operator_alone_is_not_asked(resource: str) -> None:
    for values, account in (({}, NAME), ({"serviceAccount": {"name": "mine"}}, "mine")):
        first, _ = policy(resource, render(**values))["matchConditions"]
        assert f"'system:serviceaccount:{NAMESPACE}:{account}'" in first["expression"]


@every_kind
def test_what_a_policy_looks_at_are_fields_of_the_spec(resource: str) -> None:
    """A renamed field would be asked about no more, without a word."""
    spec = policy(resource, render(security={"allowedImages": ["nvcr.io/nvidia"]}))
    variables = {each["name"]: each["expression"] for each in spec["variables"]}
    assert variables["server"].endswith(".orValue({})")
    start = re.findall(r"\w+", variables["server"].removesuffix(".orValue({})"))[1:]
    text = " ".join(variables.values())
    paths = set(re.findall(r"variables\.server((?:\.\?(?!has|or)\w+)+)", text))
    assert len(paths) == 5
    for path in paths:
        schema = build_schema(KINDS[resource])
        for field in (*start, *re.findall(r"\w+", path)):
            schema = schema["properties"][field]


@every_kind
def test_only_watched_namespaces_are_meant(resource: str) -> None:
    assert "namespaceSelector" not in policy(resource, render())["matchConstraints"]
    watched = policy(resource, render(watchNamespaces=["a", "b"]))["matchConstraints"]
    (expression,) = watched["namespaceSelector"]["matchExpressions"]
    assert expression == {
        "key": "kubernetes.io/metadata.name", "operator": "In", "values": ["a", "b"],
    }  # fmt: skip


def test_an_administrator_may_do_without() -> None:
    values = {"authorsNeedPodRights": False, "allowHostPath": True}
    kinds = {each["kind"] for each in render(security=values)}
    assert not kinds & {POLICY, BINDING}


@every_kind
@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"allowHostPath": True}, ["a model could read"]),
        ({"authorsNeedPodRights": False}, ["a hostPath shows"]),
        ({}, ["a model could read", "a hostPath shows"]),
        ({"allowedImages": ["a/b"]}, ["a model could read", "a hostPath shows", "not among"]),
    ],
)
def test_each_rule_is_there_by_its_own_value(
    resource: str, values: Manifest, said: list[str]
) -> None:
    rules = policy(resource, render(security=values))["validations"]
    texts = [each.get("message") or each["messageExpression"] for each in rules]
    assert all(words in text for words, text in zip(said, texts, strict=True))
    assert {each["reason"] for each in rules} == {"Forbidden"}


def test_backends_are_bounded_for_models_alone() -> None:
    """Also where nothing else is: a policy without a rule would be refused."""
    values = {"authorsNeedPodRights": False, "allowHostPath": True, "allowedBackends": ["tensorrt"]}
    objects = render(security=values)
    assert [each["metadata"]["name"] for each in objects if each["kind"] == POLICY] == [
        name_of("tritonmodels")
    ]
    spec = policy("tritonmodels", objects)
    (rule,) = spec["validations"]
    assert "security.allowedBackends" in rule["messageExpression"]
    fields = build_schema(TritonModel)["properties"]["spec"]["properties"]
    text = " ".join((*(each["expression"] for each in spec["variables"]), rule["expression"]))
    paths = set(re.findall(r"object\.spec((?:\.\??(?!or)\w+)+)", text))
    assert paths == {".?server", ".?config.?backend", ".?config.?platform", ".configText"}
    assert {"server", "config", "configText"} <= fields.keys()
    assert {"backend", "platform"} <= fields["config"]["properties"].keys()
