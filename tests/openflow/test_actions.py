"""Actions and instructions against ovs-ofctl: the bytes of a text, the text of bytes."""

from __future__ import annotations

import random
import re
import struct
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oracle import Oracle
from stamping import stamp

ACCEPTED = [
    # Output.
    "actions=output:1,LOCAL,in_port,all,flood,normal,3,TABLE,65534",
    "actions=controller,CONTROLLER:100,controller(),controller:20,output:controller",
    "actions=controller(max_len=128,reason=no_match,id=5,userdata=01.02.03,pause,meter_id=7)",
    "actions=controller(id=5,pause),controller(max_len=20),controller(reason=invalid_ttl)",
    "actions=output:reg0[],output:NXM_NX_REG1[0..15],output(port=3,max_len=100)",
    "actions=output(port=LOCAL,max_len=14),output:NXM_OF_IN_PORT[]",
    "actions=group:4294967295,group:0x10",
    "actions=OUTPUT:1,Group:5,LOAD:1->NXM_NX_REG0[]",
    "actions=output:1,output:2,,output:3",
    "ip actions=group:5,resubmit:3,resubmit(3,4),resubmit(,4),goto_table:7",
    "ct_state=+trk-inv,tcp actions=resubmit(,4,ct),resubmit(5)",
    # Connection tracking.
    "tcp actions=ct(commit,force,zone=5,table=3,nat(src=10.0.0.1-10.0.0.5:1-30,random),"
    "exec(load:1->NXM_NX_CT_MARK[],set_field:5->ct_label,"
    "move:NXM_NX_REG0[]->NXM_NX_CT_MARK[]),alg=ftp)",
    "ip actions=ct(commit,zone=NXM_NX_REG0[0..15],nat(dst=10.0.0.1:80,persistent,hash))",
    "ipv6 actions=ct(commit,nat(dst=[fe80::1]:80)),ct(commit,nat(dst=fe80::1)),ct(nat)",
    "ipv6 actions=ct(commit,nat(src=fe80::1-fe80::5))",
    "ipv6 actions=ct(commit,nat(src=[fe80::1]-[fe80::5]:1-2))",
    "ip actions=ct(commit,exec(load:1->NXM_NX_CT_MARK[],nat(src=1.2.3.4)),nat),ct_clear",
    "ip actions=ct,ct(),ct(table=3),ct(zone=3),ct(commit,exec(set_field:1/3->ct_label))",
    "ip actions=ct(commit,nat(src)),ct(commit,nat(dst,random)),ct(commit,nat(src=1.2.3.4:0))",
    "ip actions=ct(commit,nat(src=1.2.3.4-1.2.3.4:5-5))",
    "udp actions=ct(commit,alg=tftp)",
    # Fields.
    "ip actions=load:1->NXM_NX_REG0[],load:1->NXM_NX_REG0[3..5],load:0x5->NXM_OF_VLAN_TCI[]",
    "ip actions=load:0x1->NXM_OF_IP_DST[],load:8->NXM_OF_IP_TOS[],load:3->NXM_OF_IP_TOS[2..4]",
    "ip actions=load:0xffff->NXM_NX_XXREG0[60..80],load:123456789123->NXM_NX_XXREG0[0..63]",
    "ip actions=move:NXM_NX_REG0[0..5]->NXM_NX_REG1[3..8],move:reg1->reg2",
    "actions=move:NXM_OF_ETH_SRC[]->NXM_OF_ETH_DST[],move:NXM_NX_TUN_ID[]->OXM_OF_METADATA[]",
    "actions=move:OXM_OF_VLAN_VID[]->NXM_NX_REG0[0..11]",
    "actions=set_field:5->reg0,set_field:5/0xff->reg0,set_field:00:11:22:33:44:55->eth_dst",
    "ip actions=set_field:1.2.3.0/255.255.255.0->ip_dst,set_field:1.2.3.0/24->ip_src",
    "ip actions=set_field:5->ip_dscp,load:4->NXM_NX_IP_TTL[],set_field:5->nw_ttl",
    "ip actions=set_field:1.2.3.4/255.255.255.255->ip_dst,set_field:1->nw_ecn",
    "ipv6 actions=set_field:fe80::1->ipv6_dst,set_field:5->ipv6_label",
    "ipv6 actions=load:5->NXM_NX_IPV6_DST[3..70]",
    "ip actions=set_field:0x5->tun_id,set_field:1.2.3.4->tun_dst,set_field:5->metadata",
    "ip actions=set_field:5/7->metadata,set_field:5->in_port,load:5->NXM_OF_IN_PORT[]",
    "ip actions=set_field:5->pkt_mark,set_field:5->xreg0,set_field:5->xxreg0",
    "ip actions=set_field:5/0xf->xxreg0,load:0x123456789abcdef0123->NXM_NX_XXREG1[]",
    "ip actions=mod_dl_src:00:11:22:33:44:55,mod_dl_dst:00:11:22:33:44:55",
    "ip actions=mod_nw_src:1.2.3.4,mod_nw_dst:1.2.3.4,dec_ttl,dec_ttl(1,2),dec_ttl(0)",
    "tcp actions=mod_tp_src:5,mod_tp_dst:6",
    "udp6 actions=mod_tp_src:5,mod_tp_dst:6",
    "sctp actions=mod_tp_src:5,mod_tp_dst:6,set_field:5->sctp_dst",
    "arp actions=move:NXM_OF_ARP_SPA[]->NXM_OF_ARP_TPA[],load:2->NXM_OF_ARP_OP[],"
    "set_field:1.2.3.4->arp_spa,move:NXM_NX_ARP_SHA[]->NXM_NX_ARP_THA[],"
    "load:0xa9fe01010101->NXM_NX_ARP_SHA[],in_port",
    "icmp6,icmpv6_type=135 actions=set_field:fe80::1->nd_target,"
    "set_field:00:11:22:33:44:55->nd_sll,move:nd_sll->eth_dst,set_field:136->icmpv6_type",
    # VLAN.
    "actions=mod_vlan_vid:5,strip_vlan,push_vlan:0x8100,pop_vlan",
    "vlan_tci=0x1000/0x1000,actions=strip_vlan",
    "dl_vlan=5 actions=mod_vlan_vid:7,pop_vlan",
    "actions=push_vlan:0x8100,set_field:4101->vlan_vid,set_field:3->vlan_pcp,"
    "move:OXM_OF_VLAN_PCP[]->NXM_NX_REG0[0..2]",
    "actions=load:0x1001->NXM_OF_VLAN_TCI[],pop_vlan",
    # learn.
    "ip actions=learn(table=5,idle_timeout=5,hard_timeout=6,fin_idle_timeout=1,"
    "fin_hard_timeout=2,cookie=0x55,priority=4,send_flow_rem,delete_learned,limit=7,"
    "result_dst=NXM_NX_REG0[3],eth_type=0x800,nw_proto=6,NXM_OF_IP_SRC[],"
    "NXM_OF_IP_DST[]=NXM_OF_IP_SRC[],load:5->NXM_NX_REG3[],"
    "load:NXM_NX_REG0[]->NXM_NX_REG4[],output:NXM_NX_REG0[])",
    "tcp6 actions=learn(eth_type=0x86dd,ipv6_dst=fe80::1,NXM_NX_IPV6_SRC[],nw_proto=6,"
    "tcp_dst=80,reg7=5,reg7[0..3]=5,NXM_NX_XXREG0[]=NXM_NX_IPV6_SRC[],"
    "load:0xfe80->NXM_NX_XXREG1[],metadata=5,OXM_OF_METADATA[3..6]=2,"
    "eth_dst=00:11:22:33:44:55,load:0x1->eth_src[0..10])",
    "ip actions=learn(in_port=5,vlan_tci=0x1000,NXM_OF_VLAN_TCI[0..11],vlan_vid=0x1005,"
    "ct_mark=5,tun_id=6)",
    "ip actions=learn(limit=3,cookie=0xffffffffffffffff,load:0->NXM_NX_REG0[0..15])",
    "tcp actions=learn(load:NXM_OF_TCP_DST[]->NXM_NX_REG0[0..15],load:1->OXM_OF_METADATA[],"
    "NXM_OF_IN_PORT[],result_dst=reg0[31])",
    # Others.
    "actions=drop",
    "actions=",
    "actions=drop,drop",
    "actions=note:,note:aabb,note:01.02.03,conjunction(5,1/2),conjunction(2,64/64)",
    "ip actions=clone(drop),clone(),clone(output:1,load:1->reg0[])",
    "ip actions=clone(clone(1,ct(commit,nat(src=1.2.3.4))),2)",
    # Instructions.
    "actions=clear_actions,write_actions(output:1,group:5),write_metadata:5/0xff,goto_table:3",
    "actions=output:5,clear_actions,write_actions(drop),goto_table:3",
    "actions=output:5,write_actions(set_field:1->reg0,move:reg0->reg1,push_vlan:0x8100,"
    "pop_vlan,resubmit(,3),output:3),write_metadata:0/0",
    "ip actions=write_actions(ct(table=3),dec_ttl,dec_ttl(3))",
    "actions=write_actions(controller)",
    "actions=meter:3,write_metadata:5/0xff,goto_table:4",
    "actions=meter:3,output:1",
]

