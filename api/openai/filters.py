"""OpenAI's filters are typed filters of ours, whose keys are attributes even where we have a field of that name."""

from __future__ import annotations

from typing import Any

from text.filter_spellings import MAX_DEPTH, parse
from text.filters import BUILT_IN, METADATA, Filter
from text.nesting import depth


def parsed_filters(value: Any) -> Filter | None:
    """Raises Invalid."""
    return parse(value if depth(value) > MAX_DEPTH else _of_attributes(value))


def _of_attributes(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    spelling = dict(value)
    if isinstance(spelling.get("filters"), list):
        spelling["filters"] = [_of_attributes(each) for each in spelling["filters"]]
    if spelling.get("key") in BUILT_IN:
        spelling["key"] = f"{METADATA}.{spelling['key']}"
    return spelling
