"""Selects the objects of a database that are compared with the models."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

GRAPH = "hnsw__"
INVERTED = "keyword_lexemes"


def is_compared(dialect_name: str) -> Callable[..., bool]:
    """For Alembic's include_object: excludes objects of the other database, and those that workers or SQLite create."""

    def include(item: Any, name: str | None, kind: str, *_: Any) -> bool:
        if (name or "").startswith({"index": GRAPH, "table": INVERTED}.get(kind, " ")):
            return False
        return kind not in ("table", "index") or item.info.get("only_on", dialect_name) == dialect_name

    return include
