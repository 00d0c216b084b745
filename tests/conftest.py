"""What every test has: the databases, the one model, and how much of what is random is tried."""

from __future__ import annotations

import gc
import os

from hypothesis import settings

from tests.service import (
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

settings.register_profile("default", deadline=None, derandomize=True)
settings.register_profile("thorough", deadline=None, max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


def pytest_collection_finish() -> None:
    """What was imported stays: the garbage collector need not look at it again after every few tests."""
    gc.collect()
    gc.freeze()