# What ovs-ofctl doesn't take, the word that is blamed, and a part of the message.
REJECTED = [
    ("actions=foo", "foo", "unknown action"),
    ("actions=output:foo", "foo", "unknown port"),
    ("actions=output:ANY", "ANY", "not an output port"),
    ("actions=output:65280", "65280", "not an output port"),
    ("actions=output(port=1,max_len=10)", "10)", "14 bytes"),
    ("actions=output(port=NORMAL,max_len=100)", "NORMAL", "truncate"),
    ("actions=controller(reason=3)", "3)", "reason"),
    ("actions=controller(foo=3)", "foo", "controller takes"),
    ("actions=controller(userdata=0g)", "0g", "hexadecimal"),
    ("actions=group", "", "group"),
    ("actions=resubmit", "resubmit", "port or a table"),
    ("actions=resubmit(,foo)", "foo", "unknown table"),
    ("actions=resubmit(3,4,dd)", "dd", "resubmit takes"),
    ("actions=resubmit(,4,ct)", "ct)", "+trk-inv"),
    ("actions=output:1,drop", "drop", "accompany drop"),
    ("actions=drop,output:1", "drop", "accompany drop"),
    ("actions=conjunction(1,1/2),output:1", "output", "conjunction"),
    ("actions=output:1,conjunction(1,1/2)", "output", "conjunction"),
    ("actions=conjunction(1,0/2)", "0/2", "clause"),
    ("actions=conjunction(1,3/2)", "3/2", "clause"),
    ("actions=conjunction(1,1/1)", "1)", "two clauses"),
    ("actions=conjunction(1,1/65)", "65", "64"),
    ("actions=note:a.b", "a.b", "hexadecimal"),
    ("actions=pop_vlan", "pop_vlan", "VLAN tag"),
    ("dl_vlan=5 actions=pop_vlan,pop_vlan", "pop_vlan", "VLAN tag"),
    ("actions=clone(push_vlan:0x8100),pop_vlan", "pop_vlan", "VLAN tag"),
    ("actions=push_vlan:0x8100,push_vlan:0x88a8,push_vlan:0x8100", "0x8100", "2 VLAN tags"),
    ("actions=push_vlan:0x800", "0x800", "ethertype"),
    ("actions=set_field:3->vlan_pcp", "3->", "VLAN tag"),
    ("actions=set_field:4101->vlan_vid", "4101", "VLAN tag"),
    ("actions=dec_ttl", "dec_ttl", "match on ip"),
    ("ip actions=mod_tp_src:5", "mod_tp_src", "tcp, udp or sctp"),
    ("ip actions=set_field:5->tcp_dst", "5->", "tcp"),
    ("ip actions=set_field:1.2.3.4->arp_spa", "1.2.3.4", "arp"),
    ("ip actions=set_field:5->eth_type", "5->", "read-only"),
    ("ip actions=set_field:5->foo", "foo", "unknown field"),
    ("ip actions=load:5->foo", "foo", "unknown field"),
    ("ip actions=load:5", "5", "->"),
    ("ip actions=load:x->NXM_NX_REG0[]", "x", "number"),
    ("ip actions=load:0x100000000->NXM_NX_REG0[]", "0x1", "32 bits"),
    ("ip actions=load:8->NXM_NX_REG0[0..2]", "8->", "3 bits"),
    ("ip actions=load:1->NXM_NX_CT_MARK[]", "1->", "ct(commit,exec"),
    ("ip actions=move:reg0[0..3]->reg1[0..4]", "reg0", "4 bits"),
    ("ip actions=learn(udp_dst=53)", "udp_dst", "udp"),
    ("ip actions=learn(eth_type=0x800,nw_proto=0x11,reg7[0..3]=20)", "20)", "4 bits"),
    ("ip actions=learn(eth_type=0x800,NXM_OF_IP_DST[0..23]=NXM_OF_IP_SRC[])", "NXM", "24 bits"),
    ("ip actions=learn(eth_type=0x800,nw_src=10.0.0.0/8)", "10.", "mask"),
    ("ip actions=learn(load:1->NXM_OF_ETH_TYPE[])", "load", "read-only"),
    ("ip actions=learn(table=255)", "255", "learned"),
    ("ip actions=learn(result_dst=reg0[0..3])", "reg0", "single bit"),
    ("ip actions=learn(foo=1)", "foo", "learn"),
    ("actions=ct", "ct", "match on ip"),
    ("arp actions=ct(commit)", "ct", "match on ip"),
    ("ip actions=ct(foo)", "foo", "ct takes"),
    ("ip actions=ct(zone=70000)", "70000", "65535"),
    ("ip actions=ct(table=255)", "255", "table"),
    ("ip actions=ct(alg=foo)", "foo", "alg"),
    ("ip actions=ct(alg=ftp)", "ftp", "tcp"),
    ("ip actions=ct(force)", "ct", "commit"),
    ("ip actions=ct(commit,exec(output:1))", "output", "not allowed"),
    ("ip actions=ct(commit,exec(load:1->NXM_NX_REG0[]))", "1->", "ct_mark and ct_label"),
    ("ip actions=ct(commit,nat(src=1.2.3.4,dst))", "nat", "either src or dst"),
    ("ip actions=ct(commit,nat(random))", "nat", "need src or dst"),
    ("ip actions=ct(commit,nat(src=1.2.3.4,hash,random))", "nat", "hash or random"),
    ("ip actions=ct(commit,nat(src=1.2.3.5-1.2.3.4))", "1.2.3.4)", "ends before"),
    ("ip actions=ct(commit,nat(src=1.2.3.4:5-4))", "4)", "ends before"),
    ("ip actions=ct(commit,nat(src=fe80::1))", "nat", "ipv6"),
    ("ip actions=ct(commit,nat(src=1.2.3.4x))", "1.2.3.4x", "address"),
    ("tcp,ct_state=+trk+inv actions=ct(commit)", "ct(", "invalid connection"),
    ("actions=meter:0", "0", "meter"),
    ("actions=meter:3,meter:4", "meter:4", "duplicate"),
    ("actions=output:1,meter:3", "meter", "before"),
    ("actions=clone(meter:3)", "meter", "not allowed"),
    ("actions=clone(goto_table:3)", "goto_table", "not allowed"),
    ("actions=write_metadata:5,clear_actions", "clear_actions", "before"),
    ("actions=goto_table:3,output:1", "output", "before"),
    ("table=3,actions=goto_table:3", "3", "later table"),
    ("actions=apply_actions(output:1)", "apply_actions", "without a word"),
]

