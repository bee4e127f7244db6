"""Flows: flow_mods of all commands, flow descriptions, and their text as a dump has it."""

from __future__ import annotations

import errno
import re
import socket
import struct
from typing import TYPE_CHECKING, Any

import pytest
from library import Codec, CodecError
from oracle import Oracle, flow_desc, flow_desc_reply, oxs_stats

if TYPE_CHECKING:
    from nsxdp.lab.ovs import OVS

ADD, MODIFY, MODIFY_STRICT, DELETE, DELETE_STRICT = range(5)

FLOWS = [
    "actions=drop",
    "actions=",
    "priority=0 actions=drop",
    "priority=32768,ip actions=drop",
    "table=3,priority=7,cookie=0x12,idle_timeout=5,hard_timeout=0x10,importance=3 actions=drop",
    "send_flow_rem,check_overlap,reset_counts,no_packet_counts,no_byte_counts actions=drop",
    "table:1 priority:5 in_port:2 actions=drop",
    "  table=1 ,\tpriority=5,, tcp  tp_dst=80   actions=drop",
    "cookie=0xffffffffffffffff,table=254 actions=drop",
    "priority=65535,tcp,duration=5s,n_packets=3,n_bytes=4,idle_age=1,hard_age=6,actions=drop",
    "no_readonly_table,allow_hidden_fields,ip actions=drop",
    "table=1,tcp,reg0=5,actions=resubmit(,2)",
    "table=1,ip,actions=set_field:5->reg0,group:7",
    "ip,action=drop",
    "table=255 actions=drop",
    "table=010,priority=010,in_port=010 actions=drop",
    "cookie=-1,priority(5),send_flow_rem=1 actions=drop",
    "ip,actions drop=",
]


def test_flows_are_those_of_ovs_ofctl(codec: Codec, oracle: Oracle) -> None:
    ours = [codec.flow(flow) for flow in FLOWS]
    assert dict(zip(FLOWS, ours, strict=True)) == dict(
        zip(FLOWS, oracle.flow_mods(FLOWS), strict=True)
    )
    views = codec.flow_views(flow_desc_reply([flow_desc(flow_mod) for flow_mod in ours]))
    assert [codec.format(view, stats=True) for view in views] == oracle.print_flows(ours)


@pytest.mark.parametrize("flow", FLOWS)
def test_what_is_printed_is_parsed(codec: Codec, flow: str) -> None:
    flow_mod = codec.flow(flow)
    assert codec.flow(codec.text(flow_mod)) == flow_mod


MATCH_TCP = "0001000f 80000a02 0800 80001401 06 00"
"""struct ofp_match of "tcp"."""


@pytest.mark.parametrize(
    ("command", "text", "body"),
    [
        (
            ADD,
            "table=2,cookie=5,priority=9,idle_timeout=1,hard_timeout=2,importance=3,send_flow_rem,"
            "tcp actions=drop",
            "0000000000000005 0000000000000000 02 00 0001 0002 0009 ffffffff ffffffff ffffffff"
            " 0001 0003",
        ),
        (
            MODIFY,
            "table=2,cookie=5/0xf,tcp actions=drop",
            "0000000000000005 000000000000000f 02 01 0000 0000 8000 ffffffff ffffffff ffffffff"
            " 0000 0000",
        ),
        (
            MODIFY_STRICT,
            "cookie=5,priority=9,reset_counts,tcp actions=drop",
            "0000000000000000 0000000000000000 00 02 0000 0000 0009 ffffffff ffffffff ffffffff"
            " 0004 0000",
        ),
        (
            DELETE,
            "cookie=0x15/0xf,out_port=LOCAL,out_group=7,tcp",
            "0000000000000005 000000000000000f ff 03 0000 0000 8000 ffffffff fffffffe 00000007"
            " 0000 0000",
        ),
        (
            DELETE,
            "out_port=any,out_group=All,tcp",
            "0000000000000000 0000000000000000 ff 03 0000 0000 8000 ffffffff ffffffff fffffffc"
            " 0000 0000",
        ),
        (
            DELETE_STRICT,
            "table=1,cookie=5/-1,priority=9,tcp",
            "0000000000000005 ffffffffffffffff 01 04 0000 0000 0009 ffffffff ffffffff ffffffff"
            " 0000 0000",
        ),
    ],
)
def test_bytes_of_every_command(
    codec: Codec, oracle: Oracle, command: int, text: str, body: str
) -> None:
    expected = bytes.fromhex("060e 0040 00000000" + body + MATCH_TCP)
    flow_mod = codec.flow(text, command)
    assert flow_mod == expected
    assert codec.decode_flow_mod(flow_mod)[0] == command
    words = ["ADD", "MOD", "MOD_STRICT", "DEL", "DEL_STRICT"]
    assert f"(xid=0x0): {words[command]} " in oracle.print(flow_mod)


