"""The cluster as it was seen: objects of others, parsed at the border into small values.

Nothing behind this package reads a raw Kubernetes object. Each value has a ``parse`` that takes the
object as the API server sent it, tolerates what is missing, and never fails.
"""

from triton_operator.observed.body import Body, parse_time, reason_and_message
from triton_operator.observed.claims import Claim
from triton_operator.observed.jobs import SyncJob
from triton_operator.observed.pods import COMPONENT_SERVER, COMPONENT_SYNC, Pod
from triton_operator.observed.records import ModelRecord, ServerRecord
from triton_operator.observed.served import READY, Served, ServedModel, ServedVersion
from triton_operator.observed.workloads import AUTOSCALER, Autoscaler, Workload
from triton_operator.observed.world import ServerWorld

__all__ = [
    "AUTOSCALER",
    "COMPONENT_SERVER",
    "COMPONENT_SYNC",
    "READY",
    "Autoscaler",
    "Body",
    "Claim",
    "ModelRecord",
    "Pod",
    "Served",
    "ServedModel",
    "ServedVersion",
    "ServerRecord",
    "ServerWorld",
    "SyncJob",
    "Workload",
    "parse_time",
    "reason_and_message",
]
