"""A Postgres of the benchmark's own, as durable as SQLite is: fsync is on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg
import pytest
from sqlalchemy import make_url

from bench.peers.base import Unavailable
from tests.support.postgres import OwnServer, own_server


@dataclass(frozen=True, slots=True)
class PostgresData:
    """An empty database, by its URL, on a server that nobody else uses."""

    server: OwnServer
    url: str

    @property
    def plain_url(self) -> str:
        return make_url(self.url).set(drivername="postgresql").render_as_string(hide_password=False)

    def pids(self) -> list[int]:
        return [int((self.server.data / "postmaster.pid").read_text().split()[0])]

    def size(self) -> int:
        with psycopg.connect(self.plain_url) as connection:
            row = connection.execute("SELECT pg_database_size(current_database())").fetchone()
            assert row is not None
            return int(row[0])


@contextmanager
def postgres() -> Iterator[PostgresData]:
    try:
        with own_server(is_durable=True) as server, server.database() as url:
            yield PostgresData(server, url)
    except pytest.skip.Exception as missing:
        raise Unavailable(f"{missing}") from missing
