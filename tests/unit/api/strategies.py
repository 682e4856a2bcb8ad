"""Hypothesis strategies for configs, drawn from the annotations of the models."""

import types
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from hypothesis import strategies as st
from pydantic import ValidationError

from triton_operator.api.model_config.message import ProtoMessage

TEXTS = st.text(st.characters(exclude_categories=("Cs",)), max_size=8)
PATHS = st.sampled_from(["", "model.onnx", "a/b.plan", "..x"])


def messages_of(model: type[ProtoMessage]) -> st.SearchStrategy[ProtoMessage | None]:
    """Messages that keep the rules, with as many fields as these let stand together.

    None where the rules ask for more than what was drawn.
    """
    exclusive = {field for group in model.oneofs.values() for field in group}

    def build(fields: dict[str, Any], choices: list[Any]) -> ProtoMessage | None:
        drawn = {**fields, **{k: v for c in choices if c for k, v in [c]}}
        known = {name: value for name, value in drawn.items() if value is not None}
        if whole := _valid(model, known):
            return whole
        kept: dict[str, Any] = {}
        for name, value in known.items():
            if _valid(model, {**kept, name: value}):
                kept[name] = value
        return _valid(model, kept)

    def field(name: str) -> st.SearchStrategy[Any]:
        info = model.model_fields[name]
        path = "filename" in name or "data_file" in name
        return _values(info.annotation, path=path, metadata=info.metadata)

    free = {name: field(name) for name in model.model_fields if name not in exclusive}
    choices = [
        st.none() | st.one_of([st.tuples(st.just(name), field(name)) for name in group])
        for group in model.oneofs.values()
    ]
    return st.deferred(
        lambda: st.builds(build, st.fixed_dictionaries({}, optional=free), st.tuples(*choices))
    )


def _valid(model: type[ProtoMessage], fields: dict[str, Any]) -> ProtoMessage | None:
    try:
        return model.model_validate(fields)
    except ValidationError:
        return None


def _bound(metadata: Any, name: str, default: Any) -> Any:
    found = [getattr(each, name) for each in metadata if getattr(each, name, None) is not None]
    return found[0] if found else default


def _values(annotation: Any, *, path: bool, metadata: Any = ()) -> st.SearchStrategy[Any]:
    origin = get_origin(annotation)
    if origin is Annotated:
        inner, *more = get_args(annotation)
        flat = [x for each in more for x in (getattr(each, "metadata", None) or [each])]
        return _values(inner, path=path, metadata=[*flat, *metadata])
    if origin in (Union, types.UnionType):
        (inner,) = (each for each in get_args(annotation) if each is not type(None))
        return _values(inner, path=path, metadata=metadata)
    if origin is tuple:
        items = st.lists(_values(get_args(annotation)[0], path=path), max_size=2)
        return items.map(lambda drawn: tuple(each for each in drawn if each is not None))
    if origin is Mapping:
        key, value = get_args(annotation)
        entries = st.dictionaries(_values(key, path=False), _values(value, path=path), max_size=2)
        return entries.map(lambda drawn: {k: v for k, v in drawn.items() if v is not None})
    if isinstance(annotation, type) and issubclass(annotation, ProtoMessage):
        return messages_of(annotation)
    return _scalars(annotation, path=path, metadata=metadata)


def _scalars(annotation: Any, *, path: bool, metadata: Any) -> st.SearchStrategy[Any]:
    if get_origin(annotation) is Literal:
        return st.sampled_from(get_args(annotation))
    if annotation is bool:
        return st.booleans()
    if annotation is int:
        return st.integers(_bound(metadata, "ge", -(2**31)), _bound(metadata, "le", 2**31 - 1))
    if annotation is float:
        low, high = _bound(metadata, "ge", None), _bound(metadata, "le", None)
        return st.floats(low, high, allow_nan=False, allow_infinity=False)
    assert annotation is str, annotation
    return PATHS if path else TEXTS
