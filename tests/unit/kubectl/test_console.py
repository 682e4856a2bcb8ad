"""What is piped into a file or another program is whole."""

import pytest
from rich.table import Table

from triton_operator.kubectl.console import open_console


def show(text: str) -> None:
    table = Table("POD", "MESSAGE")
    table.add_row("pod", text)
    open_console().print(table)


def test_without_a_terminal_nothing_is_cut_off(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    text = "load failed: " + "a long story " * 40

    show(text)
    assert text.strip() in capsys.readouterr().out

    monkeypatch.setenv("COLUMNS", "40")
    show(text)
    assert max(map(len, capsys.readouterr().out.splitlines())) == 40
