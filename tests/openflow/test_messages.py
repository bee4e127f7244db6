"""Messages between Python, bytes and ovs-ofctl's text; ovs-ofctl ofp-print is the oracle."""

from __future__ import annotations

import pickle
import re
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracle import Oracle
from samples import FLOW, GROUP, IDS, IN_PORT, MESSAGES, REG0, UNKNOWN_FIELD

from nsxdp.openflow import codec
from nsxdp.openflow.commit import describe_mod
from nsxdp.openflow.errors import DecodeError, ParseError
from nsxdp.openflow.flow import Flow, Group
from nsxdp.openflow.messages import (
    ANY_MATCH,
    NICIRA,
    NO_BUFFER,
    CtFlush,
    DescReply,
    EchoRequest,
    Error,
    Experimenter,
    Hello,
    Message,
    Other,
    OtherReply,
    OtherRequest,
    PacketIn,
    PacketIn2,
    PacketInReason,
    PacketOut,
    PortMod,
    PortStatsReply,
    Role,
    RoleReply,
    SetControllerId,
    TableConfig,
    TableMod,
    decode,
    message,
)
from nsxdp.openflow.parts import Match
from nsxdp.openflow.record import Property

ROOT = Path(__file__).parents[2]


def printed(oracle: Oracle, message: bytes) -> str:
    """What ovs-ofctl prints."""
    return oracle.print(message).rstrip()


@pytest.mark.parametrize("message", MESSAGES, ids=IDS)
def test_prints_as_ofp_print(message: Message, oracle: Oracle) -> None:
    assert str(message) == printed(oracle, message.encode())


@pytest.mark.parametrize("message", MESSAGES, ids=IDS)
def test_decodes_what_it_encodes(message: Message) -> None:
    again = decode(message.encode())
    assert again == message
    assert again.xid == message.xid
    assert hash(again) == hash(message)
    assert pickle.loads(pickle.dumps(again)) == message


def test_every_error_has_open_vswitch_s_name(oracle: Oracle) -> None:
    entries = re.findall(
        r"NSX_ERROR\((\w+), (\w+), (\d+), (\w+)\)", (ROOT / "csrc/errors.def").read_text()
    )
    assert len(entries) > 190
    for experimenter, kind, code, name in entries:
        whose = 0x2320 if experimenter == "NSX_NICIRA" else 0
        head = struct.pack("!I", whose) if whose else b""
        error = Error(int(kind, 0), int(code), head + EchoRequest().encode())
        assert error.name == name
        assert f" {name}\n" in oracle.print(error.encode()), name


def test_an_unknown_error_keeps_its_numbers() -> None:
    assert Error(99, 7).name == "error type 0x63 code 0x7"
    assert "type 99 code 7" in str(Error(99, 7, FLOW))


def test_names_of_tables_are_printed() -> None:
    tables = codec.Tables({"Classifier": 0, "ServiceLB": 1})
    assert codec.message_format(FLOW, tables) == (
        "OFPT_FLOW_MOD (OF1.5) (xid=0x0): ADD table:ServiceLB "
        "priority=5,ip,nw_dst=10.0.0.1 actions=drop"
    )
    assert codec.flow_parse("table=ServiceLB,priority=5,ip,nw_dst=10.0.0.1 actions=drop", 0, tables)
    assert Flow.decode(FLOW).format(tables) == (
        "table=ServiceLB, priority=5,ip,nw_dst=10.0.0.1 actions=drop"
    )


def test_a_packet_s_unknown_fields_are_left_out() -> None:
    fields = Match.of(UNKNOWN_FIELD + IN_PORT)
    packet = PacketIn(NO_BUFFER, 20, PacketInReason.APPLY_ACTION, 0, 1, fields, bytes(20))
    assert " in_port=3 " in str(packet)
    assert packet.in_port == 3


def test_a_packet_s_properties_come_in_any_order() -> None:
    def prop(kind: int, value: bytes) -> bytes:
        length = 4 + len(value)
        return struct.pack("!HH", kind, length) + value + bytes(-length % 8)

    body = (
        prop(7, b"\x01\x02")
        + prop(0, b"packet")
        + prop(1, struct.pack("!I", 99))
        + prop(99, b"news")
        + prop(3, b"\4")
        + prop(4, struct.pack("!4xQ", 0x77))
        + prop(5, b"\1")
        + prop(6, IN_PORT + REG0)
    )
    packet = decode(Experimenter(NICIRA, 30, body).encode())
    assert packet == PacketIn2(
        b"packet",
        99,
        table_id=4,
        cookie=0x77,
        reason=PacketInReason.APPLY_ACTION,
        match=Match.of(IN_PORT + REG0),
        userdata=b"\x01\x02",
        others=(Property(99, b"news"),),
    )
    assert isinstance(packet, PacketIn2)
    assert (packet.in_port, packet.total_len) == (3, 99)
    with pytest.raises(ValueError, match="isn't paused"):
        packet.resume()


