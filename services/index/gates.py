"""What a comparison must show before a version may serve. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from domain import Json
from errors import Invalid

MIN_OVERLAP, MAX_NDCG_DROP, MAX_P95_RATIO = "min_overlap", "max_ndcg_drop", "max_p95_ratio"


def failing(gates: Mapping[str, float], figures: Json | None, *, against: str) -> list[str]:
    """Returns a sentence for each gate that is not passed. *figures* are those of the version's last comparison, and
    *against* is the version that serves: a comparison with another one says nothing.
    """
    if not gates:
        return []
    if figures is None:
        return [f"It has gates ({', '.join(sorted(gates))}) and was never compared: ask for a comparison first."]
    if figures["against"] != against:
        return [f"Its last comparison was with {figures['against']!r}, and {against!r} serves: compare it again."]
    return list(_missed(gates, figures))


def read_gates(lines: Iterable[str]) -> dict[str, float]:
    """Reads ``min_overlap=0.8`` and the like. Raises Invalid."""
    gates = {}
    for line in lines:
        name, _, value = line.partition("=")
        try:
            gates[name.strip()] = float(value)
        except ValueError as error:
            raise Invalid(f"Gate {line!r} is no name and number, such as {MIN_OVERLAP}=0.8.", param="gates") from error
    return checked(gates)


def checked(gates: Mapping[str, float]) -> dict[str, float]:
    """Raises Invalid for a gate that does not exist, or a limit that nothing could meet."""
    for name, limit in gates.items():
        if name not in _FIGURES:
            raise Invalid(f"There is no gate {name!r}; there are {', '.join(_FIGURES)}.", param="gates")
        if not (limit > 0 if name == MAX_P95_RATIO else 0 <= limit <= 1):
            raise Invalid(f"{name} is {limit:g}: nothing could pass, or miss, such a gate.", param="gates")
    return dict(gates)


def _missed(gates: Mapping[str, float], figures: Json) -> Iterator[str]:
    for gate, limit in sorted(gates.items()):
        value = figures.get(_FIGURES[gate])
        if value is None:
            yield f"{gate}: its last comparison had no {_NEEDS[gate]}."
        elif (value < limit) if gate == MIN_OVERLAP else (value > limit):
            sign = "at least" if gate == MIN_OVERLAP else "at most"
            yield f"{gate}: {value:.3f}, and {sign} {limit:g} is required."


_FIGURES = {MIN_OVERLAP: "overlap", MAX_NDCG_DROP: "ndcg_drop", MAX_P95_RATIO: "p95_ratio"}
_NEEDS = {MIN_OVERLAP: "queries with results", MAX_NDCG_DROP: "judgements (qrels)", MAX_P95_RATIO: "times"}
