"""Query parameters that a route does not have are refused by every route, in words that help."""

from __future__ import annotations

import pytest

from tests.support.routes import OTHERS, routes_of
from tests.support.service import PLACE, Service


def test_every_route_refuses_a_parameter_that_it_does_not_have(shared_service: Service) -> None:
    document = shared_service.client.get("/openapi.json").json()
    routes = list(routes_of(document))
    assert len(routes) > 30
    for route in routes:
        path = route.path.format(**dict.fromkeys(route.in_path, "x"))
        answer = shared_service.client.request(route.method, path, params={**PLACE, "zzz": ""})
        if OTHERS.intersection(route.operation["tags"]):  # a newer client of theirs may send more
            assert "zzz" not in answer.text, route
            continue
        problem = answer.json()
        assert (answer.status_code, problem["error"]["code"]) == (422, "invalid_request"), route
        assert "zzz: There is no such parameter" in problem["detail"], route


@pytest.mark.parametrize(
    ("query", "param", "message"),
    [
        ("state=failed", "state", "There is no such parameter: did you mean status?"),
        ("Status=failed", "Status", "There is no such parameter: did you mean status?"),
        ("tenant=acme", "tenant", "There is no such parameter: did you mean tenant_id?"),
        (
            "x%E2%98%83=1",
            "x☃",
            "There is no such parameter: there are after, limit, namespace, status, tenant_id, type.",
        ),
        ("status=failed&limit=1&status=running", "status", "It is there twice: send it once."),
        ("status=failed&&", None, None),
    ],
)
def test_a_misspelt_parameter_is_answered_with_the_nearest(
    shared_service: Service, query: str, param: str | None, message: str | None
) -> None:
    answer = shared_service.client.get(f"/v1/jobs?{query}")
    assert answer.status_code == (200 if param is None else 422)
    if param is not None:
        assert (answer.json()["error"]["param"], answer.json()["detail"]) == (param, f"{param}: {message}")
    health = shared_service.client.get("/v1/health?verbose=1")
    assert health.json()["detail"] == "verbose: There is no such parameter: this route takes none."
