"""Lets other tenants' jobs run while a worker cuts a long text."""

from __future__ import annotations

from dataclasses import dataclass

from engines.embedders.base import Embedder
from job_lease import Lease


@dataclass(frozen=True, slots=True)
class HostingCounter:
    """Counts tokens, and between two counts lets other tenants' jobs run: cutting a book is a minute's work."""

    embedder: Embedder
    lease: Lease

    @property
    def max_tokens(self) -> int:
        return self.embedder.max_tokens

    def count_tokens(self, text: str) -> int:
        self.lease.host_guests()
        return self.embedder.count_tokens(text)
