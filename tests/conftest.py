from tests.service import database_url, postgres, service

__all__ = ["database_url", "postgres", "service"]
