"""Readers and writers of every slice, all at once, who note every answer and know what a right one looks like."""

import asyncio
import itertools
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import httpx

KEY: Final = {"X-API-Key": "correct-horse"}
"""Of the service's operator."""
_PASSWORD: Final = "correct horse battery"
_PAUSE_SECONDS: Final = 0.15
_COSTLY: Final = frozenset({"refresh", "sign in"})
"""Each takes much of a core, and is asked for less often."""
_NUMBERS: Final = itertools.count(1)
"""Never the same twice in a process, so that nothing asked for with one of them is in memory."""
_SUCCESS: Final = frozenset({200, 201})

Ask = Callable[[], Awaitable[httpx.Response]]


@dataclass(frozen=True)
class Answer:
    """One answer of the service, and when it came, in monotonic seconds."""

    kind: str
    began: float
    ended: float
    status: int
    """0 where the connection broke instead."""
    headers: Mapping[str, str]
    problem: str = ""
    """What is wrong with its content; empty where nothing is."""
    told: str = ""
    """By a refusal."""

    @property
    def is_success(self) -> bool:
        return self.status in _SUCCESS

    @property
    def is_stale(self) -> bool:
        return "age" in self.headers


@dataclass
class Traffic:
    """Asks until it is stopped; each kind of request one after the other, and all kinds at the same time."""

    client: httpx.AsyncClient
    answers: list[Answer] = field(default_factory=list)
    _done_or_unknown: set[int] = field(default_factory=lambda: {0})
    """What the account may be called: the last acknowledged name, and those whose change got no answer since."""
    _documents: set[str] = field(default_factory=set)
    """Those whose storing was acknowledged."""
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)
    _is_over: bool = False

    async def prepare(self) -> None:
        """Create what the requests are about, under names that were not used before."""
        self.ubid = str(uuid.uuid4())
        email = f"{self.ubid}@example.com"
        person = {"fname": "Ada", "lname": "0", "email": email, "password": _PASSWORD, "role": "editor"}
        created = await self.client.post("/users", json=person, headers=KEY)
        assert created.status_code == 201, created.text
        self.user = f"/users/{created.json()['id']}"
        self.sign_in = {"username": email, "password": _PASSWORD}
        token = await self.client.post("/auth/token", data=self.sign_in)
        self.token = {"Authorization": f"Bearer {token.json()['access_token']}"}
        stored = await self.client.post("/tracking/sms_transfers", json=self._transfer(), headers=self.token)
        assert stored.status_code == 201, stored.text
        for path in ("/countries/ghana", "/countries", "/rates"):
            assert (await self.client.get(path)).status_code == 200

    def start(self) -> None:
        """Begin to ask for everything but refreshes."""
        self._start("memory", self._read_memory)
        self._start("live", lambda: self.client.get("/health/live"))
        self._start("ready", lambda: self.client.get("/health/ready"))
        self._start("list", self._read_list)
        self._start("convert", self._read_conversion)
        self._start("transfer", self._read_transfer)
        self._start("sign in", lambda: self.client.post("/auth/token", data=self.sign_in))
        self._start("documents", self._store_documents)
        self._start("stream", self._stream_documents)
        self._start("advance", lambda: self.client.put(f"/tracking/sms_documents/{self.ubid}/SENT", headers=KEY))
        self._start("put transfer", self._put_transfer)
        # In turns: what is read tells which of the changes were made so far.
        self._tasks.append(asyncio.create_task(self._repeat(("account", self._read_account), ("rename", self._rename))))

    def start_refreshes(self) -> None:
        """Begin to ask for refreshes, which change what everybody reads."""
        self._start("refresh", lambda: self.client.post("/countries/refresh", headers=KEY))

    def _start(self, kind: str, ask: Ask) -> None:
        self._tasks.append(asyncio.create_task(self._repeat((kind, ask))))

    async def stop(self) -> None:
        """Let everybody get the last answer."""
        self._is_over = True
        await asyncio.gather(*self._tasks)

    async def _repeat(self, *requests: tuple[str, Ask]) -> None:
        for kind, ask in itertools.cycle(requests):
            if self._is_over:
                return
            began, problem, told, headers = time.monotonic(), "", "", httpx.Headers()
            try:
                response = await ask()
                status, headers = response.status_code, response.headers
                told = response.text if status == 503 else ""
            except httpx.TransportError as error:
                status, problem = 0, repr(error)
            except (AssertionError, KeyError) as error:
                status, problem = 200, f"wrong content: {error!r}"
            self.answers.append(Answer(kind, began, time.monotonic(), status, headers, problem, told))
            await asyncio.sleep(_PAUSE_SECONDS * (7 if kind in _COSTLY else 1))

    async def _read_memory(self) -> httpx.Response:
        return _checked(await self.client.get("/countries/ghana"), lambda body: body["name"] == "Ghana")

    async def _read_list(self) -> httpx.Response:
        limit = 1 + next(_NUMBERS) % 1000
        response = await self.client.get(f"/countries?limit={limit}&offset={next(_NUMBERS)}&sort=name_asc")
        if response.status_code == 200:
            assert response.headers["X-Total-Count"] == "250"
        return response

    async def _read_conversion(self) -> httpx.Response:
        amount = 1 + next(_NUMBERS)
        response = await self.client.get(f"/convert?from=USD&to=GHS&amount={amount}")
        return _checked(response, lambda body: body["amount"] == amount and body["to"] == "GHS")

    async def _read_account(self) -> httpx.Response:
        response = await self.client.get(self.user, headers=self.token)
        email, names = self.sign_in["username"], self._done_or_unknown
        return _checked(response, lambda body: body["email"] == email and int(body["lname"]) in names)

    async def _read_transfer(self) -> httpx.Response:
        response = await self.client.get(f"/tracking/sms_transfers/{self.ubid}", headers=KEY)
        return _checked(response, lambda body: body["UBID"] == self.ubid)

    async def _rename(self) -> httpx.Response:
        """Give the account a number for a name."""
        number = next(_NUMBERS)
        response = await self.client.patch(self.user, json={"lname": str(number)}, headers=self.token)
        if response.status_code == 200:
            assert response.json()["lname"] == str(number)
            self._done_or_unknown = {number}
        elif "look whether the change was made" in response.text:
            self._done_or_unknown.add(number)
        return response

    async def _store_documents(self) -> httpx.Response:
        documents = self._some_documents()
        content = {"UBID": self.ubid, "documents": documents}
        response = await self.client.post("/tracking/sms_documents", json=content, headers=self.token)
        return self._noted(response, documents)

    async def _stream_documents(self) -> httpx.Response:
        documents = self._some_documents()
        lines = "".join(f"{httpx.Response(200, json=document).text}\n" for document in documents)
        response = await self.client.post(
            f"/tracking/sms_documents/{self.ubid}/stream",
            content=lines,
            headers={**self.token, "Content-Type": "application/x-ndjson"},
        )
        return self._noted(response, documents)

    def _some_documents(self) -> list[dict[str, Any]]:
        return [{"SMScount": 1, "uniqueId": f"D{next(_NUMBERS):09}", "data": {}} for _ in range(5)]

    def _noted(self, response: httpx.Response, documents: list[dict[str, Any]]) -> httpx.Response:
        if response.status_code == 201:
            self._documents |= {document["uniqueId"] for document in documents}
        return response

    async def _put_transfer(self) -> httpx.Response:
        return await self.client.post("/tracking/sms_transfers", json=self._transfer(), headers=KEY)

    def _transfer(self) -> dict[str, Any]:
        return {"UBID": self.ubid, "SMScount": 5, "documents": 5, "fileName": "a.csv", "origName": "a.csv"}

    async def assert_nothing_was_lost(self) -> None:
        """What was acknowledged is there, and a change that was refused was not made."""
        account = await self.client.get(self.user, headers=self.token)
        assert account.status_code == 200, account.text
        name = int(account.json()["lname"])
        assert name in self._done_or_unknown, (name, self._done_or_unknown)
        stored: set[str] = set()
        path, after = f"/tracking/sms_documents/{self.ubid}/items?limit=1000", ""
        while page := (await self.client.get(path + after, headers=KEY)).json():
            stored |= {document["uniqueId"] for document in page}
            after = f"&after={page[-1]['uniqueId']}"
        assert stored >= self._documents


def _checked(response: httpx.Response, is_right: Callable[[Any], bool]) -> httpx.Response:
    if response.status_code == 200:
        assert is_right(response.json()), response.text
    return response
