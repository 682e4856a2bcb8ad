"""The Jobs that write on claims."""

from dataclasses import dataclass
from datetime import datetime
from typing import Self

from triton_operator import names
from triton_operator.observed.body import Body, parse_number, parse_time, reason_and_message


@dataclass(frozen=True, slots=True)
class SyncJob:
    """One Job that was asked to make a manifest true on the claim."""

    name: str
    sequence: int
    manifest: str
    config_map: str = ""
    """The ConfigMap that holds the whole manifest."""
    attempt: int = 0
    complete: bool = False
    failed: bool = False
    terminating: bool = False
    created_at: datetime | None = None
    finished_at: datetime | None = None
    message: str = ""
    repair: str = ""
    """The request to check the claim that it answers."""

    @classmethod
    def parse(cls, body: Body) -> Self:
        """Read a Job."""
        meta, status = body["metadata"], body.get("status") or {}
        annotations = meta.get("annotations") or {}
        ended = {c["type"]: c for c in status.get("conditions") or () if c.get("status") == "True"}
        final = ended.get("Complete") or ended.get("Failed") or {}
        return cls(
            name=meta["name"],
            sequence=parse_number(annotations.get(names.ANNOTATION_SEQUENCE)),
            manifest=annotations.get(names.ANNOTATION_MANIFEST, ""),
            config_map=annotations.get(names.ANNOTATION_CONFIG_MAP, ""),
            attempt=parse_number(annotations.get(names.ANNOTATION_ATTEMPT)),
            complete="Complete" in ended,
            failed="Failed" in ended,
            terminating="deletionTimestamp" in meta,
            created_at=parse_time(meta.get("creationTimestamp")),
            finished_at=parse_time(final.get("lastTransitionTime")),
            message=reason_and_message(final) if final else "",
            repair=annotations.get(names.ANNOTATION_REPAIR, ""),
        )
