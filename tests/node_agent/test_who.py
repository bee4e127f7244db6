"""Who is at the ends of connections, and who was."""

from __future__ import annotations

from contextlib import closing
from ipaddress import ip_address

from nsxdp.bridge import LocalPod
from nsxdp.lab import OVS
from nsxdp.openflow import Connection
from nsxdp.ovsdb import Client
from nsxdp.pipeline.tables import TABLES
from nsxdp.switch import DATABASE, BridgeView
from nsxdp.transport import parse_remote
from nsxdp_agents.node_agent.dataplane import Dataplane
from nsxdp_agents.node_agent.ports import WATCHES
from nsxdp_agents.node_agent.who import Ends
from nsxdp_agents.node_agent.wiring import Wiring


def pod(name: str, *addresses: str) -> LocalPod:
    return LocalPod(name, "0a:58:0a:f4:00:03", tuple(map(ip_address, addresses)), 3)


async def test_who_had_an_address_last_of_so_many(ovs: OVS) -> None:
    ovs.add_bridge("br-int")
    async with Client(ovs.ovsdb, DATABASE, WATCHES) as client:
        with closing(BridgeView(client, "br-int")) as view:
            dataplane = Dataplane(Connection(parse_remote(ovs.mgmt("br-int"), 0), tables=TABLES))
            ends = Ends("node-1", Wiring(view, dataplane, "geneve"), None)
            ends.leave(pod("default/a", "10.244.0.3", "fd00:244::3"))
            ends.leave(pod("default/b", "10.244.0.3"))
            assert ends.at("10.244.0.3") == ("default/b", "node-1")
            assert ends.at("fd00:244::3") == ("default/a", "node-1")
            for address in ("10.244.0.4", "nonsense"):
                assert ends.at(address) == ("", "")
            for n in range(999):
                ends.leave(pod(f"default/p{n}", f"10.244.{1 + n // 256}.{n % 256}"))
            assert [ends.at(address).pod for address in ("fd00:244::3", "10.244.0.3")] == [
                "",
                "default/b",
            ]