# What ovs-ofctl sends, and a switch, or its own ofp-print, refuses.
REFUSED_BY_SWITCHES = [
    ("actions=push_vlan:0x8100,set_field:5->vlan_vid", "0x1000"),
    ("ip actions=load:5->NXM_OF_ETH_TYPE[]", "read-only"),
    ("ip actions=ct(zone=NXM_NX_REG0[])", "zone"),
    ("ip actions=ct(nat(src=1.2.3.4))", "commit"),
    ("ip actions=ct(exec(load:1->NXM_NX_CT_MARK[]))", "commit"),
    ("ip actions=ct(commit,nat(src=1.2.3.4:0-5))", "bad range of nat"),
    ("actions=write_actions(note:00)", "may not be in"),
    ("actions=write_actions(clone(1))", "may not be in"),
    ("actions=write_actions(learn(table=3))", "may not be in"),
    ("actions=write_actions(output:reg0)", "may not be in"),
    ("actions=debug_recirc", "unknown action"),
    ("actions=debug_slow", "unknown action"),
]


def test_bytes_and_text_are_those_of_ovs_ofctl(codec: Any, oracle: Oracle) -> None:
    expected = oracle.flow_mods(ACCEPTED)
    printed = oracle.print_flows(expected)
    for text, message, line in zip(ACCEPTED, expected, printed, strict=True):
        assert codec.flow(text).hex() == message.hex(), text
        actions = line.partition("actions=")[2]
        assert codec.text(message).partition("actions=")[2] == actions, text


