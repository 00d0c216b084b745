"""All routes of the console, as one ASGI app."""

from __future__ import annotations

from starlette.routing import Mount, Router
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.console import documents, jobs, overview, playground, records, signing_in, upkeep
from api.console.routing import ConsoleRoute, no_such_page
from web import STATIC

SCREENS = (overview, jobs, documents, playground, upkeep, records, signing_in)


def console_routes() -> list[ConsoleRoute]:
    return [route for screen in SCREENS for route in screen.ROUTES]


def create_console() -> ASGIApp:
    static = Mount("/console/static", _Static(directory=STATIC))
    return Router([static, *console_routes()], redirect_slashes=False, default=no_such_page)


class _Static(StaticFiles):
    """Browsers ask each time whether a file has changed: an update of the service shows at once."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["state"]["route"] = "/console/static"

        async def send_fresh(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], *_STATIC_HEADERS]}
            await send(message)

        await super().__call__(scope, receive, send_fresh)


_STATIC_HEADERS = [(b"cache-control", b"no-cache"), (b"x-content-type-options", b"nosniff")]
