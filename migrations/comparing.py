"""What of a database is compared with the models, when somebody asks whether they are the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

GRAPH = "hnsw__"
INVERTED = "keyword_lexemes"


def is_compared(dialect_name: str) -> Callable[..., bool]:
    """For Alembic's include_object: not what belongs to another database, nor what workers and SQLite make."""

    def include(item: Any, name: str | None, kind: str, *_: Any) -> bool:
        if (name or "").startswith({"index": GRAPH, "table": INVERTED}.get(kind, " ")):
            return False
        return kind not in ("table", "index") or item.info.get("only_on", dialect_name) == dialect_name

    return include
