"""Puts the console at /console. Nothing of it is imported before its first request, so that no start waits for it."""

from __future__ import annotations

import asyncio
from importlib import import_module

from fastapi import FastAPI
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

METHODS = ("GET", "POST")


def add_console(app: FastAPI) -> None:
    console = LazyConsole()
    app.router.routes += [Route(path, console, methods=METHODS) for path in ("/console", "/console/{rest:path}")]


class LazyConsole:
    def __init__(self) -> None:
        self._app: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._app is None:
            self._app = await asyncio.to_thread(_console)
        await self._app(scope, receive, send)


def _console() -> ASGIApp:
    app: ASGIApp = import_module("api.console.app").create_console()
    return app
