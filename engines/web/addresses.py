"""Which addresses of the internet are anybody's, and which lead into a network of the operator's own."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_NOT_PUBLIC = [
    ip_network(network)
    for network in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24"),
        *("192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24"),
        *("224.0.0.0/4", "240.0.0.0/4"),
        *("2001::/23", "2001:db8::/32", "3fff::/20"),  # protocols of the IETF (Teredo is one), documentation
    )
]
"""IANA's special-purpose registries: all of that for IPv4, that for IPv6 within the block below; multicast, reserved.

Written out, because what Python calls global changes from version to version.
"""

_GLOBAL_UNICAST = IPv6Network("2000::/3")
"""The one block of IPv6 that is given out; all else is special or unused, as fc00::/7, fec0::/10 and 5f00::/16 are."""

_CARRIERS = [
    (IPv6Network("::ffff:0:0/96"), 0),  # IPv4-mapped
    (IPv6Network("64:ff9b::/96"), 0),  # NAT64, RFC 6052
    (IPv6Network("2002::/16"), 80),  # 6to4, RFC 3056
]
"""Networks whose addresses stand for one of IPv4, which they hold that many bits above the lowest."""


@dataclass(frozen=True, slots=True)
class AllowedHosts:
    """What may be fetched although it is not public: *names* of hosts in lower case, and *networks*."""

    names: frozenset[str] = frozenset()
    networks: tuple[Network, ...] = ()

    @classmethod
    def parse(cls, told: str) -> AllowedHosts:
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
    """Is it routed everywhere, and nowhere else? An address of IPv6 that stands for one of IPv4 counts as that."""
    inner = carried(address)
    if inner is not None:
        return is_public(inner)
    if address.version == 6 and address not in _GLOBAL_UNICAST:
        return False
    return not any(_is_in(address, network) for network in _NOT_PUBLIC)


def carried(address: Address) -> IPv4Address | None:
    """The address of IPv4 that it stands for, None where it stands for itself."""
    for network, bits in _CARRIERS:
        if _is_in(address, network):
            return IPv4Address((int(address) >> bits) & 0xFFFFFFFF)
    return None


def _is_in(address: Address, network: Network) -> bool:
    return address.version == network.version and address in network