@pytest.mark.parametrize(("text", "word", "message"), REJECTED)
def test_a_wrong_action_is_blamed(
    codec: Any, oracle: Oracle, text: str, word: str, message: str
) -> None:
    assert oracle.rejects(text)
    with pytest.raises(Exception, match=re.escape(message)) as caught:
        codec.flow(text)
    position: int = cast(Any, caught.value).position
    assert text[position:].startswith(word)


@pytest.mark.parametrize(("text", "message"), REFUSED_BY_SWITCHES)
def test_what_a_switch_would_refuse_is_sent_and_not_read(
    codec: Any, oracle: Oracle, text: str, message: str
) -> None:
    (flow_mod,) = oracle.flow_mods([text])
    assert codec.flow(text).hex() == flow_mod.hex()
    assert "decode error" in oracle.print(flow_mod)
    with pytest.raises(Exception, match=re.escape(message)):
        codec.text(flow_mod)


def test_table_names(codec: Any) -> None:
    tables = codec.tables({7: "ServiceLB", 9: "EndpointDNAT"})
    text = (
        "ip actions=resubmit(,ServiceLB),ct(table=EndpointDNAT),learn(table=ServiceLB),"
        "goto_table:EndpointDNAT"
    )
    numbers = text.replace("ServiceLB", "7").replace("EndpointDNAT", "9")
    message = codec.flow(text, tables=tables)
    assert message == codec.flow(numbers)
    assert codec.text(message, tables).endswith(text)
    assert codec.text(message).endswith(numbers)


