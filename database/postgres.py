"""What a Postgres is told: by each connection, and by each transaction."""

from __future__ import annotations

from sqlalchemy import URL, Connection, Engine, create_engine, event

POOL_TIMEOUT_SECONDS = 10
CONNECT_TIMEOUT_SECONDS = 5

# A host that vanishes says nothing: without these a query would wait for it for hours. And prepared statements belong
# to a session, which a pooler in between hands around.
CONNECT_ARGS = {
    "prepare_threshold": None,
    "connect_timeout": CONNECT_TIMEOUT_SECONDS,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}


def open_postgres(url: URL, *, pool_size: int, statement_seconds: float, lock_seconds: float) -> Engine:
    """Nothing is opened before the first use."""
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
    """For one transaction at a time: a pooler hands sessions around, and what is said to one must not bind the next."""
    wanted = {"statement_timeout": statement_seconds, "lock_timeout": lock_seconds}
    limits = "; ".join(f"SET LOCAL {name} = {seconds * 1000:.0f}" for name, seconds in wanted.items() if seconds)

    @event.listens_for(engine, "begin")
    def on_begin(connection: Connection) -> None:
        options = connection.get_execution_options()
        is_unlimited = options.get("is_unlimited") or options.get("isolation_level") == "AUTOCOMMIT"
        if limits and not is_unlimited:
            connection.exec_driver_sql(limits)
