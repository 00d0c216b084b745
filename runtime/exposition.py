"""Serves a process's figures to Prometheus on a port of their own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import start_http_server

from errors import Invalid
from runtime.parts import Runtime


@contextmanager
def figures_served(runtime: Runtime, port: int) -> Iterator[None]:
    """At /metrics on METRICS_HOST, to anyone, from a thread; 0: not at all. Raises Invalid if the port is taken."""
    if not port:
        yield
        return
    host = runtime.settings.metrics_host
    try:
        server, thread = start_http_server(port, host, runtime.operations.exposing.registry)
    except (OSError, OverflowError) as error:
        raise Invalid(f"Figures for Prometheus cannot be served on {host}:{port}: {error}.") from error
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
