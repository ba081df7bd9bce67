"""All tables."""

from typing import Any

from sqlalchemy import BigInteger, Boolean, Column, Date, Double, Integer, String
from sqlalchemy import ForeignKeyConstraint as ForeignKey
from sqlalchemy import UniqueConstraint as Unique

from alembic import op
from app.core.db.migrations import create_index
from app.core.db.types import TABLE_OPTIONS, LongBlob, LongText, RowId, UTCDateTime

revision = "0018"
down_revision = None
branch_labels = None
depends_on = None


def key(name: str, kind: Any, **options: Any) -> Column[Any]:
    """A column of the primary key."""
    return Column(name, kind, primary_key=True, **options)


def column(name: str, kind: Any) -> Column[Any]:
    """A column that is never NULL."""
    return Column(name, kind, nullable=False)


def create_table(name: str, *parts: Any, **options: Any) -> None:
    """Create a table with its constraints in one statement, unless a run that was killed has created it."""
    op.create_table(name, *parts, if_not_exists=True, **options, **TABLE_OPTIONS)


# fmt: off
def upgrade() -> None:
    """Create the tables and their indexes."""
    create_table(
        "country", key("id", RowId), column("name", String(200)), column("name_key", String(200)),
        Column("alpha2_code", String(2)), Column("alpha3_code", String(3)), Column("capital", String(200)),
        Column("region", String(100)), Column("region_key", String(100)), column("population", BigInteger),
        Column("currency_code", String(8)), Column("exchange_rate", Double), Column("estimated_gdp", Double),
        Column("flag_url", String(500)), column("last_refreshed_at", UTCDateTime),
        Unique("alpha2_code", name="uq_country_alpha2_code"),
    )
    create_index("ix_country_name_key", "country", ["name_key"])
    create_table(
        "country_history", key("country_id", RowId), key("refreshed_at", UTCDateTime),
        Column("currency_code", String(8)), Column("exchange_rate", Double), Column("estimated_gdp", Double),
        column("rate_source", String(255)), column("rates_date", Date),
        ForeignKey(["country_id"], ["country.id"], name="fk_country_history_country", ondelete="CASCADE"),
        sqlite_with_rowid=False,
    )
    create_table(
        "summarycache", key("id", RowId, autoincrement=False), column("data_version", BigInteger),
        column("generation", BigInteger), column("total_countries", Integer), column("last_refreshed_at", UTCDateTime),
        column("country_source", String(255)), column("rate_source", String(255)), column("rates_date", Date),
        column("top_countries", LongText), column("report", LongText), column("request_digest", String(64)),
        column("image", LongBlob),
    )
    create_table(
        "exchange_rate", key("source", String(255)), key("quote", String(3)), key("day", Date), column("rate", Double),
        sqlite_with_rowid=False,
    )
    create_index("ix_exchange_rate_day", "exchange_rate", ["source", "day", "quote", "rate"])
    create_table(
        "rate_day", key("source", String(255)), key("day", Date), Column("recorded_at", UTCDateTime),
        Unique("day", "recorded_at", "source", name="uq_rate_day_day"),
        Unique("recorded_at", "day", "source", name="uq_rate_day_recorded_at"),
    )
    create_table(
        "currency_span", key("quote", String(3)), key("source", String(255)),
        column("first_day", Date), column("last_day", Date),
    )
    create_table(
        "user", key("id", RowId), column("fname", String(100)), column("lname", String(100)),
        column("name_key", String(450)), column("email", String(254)), column("email_key", String(320)),
        column("password_hash", String(255)), column("role", String(16)), column("is_active", Boolean),
        column("created_at", UTCDateTime), column("updated_at", UTCDateTime),
        Unique("email_key", name="uq_user_email_key"), sqlite_autoincrement=True,
    )
    create_table(
        "address", key("id", RowId), column("user_id", RowId), column("street", String(200)),
        column("city", String(100)), Column("postal_code", String(20)), column("country", String(2)),
        ForeignKey(["user_id"], ["user.id"], name="fk_address_user", ondelete="CASCADE"),
        Unique("user_id", "id", name="uq_address_user_id"), sqlite_autoincrement=True,
    )
    create_table(
        "credential", key("id", RowId), column("user_id", RowId), column("kind", String(8)),
        Column("name", String(100)), column("digest", String(64)), column("created_at", UTCDateTime),
        column("expires_at", UTCDateTime), Column("last_used_at", UTCDateTime),
        ForeignKey(["user_id"], ["user.id"], name="fk_credential_user", ondelete="CASCADE"),
        Unique("user_id", "id", name="uq_credential_user_id"), Unique("digest", name="uq_credential_digest"),
        sqlite_autoincrement=True,
    )
    create_table(
        "audit", key("id", RowId), column("at", UTCDateTime), column("action", String(64)),
        column("object_type", String(32)), Column("object_id", String(200)), column("actor", String(320)),
        Column("actor_id", BigInteger), Column("request_id", String(64)), column("changes", LongText),
        Column("logged_at", UTCDateTime), Column("delivered_at", UTCDateTime),
        Unique("object_type", "object_id", "id", name="uq_audit_object"),
        Unique("request_id", "id", name="uq_audit_request_id"), Unique("action", "id", name="uq_audit_action"),
        Unique("actor", "id", name="uq_audit_actor"), Unique("at", "id", name="uq_audit_at"),
        Unique("logged_at", "id", name="uq_audit_logged_at"),
        Unique("delivered_at", "id", name="uq_audit_delivered_at"),
    )
    create_table(
        "sms_transfers", key("UBID", String(36)), column("SMScount", Integer), column("documents", Integer),
        column("fileName", String(55)), column("origName", String(50)), column("fallbackCount", Integer),
        column("when", UTCDateTime), column("state", String(4)), Unique("when", "UBID", name="uq_sms_transfers_when"),
    )
    create_table(
        "sms_documents", key("UBID", String(36)), key("uniqueId", String(10)), column("SMScount", Integer),
        column("state", String(4)), column("when", UTCDateTime), column("data", LongText),
        ForeignKey(["UBID"], ["sms_transfers.UBID"], name="fk_sms_documents_transfer", ondelete="CASCADE"),
        Unique("UBID", "state", "uniqueId", name="uq_sms_documents_state"),
    )
# fmt: on


def downgrade() -> None:
    """Drop every table with all data; those with foreign keys go first."""
    with_keys = ("country_history", "address", "credential", "sms_documents")
    plain = ("country", "summarycache", "exchange_rate", "rate_day", "currency_span", "user", "audit", "sms_transfers")
    for table in (*with_keys, *plain):
        op.drop_table(table, if_exists=True)