def test_messages_in_messages_end() -> None:
    error = Error(1, 1, EchoRequest().encode())
    for _ in range(1000):
        error = Error(1, 1, error.encode())
    text = str(error)
    assert text.count("OFPBRC_BAD_TYPE") == 3
    assert "of a message in a message" in text


def test_other_messages_are_kept() -> None:
    status = Other(35, b"\0" * 72, xid=3)
    assert decode(status.encode()) == status
    assert "OFPBRC_BAD_TYPE" in str(status)
    assert "OFPBRC_BAD_VENDOR" in str(Experimenter(0xFEED, 1, b"abc"))
    assert "OFPBRC_BAD_STAT" in str(OtherRequest(99, b"12345"))
    with pytest.raises(DecodeError, match="unknown message type 35") as caught:
        codec.message_format(status.encode())
    assert caught.value.name == "OFPBRC_BAD_TYPE"
    assert pickle.loads(pickle.dumps(caught.value)).name == "OFPBRC_BAD_TYPE"


def test_every_kind_has_a_sample() -> None:
    unnamed = {OtherRequest, OtherReply}
    assert {type(sample) for sample in MESSAGES} == {*message._known.values(), *unnamed}


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: SetControllerId(0x10000).encode(),
        lambda: SetControllerId(-1).encode(),
        lambda: CtFlush(labels=1 << 128).encode(),
        lambda: PortMod(3, "00:11:22").encode(),
        lambda: DescReply("x" * 257, "", "", "", "").encode(),
        lambda: EchoRequest(bytes(0xFFFF)).encode(),
        lambda: PacketOut(NO_BUFFER, ANY_MATCH, bytes(0x10000), b"").encode(),
        lambda: PortStatsReply((), flags=-1).encode(),
    ],
)
def test_what_can_t_be_sent(wrong: Callable[[], bytes]) -> None:
    with pytest.raises(ValueError, match=r"allows|Ethernet|more than|= |out of range"):
        wrong()


def test_numbers_without_a_name_are_kept() -> None:
    reply = decode(RoleReply(Role(9)).encode())
    assert isinstance(reply, RoleReply)
    assert reply.role == 9
    assert isinstance(reply.role, Role)
    mod = decode(TableMod(3, TableConfig(0x80000004)).encode())
    assert isinstance(mod, TableMod)
    assert mod.config == TableConfig.EVICTION | 0x80000000
    assert pickle.loads(pickle.dumps(reply)) == reply


def test_hello_of_a_switch_without_bitmap() -> None:
    hello = decode(bytes([4, 0, 0, 8, 0, 0, 0, 1]))
    assert hello == Hello(frozenset({1, 2, 3, 4}))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x06",
        b"\x06\x00\x00\x07\0\0\0\0",
        FLOW[:-1],
        FLOW + b"\0",
        b"\x04" + FLOW[1:],
        b"\x06\x06\x00\x10" + bytes(12),
        b"\x06\x0a\x00\x10" + bytes(12),
        b"\x06\x21\x00\x08" + bytes(4),
    ],
)
def test_what_is_no_message(data: bytes) -> None:
    with pytest.raises(DecodeError):
        decode(data)


def _survives(data: bytes) -> None:
    """Whatever the bytes, there is a message, a text, or a DecodeError."""
    for read in (decode, codec.message_format):
        wrong: DecodeError | None = None
        try:
            read(data)
        except DecodeError as error:
            wrong = error
        assert wrong is None or (wrong.reason and 0 <= wrong.position <= len(data))


@pytest.mark.parametrize("message", MESSAGES, ids=IDS)
def test_every_truncation(message: Message) -> None:
    data = message.encode()
    for length in range(len(data)):
        _survives(data[:length])
        # The same, with a header that claims to be right.
        if length >= 8:
            _survives(data[:2] + struct.pack("!H", length) + data[4:length])


@pytest.mark.parametrize("message", MESSAGES, ids=IDS)
def test_every_byte_wrong(message: Message) -> None:
    data = message.encode()
    for i in range(len(data)):
        for wrong in (0x00, 0xFF, data[i] ^ 0x80, data[i] + 1 & 0xFF):
            _survives(data[:i] + bytes([wrong]) + data[i + 1 :])


@given(st.binary(max_size=200), st.integers(0, 40))
def test_any_bytes(body: bytes, kind: int) -> None:
    _survives(struct.pack("!BBHI", 6, kind, 8 + len(body), 1) + body)


# Streams and bundles.


def test_split() -> None:
    assert codec.split(b"") == (0, 0)
    assert codec.split(FLOW[:7]) == (0, 0)
    assert codec.split(FLOW[:-1]) == (0, 0)
    assert codec.split(FLOW + FLOW + FLOW[:20]) == (2, 2 * len(FLOW))


def test_split_stops_at_a_header_that_can_t_be() -> None:
    with pytest.raises(DecodeError, match="length is 3") as caught:
        codec.split(FLOW + b"\x06\x00\x00\x03\0\0\0\0")
    assert caught.value.position == len(FLOW) + 2


