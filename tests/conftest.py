import os

from hypothesis import settings

from tests.service import database_url, one_bundled_model, postgres, service

__all__ = ["database_url", "one_bundled_model", "postgres", "service"]

settings.register_profile("default", deadline=None, derandomize=True)
settings.register_profile("thorough", deadline=None, max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))
