"""A hostile upstream: answers for FakeUpstream that break HTTP, TLS or JSON, or exhaust the reader's memory."""

import asyncio
import datetime
import gzip
import ipaddress
import ssl
import zlib
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import brotli
import zstandard
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.support.fault_proxy import reset
from tests.support.upstream import Answer, FakeUpstream, Request, body

MIB: Final = 2**20
Cases = dict[str, tuple[Answer, str]]
"""Answer of the upstream and error of the service by name; ``{timeout}`` and ``{limit}`` are filled in."""
_OK: Final = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
_NOT_JSON: Final = "answered with something that is not JSON"
_TOO_LARGE: Final = "answered with more than {limit:,} bytes"
_CHUNKED: Final = _OK + b"Transfer-Encoding: chunked\r\n\r\n"


def because(reason: str, answers: dict[str, Answer]) -> Cases:
    """Cases that all fail for this reason."""
    return {name: (answer, reason) for name, answer in answers.items()}


def raw(*pieces: bytes, ends: bool = True, pause: float = 0) -> Answer:
    """Send these bytes only; without an end the connection stays open."""

    async def answer(_: Request, writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(pause)
        if not ends:
            await asyncio.sleep(3600)

    return answer


def repeat(first: bytes, again: bytes, *, pause: float = 0) -> Answer:
    """Send the first bytes, then repeat the others until the client leaves."""

    async def answer(_: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(first)
        while True:
            writer.write(again)
            await writer.drain()
            await asyncio.sleep(pause)

    return answer


def resets(after: bytes = b"") -> Answer:
    """Send these bytes, then reset the connection."""

    async def answer(_: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(after)
        await writer.drain()
        await asyncio.sleep(0.05 if after else 0)
        reset(writer)

    return answer


def without_length(content: bytes) -> Answer:
    """Send a body that ends with the connection."""
    return raw(_OK + b"\r\n", content)


def bomb(encoding: str, *, megabytes: int, layers: int = 1) -> Answer:
    """Send compressed spaces; each further layer compresses the result again."""
    compress = {
        "gzip": gzip.compress,
        "deflate": zlib.compress,
        "br": lambda content: brotli.compress(content, quality=5),
        "zstd": zstandard.compress,
    }
    content = b" " * (megabytes * MIB)
    for _ in range(layers):
        content = compress[encoding.partition(",")[0]](content)
    return body(content, Content_Encoding=encoding)


PROTOCOL: Final[Cases] = {
    **because(
        "the connection failed (ReadError)",
        {
            "resets at once": resets(),
            "resets within the headers": resets(_OK),
            "resets within the body": resets(_OK + b"Content-Length: 99\r\n\r\n[1,"),
        },
    ),
    **because(
        "timed out after {timeout:g} s",
        {
            "says nothing": raw(ends=False),
            "one byte a second": raw(*(bytes([byte]) for byte in _OK + b"\r\n[]"), pause=1),
            "one byte of body a second": repeat(_OK + b"\r\n[", b" ", pause=1),
            "endless interim answers": repeat(b"", b"HTTP/1.1 103 Early\r\n\r\n" * 1000),
        },
    ),
    **because(
        "the connection failed (RemoteProtocolError)",
        {
            "closes without a word": raw(),
            "not HTTP": raw(b"220 mail.example ESMTP\r\n"),
            "endless headers": repeat(_OK, b"X-More: yes\r\n" * 1000),
            "one endless header": repeat(_OK + b"X: ", b"x" * 65_536),
            "two lengths": raw(_OK + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n[] "),
            "a length below zero": raw(_OK + b"Content-Length: -1\r\n\r\n[]"),
            "more length than body": raw(_OK + b"Content-Length: 9999\r\n\r\n[1]"),
            "chunks without an end": raw(_CHUNKED + b"3\r\n[1]\r\n"),
            "chunks of no size": raw(_CHUNKED + b"xyz\r\n[1]\r\n0\r\n\r\n"),
            "endless chunk extension": repeat(_CHUNKED + b"1;a=", b"x" * 65_536),
            "endless trailers": repeat(_CHUNKED + b"1\r\n1\r\n0\r\n", b"X-More: yes\r\n" * 1000),
        },
    ),
}
"""Broken HTTP."""


def _redirect(location: str) -> Answer:
    return body(b"", code=301, Location=location)


STATUSES: Final[Cases] = {
    **{f"status {code}": (body(b"[]", code=code), f"answered {code}") for code in (206, 304, 400, 401, 404, 418, 500)},
    "status 204": (body(b"", code=204), "answered 204"),
    "status 301 without an address": (body(b"", code=301), "answered 301"),
    "status 429 for an hour": (body(b"", code=429, Retry_After="3600"), "answered 429"),
    "status 429 for ages": (body(b"", code=429, Retry_After="9" * 5000), "answered 429"),
    **because(
        "answered 301, a redirect to another host",
        {
            "status 301 to another host": _redirect("http://other.example/"),
            "status 301 to this machine": _redirect("http://127.0.0.1:1/"),
            "status 301 to nonsense": _redirect("http://["),
        },
    ),
}


def _unasked(coding: str, *, layers: int = 1) -> tuple[Answer, str]:
    refusal = f"answered in the encoding '{coding}', which was not requested"
    return bomb(coding, megabytes=20, layers=layers), refusal


def codings() -> Cases:
    """Broken compression; made on each call, because it takes seconds and megabytes."""
    truncated = gzip.compress(b"[1]" * 99)[:-9]
    longer = gzip.compress(b"[1]") + b"x" * 20 * MIB
    return {
        "gzip bomb": (bomb("gzip", megabytes=200), _TOO_LARGE),
        "gzip in gzip": (bomb("gzip", megabytes=20, layers=2), _NOT_JSON),
        "gzip, gzip": _unasked("gzip, gzip", layers=2),
        **{f"{coding} bomb": _unasked(coding) for coding in ("br", "zstd", "deflate")},
        "truncated gzip": (body(truncated, Content_Encoding="gzip"), "answered with truncated gzip"),
        "gzip that goes on": (body(longer, Content_Encoding="gzip"), "answered with data after the end of its gzip"),
        "not gzip": (body(b"[1]", Content_Encoding="gzip"), "answered with broken gzip"),
    }


def rows(number: int) -> bytes:
    """Countries with a name only."""
    return b"[" + b",".join(b'{"name":"X%d"}' % index for index in range(number)) + b"]"


def named(characters: str, size: int) -> bytes:
    """One country with a name of ``size`` bytes."""
    return b'[{"name":"' + characters.encode() * (size // len(characters.encode())) + b'","population":1}]'


def documents() -> Cases:
    """Broken documents of any source; made on each call, because they take megabytes."""
    return {
        **because(
            _TOO_LARGE,
            {
                "endless body": repeat(_OK + b"\r\n[", b"1," * 32_768),
                "endless chunks": repeat(_CHUNKED, b"%x\r\n%b\r\n" % (65_536, b" " * 65_536) * 64),
                "million rows": without_length(rows(10**6)),
                "name of 10 MB": without_length(named("x", 10 * MIB)),
            },
        ),
        **because(
            "answered with more values than fit into {limit:,} bytes",
            {
                "million rows that are small": without_length(b"[" + b"{}," * 10**6 + b"{}]"),
                "million numbers": without_length(b"[" + b"1," * 10**6 + b"1]"),
                "million keys": without_length(b"{" + b'"":[],' * 500_000 + b'"":[]}'),
                "nested 1,000,000 deep": without_length(b"[" * 10**6),
            },
        ),
        **because(
            _NOT_JSON,
            {
                "nested 50,000 deep": without_length(b"[" * 50_000 + b"]" * 50_000),
                "HTML": body(b"<!doctype html><title>Welcome</title>", Content_Type="text/html"),
                "nothing": body(b""),
                "truncated JSON": body(b'[{"name":"Gha'),
                "wrong charset": body('[{"name":"Curaçao"}]'.encode("latin-1")),
                "NUL bytes": body(b"\0" * 10_000),
                "half of a character": body(b'["\xed\xa0"]'),
            },
        ),
    }


def named_with_a_face(size: int) -> bytes:
    """The same with one character that makes every other take four bytes of memory."""
    return named("x", size).replace(b"x", "\N{GRINNING FACE}".encode(), 1)


@asynccontextmanager
async def over_tls(answers: dict[str, Answer], certificate: Path, key: Path) -> AsyncIterator[FakeUpstream]:
    """Run an upstream with this certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    async with FakeUpstream(answers=answers, tls=context) as server:
        yield server


def make_certificate(
    folder: Path, name: str, *, host: str = "127.0.0.1", days: int = 1, issuer: str | None = None
) -> tuple[Path, Path]:
    """Write a certificate and its key; it is its own authority, unless it names another issuer.

    A negative number of days makes it expired.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    subject, authority = (
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)]) for common in (name, issuer or name)
    )
    others = "content_commitment key_encipherment data_encipherment key_agreement encipher_only decipher_only"
    usage = x509.KeyUsage(
        digital_signature=True, key_cert_sign=True, crl_sign=True, **dict.fromkeys(others.split(), False)
    )
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(host))])
    now, day = datetime.datetime.now(datetime.UTC), datetime.timedelta(days=1)
    certificate = (
        x509.CertificateBuilder(subject_name=subject, issuer_name=authority, public_key=key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - 30 * day)
        .not_valid_after(now + days * day)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(address, critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    files = folder / f"{name}.pem", folder / f"{name}.key"
    files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private = serialization.PrivateFormat.TraditionalOpenSSL
    files[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, private, serialization.NoEncryption()))
    return files


def trust(authorities: Iterable[Path], folder: Path) -> Path:
    """Make a folder for PYTHONPATH whose ``certifi`` has these authorities only."""
    (folder / "certifi").mkdir(parents=True)
    (folder / "authorities.pem").write_bytes(b"".join(file.read_bytes() for file in authorities))
    source = f"def where() -> str:\n    return {str(folder / 'authorities.pem')!r}\n"
    (folder / "certifi/__init__.py").write_text(source)
    return folder
