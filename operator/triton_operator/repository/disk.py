"""The claim's file system: durable writes, modes that Triton's group can read, and links.

Everything written is flushed before it becomes visible under its final name, so that a node that
loses power leaves either the old state or the new one.
"""

import errno
import os
import secrets
import shutil
import stat
import threading
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

FOLDER_MODE = 0o775
FILE_MODE = 0o664

_CANNOT_LINK = {
    errno.EPERM, errno.EACCES, errno.EXDEV, errno.EMLINK, errno.ENOSYS, errno.EOPNOTSUPP,
    errno.EINVAL,
}  # fmt: skip
"""File systems without hard links (SMB, some FUSE) and hardened kernels say one of these."""
_MAKING = threading.Lock()
_OCCUPIED = {errno.EEXIST, errno.ENOTEMPTY}


class Staging:
    """A folder of one run for what is not finished; made when first needed."""

    def __init__(self, parent: Path, owner: str) -> None:
        self._parent = parent
        self.folder = parent / f"{owner}.{secrets.token_hex(8)}"
        self._count = 0
        self._lock = threading.Lock()
        self.owner = owner
        """The server whose run this is."""

    def new_path(self) -> Path:
        """Return a path in this run's folder where nothing is yet."""
        with self._lock:
            if self._count == 0:
                ensure_folder(self._parent)
                make_folder(self.folder)
            self._count += 1
            return self.folder / str(self._count)

    def close(self, keep: Collection[Path] = ()) -> None:
        """Remove the folder and all that is left in it, but the links to keep, if there are any."""
        if not keep:
            shutil.rmtree(self.folder, ignore_errors=True)
            return
        for entry in list_folder(self.folder):
            path = Path(entry.path)
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(path, ignore_errors=True)
            elif path not in keep:
                path.unlink(missing_ok=True)


def make_folder(path: Path) -> None:
    """Create one folder, whatever the umask."""
    path.mkdir()
    # A volume's group is inherited through the set-group-id bit: keep it.
    inherited = path.stat().st_mode & stat.S_ISGID
    _set_mode(path, FOLDER_MODE | inherited)


def ensure_folder(path: Path) -> None:
    """Create a folder below one that exists, durably, unless it is there."""
    if path.is_dir():
        return
    with _MAKING:  # no thread goes on before the flush
        try:
            make_folder(path)
        except FileExistsError:
            return  # another run was faster
        flush_folder(path.parent)


def ensure_folders(base: Path, path: Path) -> None:
    """Create all folders of ``path`` below ``base``; flushed later with the whole tree."""
    for folder in reversed([path, *path.parents]):
        if folder.is_relative_to(base) and not folder.is_dir():
            make_folder(folder)


def write_file(path: Path, content: bytes) -> None:
    """Create a file, durably."""
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        finish_file(file.fileno(), path)


def finish_file(descriptor: int, path: Path) -> None:
    """Flush an open file's content to the disk and set its mode."""
    _set_mode(path, FILE_MODE)
    os.fsync(descriptor)


def flush_folder(path: Path) -> None:
    """Flush a folder's entries to the disk, where the file system can."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in {errno.EINVAL, errno.EOPNOTSUPP}:
            raise
    finally:
        os.close(descriptor)


def flush_tree(path: Path) -> None:
    """Flush the entries of a folder and of all folders in it, innermost first."""
    for folder, _, _ in os.walk(path, topdown=False):
        flush_folder(Path(folder))


def place_blob(blob: Path, path: Path, final: Path) -> None:
    """Make a blob's content appear at ``path``, which will be moved to ``final``.

    A hard link where the file system has them, else a relative symbolic link, else a copy.

    Raises:
        FileNotFoundError: the blob was removed meanwhile.

    """
    attempts: tuple[Callable[[], object], ...] = (
        lambda: os.link(blob, path),
        lambda: os.symlink(os.path.relpath(blob, final.parent), path),
    )
    for attempt in attempts:
        try:
            attempt()
        except OSError as error:
            if error.errno not in _CANNOT_LINK:
                raise
        else:
            return
    with blob.open("rb") as source, path.open("xb") as target:
        shutil.copyfileobj(source, target, 1 << 20)
        target.flush()
        finish_file(target.fileno(), path)


def move_folder(folder: Path, final: Path) -> bool:
    """Rename a folder to where nothing is; False if something is there already."""
    try:
        folder.rename(final)
    except OSError as error:
        if error.errno in _OCCUPIED:
            return False
        raise
    flush_folder(final.parent)
    return True


def replace_link(path: Path, target: str, staging: Staging) -> None:
    """Point a symbolic link elsewhere in one step: no reader finds it missing."""
    fresh = staging.new_path()
    fresh.symlink_to(target)
    fresh.replace(path)


def touch(folder: Path) -> None:
    """Give a folder the date of now."""
    os.utime(folder)


def read_link(path: Path) -> str | None:
    """Return where a symbolic link points, None if there is none."""
    try:
        return os.readlink(path)
    except OSError:
        return None


def list_folder(path: Path) -> Iterator[os.DirEntry[str]]:
    """Iterate over a folder's entries; none if it does not exist."""
    try:
        with os.scandir(path) as entries:
            yield from sorted(entries, key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return


def walk_files(path: Path) -> Iterator[Path]:
    """Iterate over all files and symbolic links below a folder."""
    for folder, _, files in os.walk(path):
        for name in files:
            yield Path(folder, name)


def remove_folder_if_empty(path: Path) -> None:
    """Remove a folder that holds nothing; leave any other."""
    try:
        path.rmdir()
    except OSError as error:
        if error.errno not in {*_OCCUPIED, errno.ENOENT, errno.ENOTDIR}:
            raise


def free_bytes(path: Path) -> int | None:
    """Return how many bytes an unprivileged process may still write; None if unknown."""
    try:
        usage = os.statvfs(path)
    except OSError:
        return None
    return usage.f_bavail * usage.f_frsize


def _set_mode(path: Path, mode: int) -> None:
    try:
        path.chmod(mode)
    except PermissionError:
        return  # somebody else's file system rules; what they allow is what there is
