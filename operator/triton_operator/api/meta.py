"""What all custom resources share: how they are read, and their ``metadata``."""

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Annotated, Any, ClassVar, Final, Self, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    ValidationError,
    ValidationInfo,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic_core import CoreSchema, ErrorDetails, core_schema

from triton_operator.api.rules import RULES_LATER, Rule, Schema, add_validations
from triton_operator.errors import InvalidSpecError

MAX_OBJECT_NAME: Final = 40
"""Longest name of a server or model: children add ``-manifest-<digest>``, pods their hashes."""
SERVER_NAME_PATTERN: Final = r"^[a-z]([a-z0-9-]*[a-z0-9])?$"
"""A server gives its name to its Service, whose name is a DNS label."""

OBJECT_NAME: Final = Rule(
    cel=f"self.metadata.name.size() <= {MAX_OBJECT_NAME}",
    message=f"metadata.name must have at most {MAX_OBJECT_NAME} characters, as longer names are"
    " made of it: choose a shorter one (modelName, which clients see, may be longer)",
    holds=lambda self: len(self.metadata.name) <= MAX_OBJECT_NAME,
)
SERVER_NAME: Final = Rule(
    cel=f"self.metadata.name.size() <= {MAX_OBJECT_NAME}"
    f" && self.metadata.name.matches('{SERVER_NAME_PATTERN}')",
    message=f"metadata.name must have at most {MAX_OBJECT_NAME} characters, begin with a letter"
    " and have no '.', as the Service is named after it: choose another one",
    holds=lambda self: (
        len(self.metadata.name) <= MAX_OBJECT_NAME
        and re.fullmatch(SERVER_NAME_PATTERN, self.metadata.name) is not None
    ),
)


_REQUEST_LENGTH = 253
"""Characters of a request that are looked at: an annotation may hold far more."""


class Resource(BaseModel):
    """A frozen part of a custom resource; unknown fields are ignored, as the API server does.

    The docstring under a field is its description in the CRD.
    """

    model_config = ConfigDict(
        frozen=True,
        alias_generator=to_camel,
        populate_by_name=True,
        extra="ignore",
        use_attribute_docstrings=True,
    )

    rules: ClassVar[tuple[Rule, ...]] = ()
    """What must hold of one such object."""
    schema_defaults: ClassVar[bool] = True
    """Whether the API server fills in the defaults. Not where "unset" itself means something."""

    def check_rules(self) -> None:
        """Raise ``ValueError`` for the first rule that the object breaks."""
        for rule in self.rules:
            rule.check(self)

    @model_validator(mode="after")
    def _keeps_the_rules(self, info: ValidationInfo) -> Self:
        if info.context is not RULES_LATER:
            self.check_rules()
        return self

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """Add the rules, and take away the defaults where the API server must not set them."""
        json_schema = handler(schema)
        target = handler.resolve_ref_schema(json_schema)
        add_validations(target, cls.rules)
        if not cls.schema_defaults:
            for field in target.get("properties", {}).values():
                field.pop("default", None)
        return json_schema

    def manifest(self) -> dict[str, Any]:
        """Return what was set, and only that, as the JSON of a manifest."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude_none=True)


class Observed(Resource):
    """A part of a status: written by the operator alone, and always whole."""

    schema_defaults: ClassVar[bool] = False

    def manifest(self) -> dict[str, Any]:
        """Return everything that is known, as the JSON of a manifest."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class CustomObject(Resource):
    """The root of a custom resource: something that can be read from the API server."""

    @classmethod
    def parse(cls, body: Mapping[str, Any]) -> Self:
        """Read an object from the API server or a file.

        Raises
        ------
        InvalidSpecError
            The object breaks the schema or a rule; the message names each field as in YAML.

        """
        try:
            return cls.model_validate(dict(body))
        except ValidationError as error:
            raise InvalidSpecError(refusal(error)) from error


AnyStatus = TypeVar("AnyStatus", bound=Observed)


class _TolerantlyRead:
    """Reads a status that nobody can understand as an empty one: it is rewritten anyway."""

    def __get_pydantic_core_schema__(
        self, source: type[Resource], handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.with_default_schema(
            handler(source), default_factory=source, on_error="default"
        )


TolerantStatus = Annotated[AnyStatus, _TolerantlyRead()]
"""A status, empty where what is stored cannot be read."""


class OwnerReference(Resource):
    """One entry of ``metadata.ownerReferences``."""

    api_version: str
    kind: str
    name: str
    uid: str
    controller: bool = False


class ObjectMeta(Resource):
    """The part of ``metadata`` that the operator reads."""

    name: str
    namespace: str = "default"
    uid: str = ""
    generation: int = 0
    resource_version: str = ""
    labels: Mapping[str, str] = Field(default_factory=dict)
    annotations: Mapping[str, str] = Field(default_factory=dict)
    finalizers: tuple[str, ...] = ()
    owner_references: tuple[OwnerReference, ...] = ()
    creation_timestamp: datetime | None = None
    deletion_timestamp: datetime | None = None

    def request(self, annotation: str) -> str:
        """Return the value by which a user asks for something once; empty if for nothing."""
        return self.annotations.get(annotation, "")[:_REQUEST_LENGTH]


def _number_as_text(value: Any) -> Any:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


Quantity = Annotated[
    str,
    Field(max_length=32, pattern=r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?$"),
    BeforeValidator(_number_as_text),
    Schema({"x-kubernetes-int-or-string": True}),
]
"""A Kubernetes quantity (``500m``, ``4``, ``10Gi``)."""


def refusal(error: ValidationError, *, below: str = "") -> str:
    """Say what is wrong: ``path: message`` of every error, with ``below`` before each path."""
    return "; ".join(f"{path}: {message}" for path, message in refusals(error, below=below))


def refusals(error: ValidationError, *, below: str = "") -> Iterator[tuple[str, str]]:
    """Yield the path and the message of every error."""
    for each in error.errors(include_url=False):
        yield _path((below, *each["loc"]) if below else each["loc"]), _message(each)


def _path(location: tuple[int | str, ...]) -> str:
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    return path.removeprefix(".") or "object"


def _message(error: ErrorDetails) -> str:
    raised = error.get("ctx", {}).get("error")
    return str(raised) if raised is not None else error["msg"]
