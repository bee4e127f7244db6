"""The node's kernel sends node ports at its own addresses to the bridge, by nftables."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from proxying import NODE, SERVICE_CIDR, Agent, Manifests, endpoints, finished, ours, service, until

from nsxdp.lab import Node
from nsxdp.services.addresses import Family
from nsxdp.services.shared import SetChange
from nsxdp_agents.kube_proxy.nat import Element, changes, ruleset

Start = Callable[..., Agent]

OWN = "192.0.2.1"
OTHER = "192.0.2.2"


def table(node: Node) -> str:
    """What nftables has of ours; empty: nothing."""
    return node.netns.run(["nft", "list", "table", "inet", "nsxdp"], check=False).stdout


def node_port(name: str, ip: str, port: int) -> dict[str, object]:
    made = service(name, ip, type="NodePort")
    made["spec"]["ports"][0]["nodePort"] = port
    return made


@pytest.fixture
def proxied(node: Node, manifests: Manifests, start: Start) -> Agent:
    node.netns.iproute(f"addr add {OWN}/24 dev lo")
    node.add_pod("web", ip="10.244.0.11").serve_http(8080)
    manifests.put(
        node_port("web", "10.96.0.10", 30080), endpoints("web", "10.244.0.11"), SERVICE_CIDR
    )
    agent = start(f"--nodeport-addresses={OWN}/32")
    settle(node, manifests)
    return agent


def settle(node: Node, manifests: Manifests) -> None:
    """Wait until the agent has made its table, and looked at it."""
    until("the port is known", lambda: "tcp . 30080" in table(node))
    manifests.put(node_port("next", "10.96.0.12", 30082))
    until("the next is known", lambda: "tcp . 30082" in table(node))


def ask(node: Node, port: int) -> str:
    return node.netns.http_get(f"http://{OWN}:{port}/")


@pytest.mark.usefixtures("proxied")
def test_kp36_node_ports_come_and_go(node: Node, manifests: Manifests) -> None:
    assert ask(node, 30080) == "web"
    manifests.put(node_port("other", "10.96.0.11", 30081), endpoints("other", "10.244.0.11"))
    until("another", lambda: "tcp . 30081" in table(node))
    assert ask(node, 30081) == "web"
    manifests.remove(node_port("web", "10.96.0.10", 30080))
    until("gone", lambda: "tcp . 30080" not in table(node))
    with pytest.raises(ConnectionRefusedError):
        ask(node, 30080)
    assert ask(node, 30081) == "web"


def test_kp36_a_primary_address_that_is_given(
    node: Node, manifests: Manifests, start: Start
) -> None:
    """With the API server's Node, or without one, as here, where it is the gateway's otherwise."""
    node.netns.iproute(f"addr add {OWN}/24 dev lo")
    node.add_pod("web", ip="10.244.0.11").serve_http(8080)
    manifests.put(
        node_port("web", "10.96.0.10", 30080), endpoints("web", "10.244.0.11"), SERVICE_CIDR
    )
    start(f"--bind-address={OWN}")
    until("the port is known", lambda: "tcp . 30080" in table(node))
    assert ask(node, 30080) == "web"
    with pytest.raises(ConnectionRefusedError):
        node.netns.http_get("http://10.244.0.1:30080/")


def test_kp36_primary_addresses_are_those_of_the_node_object(
    node: Node, manifests: Manifests, start: Start
) -> None:
    """The first of each family: of its internal addresses, else of its external ones."""
    node.netns.iproute(f"addr add {OWN}/24 dev lo")
    node.netns.iproute(f"addr add {OTHER}/24 dev lo")
    node.add_pod("web", ip="10.244.0.11").serve_http(8080)

    def known_by(*addresses: tuple[str, str]) -> None:
        listed = [{"type": kind, "address": address} for kind, address in addresses]
        manifests.put(
            {
                "apiVersion": "v1",
                "kind": "Node",
                "metadata": {"name": NODE},
                "status": {"addresses": listed},
            }
        )

    def served_at(address: str) -> bool:
        try:
            return node.netns.http_get(f"http://{address}:30080/", 2) == "web"
        except OSError:
            return False

    web = node_port("web", "10.96.0.10", 30080), endpoints("web", "10.244.0.11"), SERVICE_CIDR
    known_by(("Hostname", "here"), ("InternalIP", OWN), ("InternalIP", OTHER))
    manifests.put(*web)
    start()
    until("served at the first", lambda: served_at(OWN))
    assert not served_at(OTHER)
    known_by(("ExternalIP", OTHER), ("InternalIP", "fd00:51::7"))
    until("an external one, if there is no other", lambda: served_at(OTHER))
    assert not served_at(OWN)


def test_kp14_external_ips_may_be_refused(node: Node, manifests: Manifests, start: Start) -> None:
    external = service("web", "10.96.0.10", externalIPs=["203.0.113.9"])
    manifests.put(external, endpoints("web", "10.244.0.11"))
    agent = start()
    assert any("nw_dst=203.0.113.9," in flow for flow in ours(node))
    agent.stop()
    start("--feature-gates=AllowServiceExternalIPs=false")
    until("gone", lambda: not any("203.0.113.9" in flow for flow in ours(node)))
    assert any("nw_dst=10.96.0.10," in flow for flow in ours(node))


def test_kp72_a_table_that_somebody_flushes_is_back(node: Node, proxied: Agent) -> None:
    before = table(node)
    node.netns.run(["nft", "flush", "ruleset"])
    until("it is back", lambda: table(node) == before)
    assert proxied.await_log("somebody changed the nftables table")
    assert ask(node, 30080) == "web"


def test_cleanup_removes_the_table(node: Node, proxied: Agent) -> None:
    assert proxied.stop() == 0
    assert "tcp . 30080" in table(node)
    done = finished(["--cleanup", f"--ovsdb={node.ovsdb}"], node.netns)
    assert done.returncode == 0, done.stderr
    assert table(node) == ""


def test_a_port_that_somebody_takes_or_adds_is_noticed(node: Node, proxied: Agent) -> None:
    before = table(node)
    for verb, port in ("delete", 30080), ("add", 30081):
        element = ["inet", "nsxdp", "ports", f"{{ tcp . {port} }}"]
        node.netns.run(["nft", verb, "element", *element])
        assert table(node) != before
        until("it is as before", lambda: table(node) == before)
    assert len(proxied.await_log("somebody changed the nftables table", 2)) == 2


def test_a_change_of_a_table_that_is_gone_makes_all_of_it(
    node: Node, manifests: Manifests, start: Start
) -> None:
    """Now, and not when it is looked at."""
    manifests.put(node_port("web", "10.96.0.10", 30080), SERVICE_CIDR)
    agent = start("--sync-period=3600")
    settle(node, manifests)
    node.netns.run(["nft", "delete", "table", "inet", "nsxdp"])
    manifests.put(node_port("other", "10.96.0.11", 30081))
    until("another", lambda: "tcp . 30081" in table(node))
    assert "tcp . 30080" in table(node)
    assert agent.lines("somebody changed the nftables table")


def test_changes_are_small() -> None:
    one, other = Element("ports", "tcp . 1"), Element.node_port(Family.IPV4, "UDP", 3)
    change = SetChange(added=frozenset({other}), removed=frozenset({one}))
    assert changes(change).splitlines() == [
        "delete element inet nsxdp ports { tcp . 1 }",
        "add element inet nsxdp ports { udp . 3 }",
    ]
    assert changes(SetChange()) == ""
    assert "elements = { tcp . 1, udp . 3 }" in ruleset("br-int", [other, one])
