"""What ports mean."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from nsxdp.bridge import (
    OFPORT_LOCAL,
    Bridge,
    BridgeChanged,
    BridgeError,
    LocalPod,
    Port,
    PortChanged,
    gateway,
    local_pod,
    local_pods,
    require_openflow15,
)

MAC = "02:00:00:00:00:01"


def port(name: str = "web0", ofport: int = 3, **external_ids: str) -> Port:
    ids = {key.replace("_", "-"): value for key, value in external_ids.items()}
    if "ip-addresses" in ids:
        ids["ip_addresses"] = ids.pop("ip-addresses")
    return Port(name, ofport, "aa:aa:aa:aa:aa:aa", ids)


def bridge(*ports: Port) -> Bridge:
    return Bridge("br0", "0" * 16, frozenset(), {p.name: p for p in ports})


@pytest.mark.parametrize(
    ("datapath", "version", "revises", "binds"),
    [
        ("", "3.1.0", True, True),
        ("system", "", True, True),
        ("netdev", "3.1.0", False, False),
        ("netdev", "3.1.3", True, False),
        ("netdev", "3.2.9", True, False),
        ("netdev", "", False, False),
        ("netdev", "unknown", False, False),
        ("netdev", "3.3.0", True, True),
        ("netdev", "4.0.1-dev", True, True),
    ],
)
def test_what_an_older_userspace_datapath_lacks(
    datapath: str, version: str, revises: bool, binds: bool
) -> None:
    made = Bridge("br0", "", frozenset(), {}, datapath_type=datapath, ovs_version=version)
    assert (made.revises, made.binds) == (revises, binds)


@pytest.mark.parametrize(
    ("external_ids", "ips"),
    [
        ({}, []),
        ({"ip_addresses": ""}, []),
        ({"ip_addresses": "10.0.0.5"}, ["10.0.0.5"]),
        ({"ip_addresses": "10.0.0.5,fd00::5"}, ["10.0.0.5", "fd00::5"]),
        ({"ip_addresses": " fd00:0::5 , 10.0.0.5,"}, ["fd00::5", "10.0.0.5"]),
    ],
)
def test_a_pod(external_ids: dict[str, str], ips: list[str]) -> None:
    pod = local_pod(port(iface_id="default/web", attached_mac=MAC.upper(), **external_ids))
    assert pod == LocalPod("default/web", MAC, tuple(map(ip_address, ips)), 3)


@pytest.mark.parametrize(
    ("external_ids", "says"),
    [
        ({}, "no attached-mac"),
        ({"attached_mac": "02:00"}, "attached-mac '02:00' is no MAC address"),
        (
            {"attached_mac": MAC, "ip_addresses": "10.0.0.5,10.0.0"},
            "ip_addresses '10.0.0' is no IP address",
        ),
    ],
)
def test_a_broken_pod_is_named(external_ids: dict[str, str], says: str) -> None:
    broken = port(iface_id="default/web", **external_ids)
    with pytest.raises(ValueError, match=f"^port web0 of default/web: external_ids: {says}$"):
        local_pod(broken)
    good = port("db0", 4, iface_id="default/db", attached_mac=MAC)
    pods, problems = local_pods(bridge(broken, good, port("uplink", 1)))
    assert [pod.iface_id for pod in pods] == ["default/db"]
    [problem] = problems
    assert says in problem


def test_the_gateway_is_the_port_with_that_role_else_the_bridge_s_own() -> None:
    local = port("br0", OFPORT_LOCAL)
    marked = port("gw0", 2, nsxdp_role="gateway")
    assert gateway(bridge(local, port(), marked)) is marked
    assert gateway(bridge(local, port())) is local
    assert gateway(bridge(port("br0", 7))) is None


def test_what_differs_between_two_bridges() -> None:
    a, b, c = port("a", 1), port("b", 2), port("c", 3)
    b2 = port("b", 9)
    change = BridgeChanged(bridge(a, b), bridge(b2, c))
    assert change.ports == (PortChanged(a, None), PortChanged(b, b2), PortChanged(None, c))
    assert BridgeChanged(None, bridge(a)).ports == (PortChanged(None, a),)
    assert BridgeChanged(bridge(a), None).ports == (PortChanged(a, None),)
    assert BridgeChanged(bridge(a), bridge(a)).ports == ()


def test_openflow_15() -> None:
    require_openflow15("br0", frozenset())
    require_openflow15("br0", {"OpenFlow15", "OpenFlow10"})
    with pytest.raises(BridgeError) as caught:
        require_openflow15("br0", {"OpenFlow13", "OpenFlow10"})
    assert str(caught.value) == (
        "bridge br0 does not speak OpenFlow 1.5: "
        "run ovs-vsctl set bridge br0 protocols=OpenFlow10,OpenFlow13,OpenFlow15"
    )
