"""OpenAI's own client on the service of a test, without a port. It is strict about every answer."""

from __future__ import annotations

from typing import Any

from openai import OpenAI

from tests.support.service import Service


def client_of(service: Service, key: str = "none", *, is_strict: bool = True, **options: Any) -> OpenAI:
    """Without retries, which would hide what was answered.

    A strict one cannot read vectors in base64, not even OpenAI's own: it validates them before it decodes them.
    """
    options = {"max_retries": 0, "base_url": "http://testserver/v1", **options}
    return OpenAI(api_key=key, http_client=service.client, _strict_response_validation=is_strict, **options)


def upload(client: OpenAI, text: str | bytes, name: str = "note.txt") -> str:
    """Returns the id of a file object."""
    content = text if isinstance(text, bytes) else text.encode()
    return client.files.create(file=(name, content), purpose="assistants").id


def hit_files(client: OpenAI, store_id: str, query: str, **more: Any) -> list[str]:
    """Searches; returns the ids of the files of the hits, best first."""
    return [hit.file_id for hit in client.vector_stores.search(store_id, query=query, **more).data]
