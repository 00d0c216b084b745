"""Upload every file of a folder, and wait until all of them are searchable.

    .venv/bin/python examples/ingest_folder.py docs/ --namespace handbook

DATAFACTORY_URL names the service, DATAFACTORY_KEY the API key where it wants one. Unchanged files cost nothing.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from urllib.parse import quote

import httpx

URL = os.environ.get("DATAFACTORY_URL", "http://127.0.0.1:8000")
KEY = os.environ.get("DATAFACTORY_KEY", "")
PAUSE_SECONDS = 0.5


def upload(client: httpx.Client, folder: Path, path: Path, place: dict[str, str]) -> str:
    """Returns the doc_id: the path within the folder."""
    doc_id = path.relative_to(folder).as_posix()
    with path.open("rb") as file:
        answer = client.post("/v1/docs/upload", data={**place, "doc_id": doc_id}, files={"file": (path.name, file)})
    if answer.is_error:
        sys.exit(f"{path}: {answer.json()['detail']}")
    return doc_id


def wait(client: httpx.Client, doc_id: str, place: dict[str, str]) -> str:
    """Returns the status once the document is no longer processed, with the error if there is one."""
    while True:
        document = client.get(f"/v1/docs/{quote(doc_id)}", params=place).raise_for_status().json()
        if document["status"] not in ("uploaded", "processing"):
            return f"{document['status']} {document['error'] or ''}".strip()
        time.sleep(PAUSE_SECONDS)


def main() -> None:
    parser = argparse.ArgumentParser(description="Upload every file of a folder.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tenant", default="acme")
    parser.add_argument("--namespace", required=True)
    given = parser.parse_args()
    place = {"tenant_id": given.tenant, "namespace": given.namespace}
    headers = {"Authorization": f"Bearer {KEY}"} if KEY else {}
    paths = sorted(path for path in given.folder.rglob("*") if path.is_file())
    with httpx.Client(base_url=URL, headers=headers, timeout=60) as client:
        doc_ids = [upload(client, given.folder, path, place) for path in paths]
        for doc_id in doc_ids:
            sys.stdout.write(f"{doc_id}: {wait(client, doc_id, place)}\n")


if __name__ == "__main__":
    main()
