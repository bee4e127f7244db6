"""Actions that are wrong: which word is blamed in a text, and which byte in a message."""

from __future__ import annotations

import re
import struct
from typing import Any, cast

import pytest
from oracle import Oracle

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
    ("ip actions=ct(commit,exec(debug_slow))", "debug_slow", "not allowed"),
    ("ip actions=ct(commit,exec(debug_recirc))", "debug_recirc", "not allowed"),
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
    ("actions=ANY", "ANY", "not an output port"),
    ("actions=output(port=1,max_len=14,foo=1)", "foo", "output takes port and max_len"),
    ("actions=enqueue", "enqueue", "the syntax is enqueue:PORT:QUEUE"),
    ("actions=enqueue:1:", "1:", "the syntax is enqueue:PORT:QUEUE"),
    ("actions=enqueue:NORMAL:1", "NORMAL", "no port with queues"),
    ("actions=enqueue:1:x", "x", "not a number"),
    ("ip actions=dec_ttl(,)", "dec_ttl", "no controller id"),
    ("actions=conjunction", "conjunction", "conjunction(id,k/n)"),
    ("actions=conjunction(1)", "1)", "conjunction(id,k/n)"),
    ("actions=conjunction(1,1:2)", "1,1:2", "conjunction(id,k/n)"),
    ("actions=push:foo", "foo", "unknown field"),
    ("actions=pop:eth_type", "eth_type", "read-only"),
    ("actions=delete_field:foo", "foo", "unknown field"),
    ("actions=delete_field:reg0", "reg0", "only tun_metadata fields"),
    ("actions=check_pkt_larger(5)", "5)", "missing ->"),
    ("actions=mod_dl_src", "", "eth_src has no value"),
    ("actions=check_pkt_larger(5)->foo", "foo", "unknown field"),
    ("actions=check_pkt_larger(5)->reg0", "reg0", "a single bit"),
    ("actions=check_pkt_larger(70000)->reg0[0]", "70000", "greater than 65535"),
    ("actions=set_field:0x2001->vlan_vid", "0x2001", "13 bits at most"),
    ("actions=set_field:1/1->in_port", "1/1", "can't be masked"),
    ("actions=set_field:1->skb_priority", "1->", "read-only"),
    ("ip actions=load:70000->NXM_NX_IP_TTL[]", "70000", "doesn't fit into 8 bits"),
    ("ip actions=mod_nw_tos:3", "3", "lowest 2 bits"),
    ("ip actions=mod_nw_tos:256", "256", "greater than 255"),
    ("actions=set_vlan_vid:5", "set_vlan_vid", "a VLAN tag (or push_vlan)"),
    ("actions=pop_mpls:0x0800", "pop_mpls", "mpls or mplsm"),
    ("actions=encap", "encap", "missing header"),
    ("actions=encap(foo)", "foo", "headers are"),
    ("actions=encap(ethernet(md_type=1))", "md_type", "no properties"),
    ("actions=encap(nsh(foo=1))", "foo", "nsh"),
    ("actions=encap(nsh(md_type=0))", "0)", "md_type is 1 or 2"),
    ("actions=encap(nsh(md_type=2,tlv(0x1000,10)))", "0x1000", "tlv(0xCLASS,TYPE,0xDATA)"),
    ("actions=encap(nsh(md_type=2,tlv(0x1000,10,12)))", "0x1000", "tlv(0xCLASS,TYPE,0xDATA)"),
    ("actions=encap(nsh(md_type=2,tlv(0x1000,10,0x  )))", "0x1000", "tlv(0xCLASS,TYPE,0xDATA)"),
    ("actions=encap(nsh(md_type=2,tlv(0x1000,10,0x.01)))", "0x1000", "tlv(0xCLASS,TYPE,0xDATA)"),
    ("actions=decap(foo)", "foo", "decap takes"),
    ("actions=decap(packet_type(type=1))", "type=1", "missing ns="),
    ("actions=decap(packet_type(ns=9,type=1))", "9", "greater than 4"),
    ("actions=decap(packet_type(ns=1))", "ns=1", "missing type="),
    ("packet_type=(1,0x800) actions=push_mpls:0x8847", "push_mpls", "an Ethernet packet"),
    ("packet_type=(1,0x8847) actions=pop_mpls:0x0800", "pop_mpls", "an Ethernet packet"),
    ("actions=multipath(eth_src)", "eth_src", "not enough arguments"),
    ("actions=multipath(eth_src,50,modulo_n,0,0,reg0[])", "0,", "must be a link"),
    ("actions=multipath(eth_src,50,modulo_n,9,0,reg0[0..2])", "reg0", "too few for 9 links"),
    ("actions=multipath(eth_src,50,hrw,3,0,tun_erspan_idx[])", "tun_erspan", "standard header"),
    ("actions=bundle(eth_src,50,hrw,ofport)", "eth_src", "missing members"),
    ("actions=bundle(eth_src,50,hrw,ofport,foo:1)", ":1", "missing members"),
    ("actions=bundle(eth_src,50,hrw,foo,members:1)", "foo", "of type ofport"),
    ("actions=bundle(eth_src,50,hrw,ofport,members:foo)", "foo", "unknown port"),
    ("actions=bundle(eth_src,50,hrw,ofport,members:CONTROLLER)", "CONTROLLER", "can't be a member"),
    ("actions=sample()", "sample", "missing probability"),
    ("actions=sample(probability=0)", "0)", "probability is 0"),
    ("actions=sample(probability=1,foo=1)", "foo", "unknown word in sample"),
    ("tcp actions=fin_timeout(foo=1)", "foo", "fin_timeout takes"),
    ("ip actions=learn(result_dst=eth_type[0])", "eth_type", "read-only"),
    ("ip actions=learn(skb_priority=1)", "skb_priority", "no such field"),
    ("ip actions=ct(commit,nat(src=1.2.3.4-foo))", "foo", "no address for NAT"),
    ("ip actions=ct(commit,nat(src=1.2.3.4:-))", "-)", "missing port"),
    ("ip actions=ct(commit,nat(src=1.2.3.4:5x))", "5x", "not a number"),
    ("ip actions=ct(commit,nat(src=1.2.3.4:5-0))", "0)", "ends before"),
    ("arp actions=ct(commit,nat)", "ct(", "ip or ipv6"),
    ("actions=write_metadata:5/x", "x", "mask is not a number"),
    ("actions=set_queue:x", "x", "not a number"),
]

