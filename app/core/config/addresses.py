"""Addresses in settings: networks of proxies, origins of pages, and the URLs of sources."""

import re
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import parse_qsl, unquote, urlsplit, urlunsplit

from app.core.config.sources import KEY


def parse_networks(words: tuple[str, ...]) -> tuple[IPv4Network | IPv6Network, ...]:
    """Read addresses and networks such as ``10.0.0.0/8``; raise ValueError if one of them is neither."""
    try:
        return tuple(ip_network(word, strict=False) for word in words)
    except ValueError as error:
        raise ValueError(f"must be addresses and networks such as 10.0.0.1 or 10.0.0.0/8: {error}") from None


def parse_chain(words: tuple[str, ...], *, known: tuple[str, ...]) -> tuple[str, ...]:
    """Raise ValueError if a chain is empty, or an entry is neither a known name nor an http(s) URL."""
    if not words:
        raise ValueError("names no source")
    for position, word in enumerate(words, start=1):
        if word not in known and not is_http_url(word):
            # Anything but a plain word may be a mistyped URL with a key in it.
            shown = repr(word) if re.fullmatch(r"[\w.-]+", word) else f"entry {position}"
            raise ValueError(f"{shown} is neither an http(s) URL nor one of: {', '.join(known)}")
    return words


def parse_origin(word: str) -> str:
    """Write an origin as browsers send it; raise ValueError if it is not an http(s) origin, such as one with a path."""
    origin = origin_of(word)
    if origin is None or re.search("[/?#]", word.partition("://")[2]):
        raise ValueError("must be * alone, or origins such as https://example.com, separated by spaces")
    return origin


def origin_of(url: str) -> str | None:
    """The origin of a URL as browsers send it: host in lower case and ASCII, no default port; None if not http(s)."""
    if match := re.match(r"(https?://[^\s/?#@,*]+)([/?#]|\Z)", url.lower()):
        import httpx  # noqa: PLC0415  # 40 ms and 6 MB of a start

        try:
            origin = httpx.URL(match[1])
            host = origin.raw_host.decode()
            if ":" in host:
                host = f"[{ip_address(host)}]"
            elif host.rpartition(".")[2].isdigit():  # browsers write every such host as an address of four numbers
                host = str(ip_address(host))
            if re.fullmatch(r"[a-z0-9._-]+|\[.+\]", host) and (origin.port is None or 0 < origin.port < 65536):
                return f"{origin.scheme}://{host}" + (f":{origin.port}" if origin.port else "")
        except (ValueError, httpx.InvalidURL):
            pass
    return None


def is_http_url(word: str) -> bool:
    """Whether the text is a URL that can be requested."""
    if not re.fullmatch(r"[\x21-\x7e]+", word):
        return False
    try:
        parts = urlsplit(word)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def is_host(word: str) -> bool:
    """Whether the text is one host name or IP address, without a port."""
    try:
        ip_address(word)
    except ValueError:
        return re.fullmatch(r"[\w.-]+", word) is not None
    return True


def is_loopback(host: str) -> bool:
    """Whether an IP address, or the name ``localhost``, is this machine."""
    try:
        address = ip_address(host)
    except ValueError:
        return host.lower() == "localhost"
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return (mapped or address).is_loopback


def host_of(url: str) -> str:
    """The host of a URL: the only part that errors and logs may show."""
    return urlsplit(url).hostname or "unknown host"


_NAMED_LIKE_A_KEY = re.compile("key|token|secret|passw|auth|app_?id|signature", re.IGNORECASE)
_SHORTEST_KEY = 16
"""Characters from which the value of any parameter may be a key."""


def secrets_in(url: str) -> list[str]:
    """User and password of a URL, and those values in its query that may be keys: by their names or their length.

    Each as it is written, and decoded.
    """
    parts = urlsplit(url)
    found = [form for value in (parts.username, parts.password) if value for form in (value, unquote(value))]
    for parameter in parts.query.split("&"):
        for name, value in parse_qsl(parameter):
            is_long = len(value) >= _SHORTEST_KEY and "," not in value
            if value != KEY and (is_long or _NAMED_LIKE_A_KEY.search(name)):
                found += [parameter.partition("=")[2], value]
    return list(dict.fromkeys(found))


def without_secrets(entry: str) -> str:
    """An entry of a chain as operators see it: a URL without user, password and query."""
    parts = urlsplit(entry)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", "")) if parts.netloc else entry
