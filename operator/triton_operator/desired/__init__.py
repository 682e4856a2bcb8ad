"""The children a server should have: pure functions from spec to manifests."""

from triton_operator.desired.children import Children, build_children

__all__ = ["Children", "build_children"]
