"""Hypothesis's profiles: by default the same examples each time, so that no run fails by chance."""

from __future__ import annotations

import os
from collections.abc import Sequence
from random import Random
from typing import Any

from hypothesis import settings

settings.register_profile("default", deadline=None, derandomize=True)
settings.register_profile("thorough", deadline=None, max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


def is_thorough() -> bool:
    return settings.get_current_profile_name() == "thorough"


def examples(count: int) -> settings:
    """Settings for *count* examples, or more if the profile requires it."""
    most = settings().max_examples if is_thorough() else count
    return settings(max_examples=max(count, most))


def sample(values: Sequence[Any], count: int, *, seed: str) -> Sequence[Any]:
    """*count* of the values, the same ones for the same *seed*; all of them if the profile is thorough."""
    return values if is_thorough() else Random(seed).sample(values, min(count, len(values)))
