"""The desired set: deltas and reconciliation, against a switch in memory."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterable, Mapping

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from nsxdp.openflow.codec import (
    GROUP_ADD_OR_MOD,
    GROUP_DELETE,
    flow_parse,
    group_parse,
    message_format,
    split,
)
from nsxdp.openflow.desired import Delta, DesiredSet, Diff
from nsxdp.openflow.errors import DecodeError
from nsxdp.openflow.fake import FakeGroup, FakeSwitch
from nsxdp.openflow.stats import FlowTable

PREFIX = 0x6E01
FIRST, LAST = 1, 1000


def encode(texts: Iterable[str]) -> bytes:
    """The messages of flows and groups in ovs-ofctl's syntax."""
    return b"".join(
        group_parse(text, GROUP_ADD_OR_MOD) if text.startswith("group_id=") else flow_parse(text)
        for text in texts
    )


def replace(desired: DesiredSet, wanted: Mapping[int, Iterable[str]]) -> Delta:
    pieces = [encode(texts) for texts in wanted.values()]
    return desired.replace(list(wanted), b"".join(pieces), np.cumsum([len(p) for p in pieces]))


def show(messages: Delta | bytes) -> list[str]:
    """The messages as text, without name and xid."""
    view = bytes(messages)
    shown = []
    while view:
        length = int.from_bytes(view[2:4], "big")
        text = message_format(view[:length])
        shown.append(" ".join(text.split(":", 1)[1].split()))
        view = view[length:]
    return shown


def group(group_id: int, *buckets: int, kind: str = "select", method: str = "hash") -> str:
    """A group whose buckets are endpoints, with the last number of the address as id."""
    selection = f",selection_method={method}" if kind == "select" else ""
    return f"group_id={group_id},type={kind}{selection}" + "".join(
        f",bucket=bucket_id:{b},actions=ct(commit,nat(dst=10.0.0.{b}:80))" for b in buckets
    )


def flow(number: int, actions: str) -> str:
    return f"table=1,priority=200,tcp,nw_dst=10.96.0.{number},tp_dst=80,actions={actions}"


@pytest.fixture
def desired() -> DesiredSet:
    return DesiredSet(PREFIX, FIRST, LAST)


# Deltas.


def test_first_replacement_sends_groups_then_flows(desired: DesiredSet) -> None:
    delta = replace(desired, {7: [flow(1, "group:1"), group(1, 1, 2)]})

    assert [text.split()[0] for text in show(delta)] == ["ADD_OR_MOD", "ADD"]
    assert (delta.messages, delta.flows_added, delta.groups_added) == (2, 1, 1)
    assert split(delta) == (2, delta.nbytes)


def test_same_again_sends_nothing(desired: DesiredSet) -> None:
    wanted = {7: [group(1, 1, 2), flow(1, "group:1")]}
    replace(desired, wanted)

    delta = replace(desired, wanted)

    assert not delta
    assert delta.messages == 0


def test_one_endpoint_more_is_one_message(desired: DesiredSet) -> None:
    replace(desired, {7: [group(1, *range(1, 101)), flow(1, "group:1")]})

    delta = replace(desired, {7: [group(1, *range(1, 102)), flow(1, "group:1")]})

    assert show(delta) == [
        "INSERT_BUCKET command_bucket_id:last,group_id=1,"
        "bucket=bucket_id:101,actions=ct(commit,nat(dst=10.0.0.101:80))"
    ]
    assert (delta.groups_changed, delta.buckets_inserted, delta.buckets_removed) == (1, 1, 0)


def test_many_endpoints_more_are_one_message(desired: DesiredSet) -> None:
    replace(desired, {7: [group(1, 5, 6, 7, 8)]})

    delta = replace(desired, {7: [group(1, 9, 5, 1, 6, 7, 8)]})

    assert delta.messages == 1
    assert delta.buckets_inserted == 2


def test_one_endpoint_less_is_one_message(desired: DesiredSet) -> None:
    replace(desired, {7: [group(1, 1, 2, 3)]})

    delta = replace(desired, {7: [group(1, 1, 3)]})

    assert show(delta) == ["REMOVE_BUCKET command_bucket_id:2,group_id=1"]
    assert delta.buckets_removed == 1