def test_nesting_has_a_bound(codec: Any) -> None:
    codec.flow("actions=" + "clone(" * 64 + ")" * 64)
    with pytest.raises(Exception, match="nested deeper"):
        codec.flow("actions=" + "clone(" * 65 + ")" * 65)


def test_actions_have_a_bound(codec: Any) -> None:
    with pytest.raises(Exception, match="bytes of actions"):
        codec.flow("actions=" + "output:1," * 5000)


PLAIN = [
    "output:{n}",
    "LOCAL",
    "group:{n}",
    "resubmit(,{t})",
    "resubmit({n},{t})",
    "load:{n}->NXM_NX_REG{r}[]",
    "load:{bits}->NXM_NX_REG{r}[3..{end}]",
    "set_field:{n}->reg{r}",
    "set_field:{n}/{n}->reg{r}",
    "set_field:00:11:22:33:44:{t:02x}->eth_src",
    "move:NXM_NX_REG{r}[0..{end}]->NXM_NX_REG1[0..{end}]",
    "mod_nw_dst:10.0.{t}.{r}",
    "set_field:{n}->tcp_dst",
    "dec_ttl",
    "ct_clear",
    "ct(table={t},zone={n},nat)",
    "ct(commit,zone={n},nat(dst=10.{t}.0.{r}:{n}),exec(load:{n}->NXM_NX_CT_MARK[]))",
    "ct(commit,force,table={t},nat(src=10.0.0.1-10.0.0.{t},persistent,random),"
    "exec(set_field:{n}->ct_label))",
    "controller(id={n},userdata={t:02x}.00)",
    "learn(table={t},idle_timeout={n},eth_type=0x800,NXM_OF_IP_SRC[],"
    "NXM_NX_REG{r}[0..{end}],load:{n}->NXM_NX_REG{r}[],output:NXM_NX_REG{r}[])",
    "note:{t:02x}.01",
    "push_vlan:0x8100,mod_vlan_vid:{n12},pop_vlan",
]


