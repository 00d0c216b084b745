"""OpenAI's own client, which is strict about every answer, against the service in this process."""

from __future__ import annotations

from typing import Any

from openai import OpenAI

from tests.support.service import Service


def openai_client(service: Service, key: str = "none", *, is_strict: bool = True, **options: Any) -> OpenAI:
    """It retries nothing, so that a test sees the first answer.

    A strict one cannot read vectors in base64, not even OpenAI's own: it validates them before it decodes them.
    """
    client: Any = service.client
    return OpenAI(
        api_key=key,
        base_url="http://testserver/v1",
        http_client=client,
        max_retries=0,
        _strict_response_validation=is_strict,
        **options,
    )
