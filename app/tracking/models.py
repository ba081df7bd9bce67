"""Tables of transfers and documents. Column names are those of the original service."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Final

from pydantic import StringConstraints
from sqlalchemy import ForeignKeyConstraint, UniqueConstraint
from sqlmodel import Field

from app.core.db.types import TABLE_OPTIONS, LongText, UTCDateTime
from app.core.db.validated import Validated

UBID_PATTERN: Final = "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"
_LARGEST: Final = 2**31 - 1


class State(StrEnum):
    """State of a delivery; it only goes forward."""

    INIT = "INIT"
    SENT = "SENT"
    DONE = "DONE"

    @property
    def later(self) -> list[str]:
        """The states after this one."""
        states = list(State)
        return [state.value for state in states[states.index(self) + 1 :]]


# In the annotation, because SQLModel ignores a regex given to Field().
Ubid = Annotated[str, StringConstraints(pattern=UBID_PATTERN)]
StateText = Annotated[str, StringConstraints(pattern="^(INIT|SENT|DONE)$")]


class Transfer(Validated, table=True):
    """A batch of SMS."""

    __tablename__ = "sms_transfers"
    __table_args__ = (
        # For the list, newest first. A constraint, because an Index() would be created after the table.
        UniqueConstraint("when", "UBID", name="uq_sms_transfers_when"),
        TABLE_OPTIONS,
    )

    UBID: Ubid = Field(primary_key=True, max_length=36)
    """UUID of the batch, chosen by the customer."""
    SMScount: int = Field(gt=0, le=_LARGEST)
    """Number of SMS in the batch; a long message takes several."""
    documents: int = Field(gt=0, le=_LARGEST)
    """Number of messages in the batch, as announced."""
    fileName: str = Field(max_length=55)
    origName: str = Field(max_length=50)
    fallbackCount: int = Field(default=0, ge=0, le=_LARGEST)
    """Number of messages delivered by other means than SMS."""
    when: datetime = Field(sa_type=UTCDateTime)
    """Time at which it was stored, by the database's clock, UTC."""
    state: StateText = Field(default=State.INIT.value, max_length=4)


class Document(Validated, table=True):
    """A message of a batch; deleted with its transfer."""

    __tablename__ = "sms_documents"
    __table_args__ = (
        ForeignKeyConstraint(["UBID"], ["sms_transfers.UBID"], name="fk_sms_documents_transfer", ondelete="CASCADE"),
        # For counting by state.
        UniqueConstraint("UBID", "state", "uniqueId", name="uq_sms_documents_state"),
        TABLE_OPTIONS,
    )

    UBID: Ubid = Field(primary_key=True, max_length=36)
    uniqueId: str = Field(primary_key=True, min_length=1, max_length=10)
    """Id of the message within its batch."""
    SMScount: int = Field(gt=0, le=_LARGEST)
    """Number of SMS that the message takes."""
    state: StateText = Field(default=State.INIT.value, max_length=4)
    when: datetime = Field(sa_type=UTCDateTime)
    """Time at which it was stored, by the database's clock, UTC."""
    data: str = Field(sa_type=LongText)
    """Any JSON object of the customer's."""
