"""The page of metrics over HTTP, as Prometheus asks for it."""

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.unit.adapters.pages import full_page

PROMETHEUS = (
    "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=1.0.0;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.1"
)


@pytest.mark.parametrize("accept", ["*/*", PROMETHEUS])
async def test_the_page_is_served_until_the_block_ends(accept: str) -> None:
    page = full_page()
    async with aiohttp.ClientSession(headers={"Accept": accept}) as session:
        async with page.telemetry.serve(0, "127.0.0.1") as port:
            url = f"http://127.0.0.1:{port}/metrics"
            async with session.get(url) as answer:
                text = await answer.text()
            async with session.get(f"http://127.0.0.1:{port}/") as other:
                assert other.status == 404
        with pytest.raises(aiohttp.ClientConnectionError):
            await session.get(url)

    assert answer.status == 200
    assert answer.headers["Content-Encoding"] in ("gzip", "deflate")
    assert ("openmetrics" in answer.content_type) == (accept == PROMETHEUS)
    if accept != PROMETHEUS:
        read = {each.name: each for each in text_string_to_metric_families(text)}
        assert read["triton_operator_server_ready_replicas"].samples[0].value == 2
    else:
        assert text.endswith("# EOF\n")


async def test_a_second_operator_on_the_port_is_an_error() -> None:
    telemetry = full_page().telemetry
    async with telemetry.serve(0, "127.0.0.1") as port:
        with pytest.raises(OSError, match="in use"):
            async with telemetry.serve(port, "127.0.0.1"):
                pass
