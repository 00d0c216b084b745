"""Whose a file is. It belongs to the user whose token brought it, for good; a client names an entity, never an owner.

A file with an entity (an agent) may be read by whoever names both, as agents are shared; without one, by its owner
alone. The name of another user as entity_id opens nothing.
"""

from __future__ import annotations

from domain import Json
from errors import Forbidden, NotFound
from runtime.parts import Runtime
from services.ingest.browsing import DocumentInfo
from text.filter_spellings import parse
from text.filters import Filter

OWNER, ENTITY = "metadata.librechat_user", "metadata.librechat_entity"
IN_USE = "There is a file with this file_id already, and it is not yours."


def place_in(runtime: Runtime) -> tuple[str, str]:
    return runtime.settings.librechat_tenant_id, runtime.settings.librechat_namespace


def marks(user: str, entity: str | None) -> Json:
    """The metadata that say whose a file is."""
    names = {OWNER: user, ENTITY: entity}
    return {name.partition(".")[2]: value for name, value in names.items() if value is not None}


def is_owner(user: str, info: DocumentInfo) -> bool:
    return bool(info.metadata.get("librechat_user") == user)


def readable(file_id: str, user: str, entity: str | None) -> Filter | None:
    readers = [{OWNER: user}, *([{ENTITY: entity}] if entity else [])]
    return parse({"$and": [{"doc_id": file_id}, {"$or": readers}]})


def own(runtime: Runtime, user: str, file_id: str) -> DocumentInfo:
    """The user's file. Raises NotFound, for another's as for none."""
    missing = NotFound(f"There is no file {file_id!r}.", param="file_id")
    try:
        info = runtime.ingest.browsing.get(*place_in(runtime), file_id)
    except NotFound:
        raise missing from None
    if not is_owner(user, info):
        raise missing
    return info


def current(runtime: Runtime, user: str, file_id: str) -> DocumentInfo | None:
    """The file that a new one would replace. Raises Forbidden if it is another's."""
    try:
        info = runtime.ingest.browsing.get(*place_in(runtime), file_id)
    except NotFound:
        return None
    if not is_owner(user, info):
        raise Forbidden(IN_USE, param="file_id")
    return info
