"""Messages between Python, bytes and ovs-ofctl's text; ovs-ofctl ofp-print is the oracle."""

from __future__ import annotations

import pickle
import re
import struct
from ipaddress import ip_address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracle import Oracle

from nsxdp.openflow import codec, requests
from nsxdp.openflow.commit import describe_mod
from nsxdp.openflow.errors import DecodeError, ParseError
from nsxdp.openflow.flow import Flow, Group
from nsxdp.openflow.messages import (
    BarrierReply,
    BarrierRequest,
    BundleControl,
    BundleKind,
    EchoReply,
    EchoRequest,
    Error,
    Experimenter,
    FeaturesReply,
    FeaturesRequest,
    FlowMod,
    GroupMod,
    Hello,
    Message,
    MeterCommand,
    MeterMod,
    MultipartReply,
    MultipartRequest,
    Other,
    PacketIn,
    PacketOut,
    SetConfig,
    decode,
)

ROOT = Path(__file__).parents[2]
FLOW = codec.flow_parse("table=1,priority=5,ip,nw_dst=10.0.0.1 actions=drop")
GROUP = codec.group_parse("group_id=1,type=select,selection_method=dp_hash,bucket=actions=output:1")
IN_PORT = bytes.fromhex("80000004 00000003")
REG0 = bytes.fromhex("00010004 00000009")
UNKNOWN_FIELD = bytes.fromhex("f00d0202 1234")


def flow_mod(text: str, command: int = codec.FLOW_ADD) -> FlowMod:
    return FlowMod(codec.flow_parse(text, command)[8:])


def group_mod(text: str, command: int = codec.GROUP_ADD) -> GroupMod:
    return GroupMod(codec.group_parse(text, command)[8:])


MESSAGES: list[Message] = [
    Hello(),
    Hello(frozenset({1, 4, 6})),
    Error(5, 1, FLOW),
    Error(0xFFFF, 15, struct.pack("!I", 0x2320) + FLOW),
    Error(6, 0, GROUP),
    Error(17, 13, BundleControl(7, BundleKind.COMMIT_REQUEST, xid=9).encode()),
    Error(4, 9, codec.bundle_wrap(FLOW, 3, 3, 77)),
    Error(0, 0, b"go away\n"),
    EchoRequest(),
    EchoReply(),
    FeaturesRequest(),
    FeaturesReply(0x123456789ABCDEF0, 0, 254, 0, 0x64F),
    FeaturesReply(1, 5, 254, 1, 0),
    SetConfig(),
    SetConfig(1, 128),
    BarrierRequest(xid=7),
    BarrierReply(),
    BundleControl(1, BundleKind.OPEN_REQUEST),
    BundleControl(0x10, BundleKind.COMMIT_REPLY, 1),
    BundleControl(0, BundleKind.DISCARD_REPLY, 0),
    MeterMod(MeterCommand.ADD, 5, 100, 10),
    MeterMod(MeterCommand.MODIFY, 5, 100, 10),
    MeterMod(MeterCommand.DELETE, 0xFFFFFFFF),
    requests.flow_desc_request(),
    requests.flow_desc_request(5, 0xFF, 3),
    requests.group_desc_request(),
    requests.group_desc_request(7),
    requests.delete_flows(0x123, 0xFFFF),
    requests.delete_flows(table=4),
    requests.set_packet_in_format(),
    requests.ct_flush(5),
    requests.ct_flush(
        5,
        17,
        requests.CtTuple(dst=ip_address("10.0.0.1"), dst_port=53),
        requests.CtTuple(src=ip_address("10.1.0.1")),
    ),
    requests.ct_flush(
        None, 6, requests.CtTuple(ip_address("fd00::1"), ip_address("fd00::2"), 1, 2)
    ),
    flow_mod("actions=output:3"),
    flow_mod("table=3,cookie=0x1/0xff", codec.FLOW_DELETE),
    flow_mod("table=3,priority=9,ip", codec.FLOW_DELETE_STRICT),
    flow_mod("table=3,cookie=0x1/0xff,ip actions=drop", codec.FLOW_MODIFY),
    flow_mod("priority=7 actions=drop"),
    flow_mod(
        "table=2,cookie=5,idle_timeout=3,hard_timeout=4,importance=6,send_flow_rem,reset_counts,"
        "tcp,tp_dst=80 actions=ct(commit,zone=1),resubmit(,3)"
    ),
    group_mod("group_id=1,type=all,bucket=actions=output:1,bucket=actions=output:2"),
    group_mod(
        "group_id=5,type=select,selection_method=hash,fields(ip_src),"
        "bucket=bucket_id:3,weight:100,actions=output:1",
        codec.GROUP_ADD_OR_MOD,
    ),
    group_mod("group_id=5,type=select,bucket=actions=output:1", codec.GROUP_MODIFY),
    group_mod(
        "group_id=5,command_bucket_id=last,bucket=bucket_id:7,actions=output:1",
        codec.GROUP_INSERT_BUCKET,
    ),
    group_mod("group_id=5,command_bucket_id=7", codec.GROUP_REMOVE_BUCKET),
    group_mod("group_id=5", codec.GROUP_DELETE),
    PacketOut.parse(bytes(60), "output:3,resubmit(,2)", 5),
    PacketOut.parse(bytes(14)),
    PacketIn(bytes(60), 60, 1, 5, 7, IN_PORT + REG0),
    PacketIn(bytes(60), 90, 0, 0, 0xFFFFFFFFFFFFFFFF, IN_PORT),
    MultipartReply(1, 1),
    MultipartReply(7, 0),
]

