"""What every test has: the databases, the one model, and the profile of what is random."""

from __future__ import annotations

import gc

import tests.support.examples  # noqa: F401  # it loads the profile
from tests.support.service import (
    bundled_model,
    database_url,
    empty_url,
    migrated_postgres,
    one_bundled_model,
    postgres,
    remote,
    remote_service,
    service,
    shared_service,
)

__all__ = [
    "bundled_model",
    "database_url",
    "empty_url",
    "migrated_postgres",
    "one_bundled_model",
    "postgres",
    "remote",
    "remote_service",
    "service",
    "shared_service",
]


def pytest_collection_finish() -> None:
    """What was imported stays: the garbage collector need not look at it again, nor so often at the rest."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
