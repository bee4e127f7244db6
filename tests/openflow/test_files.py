"""Files of flows, and streams of messages as text."""

from __future__ import annotations

import pickle
import re

import pytest
from oracle import Oracle

from nsxdp.openflow import DecodeError, Flow, Group, ParseError, Tables, codec

LINES = [
    "# flows",
    "",
    "table=1,tcp actions=drop",
    "\ttable=2,udp actions=LOCAL # to the node",
    "table=3,cookie=1,ip actions=drop\r",
    "  # the last one:",
    "actions=drop",
]
COMMANDS = {
    "\tadd table=2,udp actions=LOCAL # to the node": codec.FLOW_ADD,
    "modify table=3,cookie=1/-1,ip actions=drop\r": codec.FLOW_MODIFY,
    "modify_strict,table=3,priority=5,ip actions=drop": codec.FLOW_MODIFY_STRICT,
    "delete table=1,tcp": codec.FLOW_DELETE,
    "delete_strict\ttable=1,priority=5,tcp": codec.FLOW_DELETE_STRICT,
    "delete": codec.FLOW_DELETE,
}


def test_a_file_is_read_as_ovs_ofctl_reads_it(oracle: Oracle) -> None:
    assert codec.flows_parse("\n".join(LINES)) == b"".join(oracle.flow_mods(LINES))


def test_a_line_may_begin_with_a_command() -> None:
    messages = codec.flows_parse("\n".join(COMMANDS))
    for line, command in COMMANDS.items():
        flow = re.sub(r"^\s*\w+[\s,]*", "", line.partition("#")[0])
        message = codec.flow_parse(flow, command)
        assert messages.startswith(message), line
        messages = messages[len(message) :]
    assert not messages


@pytest.mark.parametrize("text", ["", "\n", "#", "# actions=drop\n \t\r\n"])
def test_a_file_without_flows(text: str) -> None:
    assert codec.flows_parse(text) == b""


def test_each_line_may_have_another_command() -> None:
    deletes = codec.flows_parse("tcp\nadd udp actions=drop", codec.FLOW_DELETE)
    assert deletes == (
        codec.flow_parse("tcp", codec.FLOW_DELETE) + codec.flow_parse("udp actions=drop")
    )


def test_names_of_tables() -> None:
    tables = Tables({"Classifier": 7})
    text = "table=Classifier,actions=drop\n" * 2
    assert codec.flows_parse(text, tables=tables) == codec.flow_parse("table=7,actions=drop") * 2


@pytest.mark.parametrize(
    ("text", "line", "position", "reason"),
    [
        ("actions=drop\n# é\n ip,nw_dst=ü actions=drop\n", 3, 11, 'not an IPv4 address: "ü"'),
        ("tcp # and nothing else", 1, 0, 'a flow needs actions= (drop for none): "tcp"'),
        ("\n\ndeleted tcp", 3, 0, 'a flow needs actions= (drop for none): "deleted tcp"'),
        ("delete\nremove tcp,actions=drop", 2, 0, 'unknown key: "remove"'),
    ],
)
def test_a_wrong_line_is_blamed(text: str, line: int, position: int, reason: str) -> None:
    with pytest.raises(ParseError) as caught:
        codec.flows_parse(text)
    error = caught.value
    assert (error.line, error.position, error.reason) == (line, position, reason)
    assert error.text == text.split("\n")[line - 1]
    assert str(error).startswith(f"line {line}: {reason}\n")
    copy = pickle.loads(pickle.dumps(error))
    assert (copy.line, str(copy)) == (line, str(error))


def test_messages_are_printed_one_after_the_other() -> None:
    messages = [codec.flow_parse("tcp actions=drop"), codec.group_parse("group_id=1,type=all")]
    printed = "".join(codec.message_format(message) + "\n" for message in messages)
    assert codec.messages_format(b"".join(messages)) == printed
    assert codec.messages_format(b"") == ""


@pytest.mark.parametrize("cut", [1, 50, 60])
def test_what_is_cut_off_is_no_message(cut: int) -> None:
    message = codec.flow_parse("tcp actions=drop")
    with pytest.raises(DecodeError) as caught:
        codec.messages_format((message + message)[:-cut])
    assert caught.value.position == 2 * len(message) - cut


def test_fields_become_messages_again() -> None:
    text = (
        "table=2,cookie=5,priority=9,idle_timeout=1,hard_timeout=2,importance=3,send_flow_rem,"
        "tcp actions=LOCAL,goto_table:7"
    )
    message = codec.flow_parse(text)
    fields = codec.flow_parse_fields(text)
    assert codec.flow_mod_decode(message) == (codec.FLOW_ADD, fields)
    assert codec.flow_mod_encode(fields) == message
    changed = codec.flow_mod_encode(fields, codec.FLOW_DELETE_STRICT, 7)
    assert changed[4:8] == bytes((0, 0, 0, 7))
    assert codec.flow_mod_decode(changed)[0] == codec.FLOW_DELETE_STRICT


def test_what_no_message_can_hold_is_refused() -> None:
    with pytest.raises(ValueError, match="a flow_mod of 65600 bytes: OpenFlow allows 65535"):
        Flow(1, 2, Flow.parse("actions=drop").match, bytes(65536 + 8)).encode()
    with pytest.raises(ValueError, match="a group_mod of 65560 bytes: OpenFlow allows 65535"):
        Group(1, 1, bytes(65536)).encode()
    with pytest.raises(OverflowError):
        Flow(300, 2, Flow.parse("actions=drop").match, b"").encode()
