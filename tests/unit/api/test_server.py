"""``TritonServer`` as a value."""

import pytest

from tests.unit.api.cases import server
from triton_operator.api.flags import RESERVED_FLAGS, is_reserved
from triton_operator.api.server import TritonServer, TritonServerStatus


def test_a_server_without_a_spec_has_all_defaults() -> None:
    body = server()
    del body["spec"]
    parsed = TritonServer.parse(body)

    assert parsed.spec == TritonServer.parse(server()).spec
    assert (parsed.spec.gpus, parsed.spec.repository.size) == (1, "10Gi")
    assert parsed.status == TritonServerStatus()


def test_a_quantity_may_be_written_as_a_number() -> None:
    parsed = TritonServer.parse(server(resources={"requests": {"cpu": 4}}))

    assert parsed.spec.resources.requests == {"cpu": "4"}


def test_a_status_that_nobody_understands_is_an_empty_one() -> None:
    parsed = TritonServer.parse({**server(), "status": {"autoscaling": {"decisions": 5}}})

    assert parsed.status == TritonServerStatus()


def test_the_spec_of_a_server_is_written_without_the_defaults() -> None:
    spec = {"autoscaling": {"maxReplicas": 2}, "repository": {"claimName": "models"}}

    assert TritonServer.parse(server(**spec)).spec.manifest() == spec


@pytest.mark.parametrize("flag", RESERVED_FLAGS)
def test_a_flag_of_the_operator_is_reserved_whole_or_abbreviated(flag: str) -> None:
    assert is_reserved(f"--{flag}=x")
    assert is_reserved(f"--{flag[:-1]}=x")


@pytest.mark.parametrize(
    "argument",
    [
        "--log-format=ISO8601",
        "--metrics-config=summary_latencies=true",
        "--backend-config=python,shm-default-byte-size=1",
        "--model-load-thread-count=4",
        "--grpc-infer-allocation-pool-size=8",
        "--min-supported-compute-capability=6.0",
        "--pinned-memory-pool-byte-size=1",
        "--disable-auto-complete-config=true",
    ],
)
def test_other_flags_are_free(argument: str) -> None:
    assert not is_reserved(argument)
