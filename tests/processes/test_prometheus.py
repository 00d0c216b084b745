"""Prometheus itself scrapes an API and a worker, and evaluates the alerts of deploy/prometheus."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.support.postgres import free_port
from tests.support.processes import ROOT, api_process, until, worker_process
from tests.support.service import PLACE, settings_in

EXAMPLE = ROOT / "deploy" / "prometheus"

pytestmark = pytest.mark.skipif(
    shutil.which("prometheus") is None or shutil.which("promtool") is None,
    reason="Prometheus is not installed (Debian: prometheus)",
)


def test_prometheus_scrapes_both_processes_and_its_alerts_see_what_is_wrong(
    tmp_path: Path, remote: dict[str, Any]
) -> None:
    port, worker_port = free_port(), free_port()
    settings = settings_in(tmp_path, metrics_port=port, **remote)
    with api_process(settings) as api, prometheus(tmp_path / "prometheus", port, worker_port) as ask:
        api.upsert("doc", "Cats sleep.")
        api.search("cats")
        api.client.post("/v1/index/rebuild", json=PLACE)
        until(lambda: ask("query", query='adf_jobs{status="pending"}')["result"])
        with worker_process(settings, "--metrics-port", str(worker_port)):
            until(lambda: ask("query", query='adf_job_duration_seconds_count{outcome="completed"}')["result"])
            [requests] = ask("query", query='adf_http_requests_total{route="/v1/search"}')["result"]
            assert (requests["metric"]["process"], requests["value"][1]) == ("api", "1")
            checked(httpx.get(f"http://127.0.0.1:{port}/metrics").content)
            checked(httpx.get(f"http://127.0.0.1:{worker_port}/metrics").content)
        until(lambda: {"DataFactoryDown"} <= {each["labels"]["alertname"] for each in ask("alerts")["alerts"]})
        health = {rule["name"]: rule["health"] for group in ask("rules")["groups"] for rule in group["rules"]}
        assert set(health.values()) == {"ok"}, health


def checked(exposition: bytes) -> None:
    """promtool finds nothing to say about the names, types and help of the figures."""
    done = subprocess.run(["promtool", "check", "metrics"], input=exposition, capture_output=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, b"")


@contextmanager
def prometheus(folder: Path, *ports: int) -> Iterator[Any]:
    """A server with the example's configuration, but for its ports and intervals. Yields what asks it."""
    config = yaml.safe_load((EXAMPLE / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "250ms", "evaluation_interval": "250ms"}
    config["rule_files"] = [str(EXAMPLE / "alerts.yml")]
    for target, port in zip(config["scrape_configs"][0]["static_configs"], ports, strict=True):
        target["targets"] = [f"127.0.0.1:{port}"]
    folder.mkdir()
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    subprocess.run(["promtool", "check", "config", folder / "prometheus.yml"], check=True, capture_output=True)
    own_port = free_port()
    options = [f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
    command = ["prometheus", *options, f"--web.listen-address=127.0.0.1:{own_port}", "--log.level=error"]

    def ask(what: str, **parameters: str) -> Any:
        answer = httpx.get(f"http://127.0.0.1:{own_port}/api/v1/{what}", params=parameters)
        return answer.raise_for_status().json()["data"]

    def is_up() -> bool:
        try:
            return bool(ask("targets"))
        except httpx.HTTPError:
            return False

    with subprocess.Popen(command) as process:
        try:
            until(is_up)
            yield ask
        finally:
            process.terminate()
