"""Hypothesis's profiles: by default the same examples each time, so that no run fails by chance."""

from __future__ import annotations

import os

from hypothesis import settings

settings.register_profile("default", deadline=None, derandomize=True)
settings.register_profile("thorough", deadline=None, max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


def examples(count: int) -> settings:
    """Settings for *count* examples, or more if the profile requires it."""
    most = settings().max_examples if settings.get_current_profile_name() == "thorough" else count
    return settings(max_examples=max(count, most))
