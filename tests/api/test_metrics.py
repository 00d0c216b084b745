"""/metrics, live and ready; and that the page, the alerts and the dashboard name what is there."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import text

from domain import Scope
from errors import Invalid
from tests.support.accounts import make_team
from tests.support.postgres import free_port
from tests.support.processes import ROOT
from tests.support.service import PLACE, Service, open_service, settings_in

NAME = re.compile(r"\badf_[a-z_]+")
SUFFIXES = ("_bucket", "_sum", "_count")


def figures(exposition: str) -> dict[str, float]:
    """Every sample, by its name and labels."""
    return {
        f"{sample.name}{sorted(sample.labels.items())}": sample.value
        for family in text_string_to_metric_families(exposition)
        for sample in family.samples
    }


def scraped(service: Service) -> dict[str, float]:
    answer = service.client.get("/metrics")
    assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/plain; version=")
    return figures(answer.text)


def test_what_is_done_is_counted(service: Service) -> None:
    before = scraped(service)
    service.upsert("doc", "Cats sleep.")
    service.search("cats", mode="hybrid")
    service.client.get("/v1/docs/nobody", params=PLACE)
    service.client.request("BREW", "/v1/search")
    service.rebuild()
    with service.restarted() as again:  # whose reading of the database is fresh
        after = scraped(again)

    def grown(sample: str) -> float:
        return after[sample] - before.get(sample, 0.0)

    assert grown("adf_http_requests_total[('method', 'POST'), ('route', '/v1/search'), ('status', '200')]") == 1
    assert grown("adf_http_requests_total[('method', 'GET'), ('route', '/v1/docs/{doc_id}'), ('status', '404')]") == 1
    assert any("('method', 'other')" in sample for sample in after)
    for stage in ("embed", "index", "keywords", "fetch"):
        assert grown(f"adf_search_duration_seconds_count[('mode', 'hybrid'), ('stage', '{stage}')]") == 1
    assert grown("adf_job_duration_seconds_count[('outcome', 'completed'), ('type', 'rebuild_index')]") == 1
    assert grown("adf_job_wait_seconds_count[('type', 'rebuild_index')]") == 1
    assert (grown("adf_chunks_embedded_total[]"), after["adf_chunks[]"], after["adf_documents[]"]) == (1, 1, 1)
    assert after["adf_database_up[]"] == 1
    assert after["adf_index_problems[]"] == 0
    assert ("adf_disk_free_bytes[]" in after) == (service.runtime.database.file is not None)


def test_jobs_that_wait_and_fail_are_gauges(service: Service) -> None:
    service.upsert("doc", "Cats sleep.")
    service.post("/v1/index/rebuild", PLACE)
    now = scraped(service)
    assert now["adf_jobs[('status', 'pending'), ('type', 'rebuild_index')]"] == 1
    assert 0 <= now["adf_job_oldest_pending_seconds[('type', 'rebuild_index')]"] < 60
    assert now["adf_workers[]"] == 0


def test_a_database_that_cannot_be_read_is_a_figure(service: Service) -> None:
    with service.runtime.database.write() as session:
        session.execute(text("ALTER TABLE workers RENAME TO elsewhere"))
    now = scraped(service)
    assert now["adf_database_up[]"] == 0 and "adf_chunks[]" not in now


def test_the_page_the_alerts_and_the_dashboard_name_what_is_exposed(service: Service) -> None:
    service.upsert("doc", "Cats sleep.")
    families = {
        line.split()[2] for line in service.client.get("/metrics").text.splitlines() if line.startswith("# HELP adf_")
    }
    of_sqlite = {"adf_disk_free_bytes"}
    page = (ROOT / "docs" / "metrics.md").read_text()
    assert set(re.findall(r"^\| `(adf_\w+)` \|", page, re.MULTILINE)) == families | of_sqlite
    expressions = [
        target["expr"]
        for panel in json.loads((ROOT / "deploy" / "grafana" / "datafactory.json").read_text())["panels"]
        for target in panel["targets"]
    ]
    alerts = (ROOT / "deploy" / "prometheus" / "alerts.yml").read_text()
    named = {name for each in (*expressions, alerts) for name in NAME.findall(each)}
    known = families | of_sqlite | {name + suffix for name in families for suffix in SUFFIXES}
    assert named <= known
    assert families - {"adf_build_info"} <= {_family(name) for name in named}
    assert set(re.findall(r"alert: (\w+)", alerts)) == set(re.findall(r"^\| `(DataFactory\w+)`", page, re.MULTILINE))


def _family(name: str) -> str:
    return next((name.removesuffix(suffix) for suffix in SUFFIXES if name.endswith(suffix)), name)


def test_only_an_operator_sees_the_figures_and_none_names_a_tenant(tmp_path: Path) -> None:
    with open_service(settings_in(tmp_path, auth_mode="keys")) as service:
        team = make_team(service, "very-secret-tenant")
        place = {"tenant_id": team.name, "namespace": "secret-place"}
        team.post(f"{team.own}/projects", {"namespace": place["namespace"]}, expect=201)
        team.post("/v1/docs/upsert", {**place, "doc_id": "secret-doc", "text": "Cats."}, scope=Scope.INGEST)
        team.ask("GET", "/v1/docs/secret-doc", params=place)
        assert service.client.get("/metrics").status_code == 401
        assert team.ask("GET", "/metrics", scope=Scope.ADMIN).status_code == 403
        answer = team.ask("GET", "/metrics", scope=Scope.OPERATOR)
        assert answer.status_code == 200
        assert "secret" not in answer.text


def test_a_port_of_its_own_takes_the_figures_away_from_the_api(tmp_path: Path) -> None:
    port = free_port()
    (tmp_path / "other").mkdir()
    with open_service(settings_in(tmp_path, metrics_port=port)) as service:
        assert "METRICS_PORT" in service.get("/metrics", expect=404)["detail"]
        exposition = httpx.get(f"http://127.0.0.1:{port}/metrics").text
        assert "adf_database_up 1.0" in exposition and "adf_build_info" in exposition
        with (
            pytest.raises(Invalid, match=f"127.0.0.1:{port}"),
            open_service(settings_in(tmp_path / "other", metrics_port=port)),
        ):
            pass


def silent(service: Service) -> None:
    """A job waits, and nobody works."""
    service.post("/v1/index/rebuild", PLACE)


@pytest.mark.parametrize(
    ("changed", "spoil"),
    [({"min_free_disk_mb": 1 << 40}, None), ({"worker_silence_seconds": 1e-9}, silent)],
    ids=["full disk", "no worker"],
)
def test_a_service_that_should_get_no_requests_lives_and_is_not_ready(
    tmp_path: Path, changed: dict[str, float], spoil: Callable[[Service], None] | None
) -> None:
    with open_service(settings_in(tmp_path)) as service:
        service.upsert("doc", "Cats sleep.")
        assert service.get("/v1/health/ready") == service.get("/v1/health/live") == {"ok": True}
        if spoil is not None:
            spoil(service)
        with service.restarted(**changed) as spoiled:
            assert spoiled.get("/v1/health/ready", expect=503) == {"ok": False}
            assert spoiled.get("/v1/health/live") == {"ok": True}
