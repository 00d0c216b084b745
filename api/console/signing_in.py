"""Signing in with an API key, and out."""

from __future__ import annotations

import re

from starlette.responses import Response

from api.access import needs, open_to_strangers
from api.console.admission import PATH, count_failure
from api.console.routing import get, post
from api.console.visits import Visit, new_visitor
from domain import Scope
from errors import Unauthenticated

_OWN_PAGE = re.compile(r"/console(?:[/?][\x21-\x7e]*)?")


@open_to_strangers
def sign_in_page(visit: Visit) -> Response:
    if visit.is_open:
        return visit.redirect(PATH)
    return visit.page("sign_in.html", problem=None)


@open_to_strangers
def sign_in(visit: Visit) -> Response:
    try:
        session = visit.runtime.accounts.sessions.begin((visit.value("key") or "").strip())
    except Unauthenticated as error:
        count_failure(visit.request)
        return visit.page("sign_in.html", status_code=401, problem=str(error))
    answer = visit.redirect(_own_page(visit))
    visit.set_cookie(answer, session)
    return answer


@needs(*Scope)
def sign_out(visit: Visit) -> Response:
    answer = visit.redirect(f"{PATH}/sign-in")
    visit.set_cookie(answer, new_visitor())
    return answer


def _own_page(visit: Visit) -> str:
    """Where the browser target to go, if that is a page of the console."""
    target = (visit.value("next") or "").removeprefix(visit.root)
    return target if _OWN_PAGE.fullmatch(target) else PATH


ROUTES = [
    get("/console/sign-in", sign_in_page),
    post("/console/sign-in", sign_in),
    post("/console/sign-out", sign_out),
]
