"""The desired set against a real ovs-vswitchd: what it was sent is what it is found to have."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Iterable, Mapping

import numpy as np
import pytest

from nsxdp.lab.ovs import OVS
from nsxdp.openflow import DecodeError, Delta, DesiredSet, Diff, Session, Template, gather
from nsxdp.openflow.codec import GROUP_ADD_OR_MOD, flow_parse, group_parse
from nsxdp.pipeline.service import TEMPLATES
from nsxdp.transport import parse_remote

PREFIX = 0x6E01
DNAT = "ct(commit,table=13,zone=65312,nat(dst={}),exec(set_field:0x10/0x10->ct_mark))"

WANTED: dict[int, list[str]] = {
    1: [
        "group_id=1,type=select,selection_method=dp_hash,"
        f"bucket=bucket_id:7,weight:100,actions={DNAT.format('10.244.0.5:8080')},"
        f"bucket=bucket_id:3,weight:100,actions={DNAT.format('10.244.0.6:8080')}",
        "table=3,priority=200,tcp,nw_dst=10.96.0.10,tp_dst=80,actions=group:1",
    ],
    2: [
        "group_id=2,type=select,selection_method=hash,selection_method_param=77,"
        "fields(ip_src,tcp_src=0x7fe),bucket=bucket_id:1,weight:0,actions=group:1,"
        "bucket=bucket_id:2,actions=set_field:2->reg4,resubmit(,12)",
        "group_id=3,type=select,selection_method=hash,fields(ipv6_src),"
        f"bucket=bucket_id:9,actions={DNAT.format('[fd00::5]:8080')}",
        "table=3,priority=200,sctp6,ipv6_dst=fd00::1/64,tp_dst=80,actions=group:3",
        "table=3,priority=200,udp,nw_dst=10.96.0.0/16,actions=group:2",
    ],
    3: [
        "group_id=4,type=ff,bucket=bucket_id:2,watch_port:1,actions=output:1,"
        "bucket=bucket_id:1,watch_group:1,actions=drop",
        "group_id=5,type=all,bucket=bucket_id:1,actions=drop,bucket=bucket_id:2,actions=IN_PORT",
        "group_id=6,type=indirect,bucket=actions=dec_ttl,LOCAL",
        "group_id=7,type=select",
        "table=4,actions=group:4",
        "table=5,importance=9,idle_timeout=60,hard_timeout=900,send_flow_rem,ip,actions=group:5",
    ],
    4: [
        "table=12,priority=200,tcp,reg4=0x5,reg7=0x1,actions=learn(table=11,idle_timeout=10800,"
        "priority=100,cookie=0x6eff000000000001,eth_type=0x800,nw_proto=6,NXM_NX_REG7[],"
        f"NXM_OF_IP_SRC[],load:0x5->NXM_NX_REG4[]),{DNAT.format('10.244.0.5:8080')}",
        "table=0,priority=1,arp,arp_tpa=10.0.0.0/8,arp_op=1,actions=move:NXM_OF_ETH_SRC[]"
        "->NXM_OF_ETH_DST[],load:0x2->NXM_OF_ARP_OP[],set_field:02:00:00:00:00:01->eth_src,IN_PORT",
        "table=0,priority=2,ct_state=+trk-new,ct_mark=0x10/0x10,ct_zone=7,ip,actions=resubmit(,4)",
        "table=0,priority=3,vlan_tci=0x1005/0x1fff,actions=pop_vlan,goto_table:3",
        "table=0,priority=4,in_port=LOCAL,dl_vlan=7,icmp6,icmp_type=135,actions=push_vlan:0x8100,"
        "set_field:4100->vlan_vid,output:LOCAL",
        "table=6,ip,xxreg0=0x1234/0xffff,reg4=5/7,actions=set_field:1/3->xxreg1,"
        "controller(max_len=256),ct(table=3,zone=NXM_NX_REG5[0..15],nat)",
        "table=7,tun_id=5,metadata=1/1,actions=set_field:9->tun_id,resubmit(,8)",
        "table=8,ct_label=5/7,tcp,actions=dec_ttl,resubmit(2,)",
    ],
}


def replace(desired: DesiredSet, wanted: Mapping[int, Iterable[str]]) -> Delta:
    pieces = [
        b"".join(
            group_parse(text, GROUP_ADD_OR_MOD)
            if text.startswith("group_id=")
            else flow_parse(text)
            for text in texts
        )
        for texts in wanted.values()
    ]
    return desired.replace(list(wanted), b"".join(pieces), np.cumsum([len(p) for p in pieces]))


class Bridge:
    """A bridge of a real switch, and how to make it as desired."""

    def __init__(self, ovs: OVS, session: Session) -> None:
        self.ovs = ovs
        self.session = session

    async def commit(self, delta: Delta) -> None:
        if delta:
            await self.session.commit(bytes(delta))

    async def diff(self, desired: DesiredSet, *old: int) -> tuple[Delta, Diff]:
        desired.begin(old, verify=True)
        async for reply in self.session.dump_flows():
            desired.installed(reply)
        async for reply in self.session.dump_groups():
            desired.installed(reply)
        return desired.diff()

    def ofctl(self, command: str, *arguments: str) -> str:
        return self.ovs.ofctl(command, self.ovs.mgmt("br0"), *arguments)


@pytest.fixture
async def bridge(ovs: OVS) -> AsyncIterator[Bridge]:
    remote = parse_remote(ovs.add_bridge("br0", fail_mode="secure"))
    session = await Session.open(remote)
    yield Bridge(ovs, session)
    session.close()


@pytest.fixture
def desired() -> DesiredSet:
    return DesiredSet(PREFIX, 1, 0xFFFF)


async def test_diff_right_after_loading_is_empty(bridge: Bridge, desired: DesiredSet) -> None:
    await bridge.commit(replace(desired, WANTED))

    delta, diff = await bridge.diff(desired)

    assert (diff.flows_right, diff.groups_right) == (desired.size.flows, desired.size.groups)
    assert diff.is_empty
    assert not delta


async def test_diff_makes_an_empty_bridge_as_desired(bridge: Bridge, desired: DesiredSet) -> None:
    replace(desired, WANTED)
    delta, _ = await bridge.diff(desired)

    await bridge.commit(delta)

    assert (await bridge.diff(desired))[1].is_empty


async def test_every_template_of_the_services_is_found_as_sent(
    bridge: Bridge, desired: DesiredSet
) -> None:
    """KP-1, KP-33: what compilers stamp."""
    bridge.ofctl("add-meter", "meter=0x6e01,pktps,bands=type=drop,rate=100")
    values = {"port": 80, "endpoint_port": 8080, "timeout": 10800, "basis": 5, "cookie": 7}
    numbers = {"group": "row", "slot": "row", "part": "row"}
    pieces = []
    row = 0
    for (family, _), templates in TEMPLATES.items():
        for name in templates.__slots__:
            template: Template = getattr(templates, name)
            row += 1
            address = 0x0A60_0000 + row if family == 4 else (0xFD << 120) + row
            columns = {
                hole.name: row if hole.name in numbers else values.get(hole.name, address)
                for hole in template.holes
            }
            if template.is_group:
                stamped = template.stamp_groups([0, 1], **columns)
            else:
                group = Template(f"group_id={row},type=select,bucket=actions=drop")
                pieces.append((group.stamp_groups([0, 1]), np.array([0])))
                stamped = template.stamp(**columns)
            pieces.append((stamped, np.array([0])))
    messages, ends = gather(pieces, 1)
    await bridge.commit(desired.replace([1], messages, ends))

    assert (await bridge.diff(desired))[1].is_empty
    assert desired.size.groups == row


async def test_drift_is_found_and_repaired(bridge: Bridge, desired: DesiredSet) -> None:
    """KP-72: rules deleted by somebody else come back."""
    await bridge.commit(replace(desired, WANTED))
    right = bridge.ofctl("dump-flows", "--no-stats"), bridge.ofctl("dump-groups")
    bridge.ofctl("del-groups", "group_id=2")
    bridge.ofctl(
        "insert-buckets", "group_id=1,command_bucket_id=last,bucket=bucket_id:9,actions=drop"
    )
    bridge.ofctl("mod-flows", "table=4,actions=drop")
    bridge.ofctl("add-flow", f"cookie={PREFIX << 48:#x},table=9,actions=drop")
    bridge.ofctl("add-flow", "cookie=0x6e00000000000005,table=9,ip,actions=drop")
    bridge.ofctl("add-group", "group_id=99,type=all,bucket=actions=drop")

    delta, diff = await bridge.diff(desired, 0x6E00)
    await bridge.commit(delta)

    assert (diff.flows_missing, diff.flows_changed, diff.flows_extra) == (1, 1, 2)
    assert (diff.groups_missing, diff.groups_changed, diff.groups_extra) == (1, 1, 1)
    assert delta.messages == 7
    now = bridge.ofctl("dump-flows", "--no-stats"), bridge.ofctl("dump-groups")
    assert sorted(now[0].splitlines()) == sorted(right[0].splitlines())
    assert (await bridge.diff(desired, 0x6E00))[1].is_empty


async def test_foreign_flows_and_groups_stay(bridge: Bridge, desired: DesiredSet) -> None:
    bridge.ofctl("add-group", "group_id=100000,type=all,bucket=actions=mod_tp_dst:5,LOCAL")
    bridge.ofctl(
        "add-flow",
        "cookie=5,table=9,ip,actions=group:100000,bundle(eth_src,0,"
        "active_backup,ofport,members:1,2)",
    )
    bridge.ofctl("add-flow", "cookie=0x6eff000000000001,table=11,ip,actions=load:1->NXM_NX_REG4[]")
    before = bridge.ofctl("dump-flows", "--no-stats"), bridge.ofctl("dump-groups")

    delta, diff = await bridge.diff(desired, 0x6E00)

    assert diff.is_empty
    assert not delta
    assert before == (bridge.ofctl("dump-flows", "--no-stats"), bridge.ofctl("dump-groups"))


async def test_endpoints_come_and_go_as_buckets(bridge: Bridge, desired: DesiredSet) -> None:
    """Each change of a group's endpoints, also from none and to none, is what it then has."""
    choose = random.Random(3)

    def wanted(endpoints: Iterable[int], port: int) -> dict[int, list[str]]:
        buckets = [
            f",bucket=bucket_id:{i},weight:100,actions={DNAT.format(f'10.244.0.{i}:{port}')}"
            for i in endpoints
        ]
        return {
            1: [
                "group_id=1,type=select,selection_method=hash" + "".join(buckets),
                "table=3,priority=200,tcp,nw_dst=10.96.0.10,tp_dst=80,actions=group:1",
            ]
        }

    inserted = removed = 0
    for n in (0, 5, 0, 1, 0, 20, 19, 20, 18, 20, 10):
        delta = replace(desired, wanted(choose.sample(range(1, 21), n), choose.choice([80, 81])))
        inserted += delta.buckets_inserted
        removed += delta.buckets_removed
        await bridge.commit(delta)
        assert (await bridge.diff(desired))[1].is_empty, n
    assert inserted
    assert removed


