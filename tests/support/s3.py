"""A real S3 server on loopback."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import boto3
import httpx
import pytest
from moto.server import ThreadedMotoServer

BUCKET = "raw-files"


@dataclass(frozen=True)
class S3:
    server: ThreadedMotoServer
    client: Any

    def keys(self) -> list[str]:
        return [each["Key"] for each in self.client.list_objects_v2(Bucket=BUCKET).get("Contents", [])]

    def unfinished(self) -> list[Any]:
        uploads: list[Any] = self.client.list_multipart_uploads(Bucket=BUCKET).get("Uploads", [])
        return uploads


@contextmanager
def running_s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3]:
    """Starts a server; its address and keys are set in the environment variables of S3 clients."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        variables = {"ENDPOINT_URL": f"http://{host}:{port}", "ACCESS_KEY_ID": "key", "SECRET_ACCESS_KEY": "secret"}
        for name, value in {**variables, "REGION": "us-east-1"}.items():
            monkeypatch.setenv(f"AWS_{name}", value)
        httpx.post(f"{variables['ENDPOINT_URL']}/moto-api/reset").raise_for_status()  # its buckets outlive the server
        client = boto3.client("s3", endpoint_url=variables["ENDPOINT_URL"], region_name="us-east-1")
        client.create_bucket(Bucket=BUCKET)
        yield S3(server, client)
    finally:
        server.stop()
