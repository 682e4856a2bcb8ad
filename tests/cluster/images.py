"""Images without a container engine: buildah builds, the cache keeps, containerd imports
(`layout.py`).

An image's *key* is a hash of everything it is made of: its Dockerfile, the files copied into it,
and the base. Its record in the cache is named by it, so an image is built when and only when
something in it changed. Base images cannot be pulled on every machine; ours is made from Debian's
packages (`make_base`) and stands in, by the build argument `BASE`, for the public one that the
Dockerfiles name.

The files of a build context are copied to a temporary folder first, with one fixed time stamp:
then buildah's layer cache is hit by equal content, not by equal dates, and nothing else of the
working tree gets in.
"""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.cluster import layout, settings
from tests.cluster.progress import step
from tests.cluster.shell import run, succeeds, which

_EPOCH_S = 1_700_000_000
_KEY_LENGTH = 12
_BASE_PACKAGES = "python3,python3-venv,libpython3.11,ca-certificates"
_BASE_SUITE = "bookworm"
_WITHOUT = ("man", "doc", "locale", "info")
_IGNORED = ("__pycache__", ".pyc")


@dataclass(frozen=True)
class Image:
    """One image: `files` maps a path in the build context to the file or folder that is put
    there."""

    name: str
    dockerfile: Path
    files: tuple[tuple[str, Path], ...]
    on_base: bool

    @property
    def slug(self) -> str:
        """The name as a file name."""
        return self.name.removeprefix("localhost/").replace(":", "-").replace("/", "-")


def infrastructure(folders: settings.Folders) -> tuple[Image, ...]:
    """The images that the cluster itself runs: one static program each."""
    tests = settings.REPOSITORY / "tests" / "images"
    return (
        Image(
            settings.PAUSE_IMAGE,
            tests / "pause" / "Dockerfile",
            (("pause", folders.bin / "pause"),),
            on_base=False,
        ),
        Image(
            settings.COREDNS_IMAGE,
            tests / "coredns" / "Dockerfile",
            (("coredns", folders.bin / "coredns"),),
            on_base=False,
        ),
    )


def applications() -> tuple[Image, ...]:
    """The images that tests are about: the operator and a real Triton."""
    repository = settings.REPOSITORY
    triton = repository / "tests" / "images" / "tritonserver"
    return (
        Image(
            settings.OPERATOR_IMAGE,
            repository / "Dockerfile",
            tuple(
                (name, repository / name)
                for name in ("pyproject.toml", "constraints.txt", "operator")
            ),
            on_base=True,
        ),
        Image(
            settings.TRITON_IMAGE,
            triton / "Dockerfile",
            (("backends", triton / "backends"),),
            on_base=True,
        ),
        Image(
            settings.PERF_IMAGE,
            repository / "tests" / "images" / "perf-analyzer" / "Dockerfile",
            (),
            on_base=True,
        ),
    )


def build(folders: settings.Folders, images: Iterable[Image]) -> dict[str, Path]:
    """Build what the cache does not hold; image name -> its record in the cache."""
    return {image.name: _record(folders, image) for image in images}


def load(folders: settings.Folders, records: dict[str, Path]) -> None:
    """Import into containerd the images that are not there in their present version."""
    loaded = folders.state / "images"
    loaded.mkdir(exist_ok=True)
    for name, record in records.items():
        mark = loaded / record.stem.rpartition("-")[0]
        if mark.exists() and mark.read_text() == record.name:
            continue
        with step(f"importing {name}", quiet_below_s=1.0):
            layout.import_image(ctr(folders), name, folders.images, record)
        mark.write_text(record.name)


def ctr(folders: settings.Folders) -> list[str | Path]:
    """containerd's own client, on the socket and in the namespace of the kubelet."""
    return ["ctr", "--address", folders.containerd_socket, "--namespace", "k8s.io"]


def key_of(image: Image) -> str:
    """The hash that names an image's content."""
    digest = hashlib.sha256(image.dockerfile.read_bytes())
    if image.on_base:
        digest.update(base_key().encode())
    for name, source in _files(image):
        digest.update(f"\0{name}\0{source.stat().st_mode & 0o111}\0".encode())
        with source.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:_KEY_LENGTH]


def base_key() -> str:
    """The hash that names the base image."""
    return hashlib.sha256(f"{_BASE_SUITE} {_BASE_PACKAGES} {_WITHOUT}".encode()).hexdigest()[:8]


