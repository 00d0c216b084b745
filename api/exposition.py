"""/metrics: the figures of this process, and of the installation, for Prometheus."""

from __future__ import annotations

from fastapi import APIRouter, Response
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from api.access import needs
from api.dependencies import InRuntime
from api.responses import raises
from api.routing import StrictRoute
from domain import Scope
from errors import NotFound

router = APIRouter(tags=["health"], route_class=StrictRoute)


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
@needs(Scope.OPERATOR)
@raises(NotFound)
def metrics(runtime: InRuntime) -> Response:
    """In Prometheus' text format. 404 where METRICS_PORT names a port of its own for it."""
    if runtime.settings.metrics_port:
        raise NotFound("The figures for Prometheus are served on METRICS_PORT.")
    return Response(generate_latest(runtime.operations.exposing.registry), media_type=CONTENT_TYPE_LATEST)