@pytest.mark.parametrize("method", [",selection_method=dp_hash", ""])
def test_dp_hash_group_is_sent_whole(desired: DesiredSet, method: str) -> None:
    """Open vSwitch before 3.6 would choose among the inserted buckets alone."""
    start = f"group_id=1,type=select{method}"
    buckets = [f",bucket=bucket_id:{i},actions=output:{i}" for i in range(1, 21)]
    replace(desired, {7: [start + "".join(buckets[:-1])]})
    for n in (20, 19):
        delta = replace(desired, {7: [start + "".join(buckets[:n])]})
        (text,) = show(delta)
        assert text.startswith("ADD_OR_MOD group_id=1,")
        assert text.count("bucket_id:") == n
        assert (delta.groups_changed, delta.buckets_inserted, delta.buckets_removed) == (1, 0, 0)


def test_changed_bucket_is_removed_and_inserted(desired: DesiredSet) -> None:
    buckets = [f",bucket=bucket_id:{i},actions=output:{i}" for i in range(20)]
    start = "group_id=1,type=select,selection_method=hash"
    replace(desired, {7: [start + "".join(buckets)]})
    buckets[9] = ",bucket=bucket_id:9,actions=output:99"

    delta = replace(desired, {7: [start + "".join(buckets)]})

    assert [text.split()[0] for text in show(delta)] == ["REMOVE_BUCKET", "INSERT_BUCKET"]


def test_order_of_buckets_is_no_content(desired: DesiredSet) -> None:
    replace(desired, {7: [group(1, 1, 2, 3)]})

    assert not replace(desired, {7: [group(1, 3, 1, 2)]})


def test_order_of_a_fast_failover_groups_buckets_is_content(desired: DesiredSet) -> None:
    def failover(*ports: int) -> str:
        return "group_id=1,type=ff" + "".join(
            f",bucket=bucket_id:{p},watch_port:{p},actions=output:{p}" for p in ports
        )

    replace(desired, {7: [failover(1, 2)]})
    delta = replace(desired, {7: [failover(2, 1)]})

    assert [text.split()[0] for text in show(delta)] == ["ADD_OR_MOD"]
    switch = FakeSwitch()
    switch.apply(delta)
    assert list(switch.groups[1].buckets) == [2, 1]


@pytest.mark.parametrize(
    "changed", [group(1, 1, 2, 3, method="dp_hash"), group(1, 1, 2, 3, kind="all")]
)
def test_other_properties_send_the_whole_group(desired: DesiredSet, changed: str) -> None:
    replace(desired, {7: [group(1, 1, 2, 3)]})

    delta = replace(desired, {7: [changed]})

    assert [text.split()[0] for text in show(delta)] == ["ADD_OR_MOD"]


def test_mostly_other_buckets_send_the_whole_group_where_that_is_less(desired: DesiredSet) -> None:
    replace(desired, {7: [group(1, *range(100))]})

    delta = replace(desired, {7: [group(1, 1)]})

    assert [text.split()[0] for text in show(delta)] == ["ADD_OR_MOD"]


def test_groups_come_first_and_go_last(desired: DesiredSet) -> None:
    replace(desired, {7: [group(1, 1), group(2, 2), flow(1, "group:1"), flow(2, "group:2")]})

    delta = replace(desired, {7: [flow(1, "group:3"), flow(3, "group:3"), group(3, 1)]})

    assert [text.split(",")[0] for text in show(delta)] == [
        "ADD_OR_MOD group_id=3",
        "ADD table:1 priority=200",
        "ADD table:1 priority=200",
        "DEL_STRICT table:1 priority=200",
        "DEL group_id=2",
        "DEL group_id=1",
    ]
    assert (delta.flows_added, delta.flows_changed, delta.flows_deleted) == (1, 1, 1)
    assert (delta.groups_added, delta.groups_deleted) == (1, 2)


