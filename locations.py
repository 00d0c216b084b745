"""What a setting, or a request, may name a place with: URLs, hosts, networks. Pure."""

from __future__ import annotations

import re
from ipaddress import ip_network
from urllib.parse import urlsplit

_HOST = re.compile(r"[\w-]+(\.[\w-]+)*\.?")


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
