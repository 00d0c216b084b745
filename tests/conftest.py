from tests.service import service

__all__ = ["service"]
