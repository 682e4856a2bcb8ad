"""``kubectl triton status | top | logs | infer | profile``: kubectl finds the program by its name.

Options that kubectl has, too, are called as there. Exit codes: 0; 1 something did not work; 2 the
arguments cannot be used, or there is nothing of that name. What is wrong goes to standard error.
"""


def main() -> None:
    """Run the command that kubectl was called with."""
    from triton_operator.kubectl.commands import app  # noqa: PLC0415 - typer takes its time

    app(prog_name="kubectl triton")