@st.composite
def actions(draw: st.DrawFn, depth: int = 2) -> str:
    words = []
    for word in draw(st.lists(st.sampled_from(PLAIN), min_size=1, max_size=6)):
        end = draw(st.integers(4, 31))
        n = draw(st.integers(1, 0xFEFF))
        values = {
            "n": n,
            "n12": n & 0xFFF,
            "t": draw(st.integers(1, 254)),
            "r": draw(st.integers(0, 15)),
            "end": end,
            "bits": draw(st.integers(0, 2 ** (end - 2) - 1)),
        }
        words.append(word.format(**values))
    if depth and draw(st.booleans()):
        words.append(f"clone({draw(actions(depth - 1))})")
    return ",".join(words)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(actions(), min_size=5, max_size=15))
def test_mixes_are_as_ovs_ofctl_has_them(codec: Any, oracle: Oracle, lists: list[str]) -> None:
    texts = [f"priority={i},tcp actions={text}" for i, text in enumerate(lists)]
    expected = oracle.flow_mods(texts)
    printed = oracle.print_flows(expected)
    for text, message, line in zip(texts, expected, printed, strict=True):
        assert codec.flow(text).hex() == message.hex()
        assert codec.text(message).partition("actions=")[2] == line.partition("actions=")[2]


def instructions(flow_mod: bytes) -> int:
    """Where the instructions of 'flow_mod' start."""
    match_len = int.from_bytes(flow_mod[50:52], "big")
    return 48 + (match_len + 7) // 8 * 8


def read(codec: Any, message: bytes) -> str | None:
    """The flow of 'message', or None where the core finds it wrong."""
    wrong: Any
    try:
        text: str = codec.text(message)
    except Exception as error:
        wrong = error
    else:
        return text
    assert wrong.position <= len(message)
    return None


def resized(message: bytes) -> bytes:
    return message[:2] + struct.pack(">H", len(message)) + message[4:]


@pytest.mark.parametrize("text", ACCEPTED)
def test_truncated_and_changed_bytes_are_errors_or_flows(codec: Any, text: str) -> None:
    message = codec.flow(text)
    start = instructions(message)
    for end in range(8, len(message)):
        assert read(codec, message[:end]) is None
    for end in range(start, len(message)):
        read(codec, resized(message[:end]))
    rng = random.Random(text)
    for i in range(start, len(message)):
        values = {0, 1, 0xFF, message[i] ^ 1 << rng.randrange(8), rng.randrange(256)}
        for value in values:
            read(codec, message[:i] + bytes([value]) + message[i + 1 :])


