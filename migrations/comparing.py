"""What of a database is compared with the models, when somebody asks whether they are the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

GRAPH = "hnsw__"


def is_compared(dialect_name: str) -> Callable[..., bool]:
    """For Alembic's include_object: not the tables of another database, nor the indexes that workers make."""

    def include(item: Any, name: str | None, kind: str, *_: Any) -> bool:
        if kind == "index":
            return not (name or "").startswith(GRAPH)
        return kind != "table" or item.info.get("only_on", dialect_name) == dialect_name

    return include
