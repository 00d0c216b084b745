"""What may be tried again when the database broke it off."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from errors import Interrupted

log = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")

PAUSES_SECONDS = (0.05, 0.5)


def repeatable(verb: Callable[P, R]) -> Callable[P, R]:
    """A verb that may be run again after Interrupted, twice at the most.

    The database kept nothing of the interrupted transaction, so that one is never done twice. What else the verb has
    committed before it must do no harm when it is committed again. A commit whose answer was lost is not Interrupted:
    nobody knows whether it was kept, and who asked is told so.
    """

    @wraps(verb)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        for pause in PAUSES_SECONDS:
            try:
                return verb(*args, **kwargs)
            except Interrupted as error:
                log.warning("%s is tried again: %s", verb.__qualname__, error)
                time.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 - so that two do not meet again
        return verb(*args, **kwargs)

    return run
