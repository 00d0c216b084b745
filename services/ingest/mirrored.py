"""Documents as a mirror of their namespace has them, before they are written to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from domain import Mirror
from services.index.mirroring import Cuts
from text.enrich import embedded_text

CutDoc = Sequence[Mapping[str, Any]]
"""The rows of its chunks, without their place and without what their publication says."""


@dataclass(frozen=True, slots=True)
class MirroredDocs:
    """Documents as a mirror has them, by doc_id, with the *vectors* of their texts that were not stored yet."""

    mirror: Mirror
    docs: Mapping[str, CutDoc]
    vectors: Mapping[bytes, bytes] = field(default_factory=dict)
    computed: int = 0

    @property
    def texts(self) -> dict[bytes, str]:
        """The texts to embed, by the keys of their vectors."""
        return {
            row["embed_hash"]: embedded_text(row["text"], row["header"]) for rows in self.docs.values() for row in rows
        }

    def only(self, doc_ids: set[str]) -> MirroredDocs:
        chosen = replace(self, docs={doc_id: rows for doc_id, rows in self.docs.items() if doc_id in doc_ids})
        keys = chosen.texts
        return replace(chosen, vectors={key: vector for key, vector in self.vectors.items() if key in keys})


def cuts_of(mirrored: Sequence[MirroredDocs]) -> Cuts:
    return {each.mirror.id: each.docs for each in mirrored}
