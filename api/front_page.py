"""The page at /: what runs here, and where to go next. Open to strangers, so it says nothing about the installation."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from html import escape

from fastapi import FastAPI, Request
from starlette.responses import HTMLResponse

LINKS = {
    "/console": "The console",
    "/docs": "Try the API",
    "/redoc": "Read about the API",
    "/openapi.json": "The OpenAPI document, for generators of clients",
    "/v1/health": "Health",
}
STYLE = "body{max-width:40rem;margin:3rem auto;padding:0 1rem;font:1rem/1.6 sans-serif}li{margin:.3rem 0}"
_STYLE_HASH = b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
POLICY = f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; form-action 'none'"


def add_front_page(app: FastAPI) -> None:
    app.add_route("/", _front_page, include_in_schema=False)


async def _front_page(request: Request) -> HTMLResponse:
    app, root = request.app, escape(request.scope.get("root_path", ""), quote=True)
    links = "\n".join(f'<li><a href="{root}{path}">{text}</a></li>' for path, text in LINKS.items())
    page = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{app.title}</title>
<style>{STYLE}</style>
</head>
<body>
<h1>{app.title} {app.version}</h1>
<p>This service ingests documents, searches them, and answers questions about them with citations. Other programs call
it over HTTP; its guide is README.md, with the pages in docs/.</p>
<ul>
{links}
</ul>
</body>
</html>
"""
    return HTMLResponse(page, headers={"Content-Security-Policy": POLICY})
