"""The desired set's C API: hostile bytes, colliding keys, and what it costs."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterable, Mapping
from typing import Any

import pytest

INSERT_BUCKET = 3
PREFIX = 0x6E01
FIRST, LAST = 1, 0x7FFFFFFF

MESSAGES = [
    "table=3,priority=200,tcp,nw_dst=10.96.0.1,tp_dst=443,actions=group:7",
    "table=4,priority=1,ip,actions=set_field:5->reg0,resubmit(,3)",
    "group_id=7,type=select,selection_method=hash,fields(ip_src),"
    "bucket=bucket_id:3,weight:100,actions=ct(commit,nat(dst=10.0.0.1:80),"
    "exec(set_field:1->ct_mark)),bucket=bucket_id:1,actions=drop",
    "group_id=8,type=ff,bucket=bucket_id:3,watch_port:2,actions=output:2,"
    "bucket=bucket_id:1,watch_group:7,actions=drop",
]


class Desired:
    """A set of the C API."""

    def __init__(self, core: Any) -> None:
        self.core = core
        self.set = core.ffi.gc(
            core.lib.nsx_desired_new(PREFIX, FIRST, LAST), core.lib.nsx_desired_free
        )

    def replace(self, wanted: Mapping[int, bytes]) -> tuple[int, Any, bytes]:
        """Returns the error number, the changes (or the error), and the delta."""
        ffi, lib = self.core.ffi, self.core.lib
        messages = b"".join(wanted.values())
        ends: list[int] = []
        for piece in wanted.values():
            ends.append(len(piece) + (ends[-1] if ends else 0))
        delta, error = self.core.buf(), self.core.error()
        changes = ffi.new("struct nsx_changes *")
        retval = lib.nsx_desired_replace(
            self.set,
            len(wanted),
            ffi.new("uint64_t[]", list(wanted)),
            self.core.exact(messages),
            len(messages),
            ffi.new("uint64_t[]", ends),
            delta,
            changes,
            error,
        )
        return retval, error if retval else changes, self.core.bytes(delta)

    def need(self, wanted: Mapping[int, Iterable[str]]) -> Any:
        """Replace by texts; returns the changes."""
        pieces = {owner: self.encode(texts) for owner, texts in wanted.items()}
        retval, changes, _ = self.replace(pieces)
        assert retval == 0, self.core.message(changes)
        return changes

    def encode(self, texts: Iterable[str]) -> bytes:
        core = self.core
        return b"".join(
            core.group(text) if text.startswith("group_id=") else core.flow(text) for text in texts
        )

    def begin(self, verify: bool = False) -> None:
        self.core.lib.nsx_desired_begin(self.set, verify, self.core.ffi.NULL, 0)

    def installed(self, reply: bytes) -> int:
        retval: int = self.core.lib.nsx_desired_installed(
            self.set, self.core.exact(reply), len(reply), self.core.error()
        )
        return retval

    def diff(self) -> tuple[int, Any, bytes]:
        delta = self.core.buf()
        diff = self.core.ffi.new("struct nsx_diff *")
        retval = self.core.lib.nsx_desired_diff(
            self.set, False, delta, diff, self.core.ffi.NULL, self.core.error()
        )
        return retval, diff, self.core.bytes(delta)

    def dump(self) -> bytes:
        dump = self.core.buf()
        self.core.lib.nsx_desired_dump(self.set, dump)
        dumped: bytes = self.core.bytes(dump)
        return dumped

    @property
    def size(self) -> Any:
        size = self.core.ffi.new("struct nsx_desired_size *")
        self.core.lib.nsx_desired_size(self.set, size)
        return size


@pytest.fixture(params=["core", "weak_core"])
def desired(request: pytest.FixtureRequest) -> Desired:
    """With a good hash, and with one by which nearly all keys collide."""
    return Desired(request.getfixturevalue(request.param))


def flow_reply(flows: Iterable[bytes]) -> bytes:
    """The OFPMP_FLOW_DESC reply of a switch with the flows of some flow_mods."""
    body = b""
    for flow in flows:
        match_len = -(-struct.unpack_from(">H", flow, 50)[0] // 8) * 8
        rest = flow[48 : 48 + match_len] + struct.pack(">HH4x", 0, 4) + flow[48 + match_len :]
        body += struct.pack(">HxxBx", 24 + len(rest), flow[24])
        body += flow[30:32] + flow[26:30] + flow[44:48] + flow[8:16] + rest
    return struct.pack(">BBHIHH4x", 6, 19, 16 + len(body), 0, 1, 0) + body


def group_reply(groups: Iterable[bytes]) -> bytes:
    """The OFPMP_GROUP_DESC reply of a switch with the groups of some group_mods."""
    body = b""
    for group in groups:
        body += struct.pack(
            ">HBxI", len(group) - 8, group[10], *struct.unpack_from(">I", group, 12)
        )
        body += group[16:18] + bytes(6) + group[24:]
    return struct.pack(">BBHIHH4x", 6, 19, 16 + len(body), 0, 7, 0) + body


def split(messages: bytes) -> list[bytes]:
    found = []
    while messages:
        length = int.from_bytes(messages[2:4], "big")
        found.append(messages[:length])
        messages = messages[length:]
    return found


def replies(messages: bytes) -> list[bytes]:
    """What a switch to which 'messages' were sent would show."""
    found = split(messages)
    return [
        flow_reply(m for m in found if m[1] == 14),
        group_reply(m for m in found if m[1] == 15),
    ]


def test_many_keys_are_told_apart(desired: Desired) -> None:
    n = 300
    flows = [f"table=1,priority={i},ip,nw_dst=10.0.0.{i % 256},actions=drop" for i in range(n)]
    groups = [f"group_id={i + 1},type=all,bucket=actions=output:{i + 1}" for i in range(n)]

    changes = desired.need({owner: [flows[owner], groups[owner]] for owner in range(n)})
    assert (changes.flows_added, changes.groups_added, changes.messages) == (n, n, 2 * n)

    changes = desired.need({owner: [flows[owner]] for owner in range(0, n, 2)})
    assert (changes.messages, changes.groups_deleted) == (n // 2, n // 2)

    changes = desired.need({1000: flows, 1001: groups})
    assert (changes.messages, changes.groups_added) == (n // 2, n // 2)

    changes = desired.need({owner: [] for owner in range(n)})
    assert changes.messages == 0
    assert (desired.size.owners, desired.size.flows, desired.size.groups) == (2, n, n)


def test_many_keys_are_found_again(desired: Desired) -> None:
    n = 200
    flows = [f"table=1,priority={i},tcp,tp_dst={i},actions=drop" for i in range(n)]
    groups = [f"group_id={i + 1},type=all,bucket=actions=output:{i + 1}" for i in range(n)]
    desired.need({1: [*groups, *flows]})

    desired.begin(verify=True)
    for reply in replies(desired.dump()):
        assert desired.installed(reply) == 0
        assert desired.installed(reply) == 0, "a dump may show a flow twice"
    retval, diff, delta = desired.diff()

    assert (retval, diff.flows_right, diff.groups_right, delta) == (0, n, n, b"")


def test_one_slot_with_many_in_line(desired: Desired) -> None:
    n = 2000
    for owner in range(n):
        desired.need({owner: ["table=1,ip,actions=drop"]})
    order = list(range(1, n - 1))
    random.Random(1).shuffle(order)
    for owner in order:
        assert desired.need({owner: []}).messages == 0
    assert desired.size.owners == 2
    assert desired.need({0: []}).messages == 0
    assert desired.need({n - 1: []}).flows_deleted == 1


def test_owner_with_100000_flows(core: Any) -> None:
    desired = Desired(core)
    flow = bytearray(core.flow("table=1,priority=5,tcp,nw_dst=1.2.3.4,actions=group:1"))
    at = flow.index(bytes([1, 2, 3, 4]))
    n = 100_000

    def flows(start: int) -> bytes:
        made = bytearray()
        for i in range(start, start + n):
            flow[at : at + 4] = i.to_bytes(4, "big")
            made += flow
        return bytes(made)

    assert desired.replace({1: flows(0)})[1].flows_added == n
    retval, changes, delta = desired.replace({1: flows(10)})
    assert (retval, changes.flows_added, changes.flows_deleted) == (0, 10, 10)
    assert len(delta) < 20 * 200
    assert desired.replace({1: b""})[1].flows_deleted == n


def test_memory(core: Any) -> None:
    """10,000 Services with 10 endpoints each: less than 25 MB."""
    desired = Desired(core)
    group = bytearray(
        core.group(
            "group_id=1,type=select,selection_method=dp_hash"
            + "".join(
                f",bucket=bucket_id:{i},weight:100,actions=ct(commit,table=9,zone=65312,"
                f"nat(dst=10.0.0.{i}:80),exec(set_field:0x10/0x10->ct_mark))"
                for i in range(10)
            )
        )
    )
    flow = bytearray(core.flow("table=1,priority=5,tcp,nw_dst=1.2.3.4,tp_dst=80,actions=group:1"))
    at = flow.index(bytes([1, 2, 3, 4]))
    wanted = {}
    for i in range(10_000):
        flow[at : at + 4] = i.to_bytes(4, "big")
        group[12:16] = (i + 1).to_bytes(4, "big")
        wanted[i] = bytes(group + flow)

    assert desired.replace(wanted)[0] == 0

    assert desired.size.buckets == 100_000
    allocator = 16 * (10_000 * 5)
    assert desired.size.bytes + allocator < 25_000_000


def test_every_truncation_is_refused(desired: Desired) -> None:
    whole = desired.encode(MESSAGES)
    starts = {0}
    for message in split(whole):
        starts.add(max(starts) + len(message))
    assert desired.replace({1: whole})[0] == 0

    for length in range(len(whole)):
        retval, error, delta = desired.replace({2: whole[:length]})
        assert (retval == 0) == (length in starts), length
        if retval:
            assert delta == b""
            assert error.position <= length
    assert desired.need({2: []}).messages == 0
    assert desired.need({1: MESSAGES}).messages == 0


def test_hostile_messages_do_no_harm(desired: Desired) -> None:
    choose = random.Random(5)
    whole = desired.encode(MESSAGES)
    accepted = 0
    for _ in range(3000):
        bad = bytearray(whole)
        for _ in range(choose.randint(1, 4)):
            bad[choose.randrange(len(bad))] = choose.choice([0, 1, 8, 16, 0x7F, 0xFF])
        retval, result, _ = desired.replace({choose.randint(1, 5): bytes(bad)})
        accepted += retval == 0
        if retval:
            assert self_explaining(desired.core.message(result))
    assert accepted
    dumped = split(desired.dump())
    assert len(dumped) == desired.size.flows + desired.size.groups
    desired.need({owner: [] for owner in range(1, 6)})
    assert (desired.size.owners, desired.size.flows, desired.size.groups) == (0, 0, 0)
    assert desired.size.buckets == 0


def test_only_buckets_that_are_inserted_last_go_on_with_a_group(desired: Desired) -> None:
    group = desired.encode(["group_id=7,type=select,bucket=bucket_id:1,actions=output:1"])
    insert = "group_id=7,command_bucket_id={},bucket=bucket_id:{},actions=output:2"
    more = desired.core.group(insert.format("last", 2), INSERT_BUCKET)
    first = desired.core.group(insert.format("first", 2), INSERT_BUCKET)
    again = desired.core.group(insert.format("last", 1), INSERT_BUCKET)
    for message, reason, position in (
        (first, "must be inserted last", len(group) + 20),
        (more[:40], "of which only 40 are there", len(group) + 2),
        (more[:24] + b"\0\x07" + more[26:], "bad length of a bucket", len(group) + 24),
        (again, "two buckets", 0),
    ):
        retval, error, delta = desired.replace({1: group + message})
        assert (retval != 0, delta) == (True, b"")
        assert reason in desired.core.message(error)
        assert error.position == position
    assert desired.replace({1: group + more})[0] == 0
    assert desired.size.buckets == 2


def self_explaining(message: str) -> bool:
    return len(message) > 10 and "\n" not in message


def test_hostile_replies_do_no_harm(desired: Desired) -> None:
    choose = random.Random(6)
    desired.need({1: MESSAGES})
    right = replies(desired.dump())
    accepted = refused = 0
    for _ in range(1500):
        desired.begin(verify=choose.random() < 0.5)
        for reply in right:
            bad = bytearray(reply)
            for _ in range(choose.randint(0, 3)):
                bad[choose.randrange(len(bad))] = choose.choice([0, 1, 8, 16, 0x7F, 0xFF])
            if desired.installed(bytes(bad)):
                refused += 1
            else:
                accepted += 1
        retval, _, delta = desired.diff()
        assert retval == 0
        split(delta)
    assert accepted
    assert refused
    assert desired.need({1: MESSAGES}).messages == 0


def test_every_truncation_of_a_reply(desired: Desired) -> None:
    desired.need({1: MESSAGES})
    for reply in replies(desired.dump()):
        for length in range(len(reply)):
            desired.begin()
            cut = bytearray(reply[:length])
            assert desired.installed(bytes(cut)) != 0
            if length >= 4:
                cut[2:4] = length.to_bytes(2, "big")
                entry = length - 16
                whole = entry == 0 or entry in entries(reply)
                assert (desired.installed(bytes(cut)) == 0) == whole, length


def entries(reply: bytes) -> set[int]:
    """Where a reply's flows or groups end in its body."""
    ends: list[int] = []
    while 16 + sum(ends[-1:]) < len(reply):
        start = sum(ends[-1:])
        ends.append(start + struct.unpack_from(">H", reply, 16 + start)[0])
    return set(ends)