def _record(folders: settings.Folders, image: Image) -> Path:
    target = folders.images / f"{image.slug}-{key_of(image)}.json"
    if target.exists():
        return target
    with step(f"building image {image.name}"):
        arguments = ["--build-arg", f"BASE={_base(folders)}"] if image.on_base else []
        with tempfile.TemporaryDirectory() as folder:
            context = Path(folder) / "context"
            _stage(image, context)
            secrets = _secrets(Path(folder))
            run(
                [
                    *_buildah(folders, "build", "--isolation", "chroot", "--layers"),
                    *("--file", image.dockerfile, "--tag", image.name),
                    *(*arguments, *secrets, context),
                ]
            )
        folders.images.mkdir(parents=True, exist_ok=True)
        layout.store(_buildah(folders, "push"), image.name, folders.images, target)
    for old in folders.images.glob(f"{image.slug}-{'?' * _KEY_LENGTH}.json"):
        if old != target:
            old.unlink()
    layout.prune(folders.images, tuple(folders.images.glob(f"*-{'?' * _KEY_LENGTH}.json")))
    return target


def _base(folders: settings.Folders) -> str:
    """The name of the base image in buildah's storage, made where it is missing."""
    name = f"localhost/python-{_BASE_SUITE}:{base_key()}"
    if succeeds(_buildah(folders, "inspect", "--type", "image", name)):
        return name
    archive = folders.images / f"base-{base_key()}.tar"
    if not archive.exists():
        with step("making the base image from Debian packages"):
            _make_base(archive)
    container = run(_buildah(folders, "from", "scratch")).strip()
    run(_buildah(folders, "add", "--quiet", container, archive))
    run(_buildah(folders, "commit", "--quiet", "--rm", container, name))
    return name


def _make_base(archive: Path) -> None:
    archive.parent.mkdir(parents=True, exist_ok=True)
    new = archive.with_suffix(".new.tar")
    without = [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in _WITHOUT]
    run(
        [
            *("mmdebstrap", "--variant=minbase", f"--include={_BASE_PACKAGES}"),
            *('--aptopt=Apt::Install-Recommends "false"', *without, _BASE_SUITE, new),
        ]
    )
    new.rename(archive)


def _buildah(folders: settings.Folders, *words: str | Path) -> list[str | Path]:
    root = folders.cache / "buildah"
    driver = "overlay" if _overlay_works(root) else "vfs"
    run_root = Path("/run/triton-operator-buildah")
    return ["buildah", "--root", root, "--runroot", run_root, "--storage-driver", driver, *words]


def _overlay_works(root: Path) -> bool:
    """Whether the cache's file system can hold overlay's layers: not if it is an overlay itself."""
    root.mkdir(parents=True, exist_ok=True)
    return "overlay" not in run(["stat", "--file-system", "--format=%T", root])


def _stage(image: Image, context: Path) -> None:
    context.mkdir()
    for name, source in _files(image):
        target = context / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)
    for path in [context, *context.rglob("*")]:
        os.utime(path, (_EPOCH_S, _EPOCH_S))


def _files(image: Image) -> Iterator[tuple[str, Path]]:
    """Every file of a build context, in a fixed order: its path there, and where it comes from."""
    for name, source in image.files:
        if source.is_dir():
            for file in sorted(source.rglob("*")):
                if file.is_file() and not any(word in str(file) for word in _IGNORED):
                    yield f"{name}/{file.relative_to(source)}", file
        elif source.exists():
            yield name, source


def _secrets(folder: Path) -> list[str]:
    """The host's pip settings and certificates, lent to the build and kept out of the image."""
    pip = which("pip") or which("pip3")
    listed = run([pip, "config", "list"], check=False) if pip else ""
    (folder / "pip.conf").write_text(pip_configuration(listed, "/run/secrets/ca"))
    authority = os.environ.get("PIP_CERT") or os.environ.get("SSL_CERT_FILE")
    authority = authority or "/etc/ssl/certs/ca-certificates.crt"
    return [f"--secret=id=pip,src={folder}/pip.conf", f"--secret=id=ca,src={authority}"]


def pip_configuration(listed: str, certificates: str) -> str:
    """A pip.conf with the index settings of `pip config list`, and the path of the certificates."""
    settings_ = {"cert": certificates}
    for line in listed.splitlines():
        name, _, value = line.partition("=")
        option = name.rpartition(".")[2]
        if option in {"index-url", "extra-index-url", "trusted-host", "default-timeout", "proxy"}:
            settings_[option] = value.strip("'\"")
    return "[global]\n" + "".join(f"{k} = {v}\n" for k, v in settings_.items())
