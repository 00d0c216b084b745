"""Store documents in one batch, and try again where the service is busy or the connection breaks.

    .venv/bin/python examples/batch_with_retry.py handbook < documents.jsonl

Each line is a document, with doc_id and text. Every try carries the same Idempotency-Key, so a batch that was accepted
although its answer was lost is not accepted twice: the next try gets the first one's answer.

DATAFACTORY_URL names the service, DATAFACTORY_KEY the API key where it wants one.
"""

from __future__ import annotations

import json
import os
import sys
import time
import uuid
from typing import Any

import httpx

URL = os.environ.get("DATAFACTORY_URL", "http://127.0.0.1:8000")
KEY = os.environ.get("DATAFACTORY_KEY", "")
TRIES = 6
BUSY = {408, 429, 500, 502, 503, 504}


def post(client: httpx.Client, path: str, body: dict[str, Any]) -> httpx.Response:
    """The answer of the first try that is not about a passing trouble, or of the last."""
    headers = {"Idempotency-Key": str(uuid.uuid4())}
    for attempt in range(1, TRIES + 1):
        pause = min(2.0**attempt, 30.0)
        try:
            answer = client.post(path, json=body, headers=headers)
        except httpx.TransportError as error:
            if attempt == TRIES:
                raise
            sys.stderr.write(f"{type(error).__name__}: trying again in {pause:.0f} s\n")
        else:
            if answer.status_code not in BUSY or attempt == TRIES:
                return answer
            pause = float(answer.headers.get("Retry-After", pause))
            sys.stderr.write(f"{answer.status_code}: trying again in {pause:.0f} s\n")
        time.sleep(pause)
    raise AssertionError("the last try returns or raises")


def main() -> None:
    [namespace] = sys.argv[1:]
    place = {"tenant_id": "acme", "namespace": namespace}
    docs = [{**place, **json.loads(line)} for line in sys.stdin if line.strip()]
    headers = {"Authorization": f"Bearer {KEY}"} if KEY else {}
    with httpx.Client(base_url=URL, headers=headers, timeout=60) as client:
        answer = post(client, "/v1/docs/upsert/batch", {"docs": docs})
    if answer.is_error:
        sys.exit(answer.json()["detail"])
    sys.stdout.write(f"{answer.text}\n")


if __name__ == "__main__":
    main()
