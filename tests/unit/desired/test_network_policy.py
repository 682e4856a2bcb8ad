"""Who reaches the pods of a server where the administrator wants to know."""

from typing import Any

from tests.unit.desired.servers import server
from triton_operator.desired.metadata import build_selector
from triton_operator.desired.network_policy import build_network_policy
from triton_operator.settings import ServerAccess

OPERATOR = {"podSelector": {"matchLabels": {"app": "operator"}}}
SHOP = {"namespaceSelector": {"matchLabels": {"team": "shop"}}}
PROMETHEUS = {"podSelector": {"matchLabels": {"app": "prometheus"}}}
CLIENT_PORTS, SCRAPE_PORTS, OPERATOR_PORTS = (8000, 8001), (8002,), (8000, 8001, 8002)


def spec(**access: Any) -> dict[str, Any]:
    built = build_network_policy(server("vision"), ServerAccess(operator=(OPERATOR,), **access))
    assert built["metadata"]["name"] == "vision"
    return dict(built["spec"])


def rules(found: dict[str, Any]) -> list[tuple[tuple[int, ...], list[Any] | None]]:
    """The ports of each rule, and who may come: None for everybody."""
    return [
        (tuple(port["port"] for port in rule["ports"]), rule.get("from"))
        for rule in found["ingress"]
    ]


def test_everybody_may_send_requests_and_only_the_operator_reads_metrics() -> None:
    assert rules(spec()) == [(CLIENT_PORTS, None), (OPERATOR_PORTS, [OPERATOR])]


def test_clients_and_scrapers_are_those_that_are_named() -> None:
    assert rules(spec(clients=(SHOP,), scrapers=(PROMETHEUS, SHOP))) == [
        (CLIENT_PORTS, [SHOP]),
        (OPERATOR_PORTS, [OPERATOR]),
        (SCRAPE_PORTS, [PROMETHEUS, SHOP]),
    ]


def test_only_the_pods_of_this_server_are_meant_and_only_what_comes_in() -> None:
    found = spec()
    assert found["podSelector"] == {"matchLabels": build_selector("vision")}
    assert found["policyTypes"] == ["Ingress"]
    assert "egress" not in found


def test_two_policies_share_no_part() -> None:
    first, second = spec(clients=(SHOP,)), spec(clients=(SHOP,))
    first["ingress"][0]["from"][0]["namespaceSelector"] = {}
    assert second["ingress"][0]["from"] == [SHOP]
