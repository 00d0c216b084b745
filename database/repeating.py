"""Retries what the database interrupted."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from errors import Interrupted
from metrics import DATABASE_RETRIES

log = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")

PAUSES_SECONDS = (0.05, 0.5)


def repeatable(verb: Callable[P, R]) -> Callable[P, R]:
    """Decorates a function to be retried after Interrupted, at most twice.

    The database kept nothing of the interrupted transaction, so it is never applied twice. Earlier commits of the
    function must be idempotent. A commit whose answer was lost is not Interrupted: its outcome is unknown, and the
    caller gets an error that says so.
    """

    @wraps(verb)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        for pause in PAUSES_SECONDS:
            try:
                return verb(*args, **kwargs)
            except Interrupted as error:
                DATABASE_RETRIES.inc()
                log.warning("retrying %s: %s", verb.__qualname__, error)
                time.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 - jitter, so that two do not collide again
        return verb(*args, **kwargs)

    return run
