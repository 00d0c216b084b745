"""What a setting, or a request, may name a place with: URLs, hosts, networks. Pure."""

from __future__ import annotations

import re
from ipaddress import ip_network
from urllib.parse import urlsplit

_HOST = re.compile(r"[\w-]+(\.[\w-]+)*\.?")
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^/\s,*]+")
_COUNTER = re.compile(r"memory://|rediss?(\+\w+)?://.+")


def is_http_url(value: str) -> bool:
    try:
        parts = urlsplit(value)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def is_host_or_network(entry: str) -> bool:
    try:
        ip_network(entry, strict=False)
    except ValueError:
        return bool(_HOST.fullmatch(entry))
    return True


def listed(value: str) -> list[str]:
    """The origins of a setting."""
    return [each for each in (part.strip().rstrip("/") for part in value.split(",")) if each]


def check_origins(value: str) -> str:
    """Raises ValueError, as the checks below do for the value of a setting."""
    for origin in listed(value):
        if origin != "*" and not _ORIGIN.fullmatch(origin):
            raise ValueError(f"{origin!r} is no origin: write https://app.example.com, without a path, or *")
    return value


def check_base_url(value: str) -> str:
    if value and not is_http_url(value):
        raise ValueError("it is no URL: write http://localhost:8080/v1")
    return value


def check_counter(value: str) -> str:
    if not _COUNTER.fullmatch(value):
        raise ValueError("write memory:// or redis://host:port/number")
    return value


def check_hosts(value: str) -> str:
    for entry in filter(None, map(str.strip, value.split(","))):
        if not is_host_or_network(entry):
            raise ValueError(f"{entry!r} is no host: write a name, an address or a network, as in 10.0.0.0/8")
    return value