def test_flow_that_moves_between_owners_is_not_sent(desired: DesiredSet) -> None:
    replace(desired, {1: [flow(1, "drop")], 2: []})

    assert not replace(desired, {1: [], 2: [flow(1, "drop")]})
    assert not replace(desired, {1: [flow(1, "drop")], 2: []})


def test_second_in_line_is_installed_when_the_first_lets_go(desired: DesiredSet) -> None:
    replace(desired, {1: [flow(1, "output:1")]})
    assert not replace(desired, {2: [flow(1, "output:2")]})
    assert not replace(desired, {3: [flow(1, "output:3")]})
    assert not replace(desired, {2: []})

    delta = replace(desired, {1: []})

    assert show(delta) == [
        "ADD table:1 priority=200,tcp,nw_dst=10.96.0.1,tp_dst=80 "
        f"cookie:{cookie(delta):#x} actions=output:3"
    ]
    assert replace(desired, {3: []}).flows_deleted == 1


def cookie(message: Delta | bytes) -> int:
    return int.from_bytes(bytes(message)[8:16], "big")


def test_the_first_of_two_of_one_owner_counts(desired: DesiredSet) -> None:
    delta = replace(desired, {1: [flow(1, "output:1"), flow(1, "output:2")]})

    assert delta.messages == 1
    assert show(delta)[0].endswith("actions=output:1")


def test_one_owner_twice_is_replaced_twice(desired: DesiredSet) -> None:
    first, second = encode([flow(1, "drop"), group(1, 1)]), encode([flow(2, "drop")])

    delta = desired.replace([4, 4], first + second, [len(first), len(first) + len(second)])

    assert delta.messages == delta.flows_added == 1
    assert desired.size[:3] == (1, 1, 0)


def test_cookie_is_the_prefix_and_a_hash_of_the_content(desired: DesiredSet) -> None:
    one = replace(desired, {1: ["cookie=0x77," + flow(1, "drop")]})
    other = replace(desired, {2: [flow(2, "drop")]})
    again = replace(DesiredSet(PREFIX, FIRST, LAST), {9: [flow(1, "drop")]})

    assert cookie(one) >> 48 == cookie(other) >> 48 == PREFIX
    assert cookie(one) == cookie(again) != cookie(other)


def test_the_hash_of_a_flow_is_the_same_in_every_version(desired: DesiredSet) -> None:
    """Cookies stay in switches: another hash would send every flow again after an upgrade."""
    delta = replace(desired, {1: ["table=1,priority=200,tcp,nw_dst=10.96.0.1,actions=drop"]})

    assert cookie(delta) == 0x6E012E38CD572CAA


def test_group_that_open_vswitch_could_not_show_is_refused(desired: DesiredSet) -> None:
    """Open vSwitch 3.1 aborts when it dumps a group that takes more than one message."""
    texts = ",".join(
        f"bucket=bucket_id:{i},actions=ct(commit,nat(dst=10.0.{i >> 8}.{i & 255}:80))"
        for i in range(2000)
    )
    with pytest.raises(DecodeError, match="group 1 has 2000 buckets of"):
        replace(desired, {1: [f"group_id=1,type=select,selection_method=dp_hash,{texts}"]})

    assert desired.size.groups == 0


def test_dump_can_be_sent(desired: DesiredSet) -> None:
    replace(desired, {1: [flow(1, "group:2")], 2: [group(2, 1, 2), flow(2, "group:2")]})
    switch = FakeSwitch()

    assert switch.apply(desired.dump()) == 3
    assert reconcile(desired, switch)[1].is_empty


