"""The database of `make server` where the environment names one: looked at before Prefect is started with it.

Prefect tells a refused password with 150 lines of trace in a log. Here it is one line, and without the password.
"""

from __future__ import annotations

import asyncio
import os

from textgan.errors import UserError

VARIABLES = ("PREFECT_SERVER_DATABASE_CONNECTION_URL", "PREFECT_API_DATABASE_CONNECTION_URL")
"""As Prefect 3.8 reads them: the first that is set counts."""
PREFIXES = ("PREFECT_SERVER_DATABASE_", "PREFECT_API_DATABASE_")
"""Of settings that are the server's alone."""
POSTGRES = "postgresql+asyncpg"
DRIVERS = (POSTGRES, "sqlite+aiosqlite")
PATIENCE_SECONDS = 10.0
ESCAPED = "in a password, @ : / must be written %40 %3A %2F"


def check() -> None:
    """Raise UserError where the environment names a database that Prefect could not use."""
    for variable in VARIABLES:
        if url := os.environ.get(variable):
            _check(variable, url)
            return


def _check(variable: str, text: str) -> None:
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    rule = f"it must begin with {' or '.join(f'{driver}://' for driver in DRIVERS)}"
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):  # a port that is no number: a password with a colon may be read as one
        raise UserError(f"{variable} is no address of a database; {rule}; {ESCAPED}") from None
    if "@" in (url.host or ""):  # what stands before it belongs to the password: nothing of it is shown
        raise UserError(f"{variable} has more than one @; {ESCAPED}")
    shown = url.render_as_string(hide_password=True)
    if url.drivername not in DRIVERS:
        raise UserError(f"{variable} is {shown}; {rule}")
    if url.drivername == POSTGRES and (why := asyncio.run(_refusal(text))):
        raise UserError(f"{variable} is {shown}; the database cannot be used: {why}")


async def _refusal(url: str) -> str:
    """Why Postgres refuses us; empty where it does not."""
    from asyncpg import PostgresError
    from sqlalchemy.exc import SQLAlchemyError
    from sqlalchemy.ext.asyncio import create_async_engine

    engine = create_async_engine(url, connect_args={"timeout": PATIENCE_SECONDS})
    try:
        async with engine.connect() as connection:
            found = await connection.exec_driver_sql("SELECT 1 FROM pg_available_extensions WHERE name = 'pg_trgm'")
            return "" if found.first() else "it has no extension pg_trgm (Debian: postgresql-contrib)"
    except TimeoutError:
        return f"no answer within {PATIENCE_SECONDS:g} s"
    except (OSError, PostgresError, SQLAlchemyError) as error:
        return str(error).splitlines()[0] if str(error) else type(error).__name__
    finally:
        await engine.dispose()
