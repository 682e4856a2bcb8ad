"""`triton_operator.ports.Leases` over a real API server."""

from datetime import datetime
from http import HTTPStatus
from typing import Any

from triton_operator.adapters.api_client import JSON, MERGE_PATCH, Kind, KubeApi
from triton_operator.errors import ClusterError
from triton_operator.ports import Lease

LEASE = Kind("coordination.k8s.io/v1", "leases")


class KubeLeases:
    """The one Lease of this name."""

    def __init__(self, api: KubeApi, namespace: str, name: str) -> None:
        self._api = api
        self._namespace = namespace
        self._name = name

    async def read(self, *, timeout_seconds: float) -> Lease:
        """Return the Lease as it is; an empty one if there is none."""
        path = LEASE.path(self._namespace, self._name)
        try:
            answer = await self._api.request("GET", path, timeout_seconds=timeout_seconds)
        except ClusterError as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise
            return Lease()
        return _parse(answer)

    async def write(self, lease: Lease, *, timeout_seconds: float) -> Lease | None:
        """Store a Lease, or return None if it is not there any more in that version."""
        method, name = ("PATCH", self._name) if lease.version else ("POST", "")
        try:
            answer = await self._api.request(
                method,
                LEASE.path(self._namespace, name),
                body=self._build(lease),
                # Labels and annotations are of others: the chart makes the Lease.
                content_type=MERGE_PATCH if lease.version else JSON,
                timeout_seconds=timeout_seconds,
            )
        except ClusterError as error:
            gone = error.status == HTTPStatus.NOT_FOUND and lease.version
            if gone or error.status == HTTPStatus.CONFLICT:
                return None
            raise
        return _parse(answer)

    def _build(self, lease: Lease) -> dict[str, Any]:
        times = {"acquireTime": lease.acquired, "renewTime": lease.renewed}
        return {
            "apiVersion": LEASE.api,
            "kind": "Lease",
            "metadata": {
                "name": self._name,
                "namespace": self._namespace,
                **({"resourceVersion": lease.version} if lease.version else {}),
            },
            "spec": {
                "holderIdentity": lease.holder or None,
                "leaseDurationSeconds": lease.duration_seconds,
                "leaseTransitions": lease.transitions,
                **{key: f"{at:%Y-%m-%dT%H:%M:%S.%fZ}" for key, at in times.items() if at},
            },
        }


def _parse(body: dict[str, Any]) -> Lease:
    spec = body.get("spec") or {}
    return Lease(
        version=body["metadata"]["resourceVersion"],
        holder=spec.get("holderIdentity") or "",
        duration_seconds=spec.get("leaseDurationSeconds") or 0,
        transitions=spec.get("leaseTransitions") or 0,
        acquired=_time(spec.get("acquireTime")),
        renewed=_time(spec.get("renewTime")),
    )


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