def test_bundle_wrap(oracle: Oracle) -> None:
    wrapped = codec.bundle_wrap(FLOW + GROUP, 3, 3, 0x77)
    first = wrapped[: 16 + len(FLOW)]
    second = wrapped[16 + len(FLOW) :]
    assert codec.message_format(first) == printed(oracle, first)
    assert codec.message_format(second) == printed(oracle, second)
    assert "xid=0x78" in codec.message_format(second)


def test_bundle_wrap_refuses_what_doesn_t_fit() -> None:
    longest = EchoRequest(bytes(0xFFFF - 16 - 8)).encode()
    assert len(codec.bundle_wrap(longest, 1, 3, 1)) == 0xFFFF
    with pytest.raises(DecodeError, match="too long for a bundle") as caught:
        codec.bundle_wrap(FLOW + EchoRequest(bytes(0xFFFF - 16 - 7)).encode(), 1, 3, 1)
    assert caught.value.position == len(FLOW)
    with pytest.raises(DecodeError, match="cut off"):
        codec.bundle_wrap(FLOW[:-1], 1, 3, 1)


def test_a_message_has_64_kib() -> None:
    with pytest.raises(ValueError, match="OpenFlow allows 65535"):
        EchoRequest(bytes(0xFFFF)).encode()


# Text.


def test_parse_errors_point_at_the_place() -> None:
    with pytest.raises(ParseError) as caught:
        codec.flow_parse("table=1,ip,nw_dst=10.0.0.300 actions=drop")
    lines = str(caught.value).splitlines()
    assert lines[1][lines[2].index("^") :].startswith("10.0.0.300")
    assert "\n" not in caught.value.reason
    assert pickle.loads(pickle.dumps(caught.value)).position == caught.value.position


def test_parse_errors_count_characters() -> None:
    with pytest.raises(ParseError) as caught:
        codec.flow_parse("table=äöü actions=drop")
    assert caught.value.position == len("table=")


def test_parse_errors_of_long_texts_are_short() -> None:
    text = "actions=" + "output:1," * 500 + "nonsense:1," + "output:2," * 500
    with pytest.raises(ParseError) as caught:
        codec.flow_parse(text)
    lines = str(caught.value).splitlines()
    assert lines[1][lines[2].index("^") :].startswith("nonsense")
    assert len(lines[1]) < 200


@pytest.mark.parametrize(
    "names",
    [{"A": 256}, {"A": 255}, {"A": -1}, {"A": 1, "B": 1}, {"": 1}, {"7up": 1}, {"a,b": 1}],
)
def test_names_that_tables_can_t_have(names: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="table"):
        codec.Tables(names)


def test_tables_of_a_sequence() -> None:
    tables = codec.Tables(["A", None, "C"])
    assert codec.flow_format(codec.flow_parse("table=C actions=drop", 0, tables), tables) == (
        "table=C, actions=drop"
    )
    assert repr(tables) == "Tables({'A': 0, 'C': 2})"
    assert pickle.loads(pickle.dumps(tables)).by_number == tables.by_number


# Flows and groups as values.


def test_flow_is_a_value() -> None:
    text = "table=1, priority=5,tcp,nw_dst=10.0.0.1,tp_dst=80 actions=output:2"
    flow = Flow.parse(text)
    assert str(flow) == text
    assert flow == Flow.parse("table=1 tp_dst=80 tcp priority=5 nw_dst=10.0.0.1 actions=output:2")
    assert len({flow, Flow.parse(text)}) == 1
    assert flow != Flow.parse(text.replace("priority=5", "priority=6"))
    assert flow.encode() == codec.flow_parse(text)
    assert (flow.table, flow.priority, flow.cookie) == (1, 5, 0)


def test_flow_with_everything() -> None:
    text = (
        "cookie=0x5,table=2,idle_timeout=3,hard_timeout=4,importance=6,send_flow_rem,priority=9,"
        "ip actions=drop"
    )
    flow = Flow.parse(text)
    assert flow.encode() == codec.flow_parse(text)
    assert "cookie=0x5" in str(flow)
    assert flow.without_cookie().cookie == 0


def test_group_is_a_value() -> None:
    text = "group_id=5,type=select,bucket=bucket_id:0,actions=output:1"
    group = Group.parse(text)
    assert group == Group.parse(text)
    assert group.group_id == 5
    assert group.encode() == codec.group_parse(text)
    assert Group.parse(str(group)) == group
    assert len({group, Group.parse(text)}) == 1


def test_mods_are_described_as_lines_of_a_bundle_file() -> None:
    for data in (
        FLOW,
        codec.flow_parse("table=3,priority=9,ip", codec.FLOW_DELETE_STRICT),
        codec.group_parse("group_id=5,type=all,bucket=actions=output:1", codec.GROUP_MODIFY),
    ):
        line = describe_mod(data)
        again = (codec.flow_parse, codec.group_parse)[line.startswith("group")]
        command = {"add": 0, "delete_strict": 4, "modify": 1}[line.split()[1]]
        text = line.split(" ", 2)[2]
        if command == codec.FLOW_DELETE_STRICT:
            text = text.removesuffix(" actions=drop")
        assert again(text, command) == data
