"""Accounts for the tests of this folder, and direct access to the database."""

from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from sqlalchemy import event

from app.core.db.database import Database
from tests.conftest import Client
from tests.support.statements import raw

PASSWORD = "correct horse battery"
ADA = {"fname": "Ada", "lname": "Mensah", "email": "ada@example.com", "password": PASSWORD}
RIDGE = {"street": "12 Ridge Road", "city": "Accra", "postal_code": "GA-144-1239", "country": "GH"}
QUAY = {"street": "Quai 3", "city": "Genève", "postal_code": None, "country": "CH"}
OPERATOR_KEY = "correct-horse"
OPERATOR = {"X-API-Key": OPERATOR_KEY}


async def create(client: Client, headers: Mapping[str, str] | None = None, **changes: Any) -> dict[str, Any]:
    """Create Ada, with some fields changed; the account as the service shows it."""
    response = await client.post("/users", json={**ADA, **changes}, headers=headers)
    assert response.status_code == 201, response.text
    account: dict[str, Any] = response.json()
    return account


async def sign_in(client: Client, email: str = "ada@example.com", password: str = PASSWORD) -> dict[str, str]:
    """The header with a new token."""
    response = await client.post("/auth/token", data={"username": email, "password": password})
    assert response.status_code == 200, response.text
    return {"Authorization": f"Bearer {response.json()['access_token']}"}


async def rows(client: Client, query: str) -> list[dict[str, Any]]:
    database: Database = client.state["database"]
    async with database.reading() as session:
        result = await (await session.connection()).execute(raw(database, query))
        return [dict(row) for row in result.mappings()]


async def write(client: Client, statement: str, *parameters: dict[str, Any]) -> None:
    """Change rows directly in the database."""
    database: Database = client.state["database"]
    async with database.writing() as connection:
        await connection.execute(raw(database, statement, *parameters[:1]), parameters or None)


async def stored(client: Client) -> dict[str, list[dict[str, Any]]]:
    """Everything that requests of this feature can change, for comparing before and after."""
    columns = {
        "user": "*",
        "address": "*",
        "credential": "id, user_id, kind, name, digest, created_at, expires_at",
        "audit": "id, action, object_id, actor, changes",  # last_used_at is written by reads
    }
    return {table: await rows(client, f"SELECT {columns[table]} FROM {table} ORDER BY id") for table in columns}


@contextmanager
def failing(client: Client, beginning: str) -> Iterator[None]:
    """While the block runs, statements that begin like this raise an unexpected error."""
    engine = client.state["database"].engine.sync_engine

    def fail(_connection: Any, _cursor: Any, sql: str, *_: Any) -> None:
        if sql.startswith(beginning):
            raise RuntimeError(f"no {beginning} today")

    event.listen(engine, "before_cursor_execute", fail)
    try:
        yield
    finally:
        event.remove(engine, "before_cursor_execute", fail)


@contextmanager
def overtaken(first: Callable[[], Awaitable[None]]) -> Iterator[None]:
    """While the block runs, something else is done before the next change of a request."""
    transaction = Database.transaction

    async def do_first(database: Database, work: Any, **options: Any) -> Any:
        Database.transaction = transaction  # type: ignore[method-assign]
        await first()
        return await transaction(database, work, **options)

    Database.transaction = do_first  # type: ignore[assignment, method-assign]
    try:
        yield
    finally:
        Database.transaction = transaction  # type: ignore[method-assign]
