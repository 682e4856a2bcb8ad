"""Whatever somebody writes into an object: it is refused as invalid, or what is made of it is safe.

``make fuzz`` runs many more cases than the tests do.
"""

import json
import os
import re
from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from tests.unit.desired.servers import Case
from tests.unit.fuzzing.config_text import CONFIGS, read_twice
from tests.unit.fuzzing.objects import ANYTHING, FILES, body, specs
from triton_operator.api.flags import is_reserved
from triton_operator.api.model import TritonModel
from triton_operator.api.server import TritonServer
from triton_operator.errors import InvalidSpecError
from triton_operator.observed import ModelRecord
from triton_operator.observed.records import ServerRecord
from triton_operator.plan.acceptance import Accepted, Rejected, judge_models

CASES = int(os.environ.get("FUZZ_CASES", "200"))
fuzzing = settings(
    max_examples=CASES,
    deadline=None,
    derandomize="FUZZ_CASES" not in os.environ,
    suppress_health_check=list(HealthCheck),
)
URIS = ("https://h/a?b", "s3://b/x", "pvc://claim/x", "pvc://other/../x", "hf://a/b", "x")


@pytest.mark.exhaustive
@fuzzing
@given(specs(TritonServer))
def test_a_server_is_refused_or_its_pods_are_hardened(spec: Any) -> None:
    record = ServerRecord.parse(body(spec))
    event("read" if record.spec is not None else "refused")
    if record.spec is None:
        assert isinstance(record.error, InvalidSpecError)
        return
    check_made(Case("fuzz", record.spec, (body({"versions": FILES}),)))


@pytest.mark.exhaustive
@fuzzing
@given(specs(TritonModel, versions=FILES), st.none() | st.sampled_from(URIS))
def test_a_model_is_refused_or_made_into_safe_objects(spec: Any, uri: str | None) -> None:
    if uri is not None:
        spec = {**spec, "versions": [{"version": 1, "source": {"uri": uri}}]}
    record = ModelRecord.parse(body(spec))
    server = TritonServer.parse(body((spec.get("server") if record.spec else None) or {}))
    (verdict,) = judge_models(server, [record])
    event(type(verdict).__name__)
    if isinstance(verdict, Rejected):
        assert verdict.reason
        assert verdict.message
        return
    assert isinstance(verdict, Accepted)
    check_made(Case("fuzz", server, (body(spec),), verdict.model if record.owns_server else None))


@fuzzing
@given(
    st.dictionaries(st.sampled_from(["versions", "serverRef", "args", "x"]), ANYTHING) | ANYTHING
)
def test_what_is_stored_in_no_known_shape_is_refused(spec: Any) -> None:
    for record in (ModelRecord.parse, ServerRecord.parse):
        found = record(body(spec))
        assert found.spec is not None or isinstance(found.error, InvalidSpecError)


PIECES = st.sampled_from(["", "{", "}", "[", ":", '"', "-", "\x00", "9" * 40, " "])


@st.composite
def texts(draw: st.DrawFn) -> str:
    """The text of a real config, somewhere changed."""
    text = draw(st.sampled_from(CONFIGS)).read_text()
    text = re.sub(r'^name: ".*"$', "", text, flags=re.MULTILINE)
    for _ in range(draw(st.integers(1, 2))):
        start = draw(st.integers(0, len(text)))
        stop = draw(st.integers(start, min(len(text), start + 6)))
        text = text[:start] + draw(PIECES | st.text(max_size=4)) + text[stop:]
    return text


@fuzzing
@given(texts())
def test_the_text_of_a_config_is_refused_or_read_as_it_will_be_written(text: str) -> None:
    event("read" if read_twice(text) else "refused")


def check_made(case: Case) -> None:
    """Look at all objects of a server: JSON, in its namespace, and as hard as they should be."""
    for made in case.objects():
        json.dumps(made, allow_nan=False).encode()
        assert made["metadata"]["namespace"] == "team"
        assert len(made["metadata"]["name"]) <= 63
        template = made.get("spec", {}).get("template")
        if template is None:
            continue
        pod = template["spec"]
        assert pod["automountServiceAccountToken"] is False
        assert not {"hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace"} & set(pod)
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        (container,) = pod["containers"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        variables = [each["name"] for each in container["env"]]
        assert len(variables) == len(set(variables))
        if made["kind"] == "Deployment":
            key = container["env"][0]["valueFrom"]["secretKeyRef"]
            assert (container["env"][0]["name"], key["name"]) == (
                "TRITON_CONTROL_KEY", "fuzz-control-key",
            )  # fmt: skip
            assert not [each for each in case.server.spec.args if is_reserved(each)]
            assert container["volumeMounts"][0]["readOnly"] is True
