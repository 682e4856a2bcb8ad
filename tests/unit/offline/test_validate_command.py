"""``triton-operator validate`` as people, programs and pipelines use it."""

import io
import json
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.unit.offline.files import in_pool, pool, text_of
from triton_operator.cli.manifest_files import UnusableError
from triton_operator.cli.validate import run_validate

ROOT = Path(__file__).parents[3]
SAMPLES = sorted({path.parent for path in (ROOT / "model_repository").glob("*/*/*.yaml")})
COMMAND = [sys.executable, "-m", "triton_operator", "validate"]
BAD = text_of(in_pool("a", modelName="a/b"))
GOOD = text_of(pool(), in_pool("a"))
NAME_LINE, REFERENCE_LINE = (
    next(i for i, line in enumerate(BAD.splitlines(), 1) if words in line)
    for words in ("modelName", "name: pool")
)

Validate = Callable[..., int]


@pytest.fixture
def validate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Validate:
    """Runs the command in a folder of its own."""
    monkeypatch.chdir(tmp_path)

    def run(*paths: str, **options: Any) -> int:
        defaults: dict[str, Any] = {
            "output": "human",
            "namespace": "default",
            "strict": False,
            "each_folder": False,
            "exclude": (),
        }
        return run_validate(paths, **defaults | options)

    return run


def write(path: str, text: str) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text, encoding="utf-8")


def call(*arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
    environment = {"PYTHONPATH": str(ROOT / "operator"), "PATH": ""}
    return subprocess.run(
        [*COMMAND, *arguments], input=text, capture_output=True, text=True, env=environment,
        check=False,
    )  # fmt: skip


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: "-".join(path.parts[-2:]))
def test_every_sample_is_fine(validate: Validate, capsys: Any, sample: Path) -> None:
    assert validate(str(sample), strict=True) == 0
    assert capsys.readouterr().out == ""


def test_all_samples_together_take_less_than_a_second() -> None:
    spent = [1.0]
    # The best of some: what else runs on the machine can only add to the processor's time.
    while min(spent) >= 1 and len(spent) <= 10:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = call("--strict", "--each-folder", str(ROOT / "model_repository"))
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert (done.returncode, done.stdout) == (0, "")
        spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)

    assert min(spent) < 1, spent


def test_a_mistake_is_one_line_and_exit_code_1() -> None:
    done = call("-", text=f"# a comment\n{BAD}")

    assert done.returncode == 1
    assert f"<stdin>:{NAME_LINE + 1}: TritonModel a: spec.modelName: " in done.stdout
    assert len(done.stdout.splitlines()) == 2
    assert "\x1b" not in done.stdout + done.stderr


def test_arguments_that_cannot_be_used_are_exit_code_2() -> None:
    missing, nothing = call("missing.yaml"), call()

    assert missing.returncode == 2
    assert "missing.yaml: there is no such file" in missing.stderr
    assert nothing.returncode == 2


def test_warnings_are_shown_but_are_no_mistakes(validate: Validate, capsys: Any) -> None:
    write("a.yaml", text_of(in_pool("a")))

    assert validate("a.yaml") == 0
    shown = capsys.readouterr()
    place = f"a.yaml:{REFERENCE_LINE}"
    assert f"{place}: TritonModel a: warning: spec.serverRef.name: " in shown.out
    assert "0 mistakes, 1 warning in 1 TritonModel and 0 TritonServers" in shown.err
    assert validate("a.yaml", strict=True) == 1


def test_json_holds_everything(validate: Validate, capsys: Any) -> None:
    write("a.json", json.dumps(in_pool("a", modelName="a/b")))
    write("b.yaml", "apiVersion: v1\nkind: Secret\n---\nx: [}\n")

    assert validate("a.json", "b.yaml", output="json") == 2
    report = json.loads(capsys.readouterr().out)
    assert (report["models"], report["servers"], report["passedOver"]) == (1, 0, 0)
    (mistake,), (warning,), (unreadable,) = (
        report[key] for key in ("mistakes", "warnings", "unreadable")
    )
    assert mistake["field"] == "spec.modelName"
    assert warning["reason"] == "ServerNotFound"
    assert (mistake["file"], mistake["line"]) == ("a.json", 1)
    assert (unreadable["file"], unreadable["line"]) == ("b.yaml", 4)


def test_github_shows_mistakes_beside_their_lines(validate: Validate, capsys: Any) -> None:
    write("a,b.yaml", BAD)

    assert validate("a,b.yaml", output="github") == 1
    shown = sorted(capsys.readouterr().out.splitlines())
    place = f"file=a%2Cb.yaml,line={NAME_LINE},col=3"
    assert shown[0].startswith(f"::error {place}::TritonModel a: spec.modelName: ")
    assert shown[1].startswith(f"::warning file=a%2Cb.yaml,line={REFERENCE_LINE},")


def test_folders_are_searched_through(validate: Validate, capsys: Any) -> None:
    write("apps/one/server.yml", text_of(pool()))
    write("apps/two/model.yaml", text_of(in_pool("a")))
    write("apps/chart/templates/x.yaml", "{{ if .Values.x }}\na: {{ b }}\n")
    write("apps/.git/x.yaml", BAD)
    write("apps/notes.txt", BAD)

    assert validate("apps", strict=True) == 0
    assert "1 TritonModel and 1 TritonServer" in capsys.readouterr().err


def test_a_template_that_makes_our_objects_is_unreadable_unless_excluded(
    validate: Validate,
) -> None:
    write("good.yaml", GOOD)
    write("chart/templates/x.yaml", "apiVersion: triton-operator.io/v1alpha1\nspec: {{ b }\n")

    assert validate(".") == 2
    assert validate(".", exclude=["templates"]) == 0
    assert validate(".", exclude=["chart/templates/*"]) == 0


def test_a_file_that_is_named_must_be_readable(validate: Validate) -> None:
    write("x.yaml", "{{ x }}: [")
    Path("y.yaml").write_bytes(b"\xff")

    assert validate("x.yaml") == 2
    Path("empty").mkdir()
    with pytest.raises(UnusableError, match=r"no \.yaml, \.yml, \.json file in empty"):
        validate("empty")
    with pytest.raises(UnusableError, match=r"y\.yaml"):
        validate("y.yaml")


def test_overlays_are_judged_folder_by_folder(validate: Validate, capsys: Any) -> None:
    write("staging/all.yaml", GOOD)
    write("production/all.yaml", GOOD)

    assert validate(".") == 1
    assert "rename or remove one of them, or use validate --each-folder" in capsys.readouterr().out
    assert validate(".", each_folder=True, strict=True) == 0

    write("staging/more.yaml", GOOD)
    assert validate("staging") == 1
    assert "--each-folder" not in capsys.readouterr().out


def test_a_file_is_read_once(validate: Validate, monkeypatch: pytest.MonkeyPatch) -> None:
    write("a.yaml", text_of(in_pool("a")))
    monkeypatch.setattr(sys, "stdin", io.StringIO(text_of(pool())))

    assert validate("a.yaml", "a.yaml", "-", strict=True) == 0


def test_sync_never_loads_typer_or_the_offline_tools() -> None:
    code = (
        "import sys; sys.argv[1:] = ['sync', '--manifest=/none', '--root=/none']\n"
        "from triton_operator import cli\n"
        "try: cli.main()\n"
        "except SystemExit: print([m for m in sys.modules if 'typer' in m or 'offline' in m])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        env={"PYTHONPATH": str(ROOT / "operator")},
    )  # fmt: skip

    assert done.stdout.strip() == "[]"
