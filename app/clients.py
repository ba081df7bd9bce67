"""Who a request comes from: the address of the client, as far as the proxies in between are trusted."""

from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

from starlette.types import Scope

_NETWORK_OF_ONE: Final = 64
"""Bits: whoever has one address of IPv6 has all that begin alike."""


def parse_networks(words: tuple[str, ...]) -> tuple[IPv4Network | IPv6Network, ...]:
    """Read addresses and networks such as ``10.0.0.0/8``.

    Raises:
        ValueError: One of them is neither.
    """
    try:
        return tuple(ip_network(word, strict=False) for word in words)
    except ValueError as error:
        raise ValueError(f"must be addresses and networks such as 10.0.0.1 or 10.0.0.0/8: {error}") from None


def client_of(scope: Scope) -> str:
    """The client of a request, as one that is counted: an address, or the network of an IPv6 address.

    Requests that come over a local socket have none, and count as one client.
    """
    host = (scope.get("client") or ("", 0))[0]
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return host or "local"
    if not isinstance(address, IPv6Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(IPv6Network((address, _NETWORK_OF_ONE), strict=False))
