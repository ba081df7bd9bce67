"""The store of transfers and documents on both real engines."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from app.core.db.database import Database
from app.tracking.crud import StepBackwards, Tracking, TransferMissing, TransferNotFound
from app.tracking.models import State
from app.tracking.schemas import DocumentFilters, DocumentInput, TransferCreate, TransferFilters
from tests.conftest import opened_database
from tests.support.engines import EVERY_ENGINE
from tests.support.statements import Statement, raw, recorded

pytestmark = EVERY_ENGINE

UBID = "0b7d1c52-3f7e-4e0c-9a55-6a1f5f7c2b10"
NOWHERE = "f3b0c442-98fc-41c1-8949-afbf4c8996fb"
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
INSERT_DOCUMENT = "INSERT INTO sms_documents VALUES (:ubid, 'A', 1, 'INIT', :at, '{}')"


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with opened_database(database_url) as opened:
        yield opened


@pytest.fixture
def tracking(database: Database) -> Tracking:
    return Tracking(database)


@pytest.fixture
async def transfer(tracking: Tracking, data: Any) -> TransferCreate:
    """Stored, without documents."""
    given = TransferCreate(**data["transfer"])
    await tracking.put_transfer(given)
    return given


def documents_of(ids: Any, **changes: Any) -> list[DocumentInput]:
    return [DocumentInput(**{"SMScount": 1, "uniqueId": unique_id, "data": {}, **changes}) for unique_id in ids]


def many(number: int, start: int = 0) -> list[DocumentInput]:
    return documents_of(f"{index:010}" for index in range(start, start + number))


async def count(database: Database, table: str = "sms_documents") -> int:
    async with database.reading() as session:
        return int(
            (await (await session.connection()).execute(raw(database, f"SELECT count(*) FROM {table}"))).scalar_one()
        )


async def execute(database: Database, sql: str, **parameters: Any) -> None:
    async with database.writing() as connection:
        await connection.execute(raw(database, sql, parameters), parameters)


async def test_stored_transfer_is_read_as_it_was_answered(tracking, data):
    stored = await tracking.put_transfer(TransferCreate(**data["transfer"]))

    expected = {**data["transfer"], "fallbackCount": 0, "state": "INIT", "when": stored.when}
    assert stored.model_dump() == expected
    assert abs(datetime.now(UTC) - stored.when) < timedelta(minutes=1)
    assert (await tracking.get_transfer(UBID)).model_dump() == {**expected, "states": dict.fromkeys(State, 0)}
    assert await tracking.list_transfers(TransferFilters()) == ([stored], 1)


async def test_existing_transfer_is_reset_and_keeps_its_documents(tracking, database, transfer, data):
    await tracking.put_documents(UBID, [DocumentInput(**document) for document in data["documents"]])
    await tracking.advance_documents(UBID, State.SENT)
    await tracking.advance_transfer(UBID, State.DONE)
    await execute(
        database, "UPDATE sms_transfers SET fallbackCount = 7, when = :old", old=datetime(2020, 1, 1, tzinfo=UTC)
    )

    changed = TransferCreate(**{**data["transfer"], "SMScount": 9, "fileName": "other.csv"})
    stored = await tracking.put_transfer(changed)

    expected = {**changed.model_dump(), "fallbackCount": 0, "state": "INIT", "when": stored.when}
    assert abs(datetime.now(UTC) - stored.when) < timedelta(minutes=1)
    states = {"INIT": 0, "SENT": 3, "DONE": 0}
    assert (await tracking.get_transfer(UBID)).model_dump() == {**expected, "states": states}


async def test_transfers_are_listed_newest_first_by_page_and_state(tracking, database, data):
    ubids = [f"{number:08x}{UBID[8:]}" for number in range(5)]
    times = (3, 1, 2, 2, 4)
    for ubid, minute in zip(ubids, times, strict=True):
        await tracking.put_transfer(TransferCreate(**{**data["transfer"], "UBID": ubid}))
        at = datetime(2026, 11, 21, 9, minute, tzinfo=UTC)
        await execute(database, "UPDATE sms_transfers SET when = :at WHERE UBID = :ubid", at=at, ubid=ubid)
    for index in (0, 2, 3):
        await tracking.advance_transfer(ubids[index], State.SENT)

    async def listed(**filters: Any) -> tuple[list[int], int]:
        transfers, total = await tracking.list_transfers(TransferFilters(**filters))
        return [ubids.index(transfer.UBID) for transfer in transfers], total

    assert await listed() == ([4, 0, 3, 2, 1], 5)
    assert await listed(limit=2, offset=1) == ([0, 3], 5)
    assert await listed(offset=9) == ([], 5)
    assert await listed(state="SENT") == ([0, 3, 2], 3)
    assert await listed(state="SENT", limit=1, offset=2) == ([2], 3)
    assert await listed(state="INIT") == ([4, 1], 2)
    assert await listed(state="DONE") == ([], 0)


async def test_transfer_goes_forward_or_stays_but_not_back(tracking, transfer):
    states = list(State)
    for before, after in product(states, states):
        await tracking.put_transfer(transfer)
        await tracking.advance_transfer(UBID, before)

        if states.index(after) >= states.index(before):
            assert (await tracking.advance_transfer(UBID, after)).state == after
            assert (await tracking.get_transfer(UBID)).state == after
            continue
        with pytest.raises(StepBackwards) as caught:
            await tracking.advance_transfer(UBID, after)
        assert caught.value.details == f"The state is already {before} and can't go back to {after}"
        assert (await tracking.get_transfer(UBID)).state == before


async def test_documents_go_forward_all_or_none(tracking, transfer):
    await tracking.put_documents(UBID, documents_of("abc"))
    assert await tracking.advance_documents(UBID, State.SENT) == 3
    await tracking.put_documents(UBID, documents_of("cd"))
    assert await counts(tracking) == {"INIT": 2, "SENT": 2, "DONE": 0}

    with pytest.raises(StepBackwards) as caught:
        await tracking.advance_documents(UBID, State.INIT)
    assert caught.value.details == "The state is already SENT and can't go back to INIT"
    assert await counts(tracking) == {"INIT": 2, "SENT": 2, "DONE": 0}

    assert await tracking.advance_documents(UBID, State.SENT) == 2
    assert await tracking.advance_documents(UBID, State.SENT) == 0
    assert await tracking.advance_documents(UBID, State.DONE) == 4
    assert await counts(tracking) == {"INIT": 0, "SENT": 0, "DONE": 4}
    with pytest.raises(StepBackwards):
        await tracking.advance_documents(UBID, State.SENT)


async def counts(tracking: Tracking) -> dict[str, int]:
    return {state.value: number for state, number in (await tracking.get_transfer(UBID)).states.items()}


async def test_states_of_one_transfer_are_not_those_of_another(tracking, transfer, data):
    await tracking.put_transfer(TransferCreate(**{**data["transfer"], "UBID": NOWHERE}))
    await tracking.put_documents(UBID, documents_of("abc"))
    await tracking.put_documents(NOWHERE, documents_of("ab"))

    assert await tracking.advance_documents(NOWHERE, State.DONE) == 2
    await tracking.delete_transfer(NOWHERE)

    assert await counts(tracking) == {"INIT": 3, "SENT": 0, "DONE": 0}
    assert await tracking.count_documents(UBID) == 3


async def test_documents_are_read_as_they_were_sent(tracking, transfer, data):
    assert await tracking.put_documents(UBID, [DocumentInput(**document) for document in data["documents"]]) == 3

    documents, _ = await tracking.list_documents(UBID, DocumentFilters())
    when = documents[0].when
    assert [document.model_dump() for document in documents] == [
        {"UBID": UBID, **document, "state": "INIT", "when": when} for document in data["documents"]
    ]
    assert abs(datetime.now(UTC) - when) < timedelta(minutes=1)


async def test_5000_documents_are_one_statement_as_json_or_five(tracking, database, transfer, engine):
    documents = many(5000)
    sizes = [5000] if engine == "mariadb" else [1000] * 5
    for _ in range(2):
        with recorded(database) as statements:
            assert await tracking.put_documents(UBID, documents) == 5000

        assert [statement.sql.split()[0] for statement in statements] == ["SELECT", *["INSERT"] * len(sizes)]
        assert [rows_of(statement) for statement in statements[1:]] == sizes
        assert await count(database) == 5000


def rows_of(statement: Statement) -> int:
    """Number of rows, whether they are parameters, one JSON document or a list of values for each column."""
    if isinstance(statement.parameters[0], list):
        return len(statement.parameters[0])
    documents = [json.loads(given) for given in statement.parameters if str(given).startswith("[")]
    return len(documents[0] if documents else statement.parameters)


@pytest.mark.engines("mariadb")
async def test_5000_documents_reach_the_server_in_pieces_not_one_by_one(tracking, database, transfer):
    async def inserts() -> int:
        async with database.reading() as session:
            connection = await session.connection()
            return int((await connection.execute(text("SHOW GLOBAL STATUS LIKE 'Com_insert'"))).one()[1])

    before = await inserts()
    await tracking.put_documents(UBID, many(5000))

    assert await inserts() - before <= 5


async def test_last_of_several_documents_with_one_id_is_stored(tracking, transfer):
    documents = [*documents_of("ab", SMScount=1), *documents_of("ba", SMScount=2), *documents_of("b", SMScount=3)]

    assert await tracking.put_documents(UBID, documents) == 2
    stored, _ = await tracking.list_documents(UBID, DocumentFilters())
    assert [(document.uniqueId, document.SMScount) for document in stored] == [("a", 2), ("b", 3)]


async def test_ids_are_compared_by_case_and_accent_but_not_by_surrounding_spaces_on_both_engines(tracking, transfer):
    ids = ["a", "A", "á", "a ", " a", "ß", "ss", "a b"]

    assert await tracking.put_documents(UBID, documents_of(ids)) == 6
    assert await tracking.count_documents(UBID) == 6
    stored, _ = await tracking.list_documents(UBID, DocumentFilters())
    assert [document.uniqueId for document in stored] == ["A", "a", "a b", "ss", "ß", "á"]


async def test_existing_document_is_reset(tracking, database, transfer):
    await tracking.put_documents(UBID, documents_of("ab", data={"old": 1}))
    await tracking.advance_documents(UBID, State.DONE)
    await execute(database, "UPDATE sms_documents SET when = :old", old=datetime(2020, 1, 1, tzinfo=UTC))

    assert await tracking.put_documents(UBID, documents_of("b", SMScount=5, data={"new": 2})) == 1

    (a, b), _ = await tracking.list_documents(UBID, DocumentFilters())
    assert (a.state, a.when, a.data) == ("DONE", datetime(2020, 1, 1, tzinfo=UTC), {"old": 1})
    assert (b.state, b.SMScount, b.data) == ("INIT", 5, {"new": 2})
    assert abs(datetime.now(UTC) - b.when) < timedelta(minutes=1)


async def test_missing_transfer_can_not_be_read_changed_or_filled(tracking, database, transfer):
    for call in (
        tracking.get_transfer(NOWHERE),
        tracking.advance_transfer(NOWHERE, State.SENT),
        tracking.delete_transfer(NOWHERE),
        tracking.count_documents(NOWHERE),
        tracking.list_documents(NOWHERE, DocumentFilters()),
        tracking.advance_documents(NOWHERE, State.SENT),
    ):
        with pytest.raises(TransferNotFound):
            await call
    for documents in (documents_of("a"), []):
        with pytest.raises(TransferMissing):
            await tracking.put_documents(NOWHERE, documents)
    assert (await count(database), await count(database, "sms_transfers")) == (0, 1)


async def test_documents_are_deleted_with_their_transfer_also_by_other_programs(tracking, database, transfer):
    await tracking.put_documents(UBID, many(2500))
    await tracking.delete_transfer(UBID)
    assert (await count(database), await count(database, "sms_transfers")) == (0, 0)

    await tracking.put_transfer(transfer)
    await tracking.put_documents(UBID, many(100))
    await execute(database, "DELETE FROM sms_transfers WHERE UBID = :ubid", ubid=UBID)
    assert await count(database) == 0


async def test_database_refuses_a_document_without_a_transfer(tracking, database, transfer):
    await tracking.put_documents(UBID, documents_of("B"))
    attempts = [INSERT_DOCUMENT, *(f"UPDATE {table} SET UBID = :ubid" for table in ("sms_documents", "sms_transfers"))]
    for attempt in attempts:
        with pytest.raises(IntegrityError):
            await execute(database, attempt, ubid=NOWHERE, at=NOON)

    assert await count(database) == 1
    await execute(database, INSERT_DOCUMENT, ubid=UBID, at=NOON)
    assert await tracking.count_documents(UBID) == 2


async def test_deletion_during_inserts_leaves_no_orphan(tracking, database, transfer):
    """Again and again, so that the two meet in either order."""
    for _ in range(5):
        await tracking.put_transfer(transfer)
        stored = [tracking.put_documents(UBID, many(200, start)) for start in (0, 100, 200)]
        async with asyncio.timeout(20):
            *results, deleted = await asyncio.gather(*stored, tracking.delete_transfer(UBID), return_exceptions=True)

        assert deleted is None
        assert [result for result in results if result != 200 and not isinstance(result, TransferMissing)] == []
        assert (await count(database), await count(database, "sms_transfers")) == (0, 0)


async def test_two_requests_that_store_the_same_documents_at_once_succeed(tracking, database, transfer):
    documents = many(1000)

    async with asyncio.timeout(20):
        results = await asyncio.gather(
            tracking.put_documents(UBID, documents), tracking.put_documents(UBID, documents[::-1])
        )

    assert list(results) == [1000, 1000]
    assert await count(database) == 1000


async def test_pages_by_id_miss_nothing_while_documents_come_and_go(tracking, database, transfer):
    await tracking.put_documents(UBID, documents_of(f"{number:05}" for number in range(0, 5000, 2)))
    seen: list[str] = []
    after, may_go_on = None, True
    while may_go_on:
        page, may_go_on = await tracking.list_documents(UBID, DocumentFilters(after=after, limit=300))
        seen += [document.uniqueId for document in page]
        after = seen[-1]
        # One is added before and one after the last read, and one already read is deleted.
        number = int(after)
        await tracking.put_documents(UBID, documents_of([f"{number - 1:05}", f"{number + 1:05}"]))
        await execute(database, "DELETE FROM sms_documents WHERE uniqueId = :first", first=seen[0])

    assert seen == sorted(set(seen))
    assert {f"{number:05}" for number in range(0, 5000, 2)} <= set(seen)
    assert len(seen) == 2500 + 8


async def test_last_page_is_two_statements(tracking, database, transfer):
    await tracking.put_documents(UBID, many(2500))

    with recorded(database) as statements:
        page, _ = await tracking.list_documents(UBID, DocumentFilters(after="0000002400", limit=50))

    assert [document.uniqueId for document in page] == [f"{number:010}" for number in range(2401, 2451)]
    assert len(statements) == 2


async def test_page_of_large_documents_ends_early_and_says_that_there_are_more(tracking, transfer):
    ids = [f"{number:010}" for number in range(150)]
    await tracking.put_documents(UBID, documents_of(ids, data={"text": "x" * 60_000}))

    first, first_may_go_on = await tracking.list_documents(UBID, DocumentFilters(limit=5000))
    second, second_may_go_on = await tracking.list_documents(UBID, DocumentFilters(after=ids[99], limit=5000))

    assert [document.uniqueId for document in first] == ids[:100]
    assert [document.uniqueId for document in second] == ids[100:]
    assert (first_may_go_on, second_may_go_on) == (True, False)


async def test_batch_that_fails_half_way_stores_nothing(tracking, transfer):
    """The driver sends this much in several pieces, and only the last one is refused."""
    documents = documents_of((f"{number:010}" for number in range(3000)), data={"text": "x" * 1000})
    documents.append(documents[0].model_copy(update={"uniqueId": "z", "data": None}))

    with pytest.raises(IntegrityError):
        await tracking.put_documents(UBID, documents)

    assert await tracking.count_documents(UBID) == 0