@pytest.mark.parametrize("kind", ["select", "all", "ff"])
def test_a_group_comes_out_as_it_went_in(desired: DesiredSet, kind: str) -> None:
    """Whatever its buckets have in common: they are kept as what they differ in."""
    ff = ",watch_port:1" if kind == "ff" else ""
    buckets = [
        *(f"ct(commit,nat(dst=10.0.{n}.{n}:{80 + n % 3}))" for n in range(40)),
        *(f"ct(commit,nat(dst=[fd00::{n:x}]:80))" for n in range(20)),
        *("output:1" for _ in range(20)),
        # Alike in all but each fourth byte, and longer than 255 bytes.
        *(
            ",".join(f"set_field:{n + i:#x}->reg{i % 16}" for i in range(n % 40 + 1))
            for n in range(80)
        ),
        *(",".join(f"output:{n * i}" for i in range(1, 9)) for n in range(1, 30)),
        "drop",
    ]
    text = f"group_id=1,type={kind}" + "".join(
        f",bucket=bucket_id:{n * 7919 % 1000003}{ff},actions={actions}"
        for n, actions in enumerate(buckets)
    )
    replace(desired, {1: [text]})
    switch = FakeSwitch()

    switch.apply(desired.dump())

    assert reconcile(desired, switch)[1].is_empty
    sent = FakeSwitch()
    sent.apply(encode([text]))
    assert switch.groups[1].buckets == sent.groups[1].buckets


def test_size(desired: DesiredSet) -> None:
    assert desired.size[:4] == (0, 0, 0, 0)
    empty = desired.size.bytes

    replace(desired, {1: [group(1, 1, 2), flow(1, "group:1")], 2: [group(1, 3), flow(2, "drop")]})

    assert desired.size[:4] == (2, 2, 1, 3)
    replace(desired, {1: [], 2: []})
    assert desired.size[:4] == (0, 0, 0, 0)
    assert desired.size.bytes < empty + 1024


# What is wrong.


@pytest.mark.parametrize(
    ("messages", "what"),
    [
        (flow_parse("", 3), "command is 3"),
        (group_parse("group_id=1001,type=all", GROUP_ADD_OR_MOD), "1 to 1000"),
        (group_parse("group_id=1,type=all", 1), "command for group 1 is 1"),
        (encode(["group_id=1,type=all,bucket=bucket_id:1,actions=drop"]) * 2, None),
        (bytes.fromhex("0614000800000000"), "type 20"),
        (bytes.fromhex("060e0008"), "4 bytes"),
        (flow_parse("actions=drop")[:-1], "only 55 are there"),
    ],
)
def test_what_is_no_wish_is_refused(desired: DesiredSet, messages: bytes, what: str | None) -> None:
    replace(desired, {1: [flow(1, "drop")]})
    if what is None:
        desired.replace([1], messages, [len(messages)])
        return

    with pytest.raises(DecodeError, match=what):
        desired.replace([1], messages, [len(messages)])

    assert not replace(desired, {1: [flow(1, "drop")]}), "it must be as before"


def test_two_buckets_with_one_id_are_refused(desired: DesiredSet) -> None:
    message = bytearray(encode([group(1, 1, 2)]))
    message[message.index(b"\0\0\0\2\xff\xff") + 3] = 1

    with pytest.raises(DecodeError, match="two buckets with bucket_id 1"):
        desired.replace([1], message, [len(message)])


@pytest.mark.parametrize("ends", [[10**6], [3], [0]])
def test_wrong_ends_are_refused(desired: DesiredSet, ends: list[int]) -> None:
    with pytest.raises(DecodeError):
        desired.replace([1], flow_parse("actions=drop"), ends)


def test_owners_and_ends_must_match(desired: DesiredSet) -> None:
    with pytest.raises(ValueError, match="shape"):
        desired.replace([1, 2], b"", [0])


# Reconciliation.


def reconcile(
    desired: DesiredSet, switch: FakeSwitch, *old: int, verify: bool = False
) -> tuple[Delta, Diff]:
    """Make the switch as desired."""
    desired.begin(old, verify=verify)
    replies = switch.replies()
    random.Random(1).shuffle(replies)
    for reply in replies:
        desired.installed(reply)
    delta, diff = desired.diff()
    assert diff.is_empty == (not delta)
    switch.apply(delta)
    return delta, diff


def test_diff_of_an_empty_switch_is_all(desired: DesiredSet) -> None:
    replace(desired, {1: [group(1, 1, 2), flow(1, "group:1")], 2: [flow(2, "drop")]})
    switch = FakeSwitch()

    delta, diff = reconcile(desired, switch)

    assert (diff.flows_missing, diff.groups_missing) == (2, 1)
    assert (delta.flows_added, delta.groups_added) == (2, 1)
    assert reconcile(desired, switch)[1] == Diff(0, 0, 0, 2, 0, 0, 0, 1)