def test_ends_are_checked(core: Any) -> None:
    desired = Desired(core)
    flow = core.flow("actions=drop")
    for ends in ([len(flow) + 1], [0], [len(flow), 0], [2**64 - 1], [len(flow) - 8, len(flow)]):
        retval = core.lib.nsx_desired_replace(
            desired.set,
            len(ends),
            core.ffi.new("uint64_t[]", len(ends)),
            core.exact(flow),
            len(flow),
            core.ffi.new("uint64_t[]", ends),
            core.buf(),
            core.ffi.NULL,
            core.error(),
        )
        assert retval != 0, ends
    assert desired.size.flows == 0


def test_calls_out_of_turn(core: Any) -> None:
    desired = Desired(core)
    assert desired.installed(flow_reply([])) != 0
    assert desired.diff()[0] != 0
    desired.begin()
    desired.begin()
    assert desired.installed(flow_reply([])) == 0
    assert desired.diff()[0] == 0
    desired.begin()
    core.lib.nsx_desired_free(core.ffi.NULL)


def test_nothing_leaks(core: Any) -> None:
    desired = Desired(core)
    whole = desired.encode(MESSAGES)
    shown = replies(whole)

    def come_and_go() -> None:
        assert desired.replace({1: whole, 2: whole})[0] == 0
        assert desired.replace({1: b""})[0] == 0
        assert desired.replace({2: b"", 3: whole[:-8]})[0] != 0
        assert desired.replace({2: b""})[0] == 0

    def reconcile() -> None:
        desired.begin()
        for reply in shown:
            desired.installed(reply)
            desired.installed(reply[:-1])
        desired.diff()

    def set_up() -> None:
        other = Desired(core)
        assert other.replace({1: whole, 2: whole})[0] == 0
        other.begin()
        other.installed(shown[0])

    for work in (come_and_go, reconcile, set_up):
        assert not core.leaks(work), work


