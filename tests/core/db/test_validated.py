"""Table models that validate: what they refuse, what they leave to the database, and that threads do not meet."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import ValidationError
from sqlalchemy import create_engine, event, text
from sqlmodel import Session, col, insert, select

from app.core.db import validated
from app.core.db.validated import Validated
from app.tracking.models import Transfer

UBID = "0b7d1c52-3f7e-4e0c-9a55-6a1f5f7c2b10"
WHEN = datetime(2026, 11, 21, 9, 17, tzinfo=UTC)
GIVEN: dict[str, Any] = {
    "UBID": UBID,
    "SMScount": 3,
    "documents": 2,
    "fileName": "batch.csv",
    "origName": "november.csv",
    "when": WHEN,
}
STORED = {**GIVEN, "fallbackCount": 0, "state": "INIT"}
WRONG: dict[str, list[Any]] = {
    "UBID": [None, 5, "", "nonsense", UBID.upper(), UBID + "0"],
    "SMScount": [None, 0, -1, "many", 1.5, 2**31],
    "documents": [None, 0],
    "fileName": [None, 5, "x" * 56],
    "origName": ["x" * 51],
    "fallbackCount": [-1, None],
    "when": [None, "yesterday"],
    "state": [None, "sent", "LOST", ""],
}


@pytest.fixture
def session() -> Iterator[Session]:
    """A session over a database with the one table."""
    engine = create_engine("sqlite://")
    Transfer.__table__.create(engine)  # type: ignore[attr-defined]  # SQLModel does not declare it
    with Session(engine) as opened:
        yield opened
    engine.dispose()


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG.items() for value in values])
def test_wrong_value_makes_no_object_and_changes_none(name, value):
    transfer = Transfer(**GIVEN)

    with pytest.raises(ValidationError) as made:
        Transfer(**{**GIVEN, name: value})
    with pytest.raises(ValidationError) as assigned:
        setattr(transfer, name, value)

    assert [error["loc"] for caught in (made, assigned) for error in caught.value.errors()] == [(name,), (name,)]
    assert transfer.model_dump() == STORED


def test_every_problem_is_told_at_once():
    with pytest.raises(ValidationError) as caught:
        Transfer(UBID=UBID, SMScount=0, nonsense=1)  # type: ignore[call-arg]  # that is what is tried

    missing = dict.fromkeys(("documents", "fileName", "origName", "when"), "missing")
    found = {error["loc"][0]: error["type"] for error in caught.value.errors()}
    assert found == {"SMScount": "greater_than", **missing, "nonsense": "extra_forbidden"}


def test_values_get_the_types_of_their_fields_and_defaults():
    transfer = Transfer(**{**GIVEN, "SMScount": "3", "when": "2026-11-21T09:17:00Z"})
    transfer.documents = "2"  # type: ignore[assignment]  # that is what is tried

    assert transfer.model_dump() == STORED


def test_field_that_there_is_not_can_not_be_assigned():
    with pytest.raises(ValueError, match="no field"):
        Transfer(**GIVEN).nonsense = 1


def test_objects_are_also_made_of_mappings_and_of_other_objects():
    assert Transfer.model_validate(GIVEN).model_dump() == STORED
    assert Transfer.model_validate({"UBID": UBID}, update=GIVEN).model_dump() == STORED
    assert Transfer.model_validate(SimpleNamespace(**STORED), from_attributes=True).model_dump() == STORED
    with pytest.raises(ValidationError):
        Transfer.model_validate({**GIVEN, "SMScount": 0})
    assert Transfer(**GIVEN).model_dump() == STORED


def test_session_stores_refreshes_and_expires_objects(session):
    transfer = Transfer(**GIVEN)
    session.add(transfer)
    session.commit()
    assert transfer.state == "INIT"  # the commit expired the object, and this reads it again
    assert transfer.model_dump() == STORED

    transfer.state = "SENT"
    session.flush()
    session.exec(text("UPDATE sms_transfers SET state = 'DONE'"))
    session.refresh(transfer)
    assert transfer.state == "DONE"

    session.expire(transfer)
    transfer.fallbackCount = 1
    session.commit()
    assert session.exec(select(Transfer)).one().model_dump() == {**STORED, "state": "DONE", "fallbackCount": 1}


def test_refused_assignment_is_no_change_for_the_session(session):
    session.add(transfer := Transfer(**GIVEN))
    session.commit()

    with pytest.raises(ValidationError):
        transfer.SMScount = 0

    assert not session.dirty
    session.commit()
    assert session.exec(select(Transfer)).one().model_dump() == STORED


def test_wrong_row_loads_and_can_be_mended(session):
    wrong = {"SMScount": -3, "state": "LOST"}
    session.connection().execute(insert(Transfer).values(**STORED | wrong))

    transfer = session.exec(select(Transfer)).one()
    assert (transfer.SMScount, transfer.state) == (-3, "LOST")
    transfer.SMScount = 3  # its other field is wrong still, and is no obstacle
    transfer.state = "INIT"
    session.commit()

    assert session.exec(select(Transfer)).one().model_dump() == STORED


def test_rows_are_loaded_without_validation(session, monkeypatch):
    session.add_all([Transfer(**{**GIVEN, "UBID": f"{number:08x}{UBID[8:]}"}) for number in range(100)])
    session.commit()
    session.expunge_all()
    monkeypatch.setattr(validated, "twin", lambda table: pytest.fail(f"{table} was validated"))

    transfers = session.exec(select(Transfer).order_by(col(Transfer.UBID))).all()
    session.refresh(transfers[0])

    assert [transfer.UBID[:8] for transfer in transfers] == [f"{number:08x}" for number in range(100)]


def test_each_flush_is_one_statement(session):
    statements: list[str] = []
    event.listen(session.get_bind(), "before_cursor_execute", lambda *given: statements.append(given[2].split()[0]))
    transfer = Transfer(**GIVEN)
    session.add(transfer)
    session.flush()
    transfer.state = "SENT"
    transfer.fallbackCount = 1
    session.flush()

    assert statements == ["INSERT", "UPDATE"]


def test_objects_and_classes_hold_no_state_of_the_validation():
    before = (set(vars(Transfer)), set(vars(Validated)), dict(Transfer.model_config))
    transfer = Transfer(**GIVEN)
    transfer.state = "SENT"

    assert set(vars(transfer)) == {*STORED, "_sa_instance_state"}
    assert (set(vars(Transfer)), set(vars(Validated)), dict(Transfer.model_config)) == before


def test_many_threads_make_and_change_objects_at_once():
    validated.twin.cache_clear()

    def work(worker: int) -> bool:
        for number in range(1, 201):
            transfer = Transfer(**{**GIVEN, "SMScount": number})
            with pytest.raises(ValidationError):
                transfer.SMScount = -number
            with pytest.raises(ValidationError):
                Transfer(**{**GIVEN, "SMScount": -number})
            transfer.documents = number + worker
            assert transfer.model_dump() == {**STORED, "SMScount": number, "documents": number + worker}
        return True

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(8)))
