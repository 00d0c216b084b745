"""Settings of Postgres, per connection and per transaction."""

from __future__ import annotations

from sqlalchemy import URL, Connection, Engine, create_engine, event

POOL_TIMEOUT_SECONDS = 10
CONNECT_TIMEOUT_SECONDS = 5

# Without keepalives, a query would wait for hours for a host that vanished. Prepared statements are off because they
# belong to a session, and a connection pooler shares sessions.
CONNECT_ARGS = {
    "prepare_threshold": None,
    "connect_timeout": CONNECT_TIMEOUT_SECONDS,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}


def open_postgres(url: URL, *, pool_size: int, statement_seconds: float, lock_seconds: float) -> Engine:
    """Opens no connection before the first use."""
    engine = create_engine(
        url,
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_timeout=POOL_TIMEOUT_SECONDS,
        pool_pre_ping=True,
        connect_args=CONNECT_ARGS,
    )
    _limit(engine, statement_seconds=statement_seconds, lock_seconds=lock_seconds)
    return engine


def _limit(engine: Engine, *, statement_seconds: float, lock_seconds: float) -> None:
    """Per transaction, because a connection pooler shares sessions and settings of one must not affect the next."""
    timeouts = {"statement_timeout": statement_seconds, "lock_timeout": lock_seconds}
    limits = "; ".join(f"SET LOCAL {name} = {seconds * 1000:.0f}" for name, seconds in timeouts.items() if seconds)

    @event.listens_for(engine, "begin")
    def on_begin(connection: Connection) -> None:
        options = connection.get_execution_options()
        is_unlimited = options.get("is_unlimited") or options.get("isolation_level") == "AUTOCOMMIT"
        if limits and not is_unlimited:
            connection.exec_driver_sql(limits)