ids = [f"{i}-{type(m).__name__}" for i, m in enumerate(MESSAGES)]


def printed(oracle: Oracle, message: bytes) -> str:
    """What ovs-ofctl prints."""
    return oracle.print(message).rstrip()


@pytest.mark.parametrize("message", MESSAGES, ids=ids)
def test_prints_as_ofp_print(message: Message, oracle: Oracle) -> None:
    assert str(message) == printed(oracle, message.encode())


@pytest.mark.parametrize("message", MESSAGES, ids=ids)
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


def test_an_error_with_the_start_of_a_message(oracle: Oracle) -> None:
    error = Error(4, 9, FLOW[:64])
    assert str(error) == printed(oracle, error.encode())


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
    packet = PacketIn(bytes(20), 20, 1, 0, 1, UNKNOWN_FIELD + IN_PORT)
    assert " in_port=3 " in str(packet)
    assert packet.in_port == 3


def test_a_packet_with_userdata() -> None:
    def prop(kind: int, value: bytes) -> bytes:
        length = 4 + len(value)
        return struct.pack("!HH", kind, length) + value + bytes(-length % 8)

    body = (
        prop(0, b"packet")
        + prop(1, struct.pack("!I", 99))
        + prop(3, b"\4")
        + prop(4, struct.pack("!4xQ", 0x77))
        + prop(5, b"\1")
        + prop(6, IN_PORT + REG0)
        + prop(7, b"\x01\x02")
        + prop(8, b"a continuation")
    )
    message = Experimenter(0x2320, 30, body).encode()
    packet = decode(message)
    assert packet == PacketIn(b"packet", 99, 1, 4, 0x77, IN_PORT + REG0, b"\x01\x02")
    assert packet.encode() == message
    assert str(packet) == (
        "NXT_PACKET_IN2 (OF1.5) (xid=0x0): table_id=4 cookie=0x77 total_len=99 "
        "reg0=0x9,in_port=3 (via action) data_len=6 (unbuffered)\n userdata=01.02\n"
        "vlan_tci=0x0000,dl_src=00:00:00:00:00:00,dl_dst=00:00:00:00:00:00,dl_type=0x0000"
    )


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
    assert str(status) == "OFPT_35 (xid=0x3): 72 bytes"
    assert "experimenter 0xfeed type 1, 3 bytes" in str(Experimenter(0xFEED, 1, b"abc"))
    assert "type 99, 5 bytes" in str(MultipartRequest(99, 0, b"12345"))


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


@pytest.mark.parametrize("message", MESSAGES, ids=ids)
def test_every_truncation(message: Message) -> None:
    data = message.encode()
    for length in range(len(data)):
        _survives(data[:length])
        # The same, with a header that claims to be right.
        if length >= 8:
            _survives(data[:2] + struct.pack("!H", length) + data[4:length])


@pytest.mark.parametrize("message", MESSAGES, ids=ids)
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
