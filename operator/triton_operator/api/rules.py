"""Rules that one value must keep, each written once for both of its judges.

A ``Rule`` holds a CEL expression, which the API server evaluates at admission, next to the
Python predicate that says the same to ``triton-operator validate`` and to the operator itself.
Both give the same message. On a model it stands in ``Resource.rules``; on a single field, in
the field's ``Annotated`` type.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationInfo
from pydantic_core import CoreSchema, core_schema

VALIDATIONS: Final = "x-kubernetes-validations"

RULES_LATER: Final = object()
"""Context of a validation that checks types, bounds and patterns but no rule yet.

A broken rule ends pydantic's validation of everything around it. Who wants to hear of all broken
rules at once, as from the API server, parses with this context and then walks over the value.
"""


@dataclass(frozen=True)
class Rule:
    """A rule of the API: what must hold of ``self``, and what to tell the user otherwise."""

    cel: str | None
    """The expression for the API server; may use ``oldSelf``. None where the schema says it."""
    message: str
    """Names the field and the mend."""
    holds: Callable[[Any], bool] | None = None
    """The same in Python; None where only the API server can know, as with ``oldSelf``."""

    def check(self, value: Any) -> None:
        """Raise ``ValueError`` with the message if the rule is broken."""
        if self.holds is not None and not self.holds(value):
            raise ValueError(self.message)

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Check the rule on a field that is annotated with it."""

        def check(value: Any, info: ValidationInfo) -> Any:
            if info.context is not RULES_LATER:
                self.check(value)
            return value

        return core_schema.with_info_after_validator_function(check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """Add the rule to the JSON schema of a field that is annotated with it."""
        json_schema = handler(schema)
        add_validations(json_schema, (self,))
        return json_schema


def add_validations(json_schema: dict[str, Any], rules: Iterable[Rule]) -> None:
    """Append the rules to the ``x-kubernetes-validations`` of a schema, in place."""
    added = [{"rule": rule.cel, "message": rule.message} for rule in rules if rule.cel]
    if added:
        json_schema[VALIDATIONS] = [*json_schema.get(VALIDATIONS, ()), *added]


@dataclass(frozen=True, eq=False)  # hashable, for the types of optional fields
class Schema:
    """Keywords of Kubernetes that JSON schema does not know, put on a field's schema."""

    keywords: Mapping[str, Any]

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """Merge the keywords into the field's schema."""
        return {**handler(schema), **self.keywords}
