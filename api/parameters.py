"""The query parameters of a route: one that it does not have, or has twice, is refused.

A misspelt ``state`` would otherwise list jobs of every status.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from difflib import get_close_matches
from urllib.parse import parse_qsl

from fastapi.dependencies.models import Dependant
from fastapi.exceptions import RequestValidationError

MAX_NAMES = 100
_CUTOFF = 0.5


@dataclass(frozen=True, slots=True)
class QueryParameters:
    """*ignores_others*: those that the route does not have are not read."""

    names: Collection[str]
    ignores_others: bool = False

    @classmethod
    def of(cls, dependant: Dependant) -> QueryParameters:
        """Those that the route's function and its dependencies declare. Each has one value."""
        names = [field.alias for field in dependant.query_params]
        for each in dependant.dependencies:
            names += cls.of(each).names
        return cls(tuple(dict.fromkeys(names)))

    def check(self, query_string: bytes) -> None:
        """Raises RequestValidationError. Names beyond the hundredth are too many whatever they are."""
        if not query_string:
            return
        pairs = parse_qsl(query_string.decode("latin-1"), keep_blank_values=True)[:MAX_NAMES]
        sent = [name for name, _ in pairs]
        others = () if self.ignores_others else [name for name in dict.fromkeys(sent) if name not in self.names]
        problems = [(name, self._unknown(name)) for name in others]
        problems += [(name, "It is there twice: send it once.") for name in self.names if sent.count(name) > 1]
        if problems:
            raise RequestValidationError(
                [{"type": "value_error", "loc": ("query", name), "msg": message} for name, message in problems]
            )

    def _unknown(self, name: str) -> str:
        if not self.names:
            return "There is no such parameter: this route takes none."
        nearest = get_close_matches(name.lower()[:100], self.names, n=1, cutoff=_CUTOFF)
        if nearest:
            return f"There is no such parameter: did you mean {nearest[0]}?"
        return f"There is no such parameter: there are {', '.join(sorted(self.names))}."
