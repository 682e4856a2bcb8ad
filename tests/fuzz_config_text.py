"""Texts of configs, led by the code that they reach: ``python -m tests.fuzz_config_text [RUNS]``.

atheris changes real texts so that more of the parser of protobuf's text format and of our own code
is run. It ends with an error at the first text that is neither refused as invalid nor read as it
will be written, and leaves that text in a file ``crash-…``.
"""

import atexit
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["google.protobuf", "triton_operator"]):
    from tritonclient.grpc import model_config_pb2

    from tests.unit.fuzzing.config_text import FOLDER, read_twice

_RUNS = 100_000
_LONGEST = 4096

_outcomes: Counter[bool] = Counter()


def try_text(data: bytes) -> None:
    """Try one text."""
    _outcomes[read_twice(data.decode(errors="replace"))] += 1


def words() -> Iterator[str]:
    """Yield the names of fields and of values that a config may have."""
    for message in model_config_pb2.DESCRIPTOR.message_types_by_name.values():
        yield from message.fields_by_name
    for enum in model_config_pb2.DESCRIPTOR.enum_types_by_name.values():
        yield from enum.values_by_name


def tell() -> None:
    """Say how many texts were tried."""
    read, refused = _outcomes[True], _outcomes[False]
    print(f"texts of configs: {read + refused}, of which {read} were read and {refused} refused")


def main(runs: int) -> None:
    """Try so many texts, the first of them real ones; the process ends with it."""
    with tempfile.TemporaryDirectory() as folder:
        found, dictionary = Path(folder, "found"), Path(folder, "words")
        found.mkdir()
        dictionary.write_text("".join(f'"{word}"\n' for word in sorted({*words()})))
        atexit.register(tell)
        options = (f"-atheris_runs={runs}", f"-max_len={_LONGEST}", f"-dict={dictionary}")
        atheris.Setup([sys.argv[0], *options, "-verbosity=0", str(found), str(FOLDER)], try_text)
        atheris.Fuzz()


if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:] else _RUNS)
