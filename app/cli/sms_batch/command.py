"""``python -m app sms-batch``: stores a batch of SMS at a running service."""

import asyncio
import re
import shlex
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final
from uuid import UUID, uuid4

import stamina
import typer
from pydantic import ValidationError

from app.cli.sms_batch.client import MAX_IN_FLIGHT, BatchClient, NotStored, Tally
from app.cli.sms_batch.messages import LARGEST_COUNT, SUFFIXES, UnusableFile, generate_messages, read_messages
from app.cli.terminal import errors, errors_in_one_line, progress_bar, show_fields
from app.core.config.addresses import is_http_url, without_secrets
from app.core.errors import AppError
from app.core.problems import describe_invalid
from app.tracking.schemas import DocumentInput, TransferCreate

_URL: Final = "http://127.0.0.1:8000"


class UnusableBatch(AppError):
    """The service would refuse a transfer with these figures."""

    title = "Unusable batch"


def _url(value: str) -> str:
    if not is_http_url(value):
        raise typer.BadParameter("must be an http:// or https:// URL")
    return value


def _key(value: str | None) -> str | None:
    # Checked here, because the error of the HTTP library would show the key.
    if value and not re.fullmatch(r"[\x21-\x7e]+", value):
        raise typer.BadParameter("must be ASCII letters, digits and punctuation, without spaces")
    return value


def _file(value: Path | None) -> Path | None:
    # A regular file, because it is read twice.
    if value is None:
        return None
    if not value.is_file():
        raise typer.BadParameter("there is no such file")
    if value.suffix.lower() not in SUFFIXES:
        raise typer.BadParameter(f"must be a file whose name ends in {', '.join(SUFFIXES)}")
    return value


def sms_batch(
    *,
    count: Annotated[
        int | None, typer.Option(metavar="N", min=1, max=LARGEST_COUNT, help="Generate and store N sample messages.")
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(callback=_file, help="Store the messages in this NDJSON or CSV file."),
    ] = None,
    url: Annotated[str, typer.Option(callback=_url, help="Address of the service.")] = _URL,
    api_key: Annotated[
        str | None,
        typer.Option(callback=_key, envvar="SMS_API_KEY", help="API key; safer in the environment than here."),
    ] = None,
    ubid: Annotated[UUID | None, typer.Option(help="UBID of the transfer; default: a new one.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Skip what an interrupted run has stored.")] = False,
    in_flight: Annotated[int, typer.Option(min=1, max=MAX_IN_FLIGHT, help="Number of concurrent requests.")] = 4,
    patience: Annotated[
        float, typer.Option(min=0, max=86_400, help="How many seconds to retry a failing request.")
    ] = 60,
    name: Annotated[
        str | None, typer.Option(help="Name of the batch, up to 50 characters; default: the file's name.")
    ] = None,
) -> None:
    """Store a batch of SMS at a running service: a transfer and its documents, 5000 per request."""
    if (count is None) == (file is None):
        raise typer.BadParameter("give either --count or --file")
    if resume and ubid is None:
        raise typer.BadParameter("--resume needs the --ubid of the run that was interrupted")
    if name is not None and not 1 <= len(name) <= 50:
        raise typer.BadParameter("--name must have 1 to 50 characters")
    batch_id = str(ubid or uuid4())
    source = ["--file", str(file)] if file else ["--count", str(count)]
    tally = Tally()

    def hint(error: AppError | None) -> str:
        may_resume = error is None or (isinstance(error, NotStored) and error.can_resume and tally.has_begun)
        options = [*source, "--ubid", batch_id, "--resume"]
        options += ["--url", without_secrets(url)] if url != _URL else []
        options += ["--name", name] if name else []
        again = shlex.join(["python", "-m", "app", "sms-batch", *options])
        return f"{tally.done} document(s) stored. Resume with: {again}" if may_resume else ""

    with errors_in_one_line(hint):
        documents, sms = _add_up(file) if file else (count or 0, count or 0)
        transfer = _transfer(batch_id, documents, sms, name or (file.name if file else "generated"))
        errors().print(f"UBID {batch_id}", soft_wrap=True)
        started = time.monotonic()
        client = BatchClient(url, api_key, in_flight=in_flight, patience=patience)
        messages = read_messages(file) if file else generate_messages(documents)
        asyncio.run(_store(client, transfer, messages, tally, resume=resume))
    seconds, sent = time.monotonic() - started, transfer.documents - tally.skipped
    show_fields(
        [
            ("Documents", f"{transfer.documents} ({sent} sent, {tally.skipped} already there)"),
            ("Took", f"{seconds:.1f} s, {sent / seconds:.0f} documents/s"),
            ("Retries", str(tally.retries)),
            ("UBID", transfer.UBID),
        ]
    )


def _transfer(ubid: str, documents: int, sms: int, name: str) -> TransferCreate:
    try:
        return TransferCreate(UBID=ubid, SMScount=sms, documents=documents, fileName=name[:55], origName=name[:50])
    except ValidationError as error:
        raise UnusableBatch(describe_invalid(error, what="batch")) from error


def _add_up(file: Path) -> tuple[int, int]:
    """Count messages and their SMS, which also finds unusable messages before anything is sent."""
    documents = sms = 0
    with errors().status("Reading the file ..."):
        for message in read_messages(file):
            documents += 1
            sms += message.SMScount
    if not documents:
        raise UnusableFile(f"{file.name}: contains no messages")
    return documents, sms


async def _store(
    client: BatchClient, transfer: TransferCreate, messages: Iterator[DocumentInput], tally: Tally, *, resume: bool
) -> None:
    stamina.instrumentation.set_on_retry_hooks([])  # retries are counted, not logged
    with progress_bar(transfer.documents, lambda: tally.done):
        # In this task: when it is cancelled, its requests end before the client is closed.
        async with client:
            await client.store(transfer, messages, tally, resume=resume)