@pytest.mark.parametrize(
    ("text", "command", "word", "message"),
    [
        ("ip", ADD, "ip", "a flow needs actions="),
        ("ip,actions", ADD, "ip,actions", "a flow needs actions="),
        ("", ADD, "", "a flow needs actions="),
        ("ip actions=drop", DELETE, "actions", "deleting takes no actions"),
        ("foo=1 actions=drop", ADD, "foo", "unknown key"),
        ("table=foo actions=drop", ADD, "foo", "unknown table"),
        ("table=256 actions=drop", ADD, "256", "table is greater than 255"),
        ("table actions=drop", ADD, "table", "table has no value"),
        ("priority=65536 actions=drop", ADD, "65536", "priority is greater than 65535"),
        ("priority=-1 actions=drop", ADD, "-1", "priority is not a number"),
        ("priority= actions=drop", ADD, "priority", "priority has no value"),
        ("priority={p} actions=drop", ADD, "p", "only a template can have a hole"),
        ("priority=1", DELETE, "priority", "this command takes no priority"),
        ("idle_timeout=x actions=drop", ADD, "x", "idle_timeout is not a number"),
        ("importance=1 actions=drop", MODIFY, "importance", "takes no importance"),
        ("cookie=5/5 actions=drop", ADD, "5/5", "cookie has no mask"),
        ("cookie=5", DELETE, "5", "needs a mask"),
        ("cookie=5/x", DELETE, "x", "cookie mask is not a number"),
        ("cookie=0x10000000000000000 actions=drop", ADD, "0x1", "cookie is greater than"),
        ("out_port=1 actions=drop", ADD, "out_port", "takes no out_port"),
        ("out_port=foo", DELETE, "foo", "unknown port"),
        ("out_group=foo", DELETE, "foo", "out_group is not a number"),
        ("send_flow_rem", DELETE, "send_flow_rem", "unknown key"),
        ("table=1 actions=no_such_action", ADD, "no_such_action", "no_such_action"),
    ],
)
def test_refused(codec: Codec, text: str, command: int, word: str, message: str) -> None:
    with pytest.raises(CodecError) as caught:
        codec.flow(text, command)
    error = caught.value
    assert error.code == errno.EINVAL
    assert message in error.message
    assert text[error.position :].startswith(word)


def test_a_refused_flow_leaves_the_buffer_as_it_was(codec: Codec) -> None:
    ffi, lib = codec.ffi, codec.lib
    buf = ffi.gc(ffi.new("struct nsx_buf *"), lib.nsx_buf_uninit)
    error = ffi.new("struct nsx_error *")

    def parse(text: bytes) -> int:
        code: int = lib.nsx_flow_parse(text, len(text), ADD, ffi.NULL, buf, error)
        return code

    assert parse(b"tcp,tp_dst=80 actions=drop") == 0
    before = bytes(ffi.buffer(buf.data, buf.size))
    assert parse(b"tcp,tp_dst=80,nw_dst=1.2.3.4,foo actions=drop") == errno.EINVAL
    assert bytes(ffi.buffer(buf.data, buf.size)) == before
    assert parse(b"udp actions=drop") == 0
    assert bytes(ffi.buffer(buf.data, buf.size)) == before + codec.flow("udp actions=drop")


def test_a_flow_that_no_message_can_hold_is_refused(codec: Codec) -> None:
    actions = ",".join(["set_field:1->reg0"] * 4092)
    with pytest.raises(CodecError, match="doesn't fit into a message"):
        codec.flow(f"actions={actions}")