def test_what_is_read_of_changed_bytes_is_what_ofp_print_reads(codec: Any, oracle: Oracle) -> None:
    rng = random.Random(5)
    messages = [codec.flow(text) for text in ACCEPTED]
    compared = 0
    while compared < 150:
        message = bytearray(rng.choice(messages))
        start = instructions(bytes(message))
        if start == len(message):
            continue
        message[rng.randrange(start, len(message))] ^= 1 << rng.randrange(8)
        text = read(codec, bytes(message))
        if text is not None:
            printed = oracle.print(bytes(message)).strip()
            assert printed.partition("actions=")[2] == text.partition("actions=")[2]
            compared += 1


HOLES: list[tuple[str, dict[str, int | str]]] = [
    ("ip actions=group:{v}", {"v": 7}),
    ("ip actions=output:{v}", {"v": 7}),
    ("ip actions=meter:{v}", {"v": 7}),
    ("ip actions=set_field:{v}->reg3", {"v": 7}),
    ("ip actions=set_field:{v}->eth_dst", {"v": "00:11:22:33:44:55"}),
    ("ip actions=set_field:{v}->ip_dst", {"v": "1.2.3.4"}),
    ("ipv6 actions=set_field:{v}->ipv6_dst", {"v": "fe80::1"}),
    ("ipv6 actions=set_field:{v}->xxreg3", {"v": "0xfe80000000000000000000000000abcd"}),
    ("ip actions=load:{v}->NXM_NX_REG4[0..15]", {"v": 7}),
    ("ip actions=load:{v}->NXM_NX_REG4[3..15]", {"v": 7}),
    ("ip actions=load:{v}->NXM_NX_XXREG1[64..95]", {"v": 7}),
    ("ip actions=load:{v}->NXM_NX_XXREG1[0..31]", {"v": 7}),
    ("ip actions=mod_nw_dst:{v},mod_dl_src:{w}", {"v": "1.2.3.4", "w": "00:11:22:33:44:55"}),
    ("tcp actions=mod_tp_dst:{v}", {"v": 80}),
    ("ip actions=mod_vlan_vid:{v}", {"v": 80}),
    ("ip actions=ct(zone={v})", {"v": 80}),
    ("ip actions=ct(commit,nat(dst={ip}:{port}))", {"ip": "1.2.3.4", "port": 80}),
    ("ipv6 actions=ct(commit,nat(dst=[{ip}]:{port}))", {"ip": "fe80::1", "port": 80}),
    ("ip actions=ct(commit,nat(src={ip}))", {"ip": "1.2.3.4"}),
    (
        "ip actions=ct(commit,nat(src={a}-{b}:{p}-{q}))",
        {"a": "1.0.0.1", "b": "1.0.0.9", "p": 1, "q": 9},
    ),
    (
        "ip actions=ct(commit,exec(load:{v}->NXM_NX_CT_MARK[4..7],set_field:{w}->ct_label))",
        {"v": 3, "w": "0x" + "1f" * 16},
    ),
    (
        "ip actions=learn(idle_timeout={v},hard_timeout={w},cookie={c},priority={p})",
        {"v": 1, "w": 2, "c": 3, "p": 4},
    ),
    ("ip actions=learn(limit={v})", {"v": 1}),
    (
        "ip actions=learn(reg7={v},load:{w}->NXM_NX_REG3[],NXM_NX_REG2[0..3]={x})",
        {"v": 1, "w": 2, "x": 3},
    ),
    (
        "ip actions=learn(eth_type=0x800,nw_dst={v},load:{w}->NXM_NX_XXREG0[])",
        {"v": "1.2.3.4", "w": "0x" + "1f" * 16},
    ),
    ("ip actions=write_metadata:{v}/0xff", {"v": 4}),
    ("ip actions=conjunction({v},1/2)", {"v": 4}),
]


@pytest.mark.parametrize(("text", "values"), HOLES)
def test_a_hole_is_where_its_value_goes(
    codec: Any, text: str, values: dict[str, int | str]
) -> None:
    assert stamp(codec, text, values) == codec.flow(text.format(**values))


def test_no_hole_outside_of_templates(codec: Any) -> None:
    for text, _ in HOLES:
        with pytest.raises(Exception, match="only a template can have a hole"):
            codec.flow(text)
