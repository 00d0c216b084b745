from tests.service import database_url, one_bundled_model, postgres, service

__all__ = ["database_url", "one_bundled_model", "postgres", "service"]