# What ovs-ofctl takes for something else, cuts off, or sends only to be refused by a switch.
STRICTER = [
    ("actions=output:xxreg0[]", "xxreg0", "unknown port"),
    ("actions=output:tun_ttl", "tun_ttl", "unknown port"),
    ("actions=push:tun_ttl", "tun_ttl", "no such field"),
    ("actions=move:skb_priority->reg0", "skb_priority", "no such field"),
    ("actions=check_pkt_larger(5)->tun_ttl[0]", "tun_ttl", "no such field"),
    ("ip actions=learn(load:tun_ttl->reg0[0..7])", "load", "no such field"),
    ("ip actions=learn(idle_timeout=x)", "x", "not a decimal number"),
    ("ip actions=learn(priority=70000)", "70000", "greater than 65535"),
    ("dl_vlan=3,actions=set_field:5->dl_vlan", "5->", "no such field"),
    ("actions=mod_dl_src:0:0:0:0:0:1/0:0:0:0:0:f", "0:0", "takes no mask"),
    ("ip actions=dec_ttl(x)", "x", "not a decimal number"),
    ("ip actions=load:0x1g->NXM_NX_XXREG0[]", "0x1g", "not a number"),
    ("ip actions=ct(commit,nat(src=1.2.3.4,src=1.2.3.4))", "1.2.3.4)", "a second range"),
    ("actions=multipath(eth_src,50,hrw,3,0,xxreg0[])", "xxreg0", "at most 64 bits"),
    ("actions=encap(nsh(md_type=2,tlv(0x1000,10,0x01.02)))", "0x1000", "tlv(0xCLASS,TYPE,0xDATA)"),
    ("actions=bundle(eth_src,50,hrw,ofport,members:" + "1," * 3000 + ")", "1,", "2048 members"),
    (
        "actions=encap(nsh(md_type=2,tlv(0x1000,10,0x" + "01" * 126 + ")))",
        "01" * 126,
        "more than 125 bytes",
    ),
    ("ip actions=dec_ttl(" + "1," * 17_000 + ")", "1,", "too many ids"),
    ("actions=note:" + "01" * 65_530, "01", "too long"),
    ("actions=controller(userdata=" + "01" * 65_530 + ")", "01", "too long"),
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


@pytest.mark.parametrize(("text", "word", "message"), REJECTED)
def test_a_wrong_action_is_blamed(
    codec: Any, oracle: Oracle, text: str, word: str, message: str
) -> None:
    assert oracle.rejects(text)
    _assert_blamed(codec, text, word, message)


@pytest.mark.parametrize(("text", "word", "message"), STRICTER, ids=range(len(STRICTER)))
def test_a_wrong_action_that_ovs_ofctl_takes_is_blamed(
    codec: Any, text: str, word: str, message: str
) -> None:
    _assert_blamed(codec, text, word, message)


def _assert_blamed(codec: Any, text: str, word: str, message: str) -> None:
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


def test_nesting_has_a_bound(codec: Any) -> None:
    codec.flow("actions=" + "clone(" * 64 + ")" * 64)
    with pytest.raises(Exception, match="nested deeper"):
        codec.flow("actions=" + "clone(" * 65 + ")" * 65)


def test_actions_have_a_bound(codec: Any) -> None:
    with pytest.raises(Exception, match="bytes of actions"):
        codec.flow("actions=" + "output:1," * 5000)


def nicira(subtype: int, body: str) -> str:
    """One of Open vSwitch's own actions, in hexadecimal."""
    data = bytes.fromhex(body)
    data += bytes(-(10 + len(data)) % 8)
    return struct.pack("!HHIH", 0xFFFF, 10 + len(data), 0x2320, subtype).hex() + data.hex()


# Actions of OpenFlow 1.1 that ovs-ofctl doesn't send any more, and other forms of what it sends.
OTHER_FORMS = [
    ("dl_vlan=5", "0001 0008 0005 0000"),
    ("dl_vlan=5", "0002 0008 05 000000"),
    ("ip", "0003 0010 010203040506 000000000000"),
    ("ip", "0004 0010 010203040506 000000000000"),
    ("ip", "0005 0008 01020304"),
    ("ip", "0006 0008 01020304"),
    ("ip", "0007 0008 04 000000"),
    ("ip", "0008 0008 02 000000"),
    ("tcp", "0009 0008 0005 0000"),
    ("tcp", "000a 0008 0005 0000"),
    ("mpls", "000d 0008 00000005"),
    ("mpls", "000e 0008 05 000000"),
    ("mpls", "000f 0008 05 000000"),
    ("", nicira(2, "0000 00000005")),
    ("", nicira(9, "000000000000 0000000000000005")),
    ("", nicira(32, "001f ffff 00010004")),
    ("", nicira(27, "0000 00010004 001f")),
    ("ip", nicira(21, "0000 00000000")),
    ("", nicira(37, "000000000000 0002 0005 09 000000")),
    ("", nicira(46, "0000 0001894f 0004 02 08 1000 05 00")),
    ("", nicira(46, "0000 0001894f 0004 02 10 1000 05 03 000000")),
    ("", nicira(46, "0000 0001894f 0004 02 10 1000 05 03 000102")),
    ("", nicira(47, "0000 00000001")),
]

# Actions that no switch takes, and the byte that is blamed, counted from the action's start.
REFUSED = [
    ("0063 0008 00000000", 0, "unknown action: type 99"),
    (nicira(99, "000000000000"), 0, "unknown action: vendor 0x2320 type 99"),
    ("ffff 0010 00002321 0008 010203040506", 0, "vendor 0x2321"),
    ("0016 0007 00000001", 0, "bad length of an action"),
    ("0016 0010 00000001 00000000 00000000", 0, "bad length of an action"),
    ("0001 0008 1005 0000", 4, "bad set_vlan_vid 4101"),
    ("0002 0008 09 000000", 4, "bad set_vlan_pcp 9"),
    ("0007 0008 05 000000", 4, "bad TOS 5"),
    ("0008 0008 04 000000", 4, "bad mod_nw_ecn 4"),
    ("0000 0010 0000ff01 ffff 000000000000", 4, "bad output port 0xff01"),
    ("001d 0008 00000000", 4, "bad meter 0"),
    ("001d 0008 ffff0001", 4, "bad meter 4294901761"),
    ("0019 0010 80000a02 0800 000000000000", 4, "eth_type is read-only"),
    ("0019 0010 80000a08 0800 000000000000", 4, "bad field of set_field"),
    ("0019 0010 80000c02 2005 000000000000", 8, "a vlan_vid has bit 0x1000"),
    ("0019 0018 00010108 00000015 0000000f 0000000000000000", 8, "bits that the mask hasn't"),
    ("001c 0018 0020 0000 0000 0000 00010108 00010204 00000000", 12, "unknown field"),
    ("001c 0018 0010 0000 0000 0000 00010004 80000a02 00000000", 12, "eth_type is read-only"),
    ("001c 0018 0020 0000 0000 0000 00010004 00010204 00000001", 23, "isn't zero"),
    (nicira(10, "0009 0001 0000 0000 0001 00000005 0000 001f 00010004"), 10, "bad fields"),
    (nicira(10, "0000 0001 0000 0009 0001 00000005 0000 001f 00010004"), 10, "bad fields"),
    (nicira(10, "0000 0001 0000 0000 000f 00000005 0000 0002 00010004"), 26, "3 bits for 16 links"),
    (
        nicira(10, "0000 0001 0000 0000 000f 00000005 0000 000f 80000a02"),
        28,
        "eth_type is read-only",
    ),
    (nicira(12, "0009 0000 0001 00000002 0001 0000 00000000 00000000 0005"), 10, "bad fields"),
    (nicira(12, "0000 0000 0001 00000003 0001 0000 00000000 00000000 0005"), 16, "bad members"),
    (nicira(12, "0000 0000 0001 00000002 0009 0000 00000000 00000000 0005"), 20, "9 members"),
    (nicira(12, "0000 0000 0001 00000002 0001 001f 00010004 00000000 0005"), 22, "bad field of"),
    (nicira(12, "0000 0000 0001 00000002 0001 0000 00000000 00000000 fffd"), 32, "bad member of"),
    (nicira(13, "0000 0000 0001 00000002 0001 0003 00010004 00000000 0005"), 22, "bad field of"),
    (nicira(29, "0000 00000001 00000002 00000003"), 10, "probability 0"),
    (nicira(41, "0001 00000001 00000002 00000003 0005 03 0000000000"), 26, "bad direction"),
    (nicira(32, "001f ffff f00d5604"), 10, "unknown field"),
    (nicira(32, "001f ffff 80005708"), 10, "unknown field"),
    (nicira(32, "001f ffff 80005604 0001"), 19, "isn't zero"),
    (nicira(27, "0000 f00d0004 001f"), 10, "unknown field"),
    (nicira(27, "0000 fffffe0800002320 001f"), 10, "unknown field"),
    (nicira(28, "0000 80000a02 000f"), 12, "eth_type is read-only"),
    (nicira(49, "0005 0000 f00d0004"), 12, "unknown field"),
    (nicira(50, "f00d507c 0000 0000 0000 0000"), 10, "bad field of delete_field"),
    (nicira(50, "00010004 0000 0000 0000 0000"), 10, "bad field of delete_field"),
    (nicira(46, "0000 00000800"), 12, "unknown header of encap"),
    (nicira(34, "01 41 00000005"), 10, "bad clause"),
    (nicira(21, "0009 00000000 0001 0002"), 10, "fewer controller ids"),
    (nicira(37, "000000000000 0009 0008 00800000"), 16, "unknown property 9"),
    (nicira(37, "000000000000 0000 0003 00800000"), 18, "bad length of a property"),
    (nicira(39, "0005 0000000d"), 12, "bad max_len"),
]


def flow_mod(codec: Any, match: str, actions: str) -> bytes:
    """A flow_mod with 'match' and the bytes of 'actions'."""
    data = bytes.fromhex(actions)
    message: bytes = codec.flow(f"{match} actions=")
    message += struct.pack("!HHI", 4, 8 + len(data), 0) + data
    return message[:2] + struct.pack("!H", len(message)) + message[4:]


@pytest.mark.parametrize(("match", "action"), OTHER_FORMS)
def test_other_forms_are_printed_as_ovs_ofctl_does(
    codec: Any, oracle: Oracle, match: str, action: str
) -> None:
    message = flow_mod(codec, match, action)
    expected = oracle.print(message).rstrip().partition("actions=")[2]
    assert expected
    assert codec.text(message).partition("actions=")[2] == expected


@pytest.mark.parametrize(("action", "position", "message"), REFUSED)
def test_bytes_that_are_no_action_are_refused(
    codec: Any, oracle: Oracle, action: str, position: int, message: str
) -> None:
    wrong = flow_mod(codec, "tcp", action)
    assert "decode error" in oracle.print(wrong)
    with pytest.raises(Exception, match=re.escape(message)) as caught:
        codec.text(wrong)
    assert cast(Any, caught.value).position == len(wrong) - len(bytes.fromhex(action)) + position


def test_nested_bytes_have_a_bound(codec: Any) -> None:
    def clones(n: int) -> bytes:
        heads = [nicira(42, "000000000000" + "00" * 16 * i)[:32] for i in reversed(range(n))]
        return flow_mod(codec, "", "".join(heads))

    assert codec.text(clones(64)).count("clone(") == 64
    with pytest.raises(Exception, match="nested deeper"):
        codec.text(clones(65))
