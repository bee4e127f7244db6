"""Actions and instructions against ovs-ofctl: the bytes of a text, the text of bytes."""

from __future__ import annotations

import random
import struct
from typing import Any

import pytest
from hypothesis import given, settings
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
    "actions=output:tun_erspan_idx,output:actset_output,output:tun_erspan_idx[0..15]",
    "actions=controller(userdata=),controller(userdata=.,reason=no_match)",
    "actions=controller(userdata=.,pause),controller(userdata=.01.02)",
    "actions=encap(nsh(md_type=2,tlv(0x800,255,0x01 )))",
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
    "ip actions=ct(commit,nat(src=1.2.3.4-1.2.3.4:5-5)),ct(commit,nat(src=1.2.3.4:0-0))",
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
    "actions=push:tun_erspan_idx,pop:tun_erspan_idx[3..5],push:actset_output",
    "actions=delete_field:tun_metadata0,delete_field:tun_metadata63",
    "actions=load:1->NXM_NX_REG0_W[],move:NXM_NX_REG0_W[]->NXM_NX_REG1[]",
    "actions=load:5->tun_erspan_idx,set_field:1->tun_erspan_ver",
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
    "ip actions=learn(idle_timeout=010,priority=00),multipath(eth_src,007,hrw,03,0,reg0[])",
    "packet_type=(0,0),actions=learn(packet_type=(0,0)),learn(packet_type=(1,0x800))",
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


def test_bytes_and_text_are_those_of_ovs_ofctl(codec: Any, oracle: Oracle) -> None:
    expected = oracle.flow_mods(ACCEPTED)
    printed = oracle.print_flows(expected)
    for text, message, line in zip(ACCEPTED, expected, printed, strict=True):
        assert codec.flow(text).hex() == message.hex(), text
        actions = line.partition("actions=")[2]
        assert codec.text(message).partition("actions=")[2] == actions, text


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


@settings(max_examples=60)
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
            if "OFPBAC_MATCH_INCONSISTENT" in printed:
                continue  # what goes with which match is looked at in texts only
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


@pytest.mark.parametrize("part", ["[]", "[0]", "[0..63]", "[900..910]"])
def test_no_hole_in_a_field_that_is_as_long_as_its_value(codec: Any, part: str) -> None:
    with pytest.raises(Exception, match="tun_metadata2 can't be a hole"):
        stamp(codec, f"actions=load:{{v}}->tun_metadata2{part}", {"v": 1})


def test_no_hole_outside_of_templates(codec: Any) -> None:
    for text, _ in HOLES:
        with pytest.raises(Exception, match="only a template can have a hole"):
            codec.flow(text)