def test_diff_repairs_what_differs_and_nothing_else(desired: DesiredSet) -> None:
    switch = FakeSwitch()
    switch.apply(
        replace(desired, {1: [group(1, 1, 2), group(2, 1), flow(1, "group:1"), flow(2, "drop")]})
    )
    right = switch.dump_groups(), switch.dump_flows(cookies=True)
    mine = f"cookie={PREFIX << 48 | 5:#x},"
    switch.apply(group_parse("group_id=2", GROUP_DELETE))
    switch.apply(encode([group(1, 1, 3), group(9, 1)]))
    switch.apply(encode([mine + flow(2, "output:5"), mine + flow(9, "group:9")]))

    delta, diff = reconcile(desired, switch)

    assert diff == Diff(0, 1, 1, 1, 1, 1, 1, 0)
    assert delta.messages == 5
    assert (switch.dump_groups(), switch.dump_flows(cookies=True)) == right


def test_foreign_flows_and_groups_are_left_alone(desired: DesiredSet) -> None:
    switch = FakeSwitch()
    switch.apply(encode([group(LAST + 1, 1), "cookie=0x1," + flow(1, f"group:{LAST + 1}")]))

    assert reconcile(desired, switch)[1] == Diff(0, 0, 0, 0, 0, 0, 0, 0)


def test_another_versions_flows_are_deleted(desired: DesiredSet) -> None:
    switch = FakeSwitch()
    switch.apply(encode(["cookie=0x6e00000000000001," + flow(1, "drop")]))
    switch.apply(encode(["cookie=0x6e00000000000002," + flow(2, "drop")]))
    replace(desired, {1: [flow(2, "drop")]})

    _, diff = reconcile(desired, switch, 0x6E00)

    assert (diff.flows_extra, diff.flows_changed, diff.flows_old) == (1, 1, 2)
    assert len(switch.flows) == 1


def test_another_versions_flows_may_stay_in_tables_that_this_one_has_not(
    desired: DesiredSet,
) -> None:
    switch = FakeSwitch()
    for table in (1, 2, 3):
        text = f"cookie=0x6e00000000000001,table={table},udp,actions=drop"
        switch.apply(encode([text]))
    replace(desired, {1: ["table=1,tcp,actions=drop", "table=2,udp,actions=output:1"]})

    desired.begin([0x6E00])
    for reply in switch.replies():
        desired.installed(reply)
    delta, diff = desired.diff(keep_old=True)
    switch.apply(delta)

    assert diff == Diff(1, 1, 1, 0, 0, 0, 0, 0, flows_old=3)
    assert [flow.partition(" actions")[0] for flow in switch.dump_flows()] == [
        "table=1, tcp",
        "table=2, udp",
        "table=3, udp",
    ]
    assert reconcile(desired, switch, 0x6E00)[1] == Diff(0, 0, 1, 2, 0, 0, 0, 0, flows_old=1)
    assert len(switch.flows) == 2


def test_only_verify_sees_other_actions_under_the_right_cookie(desired: DesiredSet) -> None:
    switch = FakeSwitch()
    switch.apply(replace(desired, {1: [flow(1, "output:1")]}))
    right = switch.dump_flows(cookies=True)
    (message,) = switch.flows.values()
    switch.apply(encode([f"cookie={cookie(message):#x}," + flow(1, "output:2")]))

    assert reconcile(desired, switch)[1].flows_right == 1
    assert reconcile(desired, switch, verify=True)[1].flows_changed == 1
    assert switch.dump_flows(cookies=True) == right


def test_replacements_between_begin_and_diff_are_in_the_diff(desired: DesiredSet) -> None:
    switch = FakeSwitch()
    switch.apply(replace(desired, {1: [group(1, 1), flow(1, "group:1")], 2: [flow(2, "drop")]}))

    desired.begin()
    for reply in switch.replies():
        desired.installed(reply)
    replace(desired, {1: [group(1, 1, 2), flow(3, "group:1")], 2: []})
    delta, diff = desired.diff()
    switch.apply(delta)

    assert diff == Diff(1, 0, 2, 0, 0, 1, 0, 0)
    assert reconcile(desired, switch)[1].is_empty


