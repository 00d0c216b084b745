"""Why this hit? A question in several modes side by side, and answered with citations.

Questions are sent as forms, not in the address: addresses are written to logs.
"""

from __future__ import annotations

import asyncio
import json
import shlex
from dataclasses import dataclass
from functools import partial
from typing import Any, get_args

from starlette.responses import Response

from api.access import needs
from api.console.routing import get, post
from api.console.visits import Visit, as_body
from api.v1.ask import AskIn, AskOut, ask
from api.v1.search import SearchIn, SearchOut, search
from domain import Mode, Scope
from errors import Invalid
from text import strict_json

PATH = "/console/playground"
MODES: tuple[Mode, ...] = get_args(Mode)
LONGEST_NUMBER = 4

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ModeResult:
    """What one mode found, and the request that says so."""

    mode: Mode
    result: SearchOut
    curl: str


@needs(Scope.SEARCH)
def playground(visit: Visit) -> Response:
    return _page(visit)


@needs(Scope.SEARCH)
async def play(visit: Visit) -> Response:
    """Searches in each mode that is ticked, and with *ask* answers the question."""
    filters, chosen = _filters(visit), [mode for mode in MODES if visit.flag(mode)] or [MODES[-1]]
    if visit.flag("ask"):
        answer = await _answer(visit, filters)
        return await asyncio.to_thread(partial(_page, visit, filters=filters, answer=answer))
    rankings = await asyncio.gather(*(_ranking(visit, filters, mode) for mode in chosen))
    return await asyncio.to_thread(partial(_page, visit, filters=filters, rankings=rankings))


def _page(
    visit: Visit, *, filters: Json | None = None, rankings: list[ModeResult] | None = None, answer: AskOut | None = None
) -> Response:
    ticked = [mode for mode in MODES if visit.flag(mode)] or list(MODES)
    return visit.page(
        "playground.html",
        rankings=rankings,
        answer=answer,
        filters=filters,
        modes=MODES,
        ticked=ticked,
        top_k=_top_k(visit),
    )


async def _ranking(visit: Visit, filters: Json | None, mode: Mode) -> ModeResult:
    body: Json = {
        **visit.named_place,
        "query": visit.value("query"),
        "top_k": _top_k(visit),
        "mode": mode,
        "explain": True,
    }
    body |= {"filters": filters} if filters else {}
    result = await search(as_body(visit, SearchIn, body), visit.runtime, visit.principal, None)
    return ModeResult(mode, result, _curl(visit, "/v1/search", body))


async def _answer(visit: Visit, filters: Json | None) -> AskOut | None:
    body: Json = {**visit.named_place, "question": visit.value("query"), "top_k": _top_k(visit)}
    body |= {"filters": filters} if filters else {}
    answer = await ask(as_body(visit, AskIn, body), visit.request, visit.runtime, visit.principal, None)
    return answer if isinstance(answer, AskOut) else None


def _filters(visit: Visit) -> Json | None:
    """Those that are typed, and one more where a value of a hit was clicked; a click on an equal one replaces it."""
    typed = _object(visit.value("filters"), "filters")
    return {**typed, **_object(visit.value("add"), "add")} or None


def _object(text: str | None, param: str) -> Json:
    if text is None:
        return {}
    try:
        value = strict_json.loads(text.encode())
    except (strict_json.NotJson, UnicodeEncodeError) as error:
        raise Invalid(f"{param} is not valid JSON ({error}).", param=param) from error
    if not isinstance(value, dict):
        raise Invalid(f'{param} is an object, such as {{"year": {{"$gte": 2020}}}}.', param=param)
    return value


def _top_k(visit: Visit) -> int:
    text = visit.value("top_k") or "5"
    if not (text.isascii() and text.isdigit() and len(text) <= LONGEST_NUMBER):
        raise Invalid("top_k is a number from 1 on.", param="top_k")
    return int(text)


def _curl(visit: Visit, path: str, body: Json) -> str:
    base = str(visit.request.base_url).rstrip("/")
    key = "" if visit.is_open else ' -H "Authorization: Bearer $KEY"'
    sent = shlex.quote(json.dumps(body, ensure_ascii=False))
    return f"curl -sS {shlex.quote(base + path)}{key} -H 'Content-Type: application/json' -d {sent}"


ROUTES = [get(PATH, playground), post(PATH, play)]
