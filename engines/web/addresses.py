"""Distinguishes public internet addresses from those that lead into the operator's own networks."""

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
"""IANA's special-purpose registries: the whole one for IPv4, that for IPv6 within the block below; multicast, reserved.

Listed here because Python's is_global changes between versions.
"""

_GLOBAL_UNICAST = IPv6Network("2000::/3")
"""The only block of IPv6 in public use; the rest is special or unused, such as fc00::/7, fec0::/10 and 5f00::/16."""

_EMBEDDING_NETWORKS = [
    (IPv6Network("::ffff:0:0/96"), 0),  # IPv4-mapped
    (IPv6Network("64:ff9b::/96"), 0),  # NAT64, RFC 6052
    (IPv6Network("2002::/16"), 80),  # 6to4, RFC 3056
]
"""IPv6 networks whose addresses embed an IPv4 address, and its offset in bits from the lowest."""


@dataclass(frozen=True, slots=True)
class AllowedHosts:
    """Hosts that may be fetched although they are not public: *names* in lower case, and *networks*."""

    names: frozenset[str] = frozenset()
    networks: tuple[Network, ...] = ()

    @classmethod
    def parse(cls, setting: str) -> AllowedHosts:
        """From names, addresses and networks, separated by commas."""
        names: set[str] = set()
        networks: list[Network] = []
        for entry in filter(None, (part.strip().lower() for part in setting.split(","))):
            try:
                networks.append(ip_network(entry, strict=False))
            except ValueError:
                names.add(entry.rstrip("."))
        return cls(frozenset(names), tuple(networks))

    def permits(self, host: str, address: Address) -> bool:
        """Whether connecting to *host* at *address* is allowed."""
        if host.lower().rstrip(".") in self.names:
            return True
        return any(_is_in(address, network) for network in self.networks) or is_public(address)


def parse_address(text: str) -> Address:
    """The address without the scope of a link-local one. Raises ValueError."""
    return ip_address(text.partition("%")[0])


def is_public(address: Address) -> bool:
    """Whether the address is globally routed. An embedded IPv4 address decides for its IPv6 address."""
    inner = embedded_ipv4(address)
    if inner is not None:
        return is_public(inner)
    if address.version == 6 and address not in _GLOBAL_UNICAST:
        return False
    return not any(_is_in(address, network) for network in _NOT_PUBLIC)


def embedded_ipv4(address: Address) -> IPv4Address | None:
    """The IPv4 address that an IPv6 address embeds, if any."""
    for network, bits in _EMBEDDING_NETWORKS:
        if _is_in(address, network):
            return IPv4Address((int(address) >> bits) & 0xFFFFFFFF)
    return None


def _is_in(address: Address, network: Network) -> bool:
    return address.version == network.version and address in network
