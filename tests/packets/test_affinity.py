"""Session affinity (KP-33 to KP-35): learned by the switch itself."""

from __future__ import annotations

import functools
import re

import pytest
from cluster import HTTP, UDP, Cluster, of_family, until

from nsxdp.lab import Netns, Pod
from nsxdp.lab.tools import slowness
from nsxdp.pipeline.tables import TABLES

pytestmark = pytest.mark.kernel

STICKY = "sessionAffinity: ClientIP"
ALL = {"web1", "web2", "web3", "web4"}


def both(cluster: Cluster, names: set[str] = ALL) -> list[str]:
    pods = [pod for pod in cluster.servers if pod.short in names]
    return [*of_family(pods, 4), *of_family(pods, 6)]


def url(vip: str) -> str:
    return f"http://[{vip}]/" if ":" in vip else f"http://{vip}/"


def get(client: Netns, vip: str) -> str:
    return client.http_get(url(vip))


def sticky(seconds: int) -> str:
    """Session affinity with a timeout, by which the flows that are learned can be told."""
    return f"{STICKY}, sessionAffinityConfig: {{clientIP: {{timeoutSeconds: {seconds}}}}}"


def learned(cluster: Cluster, address: str, seconds: int) -> str:
    """What ServiceAffinity has learned of a client, for the Service with that timeout."""
    number = TABLES.by_number.index(b"ServiceAffinity")
    text = cluster.node.ovs.ofctl("dump-flows", cluster.node.mgmt, f"table={number}")
    lines = [line.strip() for line in text.splitlines() if f"_src={address} " in line]
    return "\n".join(line for line in lines if f"idle_timeout={seconds}," in line)


def slot(cluster: Cluster, address: str, seconds: int) -> str:
    """The endpoint that was learned, as the switch writes it."""
    return learned(cluster, address, seconds).rpartition("actions=")[2]


@pytest.mark.parametrize("protocol", ["TCP", "UDP"])
def test_kp33_client_stays(cluster: Cluster, family: int, protocol: str) -> None:
    target = HTTP if protocol == "TCP" else UDP
    vips = cluster.serve(
        f"sticky-{protocol.lower()}", both(cluster), target=target, protocol=protocol, spec=STICKY
    )
    vip = vips[family == 6]
    load = "http" if protocol == "TCP" else "udp"
    chosen = set()
    # From the first connection on, before the switch could have learned.
    for client in (cluster.client, cluster.other, cluster.host, *cluster.servers):
        report = client.traffic(load, vip, 80, rate=500, count=40).wait()
        assert report["errors"] == {}
        assert len(report["backends"]) == 1, (client, report)
        chosen |= set(report["backends"])
    # Seven clients at one of four endpoints by chance: that is one run in four thousand.
    assert len(chosen) > 1


def test_kp33_addresses_of_a_service_in_each_family_are_for_themselves(cluster: Cluster) -> None:
    vips = cluster.serve("families", both(cluster), target=HTTP, spec=STICKY)
    for vip in vips:
        assert len({get(cluster.client, vip) for _ in range(10)}) == 1


def test_kp33_a_client_stays_by_whichever_address_it_comes(cluster: Cluster, family: int) -> None:
    """Also where only this node's endpoints serve one of them."""
    external = "192.0.2.70" if family == 4 else "2001:db8:70::1"
    here = {"web1", "web2"}
    seconds = 4000 + family
    vips = cluster.serve(
        f"addresses-{family}",
        both(cluster),
        target=HTTP,
        spec=f'{sticky(seconds)}, internalTrafficPolicy: Local, externalIPs: ["{external}"]',
        nodes=dict.fromkeys(both(cluster, ALL - here), "there"),
    )
    vip = vips[family == 6]

    def learned_after(seen: str, address: str) -> str:
        found = slot(cluster, address, seconds)
        return found if found != seen else ""

    firsts: set[bool] = set()
    clients: list[Pod] = []
    while len(firsts) < 2 and len(clients) < 20:
        client = cluster.node.add_pod(f"late-{len(clients)}")
        clients.append(client)
        (address,) = of_family([client], family)
        # A pod that has just come is answered once the agent knows it.
        first = client.http_get(url(external), timeout=30)
        seen = until(functools.partial(learned_after, "", address), "that it is learned")
        firsts.add(first in here)
        second = get(client, vip)
        if first in here:
            assert second == first
        else:
            # Who had an endpoint that may not serve this address has another one, and stays there.
            assert second in here
            until(functools.partial(learned_after, seen, address), "that the other is learned")
        for _ in range(5):
            assert get(client, external) == get(client, vip) == second
    for client in clients:
        cluster.node.del_pod(client)
    assert firsts == {True, False}


