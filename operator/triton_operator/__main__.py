"""``python -m triton_operator``."""

from triton_operator.cli import main

if __name__ == "__main__":
    main()
