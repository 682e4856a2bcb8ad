"""Paths that users write: they become files beside a model, so they must not lead elsewhere."""

from typing import Final

MAX_PATH: Final = 512


def is_relative_path(path: str) -> bool:
    """Return whether ``path`` stays inside the folder that it is resolved in."""
    return not path.startswith("/") and ".." not in path.split("/")


def is_file_name(path: str) -> bool:
    """Return whether ``path`` names a file below a folder, in its one canonical spelling."""
    parts = path.split("/")
    return all(part not in ("", ".", "..") for part in parts) and path.isprintable()