def test_flow_that_could_not_be_shown(core: Any) -> None:
    """Open vSwitch aborts when it dumps a flow that takes more than a message."""
    desired = Desired(core)

    def flow(n: int) -> bytes:
        made: bytes = core.flow("actions=" + ",".join(["output:1"] * n))
        return made

    assert len(flow(4088)) == 64 + 16 * 4088 <= 65487 < len(flow(4089))
    assert desired.replace({1: flow(4088)})[0] == 0
    retval, error, _ = desired.replace({1: flow(4089)})
    assert retval != 0
    assert "could not show it" in core.message(error)


def test_group_that_could_not_be_shown(desired: Desired) -> None:
    """Open vSwitch aborts when it dumps a group that takes more than a message."""

    def group(n: int) -> str:
        buckets = "".join(f",bucket=bucket_id:{i},actions=output:{i + 1}" for i in range(n))
        return "group_id=1,type=select,selection_method=dp_hash" + buckets

    most = (65495 - 40) // 32
    assert desired.need({1: [group(most)]}).messages == 1
    assert len(desired.dump()) <= 65519
    retval, error, _ = desired.replace({1: desired.encode([group(most + 1)])})
    assert retval != 0
    assert "group 1 has 2046 buckets" in desired.core.message(error)
    retval, error, _ = desired.replace({1: desired.encode([group(9000)])})
    assert retval != 0
    assert "group 1 has 9000 buckets" in desired.core.message(error)
    assert desired.need({1: [group(most)]}).messages == 0


def test_flows_know_whose_they_are(desired: Desired) -> None:
    core, ffi = desired.core, desired.core.ffi
    n = 200
    flows = [f"table={i % 3},priority={i},tcp,tp_dst={i} actions=drop" for i in range(n)]
    desired.need({owner: [flows[owner]] for owner in range(0, n, 2)})
    reply = flow_reply(desired.encode([flow]) for flow in flows)
    found = core.buf()
    assert core.lib.nsx_flow_rows(core.exact(reply), len(reply), 0, found, core.error()) == 0
    rows = ffi.new("struct nsx_flow_row[]", n)
    ffi.memmove(rows, core.bytes(found), ffi.sizeof(rows))
    owners = ffi.new("uint64_t[]", n)

    def ask() -> int:
        retval: int = core.lib.nsx_desired_owners(
            desired.set, core.exact(reply), len(reply), rows, n, owners, core.error()
        )
        return retval

    assert ask() == 0
    assert list(owners) == [2**64 - 1 if i % 2 else i for i in range(n)]
    for at, length in ((len(reply) + 1, 0), (len(reply), 1), (2**64 - 1, 2), (0, 2**32 - 1)):
        rows[7].match, rows[7].match_len = at, length
        assert ask() != 0