def test_table_names(codec: Codec) -> None:
    tables = codec.tables({0: "Classifier", 3: "ServiceLB", 4: "9lives", 5: "L-2_b.9", 6: "a b"})
    flow_mod = codec.flow("table=ServiceLB,ip actions=resubmit(,Classifier)", tables=tables)
    assert flow_mod == codec.flow("table=3,ip actions=resubmit(,0)")
    assert codec.text(flow_mod, tables) == "table=ServiceLB, ip actions=resubmit(,Classifier)"
    assert codec.text(flow_mod) == "table=3, ip actions=resubmit(,0)"
    assert codec.text(codec.flow("ip actions=drop"), tables) == "table=Classifier, ip actions=drop"
    quoted = codec.flow('table="9lives" actions=drop', tables=tables)
    assert quoted[24] == 4
    assert codec.text(quoted, tables) == 'table="9lives", actions=drop'
    for table, name in ((5, "L-2_b.9"), (6, '"a b"')):
        assert codec.text(codec.flow(f"table={table} actions=drop"), tables).startswith(
            f"table={name}, "
        )
    with pytest.raises(CodecError, match='unknown table: "L2"'):
        codec.flow("table=L2 actions=drop", tables=tables)


# Flow descriptions.


@pytest.mark.parametrize(
    ("stats", "text"),
    [
        (oxs_stats(), "duration=0s, table=0, n_packets=0, n_bytes=0, actions=drop"),
        (
            oxs_stats(1_500_000_000, 3, 7, 2**63),
            "duration=1.500s, table=0, n_packets=7, n_bytes=9223372036854775808, idle_age=3,"
            " actions=drop",
        ),
        (
            oxs_stats(2_000_000_010, 0),
            "duration=2.00000001s, table=0, n_packets=0, n_bytes=0, idle_age=0, actions=drop",
        ),
        (
            struct.pack(">HHxxxx", 0, 4),
            "duration=0s, table=0, n_packets=?, n_bytes=?, actions=drop",
        ),
        (
            struct.pack(">HHHBBI", 0, 12, 0x8002, 9 << 1, 4, 5) + bytes(4),
            "duration=0s, table=0, n_packets=?, n_bytes=?, actions=drop",
        ),
    ],
    ids=["zero", "milliseconds", "nanoseconds", "none", "unknown"],
)
def test_statistics(codec: Codec, oracle: Oracle, stats: bytes, text: str) -> None:
    reply = flow_desc_reply([flow_desc(codec.flow("actions=drop"), stats)])
    (view,) = codec.flow_views(reply)
    assert codec.format(view, cookie=False, stats=True) == text
    if "?" not in text:
        assert f"cookie=0x0, {text}" in oracle.print(reply)


def test_a_dump_without_statistics_shows_only_what_is_not_default(codec: Codec) -> None:
    flow_mod = codec.flow("cookie=0x10,ip actions=drop")
    _, view, _data = codec.decode_flow_mod(flow_mod)
    assert codec.format(view, stats=False) == "cookie=0x10, ip actions=drop"
    assert codec.format(view, cookie=False, stats=False) == "ip actions=drop"


def test_all_flows_of_a_reply(codec: Codec) -> None:
    flows = [f"table={i % 3},priority={i},tcp,tp_dst={i} actions=drop" for i in range(1, 100)]
    mods = [codec.flow(flow) for flow in flows]
    views = codec.flow_views(flow_desc_reply([flow_desc(mod) for mod in mods]))
    assert [view.priority for view in views] == list(range(1, 100))
    assert [codec.flow(codec.format(view, stats=False)) for view in views] == mods
    assert codec.flow_views(flow_desc_reply([])) == []


def test_a_row_of_other_replies_is_refused(codec: Codec) -> None:
    reply = flow_desc_reply([flow_desc(codec.flow("tcp,tp_dst=80 actions=output:1"))])
    row = codec.ffi.new("struct nsx_flow_row[1]")
    codec.ffi.buffer(row)[:] = codec.call(codec.lib.nsx_flow_rows, reply, len(reply), 0)
    arguments = (row, codec.ffi.NULL, False, False)
    text = codec.call(codec.lib.nsx_flow_row_format, reply, len(reply), *arguments)
    assert text == b"tcp,tp_dst=80 actions=output:1"
    for field in ("match", "instructions"):
        for name, value in ((field, 2**63), (f"{field}_len", 2**32 - 1)):
            before = getattr(row[0], name)
            setattr(row[0], name, value)
            with pytest.raises(CodecError, match=f"flow beyond its {len(reply)} bytes"):
                codec.call(codec.lib.nsx_flow_row_format, reply, len(reply), *arguments)
            setattr(row[0], name, before)