def test_group_of_another_kind_of_bucket_is_replaced(desired: DesiredSet) -> None:
    """A bucket property that Open vSwitch may learn one day, and nsxdp doesn't know."""
    switch = FakeSwitch()
    switch.apply(replace(desired, {1: [group(1, 1)]}))
    bucket = switch.groups[1].buckets[1]
    strange = bytes([bucket[0], bucket[1] + 8]) + bucket[2:] + bytes.fromhex("0009000800000000")
    desired.begin()
    for reply in switch.replies():
        length = int.from_bytes(reply[2:4], "big")
        if bucket in reply:
            reply = reply.replace(bucket, strange)
            reply = reply[:2] + (length + 8).to_bytes(2, "big") + reply[4:]
            reply = reply[:16] + (len(reply) - 16).to_bytes(2, "big") + reply[18:]
            reply = reply[:24] + len(strange).to_bytes(2, "big") + reply[26:]
        desired.installed(reply)

    assert desired.diff()[1].groups_changed == 1


def test_reconciliation_needs_a_begin(desired: DesiredSet) -> None:
    (reply, *_) = FakeSwitch().replies()

    with pytest.raises(DecodeError, match="between begin and diff"):
        desired.installed(reply)
    with pytest.raises(DecodeError, match="begin"):
        desired.diff()
    desired.begin()
    desired.diff()
    with pytest.raises(DecodeError, match="begin"):
        desired.diff()


def test_what_is_no_reply_is_refused(desired: DesiredSet) -> None:
    desired.begin()
    for message in (
        b"",
        flow_parse("actions=drop"),
        bytes.fromhex("061300100000000000060000" + "0" * 8),
    ):
        with pytest.raises(DecodeError):
            desired.installed(message)


def test_owners_of_what_a_switch_has(desired: DesiredSet) -> None:
    flows = [f"table=1,tcp,tp_dst={port} actions=drop" for port in (80, 443, 22)]
    replace(desired, {7: flows[:1], 9: flows[1:2]})
    switch = FakeSwitch()
    switch.apply(encode(flows))
    table = FlowTable.read(switch.replies()[:1])
    found = desired.owners(table.rows, table.data).tolist()
    owners = {str(flow.match): owner for flow, owner in zip(table, found, strict=True)}
    assert owners == {"tcp,tp_dst=80": 7, "tcp,tp_dst=443": 9, "tcp,tp_dst=22": 2**64 - 1}
    assert desired.owners(table.rows[:0], b"").shape == (0,)
    with pytest.raises(DecodeError, match="flow beyond its 8 bytes"):
        desired.owners(table.rows, table.data[:8])


def test_threads_may_share_a_set(desired: DesiredSet) -> None:
    def work(owner: int) -> None:
        for _ in range(50):
            replace(desired, {owner: [flow(owner, "drop"), group(owner, 1)]})
            replace(desired, {owner: [flow(owner, "output:1")]})

    threads = [threading.Thread(target=work, args=(owner,)) for owner in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)

    assert desired.size[:4] == (8, 8, 0, 0)


# Any sequence of replacements, and any state of the switch.

Wanted = dict[int, dict[str, str]]
"""For each owner, texts of flows and groups by what they are a flow or group of."""

buckets = st.dictionaries(st.integers(1, 8), st.sampled_from(["output:1", "output:2", "drop"]))
kinds = st.sampled_from(["select,selection_method=dp_hash", "select", "all", "ff"])


@st.composite
def wishes(draw: st.DrawFn) -> dict[str, str]:
    """What an owner wants: some groups, and flows that use none but these."""
    wanted = {}
    for group_id in draw(st.lists(st.integers(1, 3), unique=True)):
        kind = draw(kinds)
        watch = "watch_port:1," if kind == "ff" else ""
        wanted[f"group {group_id}"] = f"group_id={group_id},type={kind}" + "".join(
            f",bucket=bucket_id:{i},{watch}actions={actions}"
            for i, actions in draw(buckets).items()
        )
    actions = ["drop", "output:1", *(f"group:{name[6:]}" for name in wanted)]
    for number in draw(st.lists(st.integers(1, 4), unique=True)):
        wanted[f"flow {number}"] = flow(number, draw(st.sampled_from(actions)))
    shuffled = draw(st.permutations(list(wanted.items())))
    return dict(shuffled)


