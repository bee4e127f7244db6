"""The switch in memory: it refuses what Open vSwitch refuses, and shows what it has."""

from __future__ import annotations

import pytest

from nsxdp.lab.ovs import OVS
from nsxdp.openflow.codec import (
    FLOW_DELETE,
    GROUP_ADD,
    GROUP_ADD_OR_MOD,
    GROUP_DELETE,
    GROUP_INSERT_BUCKET,
    GROUP_MODIFY,
    GROUP_REMOVE_BUCKET,
    Tables,
    flow_parse,
    group_parse,
)
from nsxdp.openflow.errors import CommitError
from nsxdp.openflow.fake import FakeSwitch
from nsxdp.openflow.session import Session
from nsxdp.transport import parse_remote

GROUP = "group_id=1,type=select,selection_method=dp_hash"
ONE = f"{GROUP},bucket=bucket_id:1,actions=output:1"


def insert(bucket_id: int, where: str = "last") -> bytes:
    return group_parse(
        f"group_id=1,command_bucket_id={where},bucket=bucket_id:{bucket_id},actions=output:1",
        GROUP_INSERT_BUCKET,
    )


def remove(bucket_id: int | str) -> bytes:
    return group_parse(f"group_id=1,command_bucket_id={bucket_id}", GROUP_REMOVE_BUCKET)


LOADED = (
    group_parse(ONE, GROUP_ADD)
    + flow_parse("table=3,priority=5,ip,actions=group:1")
    + flow_parse("cookie=0x77,table=3,actions=resubmit(,4)")
)
REFUSED = [
    (flow_parse("actions=group:2"), "OFPBAC_BAD_OUT_GROUP"),
    (group_parse(ONE, GROUP_ADD), "OFPGMFC_GROUP_EXISTS"),
    (group_parse("group_id=2,type=all", GROUP_MODIFY), "OFPGMFC_UNKNOWN_GROUP"),
    (insert(1), "OFPGMFC_BUCKET_EXISTS"),
    (insert(2, "9"), "OFPGMFC_UNKNOWN_BUCKET"),
    (remove(2), "OFPGMFC_UNKNOWN_BUCKET"),
    (insert(1).replace(b"\0\0\0\1", b"\0\0\0\2", 1), "OFPGMFC_UNKNOWN_GROUP"),
]


@pytest.fixture
def switch() -> FakeSwitch:
    switch = FakeSwitch(Tables({"ServiceLB": 3}))
    switch.apply(LOADED)
    return switch


def test_it_prints_as_ovs_ofctl(switch: FakeSwitch) -> None:
    assert switch.dump_flows() == [
        "table=ServiceLB, actions=resubmit(,4)",
        "table=ServiceLB, priority=5,ip actions=group:1",
    ]
    assert switch.dump_flows(cookies=True)[0].startswith("cookie=0x77, ")
    assert switch.dump_groups() == [
        "group_id=1,type=select,selection_method=dp_hash,bucket=bucket_id:1,actions=output:1"
    ]
    assert switch.messages == 3


@pytest.mark.parametrize(("message", "error"), REFUSED)
def test_it_refuses_all_for_one_error(switch: FakeSwitch, message: bytes, error: str) -> None:
    before = switch.dump_flows(), switch.dump_groups()

    with pytest.raises(CommitError) as caught:
        switch.apply(flow_parse("table=7,actions=drop") + message)

    assert (caught.value.name, caught.value.index, caught.value.message) == (error, 1, message)
    assert (switch.dump_flows(), switch.dump_groups()) == before
    assert switch.messages == 3


async def test_open_vswitch_refuses_the_same(ovs: OVS) -> None:
    session = await Session.open(parse_remote(ovs.add_bridge("br0", fail_mode="secure")))
    await session.commit(LOADED)

    for message, error in REFUSED:
        with pytest.raises(CommitError) as caught:
            await session.commit(flow_parse("table=7,actions=drop") + message)
        assert (caught.value.name, caught.value.index) == (error, 1)
    session.close()


def test_deleting_a_group_deletes_its_flows(switch: FakeSwitch) -> None:
    switch.apply(group_parse("group_id=1", GROUP_DELETE))

    assert len(switch.flows) == 1
    assert not switch.groups


def test_buckets_are_inserted_where_the_command_says(switch: FakeSwitch) -> None:
    switch.apply(insert(2) + insert(3, "first") + insert(4, "1") + remove(2))
    assert list(switch.groups[1].buckets) == [3, 1, 4]
    switch.apply(remove("all"))
    assert list(switch.groups[1].buckets) == []
    switch.apply(group_parse(ONE, GROUP_ADD_OR_MOD))
    assert list(switch.groups[1].buckets) == [1]


def test_flows_are_deleted_by_table_and_cookie(switch: FakeSwitch) -> None:
    switch.apply(flow_parse("table=2", FLOW_DELETE))
    assert len(switch.flows) == 2
    switch.apply(flow_parse("cookie=0x77/-1", FLOW_DELETE))
    assert len(switch.flows) == 1
    switch.apply(flow_parse("", FLOW_DELETE))
    assert not switch.flows


def test_what_it_cannot_do_is_no_silent_success(switch: FakeSwitch) -> None:
    with pytest.raises(NotImplementedError, match="DEL"):
        switch.apply(flow_parse("ip", FLOW_DELETE))
