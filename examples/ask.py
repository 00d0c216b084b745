"""Ask a question, and print the answer with the passages that it cites.

    .venv/bin/python examples/ask.py handbook "When are licences renewed?"

DATAFACTORY_URL names the service, DATAFACTORY_KEY the API key where it wants one.
"""

from __future__ import annotations

import os
import sys

import httpx

URL = os.environ.get("DATAFACTORY_URL", "http://127.0.0.1:8000")
KEY = os.environ.get("DATAFACTORY_KEY", "")


def main() -> None:
    namespace, question = sys.argv[1:]
    request = {"tenant_id": "acme", "namespace": namespace, "question": question}
    headers = {"Authorization": f"Bearer {KEY}"} if KEY else {}
    reply = httpx.post(f"{URL}/v1/ask", json=request, headers=headers, timeout=120)
    if reply.is_error:
        sys.exit(reply.json()["detail"])
    answer = reply.json()
    sys.stdout.write(f"{answer['answer']}\n\n")
    for each in answer["citations"]:
        page = f", page {each['page_start']}" if each.get("page_start") else ""
        sys.stdout.write(f"[{each['rank']}] {each['doc_id']}{page}: {each['text']}\n")


if __name__ == "__main__":
    main()
