"""A real PgBouncer in transaction mode in front of a Postgres, with fewer connections than the service opens."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import create_engine, make_url
from sqlalchemy.exc import OperationalError

from tests.support.postgres import as_owner, free_port, hand_over
from tests.support.processes import until

CONNECTIONS = 4


@contextmanager
def pooled(url: str) -> Iterator[str]:
    """Yields the URL of the same database behind the pooler."""
    program = shutil.which("pgbouncer", path="/usr/sbin:/usr/bin:/usr/local/bin")
    if program is None:
        pytest.skip("needs the program pgbouncer (Debian: apt-get install pgbouncer)")
    folder, port = Path(tempfile.mkdtemp(prefix="adf-pgbouncer-")), free_port()
    behind = make_url(url)
    (folder / "users.txt").write_text(f'"{behind.username}" "{behind.password or ""}"\n')
    (folder / "pgbouncer.ini").write_text(
        f"[databases]\n* = host={behind.host} port={behind.port}\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
        f"auth_type = trust\nauth_file = {folder}/users.txt\nlogfile = {folder}/log\n"
        f"pool_mode = transaction\ndefault_pool_size = {CONNECTIONS}\nmax_client_conn = 200\n"
    )
    hand_over(folder)
    process = subprocess.Popen(as_owner(program, "-q", folder / "pgbouncer.ini"), stdin=subprocess.DEVNULL)
    try:
        through = behind.set(port=port).render_as_string(hide_password=False)
        until(lambda: _answers(through))
        yield through
    finally:
        process.terminate()
        process.wait(30)
        shutil.rmtree(folder, ignore_errors=True)


def _answers(url: str) -> bool:
    engine = create_engine(url)
    try:
        with engine.connect():
            return True
    except OperationalError:
        return False
    finally:
        engine.dispose()