def contents(switch: FakeSwitch) -> tuple[list[str], list[str]]:
    """The switch's flows, and its groups with buckets in the order of their ids."""
    ordered = FakeSwitch()
    for group_id, found in switch.groups.items():
        by_id = found.buckets if found.type == 3 else dict(sorted(found.buckets.items()))
        ordered.groups[group_id] = FakeGroup(found.type, found.properties, by_id)
    return switch.dump_flows(), ordered.dump_groups()


class Replacements(RuleBasedStateMachine):
    """A switch to which all deltas are sent has what the owners want, at every step."""

    @initialize()
    def start(self) -> None:
        self.desired = DesiredSet(PREFIX, FIRST, LAST)
        self.switch = FakeSwitch()
        self.wanted: Wanted = {}
        self.lines: dict[str, list[int]] = {}

    def _want(self, changes: Wanted) -> Delta:
        for owner, wanted in changes.items():
            self.wanted[owner] = wanted
            for name in wanted:
                line = self.lines.setdefault(name, [])
                if owner not in line:
                    line.append(owner)
            for name, line in self.lines.items():
                if owner in line and name not in wanted:
                    line.remove(owner)
        return replace(self.desired, {owner: w.values() for owner, w in changes.items()})

    @rule(changes=st.dictionaries(st.integers(0, 3), wishes()))
    def replace(self, changes: Wanted) -> None:
        self.switch.apply(self._want(changes))

    @rule(changes=st.dictionaries(st.integers(0, 3), wishes()))
    def replace_again(self, changes: Wanted) -> None:
        self.replace(changes)
        assert not replace(self.desired, {owner: w.values() for owner, w in changes.items()})

    @rule(
        found=st.lists(st.tuples(st.sampled_from([PREFIX, 0x6E00]), wishes())),
        changes=st.dictionaries(st.integers(0, 3), wishes()),
        verify=st.booleans(),
    )
    def reconcile(
        self, found: list[tuple[int, dict[str, str]]], changes: Wanted, verify: bool
    ) -> None:
        for prefix, wanted in found:
            groups = [text for text in wanted.values() if text.startswith("group_id=")]
            flows = [text for text in wanted.values() if not text.startswith("group_id=")]
            other = DesiredSet(prefix, FIRST, LAST)
            self.switch.apply(replace(other, {1: [*groups, *flows]}))
        self.desired.begin([0x6E00], verify=verify)
        for reply in self.switch.replies():
            self.desired.installed(reply)
        self._want(changes)
        delta, _ = self.desired.diff()
        self.switch.apply(delta)

    @rule(data=st.data())
    def lose(self, data: st.DataObject) -> None:
        flows = sorted(self.switch.flows)
        for key in data.draw(
            st.lists(st.sampled_from(flows), unique=True) if flows else st.just([])
        ):
            del self.switch.flows[key]
        ids = sorted(self.switch.groups)
        for group_id in data.draw(
            st.lists(st.sampled_from(ids), unique=True) if ids else st.just([])
        ):
            self.switch.apply(group_parse(f"group_id={group_id}", GROUP_DELETE))
        reconcile(self.desired, self.switch)

    @invariant()
    def has_what_is_wanted(self) -> None:
        if not hasattr(self, "desired"):
            return
        model = FakeSwitch()
        texts = [self.wanted[line[0]][name] for name, line in self.lines.items() if line]
        model.apply(encode(sorted(texts, key=lambda text: not text.startswith("group_id="))))
        assert contents(self.switch) == contents(model)
        assert self.desired.size.flows == len(model.flows)
        assert self.desired.size.groups == len(model.groups)


TestReplacements = Replacements.TestCase
TestReplacements.settings = settings(
    max_examples=60, stateful_step_count=20, suppress_health_check=list(HealthCheck)
)
