"""`Switch`'s other verbs with a real ovs-vswitchd; ovs-ofctl says what has become of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from nsxdp.lab import OVS
from nsxdp.openflow import CommitError, Meter
from nsxdp.openflow.errors import RequestError
from nsxdp.openflow.messages import (
    LOCAL,
    BarrierReply,
    BarrierRequest,
    ConfigFlags,
    CtFlush,
    CtFlushZone,
    DescReply,
    DescRequest,
    FlowRemoved,
    FlowRemovedReason,
    FlowRemovedReasons,
    GroupDescReply,
    GroupDescRequest,
    PacketIn2,
    PortConfig,
    PortMod,
    PortReason,
    PortStatus,
    Role,
    SetAsync,
    TableConfig,
    TlvMap,
    Vacancy,
)
from nsxdp.openflow.switch import Switch

HW_ADDR = "02:00:00:00:00:05"
PACKET = bytes(12) + bytes.fromhex("0800") + bytes(50)
METERS = ["meter=1 kbps bands= type=drop rate=100", "meter=2 pktps bands= type=drop rate=7"]


@pytest.fixture
async def switch(ovs: OVS) -> AsyncIterator[Switch]:
    async with Switch(ovs.add_bridge("br0", hwaddr=HW_ADDR), packets=True) as switch:
        await switch.delete()
        yield switch
    ovs.reset()


async def test_the_switch(switch: Switch, ovs: OVS) -> None:
    assert (await switch.desc()).mfr_desc == "Nicira, Inc."
    features = await switch.features()
    assert f"{features.datapath_id:016x}" == ovs.vsctl("get", "bridge", "br0", "datapath_id").strip(
        '"\n'
    )
    assert features.n_tables == 254
    assert await switch.echo(b"hello") < 5


async def test_any_request(switch: Switch) -> None:
    assert isinstance(await switch.request(BarrierRequest()), BarrierReply)
    assert [type(reply) async for reply in switch.replies(DescRequest())] == [DescReply]
    with pytest.raises(RequestError, match="OFPPMFC_BAD_PORT"):
        await switch.do(PortMod(99, HW_ADDR))


async def test_configuration(switch: Switch, ovs: OVS) -> None:
    await switch.set_config(ConfigFlags.FRAG_DROP)
    assert "drop" in ovs.ofctl("get-frags", "br0")
    await switch.set_config(miss_send_len=77)
    config = await switch.config()
    assert (config.flags, config.miss_send_len) == (ConfigFlags.FRAG_DROP, 77)


async def test_roles(switch: Switch) -> None:
    assert (await switch.role()).role == Role.EQUAL
    assert (await switch.role(Role.PRIMARY, 5)).role == Role.PRIMARY
    assert (await switch.role()).generation_id == 5
    with pytest.raises(RequestError, match="OFPRRFC_STALE"):
        await switch.role(Role.SECONDARY, 4)


async def test_ports(switch: Switch, ovs: OVS) -> None:
    (port,) = await switch.ports()
    assert (port.port_no, port.name, port.hw_addr) == (LOCAL, "br0", HW_ADDR)
    assert await switch.port("br0") == await switch.port(LOCAL) == port
    await switch.mod_port("br0", on=PortConfig.NO_FWD)
    assert "NO_FWD" in ovs.ofctl("dump-ports-desc", "br0")
    await switch.mod_port(LOCAL, off=PortConfig.NO_FWD)
    assert "NO_FWD" not in ovs.ofctl("dump-ports-desc", "br0")
    with pytest.raises(KeyError):
        await switch.port("br1")
    with pytest.raises(RequestError, match="NXQOFC_QUEUE_ERROR"):
        await switch.queues(LOCAL, 5)


async def test_tables(switch: Switch, ovs: OVS) -> None:
    features = await switch.table_features()
    assert len(features) == 254
    assert features[1].table_id == 1
    assert features[1].instructions
    await switch.mod_table(1, TableConfig.EVICTION)
    printed = ovs.ofctl("dump-table-desc", "br0").partition("table 1:")[2]
    assert "eviction=on" in printed.partition("table 2:")[0]
    await switch.mod_table(1, TableConfig.VACANCY_EVENTS, Vacancy(10, 80))
    table = (await switch.table_desc())[1]
    assert table.config == TableConfig.VACANCY_EVENTS
    assert table.vacancy
    assert (table.vacancy.vacancy_down, table.vacancy.vacancy_up) == (10, 80)


async def test_flows(switch: Switch) -> None:
    await switch.add("table=1,tcp actions=drop", "table=1,udp actions=drop", "table=2 actions=drop")
    assert (await switch.aggregate("table=1")).flow_count == 2
    await switch.modify("table=1,ip actions=LOCAL")
    assert (await switch.aggregate("out_port=LOCAL")).flow_count == 2
    await switch.modify("table=1,udp actions=drop", strict=True)
    assert (await switch.aggregate("out_port=LOCAL")).flow_count == 1


async def test_groups(switch: Switch) -> None:
    await switch.add_groups("group_id=1,type=all,bucket=bucket_id:1,actions=drop")
    await switch.insert_buckets(
        "group_id=1,command_bucket_id=last,bucket=bucket_id:2,actions=LOCAL",
        "group_id=1,command_bucket_id=first,bucket=bucket_id:3,actions=LOCAL",
    )

    async def buckets() -> list[int]:
        (reply,) = [reply async for reply in switch.replies(GroupDescRequest(1))]
        assert isinstance(reply, GroupDescReply)
        (group,) = reply.groups
        return [bucket.bucket_id for bucket in group.buckets]

    assert await buckets() == [3, 1, 2]
    await switch.remove_buckets(1, 3, 2)
    assert await buckets() == [1]
    await switch.modify_groups("group_id=1,type=all,bucket=bucket_id:9,actions=drop")
    assert await buckets() == [9]
    with pytest.raises(CommitError, match="OFPGMFC_UNKNOWN_GROUP"):
        await switch.modify_groups("group_id=2,type=all")
    await switch.remove_buckets(1)
    assert await buckets() == []
    await switch.delete_groups(1, 2)
    assert await switch.groups() == []
    await switch.delete_groups()
    assert (await switch.group_features()).max_groups_all


async def test_meters(switch: Switch, ovs: OVS) -> None:
    await switch.add_meters("meter=1,kbps,bands=type=drop,rate=100", Meter.parse(METERS[1]))
    assert [" ".join(str(meter).split()) for meter in await switch.meters()] == METERS
    await switch.modify_meters("meter=2,pktps,bands=type=drop,rate=8")
    assert "rate=8" in ovs.ofctl("dump-meters", "br0")
    assert len(await switch.meters(2)) == 1
    await switch.delete_meters(1)
    assert [meter.meter_id for meter in await switch.meters()] == [2]
    await switch.delete_meters()
    assert await switch.meters() == []
    assert (await switch.meter_features()).max_meter


async def test_options_of_geneve(switch: Switch, ovs: OVS) -> None:
    option = TlvMap(0xFFFF, 5, 4, 7)
    await switch.add_tlv_maps(option)
    assert "tun_metadata7" in ovs.ofctl("dump-tlv-map", "br0")
    assert (await switch.tlv_maps()).mappings == (option,)
    await switch.delete_tlv_maps(option)
    await switch.delete_tlv_maps()
    assert (await switch.tlv_maps()).mappings == ()


async def test_connections_are_forgotten(switch: Switch, ovs: OVS) -> None:
    await switch.add("ip actions=ct(commit,zone=5)")
    udp = "00000000000500000000000608004500001c00000000401166cf0a0000010a0000020001000200080000"
    switch.send_packet(bytes.fromhex(udp))
    for _ in range(50):
        if "zone=5" in ovs.appctl("dpctl/dump-conntrack"):
            break
        await asyncio.sleep(0.1)
    assert "zone=5" in ovs.appctl("dpctl/dump-conntrack")
    await switch.ct_flush(CtFlushZone(6))
    assert "zone=5" in ovs.appctl("dpctl/dump-conntrack")
    await switch.ct_flush(CtFlush(zone_id=5))
    assert "zone=5" not in ovs.appctl("dpctl/dump-conntrack")


async def test_a_packet_is_stopped_and_goes_on(switch: Switch) -> None:
    await switch.add(
        "table=0 actions=controller(pause),load:5->NXM_NX_REG0[],resubmit(,1)",
        "table=1,reg0=5 actions=drop",
    )
    switch.send_packet(PACKET)
    packet = await anext(aiter(switch.packet_ins()))
    assert isinstance(packet, PacketIn2)
    assert packet.data == PACKET
    switch.resume(packet)
    for _ in range(50):
        if (await switch.aggregate("table=1")).packet_count:
            break
        await asyncio.sleep(0.1)
    assert (await switch.aggregate("table=1")).packet_count == 1


async def test_news(switch: Switch) -> None:
    await switch.add("send_flow_rem,table=3,cookie=7 actions=drop")
    async with aclosing(switch.news()) as news:
        coming = asyncio.ensure_future(anext(news))
        await asyncio.sleep(0)
        await switch.mod_port("br0", on=PortConfig.NO_FWD)
        status = await asyncio.wait_for(coming, 10)
        assert isinstance(status, PortStatus)
        assert (status.reason, status.desc.name) == (PortReason.MODIFY, "br0")
        await switch.delete("table=3")
        removed = await asyncio.wait_for(anext(news), 10)
        assert isinstance(removed, FlowRemoved)
        assert (removed.cookie, removed.reason) == (7, FlowRemovedReason.DELETE)


async def test_news_are_chosen(switch: Switch) -> None:
    before = await switch.get_async()
    assert before.flow_removed_primary
    await switch.set_async(SetAsync(flow_removed_primary=FlowRemovedReasons(0)))
    after = await switch.get_async()
    assert after.flow_removed_primary == FlowRemovedReasons(0)
    assert after.port_status_primary == before.port_status_primary