def test_kp33_clients_are_spread(cluster: Cluster) -> None:
    """By address: a host with many."""
    vip, _ = cluster.serve("many", both(cluster), target=UDP, protocol="UDP", spec=STICKY)
    addresses = [f"10.244.0.{n}" for n in range(100, 164)]
    cluster.other.iproute(*(f"addr add {address}/32 dev eth0" for address in addresses))
    answers = {}
    for address in addresses:
        cluster.other.iproute(f"route replace {vip} via {cluster.gateway(4)} src {address}")
        answers[address] = cluster.other.udp_ask(vip, 80)
    assert set(answers.values()) == ALL
    counts = sorted(list(answers.values()).count(name) for name in ALL)
    # 16 each on average, with a standard deviation of 3.5.
    assert counts[0] > 0
    assert counts[-1] < 36


def test_kp33_what_is_learned(cluster: Cluster) -> None:
    """As the documentation of the stage shows it."""
    vip, _ = cluster.serve("text", both(cluster, {"web2"}), target=HTTP, spec=sticky(7200))
    assert get(cluster.client, vip) == "web2"
    address = str(cluster.client.ip)
    line = until(lambda: learned(cluster, address, 7200), "a flow that the switch learned")
    assert re.search(
        r"cookie=0x6eff000000000001, .*idle_timeout=7200, .*"
        rf"priority=100,tcp,reg7=0x[4-7]\w{{7}},nw_src={re.escape(address)} "
        r"actions=set_field:0x\w+->reg4$",
        line,
    )


def test_kp33_affinity_lasts_while_it_is_used_and_ends_when_it_is_not(cluster: Cluster) -> None:
    seconds = max(2, int(slowness() / 2))
    vip, _ = cluster.serve("short", both(cluster), target=HTTP, spec=sticky(seconds))
    address = str(cluster.client.ip)

    def age() -> float:
        found = re.search(r"duration=([\d.]+)s", learned(cluster, address, seconds))
        return float(found[1]) if found else 0.0

    load = cluster.client.traffic("http", vip, 80, rate=20)
    # It slides: new connections keep what was learned, for longer than the timeout.
    until(lambda: age() > 1.5 * seconds, "affinity older than its timeout")
    report = load.stop()
    assert (len(report["backends"]), report["errors"]) == (1, {})
    until(lambda: not age(), "affinity that nobody uses gone")
    assert get(cluster.client, vip) in ALL


@pytest.mark.parametrize("protocol", ["TCP", "UDP"])
def test_kp34_client_of_an_endpoint_that_goes_moves_at_once(
    cluster: Cluster, family: int, protocol: str
) -> None:
    name = f"moves-{protocol.lower()}-{family}"
    target = HTTP if protocol == "TCP" else UDP
    seconds = 5000 + family + target
    (address,) = of_family([cluster.client], family)

    def serve(names: set[str]) -> str:
        vips = cluster.serve(
            name, both(cluster, names), target=target, protocol=protocol, spec=sticky(seconds)
        )
        return vips[family == 6]

    def ask() -> str:
        return get(cluster.client, vip) if protocol == "TCP" else cluster.client.udp_ask(vip, 80)

    vip = serve(ALL)

    def another_than(seen: str) -> str:
        found = slot(cluster, address, seconds)
        return found if found != seen else ""

    left = set(ALL)
    seen = ""
    for _ in range(3):
        server = ask()
        # Learned for sure: the switch needs a moment.
        seen = until(functools.partial(another_than, seen), "that it is learned")
        left -= {server}
        serve(left)
        answers = [ask() for _ in range(5)]
        assert len(set(answers)) == 1
        assert answers[0] in left


def test_kp34_endpoint_that_comes_back_does_not_take_clients_back(cluster: Cluster) -> None:
    address = str(cluster.client.ip)
    vip, _ = cluster.serve("back", both(cluster), target=HTTP, spec=sticky(6000))
    first = get(cluster.client, vip)
    seen = until(lambda: slot(cluster, address, 6000), "that the first is learned")
    cluster.serve("back", both(cluster, ALL - {first}), target=HTTP, spec=sticky(6000))
    second = get(cluster.client, vip)
    assert second != first
    until(lambda: slot(cluster, address, 6000) not in ("", seen), "that the second is learned")
    cluster.serve("back", both(cluster), target=HTTP, spec=sticky(6000))
    assert {get(cluster.client, vip) for _ in range(5)} == {second}


def test_kp35_affinity_goes_on_and_off(cluster: Cluster) -> None:
    vip, _ = cluster.serve("switched", both(cluster), target=UDP, protocol="UDP")

    def answers() -> set[str]:
        cluster.forget_connections()
        return set(cluster.client.traffic("udp", vip, 80, rate=500, count=40).wait()["backends"])

    assert answers() == ALL
    cluster.serve("switched", both(cluster), target=UDP, protocol="UDP", spec=STICKY)
    assert len(answers()) == 1
    cluster.serve("switched", both(cluster), target=UDP, protocol="UDP")
    assert answers() == ALL
