"""What makes the tests quick enough to be run all the time."""

import gc

from hypothesis import settings

settings.register_profile("quick", max_examples=10)
"""A tenth of the cases that hypothesis tries otherwise; `make test` tries them all."""


def pytest_collection_finish() -> None:
    # The collector would walk through all that was imported time and again: a tenth of the time.
    gc.freeze()