@pytest.mark.parametrize(
    ("offset", "value", "message"),
    [
        (0, 5, "version 5"),
        (1, 15, "type 15"),
        (3, 0, "message of 0 bytes"),
        (25, 5, "unknown flow command 5"),
        (24, 255, "no table 255"),
        (36, 1, "no port 0x1ffffff"),
        (44, 1, "unknown flow flags 0x100"),
        (49, 0, "match is of type 0"),
        (51, 3, "match of 3 bytes"),
        (51, 200, "match of 200 bytes"),
        (52, 0x70, "unknown field"),
        (55, 7, "unknown field, or of a wrong length"),
    ],
)
def test_a_wrong_flow_mod_is_refused(codec: Codec, offset: int, value: int, message: str) -> None:
    flow_mod = bytearray(codec.flow("tcp actions=drop"))
    flow_mod[offset] = value
    with pytest.raises(CodecError) as caught:
        codec.decode_flow_mod(bytes(flow_mod))
    assert message in caught.value.message
    assert caught.value.code == errno.EPROTO
    assert caught.value.position in range(offset - 7, offset + 1)


REPLY_FLOWS = [
    "cookie=1,tcp,tp_dst=80,reg0=1/1 actions=resubmit(,2)",
    "table=1,ipv6,ipv6_src=fe80::/10 actions=set_field:1->reg0,group:3",
]


def _read_all(codec: Codec, reply: bytes) -> list[str] | None:
    try:
        return [codec.format(view, stats=True) for view in codec.flow_views(reply)]
    except CodecError as error:
        problem = error
    assert problem.code == errno.EPROTO
    assert problem.position <= len(reply)
    return None


def test_no_truncation_of_a_reply_is_read(codec: Codec) -> None:
    descs = [flow_desc(codec.flow(flow)) for flow in REPLY_FLOWS]
    reply = flow_desc_reply(descs)
    whole = {16, 16 + len(descs[0]), len(reply)}
    for n in range(len(reply)):
        assert _read_all(codec, reply[:n]) is None
        short = bytearray(reply[:n])
        if n >= 4:
            struct.pack_into(">H", short, 2, n)
            assert (_read_all(codec, bytes(short)) is None) == (n not in whole)


def test_any_change_of_a_byte_is_survived(codec: Codec) -> None:
    reply = flow_desc_reply([flow_desc(codec.flow(flow)) for flow in REPLY_FLOWS])
    for i in range(len(reply)):
        for x in (0x01, 0x04, 0x80, 0xFF):
            changed = bytearray(reply)
            changed[i] ^= x
            _read_all(codec, bytes(changed))


# A real switch.


def _dump(path: str) -> list[bytes]:
    """The raw flow description replies of the switch at the unix socket 'path'."""
    replies = []
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(30)
        connection.connect(path)
        stream = connection.makefile("rwb")
        request = struct.pack(">BxxxIIxxxxQQ", 255, 0xFFFFFFFF, 0xFFFFFFFF, 0, 0)
        request += struct.pack(">HHxxxx", 1, 4)
        stream.write(struct.pack(">BBHI", 6, 0, 8, 1))
        stream.write(struct.pack(">BBHIHHxxxx", 6, 18, 16 + len(request), 2, 1, 0) + request)
        stream.flush()
        while True:
            head = stream.read(8)
            message = head + stream.read(struct.unpack_from(">H", head, 2)[0] - 8)
            if message[1] == 19:
                replies.append(message)
                if not message[11] & 1:
                    return replies


def _without_times(text: str) -> str:
    return re.sub(r"(duration|idle_age|hard_age)=[^,]*, ", "", text)


def test_a_switch_dumps_what_was_sent(codec: Codec, ovs: OVS) -> None:
    address = ovs.add_bridge(
        "br0", fail_mode="secure", settings=["protocols=OpenFlow13,OpenFlow15"]
    )
    flows = [*REPLY_FLOWS[:1], "table=2,priority=4,idle_timeout=60,send_flow_rem actions=drop"]
    flows += [f"table=3,priority=5,ct_state=+trk,udp,tp_dst={i} actions=drop" for i in range(900)]
    ovs.ofctl("--bundle", "add-flows", address, "-", stdin="\n".join(flows))

    replies = _dump(address.removeprefix("unix:"))
    assert len(replies) > 1
    views: list[Any] = [view for reply in replies for view in codec.flow_views(reply)]
    ours = [_without_times(codec.format(view, stats=True)) for view in views]
    dumped = ovs.ofctl("dump-flows", address).splitlines()
    theirs = [_without_times(line.strip()) for line in dumped if "actions=" in line]
    assert sorted(ours) == sorted(theirs)
    assert len(ours) == len(flows)
    assert all(view.idle_age >= 0 for view in views)
    plain = {codec.format(view, stats=False) for view in views}
    assert plain == {codec.text(codec.flow(flow)) for flow in flows}
