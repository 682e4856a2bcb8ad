"""The Job of ``kubectl triton profile``, and the table that it ends with."""

import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.unit.kubectl.fleets import render
from triton_operator import names
from triton_operator.kubectl.measurements import build_measurements
from triton_operator.kubectl.profile_job import MARK, SCRIPT, Measurement, build_profile_job

WANTED = Measurement(
    image="registry/sdk:1",
    concurrency="1:4",
    request_rate="",
    protocol="grpc",
    version="",
    seconds=300,
    namespace="team",
    service="vision",
    model="yolo",
)
MEASURED = """\
Request Rate,Inferences/Second,Client Send,Network+Server Send/Recv,Server Queue,Server Compute \
Input,Server Compute Infer,Server Compute Output,Client Recv,p50 latency,p90 latency,p95 latency,\
p99 latency
40,39.6875,139,507,51,45,881,90,0,1076,3722,4432,7785
20,19.7122,150,566,53,47,718,71,0,1140,3245,5450,6448
"""
"""As perf_analyzer 2.51 wrote it, the rows in another order."""


def pod_spec(job: Any) -> Any:
    return job["spec"]["template"]["spec"]


@pytest.mark.parametrize(
    ("change", "arguments"),
    [
        ({}, "-m yolo -u vision.team.svc:8001 -i grpc --concurrency-range 1:4"),
        (
            {"protocol": "http", "version": "3", "request_rate": "10:50:10", "more": ("-b", "8")},
            "-m yolo -x 3 -u vision.team.svc:8000 -i http --request-rate-range 10:50:10 -b 8",
        ),
    ],
)
def test_what_perf_analyzer_is_asked(change: Any, arguments: str):
    assert " ".join(replace(WANTED, **change).arguments()) == arguments


def test_the_job_keeps_to_the_restricted_pod_security_standard():
    spec = pod_spec(build_profile_job("profile-1", WANTED))
    (container,) = spec["containers"]

    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert spec["automountServiceAccountToken"] is False
    assert {tuple(volume) for volume in spec["volumes"]} == {("name", "emptyDir")}


def test_the_job_takes_no_gpu_that_its_image_asks_for():
    (container,) = pod_spec(build_profile_job("profile-1", WANTED))["containers"]

    assert {"name": "NVIDIA_VISIBLE_DEVICES", "value": "void"} in container["env"]


def test_the_job_ends_by_itself_and_is_tried_once():
    spec = build_profile_job("profile-1", WANTED)["spec"]

    assert spec["activeDeadlineSeconds"] == 300
    assert spec["backoffLimit"] == 0
    assert spec["ttlSecondsAfterFinished"] > 0


def test_the_operator_does_not_take_the_job_for_its_own():
    job = build_profile_job("profile-1", WANTED)

    for labels in (job["metadata"]["labels"], job["spec"]["template"]["metadata"]["labels"]):
        ours = {names.LABEL_MANAGED_BY, names.LABEL_SERVER, names.LABEL_COMPONENT}
        assert not ours & set(labels)


@pytest.mark.parametrize(
    ("program", "status", "output"),
    [
        ('echo "$1 of $3"; echo a,b > "$4"', 0, f"x of -f\n{MARK}\na,b\n"),
        ('echo a,b > "$4"; exit 2', 2, f"{MARK}\na,b\n"),
        ("echo no model; exit 99", 99, "no model\n"),
    ],
)
def test_the_script_gives_the_table_and_the_exit_code(
    tmp_path: Path, program: str, status: int, output: str
):
    fake = tmp_path / "perf_analyzer"
    fake.write_text(f"#!/bin/sh\n{program}\n")
    fake.chmod(0o755)

    done = subprocess.run(
        ["/bin/sh", "-c", SCRIPT, "perf-analyzer", "x", "y z"],
        cwd=tmp_path,
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stdout) == (status, output)


def test_the_table():
    assert render(build_measurements(MEASURED.splitlines())) == (
        "REQUEST RATE  INFER/S  QUEUE MS  COMPUTE MS  P50 MS  P90 MS  P95 MS  P99 MS\n"
        "          20    19.71      0.05        0.84    1.14    3.25    5.45    6.45\n"
        "          40    39.69      0.05        1.02    1.08    3.72    4.43    7.79"
    )


def test_a_table_without_the_servers_own_times():
    table = build_measurements(["Concurrency,Inferences/Second,p50 latency", "1,2,3000"])

    assert render(table) == "CONCURRENCY  INFER/S  P50 MS\n          1     2.00    3.00"


@pytest.mark.parametrize("lines", [[], ["no such file"], ["Concurrency,Inferences/Second"]])
def test_what_is_no_table(lines: list[str]):
    with pytest.raises(ValueError, match="not a table of perf_analyzer"):
        build_measurements(lines)
