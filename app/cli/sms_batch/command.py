"""The command that stores a batch of SMS: ``python -m app sms-batch``."""

import asyncio
import re
import shlex
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final
from uuid import UUID, uuid4

import stamina
import typer
from pydantic import ValidationError
from rich.table import Table
from rich.text import Text

from app.cli.sms_batch.client import MAX_IN_FLIGHT, BatchClient, NotStored, Tally
from app.cli.sms_batch.messages import (
    LARGEST_COUNT,
    SUFFIXES,
    Sum,
    UnusableFile,
    add_up,
    generate_messages,
    read_messages,
)
from app.cli.terminal import console, errors, progress_bar
from app.core.config.addresses import is_http_url, without_secrets
from app.core.http.problems import describe_invalid, in_one_line
from app.tracking.schemas import DocumentInput, TransferCreate

_URL: Final = "http://127.0.0.1:8000"


def _url(value: str) -> str:
    if not is_http_url(value):
        raise typer.BadParameter("is no http(s) URL")
    return value


def _key(value: str | None) -> str | None:
    # What a header can't carry would come back within an error, for everybody to see.
    if value and not re.fullmatch(r"[\x21-\x7e]+", value):
        raise typer.BadParameter("must be letters, digits and signs of ASCII, without spaces")
    return value


def _file(value: Path | None) -> Path | None:
    # It is read twice, which a pipe does not allow.
    if value is not None and (value.suffix.lower() not in SUFFIXES or not value.is_file()):
        raise typer.BadParameter(f"must be a file whose name ends in {', '.join(SUFFIXES)}")
    return value


def sms_batch(
    *,
    count: Annotated[
        int | None, typer.Option(min=1, max=LARGEST_COUNT, help="Store so many messages that are made up.")
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(callback=_file, help="Store the messages of this file, NDJSON or CSV."),
    ] = None,
    url: Annotated[str, typer.Option(callback=_url, help="Address of the service.")] = _URL,
    api_key: Annotated[
        str | None,
        typer.Option(callback=_key, envvar="SMS_API_KEY", help="Key of the service; better given in the environment."),
    ] = None,
    ubid: Annotated[UUID | None, typer.Option(help="UBID of the transfer; without it, a new one.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Leave out what an interrupted run has stored.")] = False,
    in_flight: Annotated[int, typer.Option(min=1, max=MAX_IN_FLIGHT, help="Requests at the same time.")] = 4,
    patience: Annotated[
        float, typer.Option(min=0, max=86_400, help="Seconds for which a request that fails is tried again.")
    ] = 60,
    name: Annotated[
        str | None, typer.Option(help="Name of the batch, up to 50 characters; else the name of the file.")
    ] = None,
) -> None:
    """Store a batch of SMS at a running service: a transfer and its documents, 5000 in a request."""
    if (count is None) == (file is None):
        raise typer.BadParameter("give either --count or --file")
    if resume and ubid is None:
        raise typer.BadParameter("--resume needs the --ubid of the run that was interrupted")
    if name is not None and not 1 <= len(name) <= 50:
        raise typer.BadParameter("--name must have 1 to 50 characters")
    batch_id = str(ubid or uuid4())
    source = ["--file", str(file)] if file else ["--count", str(count)]
    tally = Tally()
    errors.print(f"UBID {batch_id}", soft_wrap=True)
    with _explained(tally, _resuming(source, batch_id, url, name)):
        total = _add_up_file(file) if file else Sum(count or 0, count or 0)
        given = name or (file.name if file else "generated")
        transfer = TransferCreate(UBID=batch_id, **total._asdict(), fileName=given[:55], origName=given[:50])
        started = time.monotonic()
        client = BatchClient(url, api_key, in_flight=in_flight, patience=patience)
        messages = read_messages(file) if file else generate_messages(total.documents)
        asyncio.run(_store(client, transfer, messages, tally, resume=resume))
        _show_summary(transfer, tally, time.monotonic() - started)


def _add_up_file(file: Path) -> Sum:
    """Read all messages once: their number is known before one is sent, and that each can be used."""
    with errors.status("Reading the file ..."):
        total = add_up(read_messages(file))
    if not total.documents:
        raise UnusableFile(f"{file.name}: has no messages")
    return total


async def _store(
    client: BatchClient, transfer: TransferCreate, messages: Iterator[DocumentInput], tally: Tally, *, resume: bool
) -> None:
    stamina.instrumentation.set_on_retry_hooks([])  # retries are counted in the tally, not logged
    with progress_bar(transfer.documents, lambda: tally.done):
        # In this very task: when it is cancelled, no request is left behind that finds the client closed.
        async with client:
            await client.store(transfer, messages, tally, resume=resume)


def _resuming(source: list[str], ubid: str, url: str, name: str | None) -> str:
    """The command that goes on where this one was interrupted."""
    options = [*source, "--ubid", ubid, "--resume"]
    options += ["--url", without_secrets(url)] if url != _URL else []
    options += ["--name", name] if name else []
    return shlex.join(["python", "-m", "app", "sms-batch", *options])


@contextmanager
def _explained(tally: Tally, resuming: str) -> Iterator[None]:
    """Turn what can go wrong into a line, the command that goes on, and an exit code."""
    title, why, code, can_go_on = "", "", 1, False
    try:
        yield
    except UnusableFile as error:
        title, why = "Unusable file", f": {error}"
    except ValidationError as error:
        title, why = "Unusable batch", f": {in_one_line(describe_invalid(error, what='batch'))}"
    except NotStored as error:
        title, why, can_go_on = "Not everything was stored", f": {error}", error.can_go_on
    except KeyboardInterrupt:
        title, code, can_go_on = "Interrupted", 130, True
    if title:
        errors.print(Text.assemble((title, "bold red"), why), soft_wrap=True)
        if can_go_on and (tally.has_begun or code == 130):
            errors.print(f"{tally.done} document(s) stored. Go on with: {resuming}", soft_wrap=True)
        raise typer.Exit(code)


def _show_summary(transfer: TransferCreate, tally: Tally, seconds: float) -> None:
    sent = transfer.documents - tally.skipped
    table = Table(show_header=False, box=None)
    table.add_row("Documents", f"{transfer.documents} ({sent} sent, {tally.skipped} there before)")
    table.add_row("Took", f"{seconds:.1f} s, {sent / seconds:.0f} documents/s")
    table.add_row("Retries", str(tally.retries))
    table.add_row("UBID", transfer.UBID)
    console.print(table)
