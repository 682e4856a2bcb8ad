"""``triton-operator sync``: the process of a sync Job.

One line of JSON per event on stdout, the outcome as the container's termination message.

Exit codes: 0 the work is done, even if models failed for good, which the outcome tells; 1 running
again may mend something, which the operator decides; 2 the command or the manifest is unusable.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from triton_operator.adapters.credentials import Secrets
from triton_operator.adapters.sources import open_sources
from triton_operator.errors import InvalidSpecError
from triton_operator.repository.downloads import Limits
from triton_operator.repository.manifest import Manifest
from triton_operator.repository.materialize import materialize
from triton_operator.repository.outcome import Event, Outcome, decode_outcome, encode_outcome

EXIT_DONE = 0
EXIT_TRANSIENT = 1
EXIT_UNUSABLE = 2


def run_sync(arguments: Sequence[str]) -> int:
    """Do what the arguments ask for; return the exit code."""
    options = _parser().parse_args(arguments)
    # Whatever modes the file system lets us set: the group and everybody else may read.
    os.umask(0o002)
    try:
        manifest = Manifest.from_json(options.manifest.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        return _refuse(f"{options.manifest}: {error}")
    sources = open_sources(
        dict(options.claim),
        Secrets(options.secrets, options.default_secret),
        ca_bundle=options.ca_bundle,
    )
    limits = Limits(options.parallel, options.bandwidth)
    try:
        outcome = materialize(
            options.root, manifest, sources, _print_event, limits=limits, repair=options.repair
        )
    except InvalidSpecError as error:
        return _refuse(str(error))
    text = encode_outcome(manifest.digest(), outcome)
    told = decode_outcome(text)
    if told is None or told.artifacts is None:
        _print_artifacts(outcome)
    if options.termination_log is not None:
        try:
            options.termination_log.write_text(text, encoding="utf-8")
        except OSError as error:
            return _refuse(f"{options.termination_log}: {error}")
    return EXIT_TRANSIENT if outcome.transient else EXIT_DONE


def _refuse(message: str) -> int:
    sys.stderr.write(f"triton-operator sync: {message}\n")
    return EXIT_UNUSABLE


def _print_artifacts(outcome: Outcome) -> None:
    """Tell by the log what does not fit into the outcome."""
    for name, artifacts in outcome.artifacts.items():
        for each in artifacts:
            _print_event(
                Event(
                    "artifact",
                    name,
                    each.uri,
                    each.bytes,
                    sha256=each.sha256,
                    version=each.version,
                )
            )


def _print_event(event: Event) -> None:
    sys.stdout.write(f"{event.to_json()}\n")
    sys.stdout.flush()  # a person may follow the log


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="triton-operator sync",
        description="Make a repository manifest true on a claim.",
    )
    parser.add_argument("--manifest", type=Path, required=True, help="the manifest, JSON")
    parser.add_argument("--root", type=Path, required=True, help="where the claim is mounted")
    parser.add_argument(
        "--claim",
        type=_claim,
        action="append",
        default=[],
        metavar="NAME=PATH",
        help="where a claim that pvc:// sources name is mounted; may be repeated",
    )
    parser.add_argument(
        "--repair",
        action="store_true",
        help="read all files that the manifest speaks of, and mend what is not as it should be",
    )
    parser.add_argument(
        "--secrets", type=Path, metavar="PATH", help="folder with a folder of keys per Secret"
    )
    parser.add_argument(
        "--default-secret", metavar="NAME", help="the Secret of sources that name none"
    )
    parser.add_argument("--ca-bundle", type=Path, metavar="PATH", help="certificates to trust, PEM")
    parser.add_argument(
        "--parallel", type=int, default=Limits().parallel, help="connections at a time"
    )
    parser.add_argument("--bandwidth", type=float, help="bytes per second to read at most")
    parser.add_argument(
        "--termination-log", type=Path, help="file for the outcome, JSON of at most 4096 bytes"
    )
    return parser


def _claim(text: str) -> tuple[str, Path]:
    name, equals, path = text.partition("=")
    if not (name and equals and path):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=PATH")
    return name, Path(path)