async def test_owners_may_come_and_go_in_any_combination(
    bridge: Bridge, desired: DesiredSet
) -> None:
    choose = random.Random(4)
    for _ in range(30):
        owners = choose.sample(list(WANTED), choose.randint(1, len(WANTED)))
        await bridge.commit(replace(desired, {o: choose.choice([[], WANTED[o]]) for o in owners}))
        assert (await bridge.diff(desired))[1].is_empty


async def test_the_largest_group_can_be_shown(bridge: Bridge, desired: DesiredSet) -> None:
    """With a bucket more, ovs-vswitchd 3.1.0 would abort when it is asked for its groups."""
    ports = [f",bucket=bucket_id:{i},actions=output:{i + 1}" for i in range(2046)]
    start = "group_id=1,type=select,selection_method=dp_hash"
    small = "group_id=2,type=all,bucket=actions=drop"
    with pytest.raises(DecodeError, match="could not show it"):
        replace(desired, {1: [start + "".join(ports), small]})
    await bridge.commit(replace(desired, {1: [start + "".join(ports[:-1]), small]}))

    assert (await bridge.diff(desired))[1].is_empty
    assert bridge.ofctl("dump-groups").count("bucket_id:") == 2046


async def test_the_largest_flow_can_be_shown(bridge: Bridge, desired: DesiredSet) -> None:
    flow = "actions=" + ",".join(["output:1"] * 4088)
    await bridge.commit(replace(desired, {1: [flow], 2: ["ip,actions=drop"]}))

    assert (await bridge.diff(desired))[1].is_empty
    with pytest.raises(DecodeError, match="could not show it"):
        replace(desired, {1: [flow + ",output:1"]})
