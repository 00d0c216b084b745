"""How much of what is random is tried: the same each time, so that no run fails by chance; or much, by a profile."""

from __future__ import annotations

import os

from hypothesis import settings

settings.register_profile("default", deadline=None, derandomize=True)
settings.register_profile("thorough", deadline=None, max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


def examples(count: int) -> settings:
    """So many, where the profile does not ask for more."""
    most = settings().max_examples if settings.get_current_profile_name() == "thorough" else count
    return settings(max_examples=max(count, most))
