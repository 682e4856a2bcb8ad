"""Requests about single objects; the mirror learns of the answers before its watch tells it."""

from http import HTTPStatus
from typing import Any

from triton_operator import names
from triton_operator.adapters.api_client import KINDS, KubeApi
from triton_operator.adapters.diff import owner_name, owner_uid
from triton_operator.adapters.mirror import Mirror, Ref, ref_of
from triton_operator.api.meta import ObjectMeta
from triton_operator.desired.metadata import Manifest
from triton_operator.errors import (
    ClusterError,
    InvalidSpecError,
    NameNotFreeYetError,
    NameTakenError,
)
from triton_operator.observed import Body

_REFUSED = (HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY)


class Objects:
    """Single objects of the API server."""

    def __init__(self, api: KubeApi, mirror: Mirror) -> None:
        self._api = api
        self._mirror = mirror

    async def find(self, kind: str, namespace: str, name: str) -> Body | None:
        """Return an object as the API server has it, or None."""
        try:
            found: Body = await self._api.request("GET", KINDS[kind].path(namespace, name))
        except ClusterError as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return None
            raise
        return found

    async def create(self, manifest: Manifest) -> Body:
        """Return an object that was made, or was there already and is this owner's."""
        ref = ref_of(manifest)
        kind, namespace, name = ref
        try:
            found: Body = await self._api.request(
                "POST",
                KINDS[kind].path(namespace),
                body=manifest,
                fieldManager=names.FIELD_MANAGER,
            )
        except ClusterError as error:
            raise_refusal(ref, error)
            if error.status != HTTPStatus.CONFLICT:
                raise
            found = await self._api.request("GET", KINDS[kind].path(namespace, name))
            if owner_uid(found) != owner_uid(manifest):
                raise taken(manifest, found) from error
        if kind == "Job":
            # Of what is made and never changed, nothing else is in the mirror.
            self._mirror.put(found)
        return found

    async def patch(
        self, kind: str, meta: ObjectMeta, patch: Any, content_type: str, *, subresource: str = ""
    ) -> None:
        """Change an object; one that is gone is fine."""
        try:
            answer = await self._api.request(
                "PATCH",
                KINDS[kind].path(meta.namespace, meta.name, subresource=subresource),
                body=patch,
                content_type=content_type,
                fieldManager=names.FIELD_MANAGER,
            )
        except ClusterError as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise
            return
        self._mirror.put(answer)

    async def delete(self, kind: str, namespace: str, name: str) -> None:
        """Delete an object and what it owns; one that is gone is fine."""
        try:
            answer = await self._api.request(
                "DELETE",
                KINDS[kind].path(namespace, name),
                # The Job goes only after its pod: until then it may write.
                propagationPolicy="Foreground" if kind == "Job" else "Background",
            )
        except ClusterError as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise
            known = self._mirror.get(kind, namespace, name)
            if known is not None:
                self._mirror.drop(known)
            return
        if answer.get("kind") == kind:
            self._mirror.put(answer)


def raise_refusal(ref: Ref, error: ClusterError) -> None:
    """Raise if the API server calls a manifest wrong: only the user's spec can make it so."""
    if error.status in _REFUSED:
        raise InvalidSpecError(f"{ref[0]} {ref[2]}: {error.message}") from error


def taken(manifest: Manifest, found: Body | None) -> NameTakenError | NameNotFreeYetError:
    """Return what to raise where an object of this name belongs to somebody else, as was found."""
    kind, namespace, name = ref_of(manifest)
    owner = owner_name(manifest)
    if found is not None and owner is not None and owner_name(found) == owner:
        return NameNotFreeYetError(
            f"{kind} {namespace}/{name} is that of an earlier {' '.join(owner)}, and Kubernetes is"
            " about to delete it; if it stays, delete it"
        )
    return NameTakenError(
        f"{kind} {namespace}/{name} exists and is not this object's;"
        f" delete or rename it, or give this object another name"
    )
