"""A client's port serves again when its last connection's time is over.

The userspace datapath keeps a connection for some seconds beyond its time, and before Open vSwitch
3.3 ovs-vswitchd ended when it then met one that had been bound or translated to what it was.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator

import pytest
from cluster import UDP, Cluster, of_family
from wired_policies import Policed

from nsxdp.lab import Pod
from nsxdp.lab.programs import Server
from nsxdp.pipeline.registers import SNAT_ZONE, ZONE

pytestmark = pytest.mark.datapath("netdev")

SECONDS = 1
"""How long a connection is kept that nothing comes of."""
PORTS = iter(range(42_000, 43_000))


@pytest.fixture(scope="module")
def forgetful(cluster: Cluster) -> Iterator[Cluster]:
    """The node agent's flows, those of policies among them, and short times in conntrack."""
    Policed(cluster.node).sync()
    cluster.restart_agent()
    ovs = cluster.node.ovs
    times = [f"udp_{state}={SECONDS}" for state in ("first", "single", "multiple")]
    for zone in (ZONE, SNAT_ZONE):
        ovs.vsctl("--if-exists", "del-zone-tp", "netdev", f"zone={zone}")
        ovs.vsctl("add-zone-tp", "netdev", f"zone={zone}", *times)
    yield cluster
    for zone in (ZONE, SNAT_ZONE):
        ovs.vsctl("del-zone-tp", "netdev", f"zone={zone}")
    cluster.restart_agent()


@pytest.fixture(scope="module")
def itself(forgetful: Cluster) -> Pod:
    """A pod that is at one of its Service's external addresses, at the Service's port."""
    pod = forgetful.other
    Server(pod, pod.short, udp=[80])
    spec = f"externalIPs: {json.dumps(pod.addresses)}"
    forgetful.serve("itself", pod.addresses, target=80, protocol="UDP", spec=spec)
    return pod


@pytest.mark.parametrize("way", ["directly", "by a Service", "by an address of the Service's"])
def test_a_client_s_port_serves_again(
    forgetful: Cluster, itself: Pod, family: int, way: str
) -> None:
    server = forgetful.servers[0]
    if way == "directly":
        target = of_family([server], family)[0], UDP
    elif way == "by a Service":
        vips = forgetful.serve("again", server.addresses, target=UDP, protocol="UDP")
        target = vips[family == 6], 80
    else:
        target = of_family([itself], family)[0], 80
    with forgetful.client.open_socket(socket.SOCK_DGRAM, family=family) as sock:
        sock.settimeout(5.0)
        sock.bind(("", next(PORTS)))
        for _ in range(3):
            sock.sendto(b"hello\n", target)
            assert sock.recv(100)
            time.sleep(1.3 * SECONDS)  # what is awaited is that nothing comes
