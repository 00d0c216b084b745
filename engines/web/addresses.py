"""Which addresses of the internet are anybody's, and which lead into a network of the operator's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_CARRIERS = [
    (IPv6Network("::/96"), 0),  # IPv4-compatible
    (IPv6Network("64:ff9b::/96"), 0),  # NAT64, RFC 6052
    (IPv6Network("64:ff9b:1::/48"), 0),  # NAT64 of one's own, RFC 8215
    (IPv6Network("2002::/16"), 80),  # 6to4, RFC 3056
]
"""Networks whose addresses carry one of IPv4, that many bits above the lowest."""


@dataclass(frozen=True, slots=True)
class Allowed:
    """What may be fetched although it is not public: *names* of hosts in lower case, and *networks*."""

    names: frozenset[str] = frozenset()
    networks: tuple[Network, ...] = ()

    @classmethod
    def parse(cls, told: str) -> Allowed:
        """From names, addresses and networks with commas between them."""
        names: set[str] = set()
        networks: list[Network] = []
        for each in filter(None, (part.strip().lower() for part in told.split(","))):
            try:
                networks.append(ip_network(each, strict=False))
            except ValueError:
                names.add(each.rstrip("."))
        return cls(frozenset(names), tuple(networks))

    def permits(self, host: str, address: Address) -> bool:
        """May *host*, which is at *address*, be connected to?"""
        if host.lower().rstrip(".") in self.names:
            return True
        return any(_is_in(address, network) for network in self.networks) or is_public(address)


def parse_address(text: str) -> Address:
    """Without the scope of a link-local one. Raises ValueError."""
    return ip_address(text.partition("%")[0])


def is_public(address: Address) -> bool:
    """Is it routed everywhere, and nowhere else? An address of IPv4 within one of IPv6 counts as itself."""
    if isinstance(address, IPv6Address):
        inner = carried(address)
        if inner is not None:
            return all(is_public(each) for each in inner)
    return address.is_global and not address.is_multicast and not address.is_reserved


def carried(address: IPv6Address) -> Sequence[IPv4Address] | None:
    """The addresses of IPv4 that it stands for, None where it stands for itself."""
    if address.ipv4_mapped is not None:
        return [address.ipv4_mapped]
    if address.teredo is not None:
        return address.teredo
    for network, bits in _CARRIERS:
        if address in network:
            return [IPv4Address((int(address) >> bits) & 0xFFFFFFFF)]
    return None


def _is_in(address: Address, network: Network) -> bool:
    return address.version == network.version and address in network
