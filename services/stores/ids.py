"""The ids of files, uploads, batches and vector stores: prefixed, and in the order in which they came to be."""

from __future__ import annotations

import hashlib
import re
import secrets
import time

from models import Project

FILE, UPLOAD, PART, BATCH, STORE = "file-", "upload_", "part_", "vsfb_", "vs_"
_STORE_ID = re.compile(rf"{STORE}([0-9a-f]{{8}})([0-9a-f]{{16}})")


def new_id(prefix: str) -> str:
    """Begins with the time, in microseconds; its end cannot be guessed."""
    return f"{prefix}{time.time_ns() // 1000:014x}{secrets.token_hex(8)}"


def store_id(project: Project) -> str:
    """The id of a namespace as a vector store: it follows from the namespace's row, whatever created that.

    It begins with the namespace's number within its team, which no erased one leaves to another.
    """
    born = f"{project.team_id} {project.id} {project.created_at.isoformat()}"
    return f"{STORE}{project.id:08x}{hashlib.sha256(born.encode()).hexdigest()[:16]}"


def project_number(store_id: str) -> int | None:
    """None for what is no id of a vector store."""
    parts = _STORE_ID.fullmatch(store_id)
    return int(parts[1], 16) if parts else None
