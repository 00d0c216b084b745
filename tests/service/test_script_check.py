"""Namespaces in a script that the model cannot read are named by health and by doctor."""

from __future__ import annotations

from tests.support.service import Service

ARABIC = "القطط تنام طوال اليوم، والسفن تبحر في البحار السبعة."
CHINESE = "数据库是真相 索引文件只是一个检查点。"
REMEDY = "EMBED_MODEL_NAME=intfloat/multilingual-e5-small"


def fill(service: Service, namespace: str, *texts: str) -> None:
    for number, text in enumerate(texts):
        service.upsert(f"doc-{number}", text, namespace=namespace)


def test_health_and_doctor_name_the_namespaces_and_the_way_out(service: Service) -> None:
    fill(service, "arabic", *[f"{number} {ARABIC}" for number in range(5)])
    fill(service, "chinese", CHINESE)
    fill(service, "english", "Cats sleep all day.", "Größe, naïve café; x = y + z", ARABIC, "Ships sail the seas.")
    warnings = service.get("/v1/health")["warnings"]
    assert [warning.partition(" reach ")[0].split()[-1] for warning in warnings] == ["acme/arabic", "acme/chinese"]
    assert all(REMEDY in warning for warning in warnings)
    finding = list(service.runtime.operations.diagnosing.examine())[-1]
    assert finding.is_ok and finding.is_warning
    assert finding.detail.splitlines() == warnings


def test_a_namespace_is_sampled_again_only_when_it_has_changed(service: Service) -> None:
    fill(service, "mixed", ARABIC)
    service.runtime.index.embedding.embedder(service.settings.version)
    check = service.runtime.operations.observing.scripts
    assert len(check.all_warnings()) == 1
    fill(service, "mixed", "Cats sleep all day.")
    assert len(check.all_warnings()) == 1
    fill(service, "mixed", *[f"Cats sleep all day, {number}." for number in range(4)])
    assert check.all_warnings() == []


def test_a_service_without_texts_has_no_warnings(service: Service) -> None:
    assert service.get("/v1/health")["warnings"] == []
    assert not list(service.runtime.operations.diagnosing.examine())[-1].is_warning
