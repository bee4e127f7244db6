"""What is told of a packet whose flows are out of order."""

from __future__ import annotations

from ipaddress import ip_address

from nsxdp.lab import OVS
from nsxdp.tracing.packet import Packet
from nsxdp.tracing.teller import follow
from nsxdp.tracing.way import open_station


async def test_where_open_vswitch_gives_up_it_is_said_how_to_see_why(ovs: OVS) -> None:
    ovs.add_bridge("br-loop")
    ovs.ofctl("add-flow", "br-loop", "actions=resubmit(,0)")
    ends = ip_address("10.244.0.3"), 33333, ip_address("10.244.0.4"), 80
    macs = "0a:58:0a:f4:00:03", "0a:58:0a:f4:00:04"
    async with open_station(ovs.directory, "br-loop") as station:
        packet = Packet("pod default/web", 1, "TCP", *ends, *macs)
        story, traced = await follow(station.names, station.bridge, station.switch, packet)
    assert "Translation failed" in traced.text
    (note,) = [note for note in story.notes if "gave up" in note]
    command = note.partition(": ")[2].removesuffix(" shows why")
    assert "Translation failed" in ovs.appctl(*command.split()[1:])
