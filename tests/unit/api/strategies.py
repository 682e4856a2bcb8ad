"""Hypothesis strategies for configs, drawn from the annotations of the models."""

import types
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from hypothesis import strategies as st

from triton_operator.api.model_config.message import ProtoMessage

TEXTS = st.text(st.characters(exclude_categories=("Cs",)), max_size=8)
PATHS = st.sampled_from(["", "model.onnx", "a/b.plan", "..x"])


def messages_of(model: type[ProtoMessage]) -> st.SearchStrategy[ProtoMessage]:
    """Messages in which any fields may be set, but at most one of each oneof."""
    exclusive = {field for group in model.oneofs.values() for field in group}

    def build(fields: dict[str, Any], choices: list[Any]) -> ProtoMessage:
        return model.model_validate({**fields, **{k: v for c in choices if c for k, v in [c]}})

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
        return st.lists(_values(get_args(annotation)[0], path=path), max_size=2).map(tuple)
    if origin is Mapping:
        key, value = get_args(annotation)
        return st.dictionaries(_values(key, path=False), _values(value, path=path), max_size=2)
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
