"""Readers and writers of every slice that record and check every response."""

import asyncio
import itertools
import json
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import httpx

from checks.support.bodies import NDJSON, transfer

KEY: Final = {"X-API-Key": "correct-horse"}
"""The operator's key."""
_PASSWORD: Final = "correct horse battery"
_PAUSE_SECONDS: Final = 0.15
_COSTLY: Final = frozenset({"refresh", "sign in"})
"""Requests that take much processor time, sent less often."""
_NUMBERS: Final = itertools.count(1)
"""Never repeated in a process, so that requests with them are not cached."""
_SUCCESS: Final = frozenset({200, 201})

Ask = Callable[[], Awaitable[httpx.Response]]


@dataclass(frozen=True)
class Answer:
    """One response of the service; times are in monotonic seconds."""

    kind: str
    began: float
    ended: float
    status: int
    """0 if the connection broke."""
    headers: Mapping[str, str]
    problem: str = ""
    """What is wrong with the content; empty if nothing is."""
    refusal: str = ""
    """Text of a 503."""

    @property
    def is_success(self) -> bool:
        return self.status in _SUCCESS

    @property
    def is_stale(self) -> bool:
        return "age" in self.headers


@dataclass
class Traffic:
    """Sends requests until it is stopped: all kinds simultaneously, those of one kind one after the other."""

    client: httpx.AsyncClient
    answers: list[Answer] = field(default_factory=list)
    _done_or_unknown: set[int] = field(default_factory=lambda: {0})
    """Possible names of the account: the last acknowledged one, and later ones without a clear answer."""
    _documents: set[str] = field(default_factory=set)
    """Acknowledged documents."""
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)
    _is_over: bool = False

    async def prepare(self) -> None:
        """Create an account and a transfer under new names, and fill the cache."""
        self.ubid = str(uuid.uuid4())
        email = f"{self.ubid}@example.com"
        person = {"fname": "Ada", "lname": "0", "email": email, "password": _PASSWORD, "role": "editor"}
        created = await self.client.post("/users", json=person, headers=KEY)
        assert created.status_code == 201, created.text
        self.user = f"/users/{created.json()['id']}"
        self.sign_in = {"username": email, "password": _PASSWORD}
        token = await self.client.post("/auth/token", data=self.sign_in)
        self.token = {"Authorization": f"Bearer {token.json()['access_token']}"}
        stored = await self.client.post("/tracking/sms_transfers", json=transfer(self.ubid), headers=self.token)
        assert stored.status_code == 201, stored.text
        for path in ("/countries/ghana", "/countries", "/rates"):
            assert (await self.client.get(path)).status_code == 200

    def start(self) -> None:
        """Begin to send every kind of request except refreshes."""
        get, transfers = self.client.get, "/tracking/sms_transfers"
        kinds: dict[str, Ask] = {
            "memory": lambda: self._get("/countries/ghana", lambda body: body["name"] == "Ghana"),
            "live": lambda: get("/health/live"),
            "ready": lambda: get("/health/ready"),
            "list": self._read_list,
            "convert": self._read_conversion,
            "transfer": lambda: self._get(transfers + f"/{self.ubid}", lambda body: body["UBID"] == self.ubid, KEY),
            "sign in": lambda: self.client.post("/auth/token", data=self.sign_in),
            "documents": lambda: self._store_documents(as_stream=False),
            "stream": lambda: self._store_documents(as_stream=True),
            "advance": lambda: self.client.put(f"/tracking/sms_documents/{self.ubid}/SENT", headers=KEY),
            "put transfer": lambda: self.client.post(transfers, json=transfer(self.ubid), headers=KEY),
        }
        for kind in kinds.items():
            self._start(kind)
        # In turn: reading the account shows which changes were made so far.
        self._start(("account", self._read_account), ("rename", self._rename))

    def start_refreshes(self) -> None:
        """Begin to send refreshes, which change what all reads return."""
        self._start(("refresh", lambda: self.client.post("/countries/refresh", headers=KEY)))

    def _start(self, *requests: tuple[str, Ask]) -> None:
        self._tasks.append(asyncio.create_task(self._repeat(*requests)))

    async def stop(self) -> None:
        """Wait for the last responses."""
        self._is_over = True
        await asyncio.gather(*self._tasks)

    async def _repeat(self, *requests: tuple[str, Ask]) -> None:
        for kind, ask in itertools.cycle(requests):
            if self._is_over:
                return
            began, problem, refusal, headers = time.monotonic(), "", "", httpx.Headers()
            try:
                response = await ask()
                status, headers = response.status_code, response.headers
                refusal = response.text if status == 503 else ""
            except httpx.TransportError as error:
                status, problem = 0, repr(error)
            except (AssertionError, KeyError) as error:
                status, problem = 200, f"wrong content: {error!r}"
            self.answers.append(Answer(kind, began, time.monotonic(), status, headers, problem, refusal))
            await asyncio.sleep(_PAUSE_SECONDS * (7 if kind in _COSTLY else 1))

    async def _get(
        self, path: str, is_right: Callable[[Any], bool], headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        response = await self.client.get(path, headers=headers)
        if response.status_code == 200:
            assert is_right(response.json()), response.text
        return response

    async def _read_list(self) -> httpx.Response:
        limit = 1 + next(_NUMBERS) % 1000
        response = await self.client.get(f"/countries?limit={limit}&offset={next(_NUMBERS)}&sort=name_asc")
        if response.status_code == 200:
            assert response.headers["X-Total-Count"] == "250"
        return response

    async def _read_conversion(self) -> httpx.Response:
        amount = 1 + next(_NUMBERS)
        path = f"/convert?from=USD&to=GHS&amount={amount}"
        return await self._get(path, lambda body: (body["amount"], body["to"]) == (amount, "GHS"))

    async def _read_account(self) -> httpx.Response:
        email, names = self.sign_in["username"], self._done_or_unknown
        return await self._get(
            self.user, lambda body: body["email"] == email and int(body["lname"]) in names, self.token
        )

    async def _rename(self) -> httpx.Response:
        """Change the account's name to a number."""
        number = next(_NUMBERS)
        response = await self.client.patch(self.user, json={"lname": str(number)}, headers=self.token)
        if response.status_code == 200:
            assert response.json()["lname"] == str(number)
            self._done_or_unknown = {number}
        elif "look whether the change was made" in response.text:
            self._done_or_unknown.add(number)
        return response

    async def _store_documents(self, *, as_stream: bool) -> httpx.Response:
        documents = [{"SMScount": 1, "uniqueId": f"D{next(_NUMBERS):09}", "data": {}} for _ in range(5)]
        path = "/tracking/sms_documents"
        if as_stream:
            lines = "".join(f"{json.dumps(document)}\n" for document in documents)
            path += f"/{self.ubid}/stream"
            response = await self.client.post(path, content=lines, headers=self.token | NDJSON)
        else:
            content = {"UBID": self.ubid, "documents": documents}
            response = await self.client.post(path, json=content, headers=self.token)
        if response.status_code == 201:
            self._documents |= {str(document["uniqueId"]) for document in documents}
        return response

    async def assert_nothing_was_lost(self) -> None:
        """Acknowledged changes are stored, and refused ones are not."""
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
