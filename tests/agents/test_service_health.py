"""KP-42: health check node ports."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

import aiohttp
import pytest
from proxying import Agent, Manifests, endpoints, service, until

from nsxdp.lab import LabError, Node
from nsxdp.services.addresses import Family
from nsxdp_agents.kube_proxy.service_health import Check, ServiceHealth

Start = Callable[..., Agent]

LOOPBACK = ip_address("127.0.0.1")


@pytest.mark.table("health.json", "cases", op=("sync_services",))
async def test_kube_proxy_s_own_cases(case: dict[str, Any]) -> None:
    healthy = True
    health = ServiceHealth(lambda: healthy)
    health.set_addresses(frozenset({LOOPBACK}))
    serving = asyncio.create_task(health.run())
    checks: dict[str, Check] = {}

    def become(wanted: dict[str, Check]) -> None:
        for name in checks.keys() | wanted.keys():
            health.set(name, Family.IPV4, wanted.get(name))
        checks.clear()
        checks.update(wanted)

    async with aiohttp.ClientSession() as session:
        for op in case["ops"]:
            if op["op"] == "sync_services":
                wanted = {}
                for name, port in op["healthCheckNodePorts"].items():
                    before = checks.get(name)
                    same = before is not None and before.port == port
                    wanted[name] = Check(port, before.endpoints if same and before else 0)
                become(wanted)
            elif op["op"] == "sync_endpoints":
                found = op["localReadyEndpoints"]
                become({name: Check(c.port, found.get(name, 0)) for name, c in checks.items()})
            else:
                healthy = op["proxyHealthy"]
                url = f"http://{LOOPBACK}:{checks[op['service']].port}{op['url']}"
                async with asyncio.timeout(20), await _get(session, url) as answer:
                    assert answer.status == op["status"], op
                    assert json.loads(await answer.read()) == op["body"]
                    for name, values in op["headers"].items():
                        assert answer.headers.getall(name) == values, op
            if "services" in op:
                assert {name: check.endpoints for name, check in checks.items()} == op["services"]
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving


async def _get(session: aiohttp.ClientSession, url: str) -> aiohttp.ClientResponse:
    """The answer, as soon as somebody listens."""
    pause = 0.001
    while True:
        try:
            return await session.get(url)
        except aiohttp.ClientConnectorError:
            await asyncio.sleep(pause)
            pause = min(2 * pause, 0.1)


def balancer(port: int) -> dict[str, Any]:
    return service(
        "web",
        "10.96.0.10",
        type="LoadBalancer",
        externalTrafficPolicy="Local",
        healthCheckNodePort=port,
    )


def asked(node: Node, port: int, address: str = "10.244.0.1") -> int | None:
    """The status that a load balancer gets; None: nobody listens."""
    with node.netns.open_socket(family=6 if ":" in address else 4) as client:
        client.settimeout(5)
        try:
            client.connect((address, port))
        except OSError:
            return None
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        return int(client.recv(65536).split()[1])


def test_a_load_balancer_asks(node: Node, manifests: Manifests, start: Start) -> None:
    manifests.put(balancer(31000), endpoints("web", "10.244.0.11"))
    agent = start()
    until("ready", lambda: asked(node, 31000) == 200)
    manifests.put(endpoints("web", "10.244.0.11", nodeName="elsewhere"))
    until("not ready", lambda: asked(node, 31000) == 503)
    manifests.put(balancer(31001))
    until("another port", lambda: asked(node, 31001) == 503)
    until("the old one is closed", lambda: asked(node, 31000) is None)
    manifests.remove(balancer(31001))
    until("nobody listens", lambda: asked(node, 31001) is None)
    assert agent.stop() == 0


def test_all_addresses_of_the_node_tell_of_a_service_of_one_family(
    node: Node, manifests: Manifests, start: Start
) -> None:
    manifests.put(balancer(31000), endpoints("web", "10.244.0.11"))
    start()
    for address in ("10.244.0.1", "fd00:244::1"):
        until("ready", lambda address=address: asked(node, 31000, address) == 200)


def test_a_port_that_somebody_has_is_tried_again(
    node: Node, manifests: Manifests, start: Start
) -> None:
    with node.netns.enter():
        other = socket.create_server(("10.244.0.1", 31000))
    with other:
        manifests.put(balancer(31000), endpoints("web", "10.244.0.11"))
        agent = start()
        (line,) = agent.await_log("a health check node port can't be served")
        assert "default/web" in line
    until("it is free", lambda: asked(node, 31000) == 200)
    assert len(agent.lines("can't be served")) == 1


def test_nobody_else_has_one(node: Node, manifests: Manifests, start: Start) -> None:
    manifests.put(
        service("web", "10.96.0.10", type="LoadBalancer", healthCheckNodePort=31000),
        endpoints("web", "10.244.0.11"),
    )
    start()
    with pytest.raises((OSError, LabError)):
        node.netns.http_get("http://10.244.0.1:31000/")
