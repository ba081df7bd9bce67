"""An upstream that means harm: answers for FakeUpstream that break HTTP, TLS, JSON, or the memory of who reads them."""

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
"""What the upstream answers, and what the service says of it: ``timeout`` and ``limit`` are filled in."""
_OK: Final = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


def raw(*pieces: bytes, ends: bool = True) -> Answer:
    """These bytes and nothing else; without an end the connection stays open."""

    async def answer(_: Request, writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        if not ends:
            await asyncio.sleep(3600)

    return answer


def for_ever(first: bytes, again: bytes, *, pause: float = 0) -> Answer:
    """The first bytes, and then the others again and again until the client leaves."""

    async def answer(_: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(first)
        while True:
            writer.write(again)
            await writer.drain()
            await asyncio.sleep(pause)

    return answer


def one_byte_a_second(content: bytes) -> Answer:
    async def answer(_: Request, writer: asyncio.StreamWriter) -> None:
        for position in range(len(content)):
            writer.write(content[position : position + 1])
            await writer.drain()
            await asyncio.sleep(1)

    return answer


def resets(after: bytes = b"") -> Answer:
    """These bytes, and then a reset instead of an end."""

    async def answer(_: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(after)
        await writer.drain()
        await asyncio.sleep(0.05 if after else 0)
        reset(writer)

    return answer


def endless_chunks(chunk: bytes, *, first: bytes = b"") -> Answer:
    return for_ever(_OK + b"Transfer-Encoding: chunked\r\n\r\n" + first, b"%x\r\n%b\r\n" % (len(chunk), chunk) * 64)


def without_length(content: bytes) -> Answer:
    """A body that ends with the connection."""
    return raw(_OK + b"\r\n", content)


def bomb(encoding: str, *, megabytes: int, layers: int = 1) -> Answer:
    """Blanks that were compressed, several times over if so wanted, under the name of one or another coding."""
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
    "closes without a word": (raw(), "the connection failed (RemoteProtocolError)"),
    "resets at once": (resets(), "the connection failed (ReadError)"),
    "resets within the headers": (resets(_OK), "the connection failed (ReadError)"),
    "resets within the body": (resets(_OK + b"Content-Length: 99\r\n\r\n[1,"), "the connection failed (ReadError)"),
    "says nothing": (raw(ends=False), "timed out after {timeout:g} s"),
    "one byte a second": (one_byte_a_second(_OK + b"\r\n[]"), "timed out after {timeout:g} s"),
    "one byte of body a second": (for_ever(_OK + b"\r\n[", b" ", pause=1), "timed out after {timeout:g} s"),
    "is no HTTP": (raw(b"220 mail.example ESMTP\r\n"), "the connection failed (RemoteProtocolError)"),
    "endless headers": (for_ever(_OK, b"X-More: yes\r\n" * 1000), "the connection failed (RemoteProtocolError)"),
    "one endless header": (for_ever(_OK + b"X: ", b"x" * 65_536), "the connection failed (RemoteProtocolError)"),
    "endless interim answers": (for_ever(b"", b"HTTP/1.1 103 Early\r\n\r\n" * 1000), "timed out after {timeout:g} s"),
    "two lengths": (
        raw(_OK + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n[] "),
        "the connection failed (RemoteProtocolError)",
    ),
    "a length below zero": (raw(_OK + b"Content-Length: -1\r\n\r\n[]"), "the connection failed (RemoteProtocolError)"),
    "more length than body": (
        raw(_OK + b"Content-Length: 9999\r\n\r\n[1]"),
        "the connection failed (RemoteProtocolError)",
    ),
    "chunks without an end": (
        raw(_OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\n[1]\r\n"),
        "the connection failed (RemoteProtocolError)",
    ),
    "chunks of no size": (
        raw(_OK + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n[1]\r\n0\r\n\r\n"),
        "the connection failed (RemoteProtocolError)",
    ),
    "endless chunk extension": (
        for_ever(_OK + b"Transfer-Encoding: chunked\r\n\r\n1;a=", b"x" * 65_536),
        "the connection failed (RemoteProtocolError)",
    ),
    "endless trailers": (
        for_ever(_OK + b"Transfer-Encoding: chunked\r\n\r\n1\r\n1\r\n0\r\n", b"X-More: yes\r\n" * 1000),
        "the connection failed (RemoteProtocolError)",
    ),
}
"""What is wrong with the bytes of HTTP."""

STATUSES: Final[Cases] = {
    **{f"status {code}": (body(b"[]", code=code), f"answered {code}") for code in (206, 304, 400, 401, 404, 418, 500)},
    "status 204": (body(b"", code=204), "answered 204"),
    "status 301 to another host": (
        body(b"", code=301, Location="http://other.example/"),
        "answered 301, a redirect to another host",
    ),
    "status 301 to this machine": (
        body(b"", code=301, Location="http://127.0.0.1:1/"),
        "answered 301, a redirect to another host",
    ),
    "status 301 without an address": (body(b"", code=301), "answered 301"),
    "status 301 to nonsense": (
        body(b"", code=301, Location="http://["),
        "answered 301, a redirect to another host",
    ),
    "status 429 for an hour": (body(b"", code=429, Retry_After="3600"), "answered 429"),
    "status 429 for ever": (body(b"", code=429, Retry_After="9" * 5000), "answered 429"),
}


def codings() -> Cases:
    """What is wrong with the compression; made anew, because it takes seconds and megabytes."""
    return {
        "gzip bomb": (bomb("gzip", megabytes=200), "answered with more than {limit:,} bytes"),
        "gzip in gzip": (bomb("gzip", megabytes=20, layers=2), "answered with something that is not JSON"),
        "gzip, gzip": (
            bomb("gzip, gzip", megabytes=20, layers=2),
            "answered in the encoding 'gzip, gzip', which was not requested",
        ),
        "br bomb": (bomb("br", megabytes=20), "answered in the encoding 'br', which was not requested"),
        "zstd bomb": (bomb("zstd", megabytes=20), "answered in the encoding 'zstd', which was not requested"),
        "deflate bomb": (bomb("deflate", megabytes=20), "answered in the encoding 'deflate', which was not requested"),
        "truncated gzip": (
            body(gzip.compress(b"[1]" * 99)[:-9], Content_Encoding="gzip"),
            "answered with truncated gzip",
        ),
        "gzip that goes on": (
            body(gzip.compress(b"[1]") + b"x" * 20 * MIB, Content_Encoding="gzip"),
            "answered with data after the end of its gzip",
        ),
        "gzip that is none": (body(b"[1]", Content_Encoding="gzip"), "answered with broken gzip"),
    }


def rows(number: int) -> bytes:
    """Countries that are a name and nothing else."""
    return b"[" + b",".join(b'{"name":"X%d"}' % index for index in range(number)) + b"]"


def named(characters: str, size: int) -> bytes:
    """One country with a name of so many bytes."""
    return b'[{"name":"' + characters.encode() * (size // len(characters.encode())) + b'","population":1}]'


_NO_JSON: Final = "answered with something that is not JSON"
_TOO_LARGE: Final = "answered with more than {limit:,} bytes"
_TOO_MANY: Final = "answered with more values than fit into {limit:,} bytes"


def documents() -> Cases:
    """What is wrong with the document, whatever source it comes from; made anew, because it takes megabytes."""
    return {
        "endless body": (for_ever(_OK + b"\r\n[", b"1," * 32_768), _TOO_LARGE),
        "endless chunks": (endless_chunks(b" " * 65_536), _TOO_LARGE),
        "million rows": (without_length(rows(10**6)), _TOO_LARGE),
        "million rows that are small": (without_length(b"[" + b"{}," * 10**6 + b"{}]"), _TOO_MANY),
        "million numbers": (without_length(b"[" + b"1," * 10**6 + b"1]"), _TOO_MANY),
        "million keys": (without_length(b"{" + b'"":[],' * 500_000 + b'"":[]}'), _TOO_MANY),
        "name of 10 MB": (without_length(named("x", 10 * MIB)), _TOO_LARGE),
        "nested 1,000,000 deep": (without_length(b"[" * 10**6), _TOO_MANY),
        "nested 50,000 deep": (without_length(b"[" * 50_000 + b"]" * 50_000), _NO_JSON),
        "HTML": (body(b"<!doctype html><title>Welcome</title>", Content_Type="text/html"), _NO_JSON),
        "nothing": (body(b""), _NO_JSON),
        "truncated JSON": (body(b'[{"name":"Gha'), _NO_JSON),
        "wrong charset": (body('[{"name":"Curaçao"}]'.encode("latin-1")), _NO_JSON),
        "NUL bytes": (body(b"\0" * 10_000), _NO_JSON),
        "half of a character": (body(b'["\xed\xa0"]'), _NO_JSON),
    }


def named_with_a_face(size: int) -> bytes:
    """The same, but one character makes all others take four bytes of memory each."""
    return named("x", size).replace(b"x", "\N{GRINNING FACE}".encode(), 1)


@asynccontextmanager
async def over_tls(answers: dict[str, Answer], certificate: Path, key: Path) -> AsyncIterator[FakeUpstream]:
    """The upstream with this certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    async with FakeUpstream(answers=answers, tls=context) as server:
        yield server


class Authority:
    """A certificate authority and what it signs, in files of a folder."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self.file = folder / f"{name}.pem"
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        constraints = x509.BasicConstraints(ca=True, path_length=None)
        usage = x509.KeyUsage(
            digital_signature=True,
            key_cert_sign=True,
            crl_sign=True,
            **dict.fromkeys(
                (
                    "content_commitment",
                    "key_encipherment",
                    "data_encipherment",
                    "key_agreement",
                    "encipher_only",
                    "decipher_only",
                ),
                False,
            ),
        )
        builder = self._builder(self._name, self._key, days=1).add_extension(constraints, critical=True)
        _write(self.file, builder.add_extension(usage, critical=True).sign(self._key, hashes.SHA256()))

    def sign(self, name: str, *, host: str = "127.0.0.1", days: int = 1) -> tuple[Path, Path]:
        """A certificate for an address, valid for so many days from now, or until so many days ago; and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
        address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(host))])
        issued_by = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        builder = self._builder(subject, key, days=days).add_extension(address, critical=False)
        certificate = builder.add_extension(issued_by, critical=False).sign(self._key, hashes.SHA256())
        files = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        _write(files[0], certificate)
        private = serialization.PrivateFormat.TraditionalOpenSSL
        files[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, private, serialization.NoEncryption()))
        return files

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, *, days: int) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=30))
            .not_valid_after(now + datetime.timedelta(days=days))
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        )


def _write(file: Path, certificate: x509.Certificate) -> None:
    file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


def trust(authorities: Iterable[Path], folder: Path) -> Path:
    """A folder for PYTHONPATH in which ``certifi`` knows these authorities only."""
    (folder / "certifi").mkdir(parents=True)
    (folder / "authorities.pem").write_bytes(b"".join(file.read_bytes() for file in authorities))
    source = f"def where() -> str:\n    return {str(folder / 'authorities.pem')!r}\n"
    (folder / "certifi/__init__.py").write_text(source)
    return folder
