"""The parts of flows as values."""

from __future__ import annotations

import pytest

from nsxdp.openflow import Actions, DecodeError, Flow, Group, Match, ParseError

FLOW = "table=3, priority=5,tcp,reg0=0x1,nw_dst=10.0.0.1 actions=set_field:0x2->reg1,goto_table:4"


def test_a_flow_has_a_match_and_actions() -> None:
    flow = Flow.parse(FLOW)
    assert str(flow) == FLOW
    assert flow.match == Match.parse("tcp,reg0=1,nw_dst=10.0.0.1")
    assert str(flow.match) == "tcp,reg0=0x1,nw_dst=10.0.0.1"
    assert flow.actions == Actions.parse("set_field:2->reg1,goto_table:4")
    assert str(flow.actions) == "set_field:0x2->reg1,goto_table:4"
    assert Flow.decode(flow.encode()) == flow
    assert str(Flow.decode(flow.encode()).match) == str(flow.match)


def test_parts_are_values() -> None:
    match, actions = Match.parse(""), Actions.parse("drop")
    assert (str(match), str(actions)) == ("", "drop")
    assert len({match, Match.parse(""), actions, Actions.parse("")}) == 2
    assert eval(repr(Match.parse("arp"))) == Match.parse("arp")
    assert repr(Actions.parse("LOCAL")) == "Actions.parse('LOCAL')"
    assert bytes(actions) == b""


def test_wrong_parts_are_blamed() -> None:
    with pytest.raises(ParseError, match="unknown field") as caught:
        Match.parse("tcp,actions=drop")
    assert caught.value.position == 4
    with pytest.raises(ParseError, match="unknown action"):
        Actions.parse("output:1,foo")
    with pytest.raises(DecodeError):
        str(Match(b"\0\1\0\5"))
    with pytest.raises(DecodeError, match="more than a match"):
        str(Match(Match.parse("") * 2))
    with pytest.raises(DecodeError):
        str(Actions(b"\0\1"))


def test_what_only_a_switch_refuses_is_a_value_all_the_same() -> None:
    flow = Flow.parse("actions=debug_recirc")
    with pytest.raises(DecodeError, match="unknown action"):
        str(flow)
    with pytest.raises(DecodeError):
        Flow.decode(flow.encode())
    group = Group.parse("group_id=1,type=indirect")
    with pytest.raises(DecodeError, match="one bucket"):
        Group.decode(group.encode())


def test_a_long_group_is_one() -> None:
    buckets = ",".join(f"bucket=actions=ct(commit,nat(dst=10.0.0.1:{i}))" for i in range(1, 1500))
    group = Group.parse(f"group_id=7,type=select,selection_method=dp_hash,{buckets}")
    assert (group.group_id, group.type) == (7, 1)
    assert group.properties
    assert len(group.buckets) > 65535
