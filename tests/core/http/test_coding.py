"""Content codings: what a client asks for, and what it gets (RFC 9110, 8.4 and 12.5.3)."""

import asyncio
import gzip

import brotli
import httpx
import pytest
import zstandard

from app.core.http.cache.coding import negotiate
from tests.support.statements import recorded

DECODE = {
    "br": brotli.decompress,
    "zstd": lambda body: zstandard.ZstdDecompressor().decompress(body),
    "gzip": gzip.decompress,
    None: bytes,
}
EVERYTHING = "gzip, deflate, br, zstd"

CODINGS: dict[str, list[bytes | None]] = {
    "": [
        *(None, b"", b"identity", b"br;q=0", b"*;q=0", b"identity, gzip;q=0.5", b"deflate, compress"),
        *(b"gzip;q=2", b"gzip;q=abc"),
        b"identity;q=0",  # nothing that we have is wanted: better a plain answer than none
    ],
    "gzip": [
        *(b"gzip", b"GZip", b"x-gzip", b"gzip;q=1.0, br;q=0.5", b" gzip ; q=0.2 , br ; q=0.1 "),
        *(b"br;q=0.000, gzip", b"gzip;q=0.5, *;q=0", b"identity;q=0.5, gzip;q=0.6"),
        *(b"identity;q=0.5, gzip;q=0.5", b"\xff\x00, gzip"),
    ],
    "br": [
        *(b"br", b"gzip, deflate, br, zstd", b"gzip;q=0.8, br;q=0.8", b"*", b"identity;q=0, br"),
        b"gzip;;, ,br",
    ],
    "zstd": [b"zstd", b"gzip, zstd", b"*;q=0.1, zstd", b"br;q=0, *"],
}


@pytest.mark.parametrize(("coding", "accepted"), [(coding, each) for coding in CODINGS for each in CODINGS[coding]])
def test_coding_is_the_one_with_the_highest_weight(accepted, coding):
    assert negotiate(accepted) == coding


@pytest.mark.parametrize("coding", ["br", "zstd", "gzip", None])
async def test_each_coding_decodes_to_the_same_bytes_and_has_its_own_tag(loaded, coding):
    plain = await raw(loaded, "/countries", "identity")
    coded = await raw(loaded, "/countries", coding or "deflate")

    assert coded.headers.get("Content-Encoding") == coding
    assert DECODE[coding](coded.content) == plain.content
    assert int(coded.headers["Content-Length"]) == len(coded.content)
    assert (len(coded.content) < len(plain.content) / 4) == (coding is not None)
    assert (coded.headers["ETag"] == plain.headers["ETag"]) == (coding is None)
    assert coded.headers["Vary"] == "Accept, Accept-Encoding"
    assert (await raw(loaded, "/countries", coding or "deflate")).content == coded.content


async def test_repeated_fields_are_one_list(loaded):
    response = await loaded.get("/countries", headers=[("Accept-Encoding", "br;q=0"), ("Accept-Encoding", "zstd")])

    assert response.headers["Content-Encoding"] == "zstd"


async def test_coding_comes_from_the_answer_in_memory_and_is_made_once(loaded, monkeypatch):
    made = []

    def encode(body: bytes, coding: str) -> bytes:
        made.append(coding)
        return body[:100]

    monkeypatch.setattr("app.core.http.cache.middleware.encode", encode)
    await raw(loaded, "/countries", "identity")

    with recorded(loaded.state["database"]) as seen:
        await asyncio.gather(*(raw(loaded, "/countries", coding) for coding in ("br", "zstd", "gzip") * 5))
        await raw(loaded, "/countries", "br")

    assert sorted(made) == ["br", "gzip", "zstd"]
    assert seen == []


async def test_small_answers_and_pictures_are_not_compressed(loaded):
    for path, vary in (("/status", "Accept-Encoding"), ("/countries/image", None)):
        response = await raw(loaded, path, EVERYTHING)

        assert (path, response.headers.get("Content-Encoding"), response.headers.get("Vary")) == (path, None, vary)


async def test_compression_that_brings_nothing_is_not_used(loaded, monkeypatch):
    monkeypatch.setattr("app.core.http.cache.middleware.encode", lambda body, _: body + b" ")
    response = await raw(loaded, "/countries", "gzip")

    assert "Content-Encoding" not in response.headers
    assert len(response.json()) == 250


async def raw(client: httpx.AsyncClient, path: str, accepted: str) -> httpx.Response:
    """An answer whose content is the bytes that were sent."""
    request = client.build_request("GET", path, headers={"Accept-Encoding": accepted})
    response = await client.send(request, stream=True)
    response._content = b"".join([chunk async for chunk in response.aiter_raw()])
    await response.aclose()
    return response
