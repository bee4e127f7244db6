"""Matches: text to bytes and back, against ovs-ofctl; holes; hostile bytes."""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable
from ipaddress import IPv6Address
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from library import Codec, CodecError

if TYPE_CHECKING:
    from oracle import Oracle

MATCHES = """
ip
ip4
ipv4,nw_src=255.0.255.0/255.0.255.0
ip6,ipv6_src=1:2:3:4:5:6:7:8/ffff:0:ffff::
ipv6
arp
rarp,arp_op=3
tcp,tcp_src=1,tcp_dst=2
tcp,reg0=0x1,nw_dst=10.0.0.1,tp_dst=80,ct_state=+new+trk
udp6,ipv6_dst=fe80::1/64,tp_src=53
udp,tcp_dst=2
tcp,udp_dst=2
nw_dst=10.0.0.0/8,ip
ip,nw_dst=10.1.2.3/8
tcp6,tp_dst=80,ipv6_src=::ffff:1.2.3.4
sctp,tp_dst=0x50/0xfff0
sctp6,sctp_dst=7,tp_src=0/1
icmp,icmp_type=8,icmp_code=0
icmp6,icmp_code=3
icmp6,icmp_type=135,icmp_code=0,nd_target=fe80::1,nd_sll=00:11:22:33:44:55
icmp6,icmpv6_type=136,nd_tll=00:11:22:33:44:55/ff:ff:ff:00:00:00
arp,arp_op=1,arp_spa=1.2.3.4,arp_tpa=1.2.3.0/24,arp_sha=0:1:2:3:4:5,arp_tha=00:00:00:00:00:01
arp,nw_src=1.2.3.4,nw_dst=5.6.7.8,nw_proto=2
mpls,mpls_label=5,mpls_tc=3,mpls_bos=1,mpls_ttl=7
mplsm
ip,nw_tos=0xb8,nw_ecn=1,nw_ttl=64,nw_frag=no
ip,ip_dscp=46,ip_ecn=2
ip,nw_frag=yes
ip,nw_frag=first
ip,nw_frag=later
ip,ip_frag=not_later
ip,nw_proto=0
ipv6,ipv6_label=0x12345
ipv6,ipv6_label=0x12345/0xfffff
ipv6,ipv6_label=0x345/0xfff
dl_type=0x800,nw_proto=6,tp_dst=5
dl_type=0x800,nw_proto=99
dl_type=0x86dd,nw_proto=99
dl_type=0x0806
dl_type=0x1234
reg0=0,reg1=5/0xff,reg2=0x7/7,reg15=0xffffffff
reg0=0xff/0x0f
reg0=0/0,ip
reg1=*,ip
reg0[0..3]=5,reg0[8]=1,reg3[]=7
reg0[0..3]=5,reg0[4..7]=0xa
NXM_NX_REG0[0..3]=5
xreg0=0x1122334455667788
xreg7=0x1122334455667788/0xff00000000ff
xxreg1=0x112233445566778899aabbccddeeff00
xxreg3=0x1/0xff
metadata=0
metadata=0x1/0xf,tun_id=0,tun_src=1.2.3.4,tun_dst=5.6.0.0/16
tun_ipv6_src=::1,tun_ipv6_dst=fe80::/10,tun_id=5/7
tunnel_id=0x5
in_port=1
in_port=LOCAL
in_port=controller
in_port=65534
in_port=65280
in_port=4294967295
in_port=NONE
actset_output=3
conj_id=17
pkt_mark=0x5/0xf
pkt_mark=0
ct_state=0x21/0x21
ct_state=trk|new
ct_state=0x21
ct_state=-trk
ct_state=+est-rel+rpl-inv+trk-snat+dnat,ct_zone=5,ct_mark=5,ct_label=0x1234567890abcdef1234567890abcdef
ct_zone=0,ct_mark=0,ct_label=0
ct_mark=0x1/0xff,ct_label=0x1/0xff
ip,ct_state=+trk+est,ct_nw_src=1.2.3.4,ct_nw_dst=1.2.3.0/24,ct_nw_proto=6,ct_tp_src=5,ct_tp_dst=0x10/0xf0
ip,ct_state=+trk-inv,ct_nw_src=1.2.3.4
ipv6,ct_state=+trk+est,ct_ipv6_src=::1,ct_ipv6_dst=::/1,ct_nw_proto=17
dl_vlan=5
dl_vlan=5,dl_vlan_pcp=3
dl_vlan_pcp=3
dl_vlan=0xffff
vlan_tci=0
vlan_tci=0x1000/0x1000
vlan_tci=0x1123
vlan_tci=0xf123
vlan_tci=0xf123/0xf0ff
vlan_tci=0/0x1fff
vlan_tci=0x0005/0xfff
vlan_vid=0x1005
vlan_vid=0
vlan_vid=5
vlan_vid=0x1000/0x1000
vlan_vid=0x1005/0x100f,vlan_pcp=1
vlan_pcp=1
dl_src=00:11:22:33:44:55,dl_dst=01:00:00:00:00:00/01:00:00:00:00:00,dl_type=0x1234
eth_src=00:11:22:33:44:55/ff:ff:ff:00:00:00
tcp,tcp_flags=+syn-ack
tcp,tcp_flags=syn|ack
tcp,tcp_flags=0x12/0xfff
tcp,tcp_flags=0x12/0x12
tcp,tcp_flags=0
tcp6,tcp_flags=+ns+[200]
tcp,tcp_flags=syn|0x10
dp_hash=0x1/0xf,recirc_id=7
eth
packet_type=(1,0x800),nw_src=1.2.3.4
packet_type=(1,0x894f),nsh_flags=1,nsh_mdtype=1,nsh_c1=5
packet_type=(0,0),ip
packet_type=(2,010)
tun_flags=oam,tun_gbp_id=5,tun_gbp_flags=0x48
tun_flags=-oam,tun_gbp_id=0/1
tun_erspan_ver=1,tun_erspan_idx=0x7
tun_erspan_ver=2,tun_erspan_dir=1,tun_erspan_hwid=0xf/0x1
tun_metadata0
tun_metadata0=0,tun_metadata63=0x123456789abcdef0/0xff0f
tun_metadata1=0x1/0x100,tun_metadata0=*
tun_metadata2[]=1
tun_metadata2[8..15]=0x5
dl_type=0x894f,nsh_flags=3/1,nsh_mdtype=1,nsh_np=3,nsp=0x123456,nsi=255,nshc1=1,nsh_c4=0x5/0xf
dl_type=0x894f,nsh_ttl=63,nsh_mdtype=2,nsh_c1=1
icmp6,icmp_type=135,nd_reserved=5,nd_options_type=1
tun_tos=*,tun_ttl=*,skb_priority=*
reg0=,reg1,ip
reg0=0x
reg0=010
metadata=-1
tcp=80
nw_src(1.2.3.4),ip
tcp,udp
reg0=1,reg0=2
xreg0=1,reg1=2
tp_dst=80
ip,tp_dst=80
nw_src=1.2.3.4
dl_src=*
arp_op=1
udp,tcp_flags=+syn
icmp,tp_src=0x105/0xff
ct_state=+trk+est,ct_nw_src=1.2.3.4,ct_tp_src=1
ct_state=+trk+est,ct_nw_proto=0,ct_tp_src=1
ip,nw_tos=3
ip,ip_dscp=64,nw_ecn=4
dl_vlan=4096,dl_vlan_pcp=8
dl_vlan=5,dl_vlan=*
dl_vlan=5,dl_vlan_pcp=3,dl_vlan=*
vlan_vid=0x2000
vlan_vid[]=5
vlan_tci=0x2000/0x2000
vlan_pcp=1,vlan_vid=0
arp,arp_op=256
mpls,mpls_label=0x100000,mpls_tc=9,mpls_bos=2
ip,nw_frag=NO
in_port_oxm[]=66000
""".splitlines()[1:]


# What ovs-ofctl sends of these is what it doesn't read.
UNREADABLE = [
    "tcp,nw_frag=later,tp_dst=80",
    "vlan_tci=0x0005",
    "ipv6,ipv6_label=0x123456",
    "dl_type=0x894f,nsh_ttl=64",
    # It prints the name gtpu_flags, and doesn't know it.
    "tun_gtpu_flags=0x30/0x10,tun_gtpu_msgtype=255",
]


def test_matches_that_do_not_come_back(codec: Codec, oracle: Oracle) -> None:
    flows = [f"{match} actions=drop" for match in UNREADABLE]
    assert [codec.flow(flow) for flow in flows] == oracle.flow_mods(flows)
    assert codec.text(codec.flow(flows[-1])) in oracle.print_flows([codec.flow(flows[-1])])[0]
    for flow in flows[:-1]:
        with pytest.raises(CodecError) as caught:
            codec.text(codec.flow(flow))
        assert caught.value.code == errno.EPROTO


def test_matches_are_those_of_ovs_ofctl(codec: Codec, oracle: Oracle) -> None:
    flows = [f"{match} actions=drop" for match in MATCHES]
    ours = [codec.flow(flow) for flow in flows]
    theirs = oracle.flow_mods(flows)
    assert dict(zip(flows, ours, strict=True)) == dict(zip(flows, theirs, strict=True))
    printed = [line.split("n_bytes=0, ")[1] for line in oracle.print_flows(ours)]
    assert [codec.text(flow_mod) for flow_mod in ours] == printed


@pytest.mark.parametrize("match", MATCHES)
def test_what_is_printed_is_parsed(codec: Codec, match: str) -> None:
    text = codec.text(codec.flow(f"{match} actions=drop"))
    assert codec.text(codec.flow(text)) == text


@pytest.mark.parametrize(
    ("match", "oxm"),
    [
        ("", ""),
        ("reg1=7", "80010110 00000000 00000007 00000000 ffffffff"),
        ("reg0=1,reg1=2", "80010008 00000001 00000002"),
        ("in_port=LOCAL", "80000004 fffffffe"),
        ("tcp,tp_dst=80", "80000a02 0800 80001401 06 80001c02 0050"),
        ("ct_state=+trk-new", "0001d308 00000020 00000021"),
        ("dl_vlan=100", "80000c02 1064"),
        ("ip,nw_dst=10.0.0.0/8", "80000a02 0800 80001908 0a000000 ff000000"),
    ],
)
def test_bytes_of_a_match(codec: Codec, match: str, oxm: str) -> None:
    fields = bytes.fromhex(oxm)
    padded = struct.pack(">HH", 1, 4 + len(fields)) + fields
    assert codec.flow(f"{match} actions=drop")[48:] == padded + bytes(-len(padded) % 8)


# What neither ovs-ofctl nor we take: the word in question, and what is said of it.
REJECTED = [
    ("reg0=foo", "foo", "reg0 is not a number"),
    ("reg0=0x100000000", "0x100000000", "reg0 has only 32 bits"),
    ("ct_label=0x112233445566778899aabbccddeeff0011", "0x11", "ct_label has only 128 bits"),
    ("reg32=1", "reg32", "unknown key"),
    ("NXM_NX_REG0=1", "NXM_NX_REG0", "unknown key"),
    ("foo", "foo", "unknown key"),
    ("tcp,tp_dst=65536", "65536", "tcp_dst has only 16 bits"),
    ("ip,nw_ttl=256", "256", "nw_ttl has only 8 bits"),
    ("ip,nw_frag=maybe", "maybe", "one of no, yes, first, later, not_later"),
    ("ip,nw_proto=6/7", "6/7", "nw_proto can't be masked"),
    ("in_port=1/1", "1/1", "in_port can't be masked"),
    ("in_port=foo", "foo", "unknown port"),
    ("in_port=65536", "65536", "port is neither"),
    ("in_port=0x1", "0x1", "port is not a number"),
    ("ct_state=+foo", "foo", "unknown ct_state flag"),
    ("ct_state=new+trk", "new+trk", "unknown ct_state flag"),
    ("ct_state=+new+new", "new", "given twice"),
    ("ct_state=0x100/0x100", "0x100/0x100", "unknown ct_state flag"),
    ("ct_zone=5/1", "5/1", "ct_zone can't be masked"),
    ("ip,nw_dst=1.2.3", "1.2.3", "not an IPv4 address"),
    ("ip,nw_dst=1.2.3.4/33", "33", "prefix length is greater than 32"),
    ("ip,nw_dst=1.2.3.4/255.0.0", "255.0.0", "not an IPv4 address"),
    ("ipv6,ipv6_dst=::1/129", "129", "prefix length is greater than 128"),
    ("ipv6,ipv6_dst=zz", "zz", "not an IPv6 address"),
    ("dl_src=00:11:22:33:44", "00:11:22:33:44", "not an Ethernet address"),
    ("dl_src=00:11:22:33:44:55:66", "00:11:22:33:44:55:66", "not an Ethernet address"),
    ("dl_src=gg:11:22:33:44:55", "gg:11:22:33:44:55", "not an Ethernet address"),
    ("reg0={x}", "{x}", "only a template can have a hole"),
    ("reg0[0..3]={x}", "{x}", "only a template can have a hole"),
    ("reg0[0..32]=1", "reg0[0..32]", "no bit 32: reg0 has 32 bits"),
    ("reg0[5..3]=1", "reg0[5..3]", "first bit 5 is after last bit 3"),
    ("reg0[a]=1", "reg0[a]", "bits are"),
    ("reg0[0..3]=16", "16", "reg0 has only 4 bits"),
    ("reg0[0..3=1", "reg0[0..3", "missing ]"),
    ("tcp,tcp_flags=+foo", "foo", "unknown tcp_flags flag"),
    ("tun_metadata0=1,tun_metadata0=2", "2", "matched twice"),
    (
        ",".join(f"tun_metadata{i}=0x{'11' * 100}" for i in range(3)),
        "0x11",
        "tun_metadata have 256 bytes in all",
    ),
]


def _assert_rejected(codec: Codec, match: str, word: str, message: str) -> None:
    flow = f"priority=3,{match} actions=drop"
    with pytest.raises(CodecError) as caught:
        codec.flow(flow)
    error = caught.value
    assert message in error.message
    assert word in error.message
    assert flow[error.position :].startswith(word)
    assert error.code == errno.EINVAL


@pytest.mark.parametrize(("match", "word", "message"), REJECTED)
def test_rejected(codec: Codec, oracle: Oracle, match: str, word: str, message: str) -> None:
    _assert_rejected(codec, match, word, message)
    assert oracle.rejects(f"{match} actions=drop")


# What ovs-ofctl takes the least significant bits of; see docs/differences.md.
@pytest.mark.parametrize(
    ("match", "word", "message"),
    [
        ("ip,nw_dst=1.2.3.256", "1.2.3.256", "not an IPv4 address"),
        ("ip,nw_dst=1.2.3.0/255.255.256.0", "255.255.256.0", "not an IPv4 address"),
        ("dl_src=100:0:0:0:0:1", "100:0:0:0:0:1", "not an Ethernet address"),
        ("dl_type=0x894f,nsh_spi[]=1", "nsh_spi[]", "can't be masked"),
    ],
)
def test_what_can_not_be_meant_is_rejected(
    codec: Codec, match: str, word: str, message: str
) -> None:
    _assert_rejected(codec, match, word, message)


# Any match.


def _maybe(*pairs: tuple[str, st.SearchStrategy[str]]) -> st.SearchStrategy[list[str]]:
    """Some of the keys, with a value each."""
    one = st.one_of([value.map(lambda v, key=key: (key, v)) for key, value in pairs])
    some = st.lists(one, max_size=5, unique_by=lambda pair: pair[0])
    return some.map(lambda chosen: ["=".join(pair) for pair in chosen])


def _hex(bits: int) -> st.SearchStrategy[str]:
    numbers = st.integers(0, 2**bits - 1)
    masked = st.tuples(numbers, numbers.filter(bool))
    return numbers.map(hex) | masked.map(lambda pair: f"{pair[0] & pair[1]:#x}/{pair[1]:#x}")


def _number(bits: int) -> st.SearchStrategy[str]:
    return st.integers(0, 2**bits - 1).map(str)


_BYTE = st.integers(0, 255)
_MAC = st.lists(_BYTE, min_size=6, max_size=6).map(lambda b: bytes(b).hex(":"))
_IPV4 = st.ip_addresses(v=4).map(str)
_IPV6 = st.ip_addresses(v=6).map(str)


# ovs-ofctl takes an IPv6 mask that starts with a decimal digit for a prefix length.
_IPV6_MASK = st.integers(0, 2**128 - 1).map(lambda mask: str(IPv6Address(mask | 0xF << 124)))


def _masked(
    address: st.SearchStrategy[str], bits: int, mask: st.SearchStrategy[str]
) -> st.SearchStrategy[str]:
    prefix = st.tuples(address, st.integers(1, bits)).map(lambda p: f"{p[0]}/{p[1]}")
    return address | prefix | st.tuples(address, mask).map("/".join)


_MAC_MASKED = _MAC | st.tuples(_MAC, _MAC).map("/".join)
_IPV4_MASKED = _masked(_IPV4, 32, _IPV4)
_IPV6_MASKED = _masked(_IPV6, 128, _IPV6_MASK)

_REGISTERS = st.lists(
    st.integers(0, 15).flatmap(lambda i: _hex(32).map(lambda v: (i, f"reg{i}={v}"))),
    max_size=4,
    unique_by=lambda pair: pair[0],
).map(lambda pairs: [text for _, text in pairs])

_STATES = st.sets(
    st.sampled_from(["new", "est", "rel", "rpl", "inv", "snat", "dnat"]), max_size=4
).map(lambda names: "ct_state=+trk" + "".join(f"-{name}" for name in sorted(names)))

_ANYWHERE = _maybe(
    ("in_port", st.integers(1, 0xFEFF).map(str) | st.just("LOCAL")),
    ("metadata", _hex(64)),
    ("pkt_mark", _hex(32)),
    ("conj_id", _number(32)),
    ("tun_id", _hex(64)),
    ("tun_src", _IPV4_MASKED),
    ("tun_dst", _IPV4_MASKED),
    ("tun_ipv6_src", _IPV6_MASKED),
    ("tun_ipv6_dst", _IPV6_MASKED),
    ("ct_zone", _number(16)),
    ("ct_mark", _hex(32)),
    ("ct_label", _hex(128)),
    ("dl_src", _MAC_MASKED),
    ("dl_dst", _MAC_MASKED),
    ("dl_vlan", _number(12)),
    ("dl_vlan_pcp", _number(3)),
)
_ANY_IP = (
    ("nw_tos", st.integers(0, 63).map(lambda dscp: str(dscp * 4))),
    ("nw_ecn", _number(2)),
    ("nw_ttl", _number(8)),
)
_IP = (*_ANY_IP, ("nw_frag", st.sampled_from(["no", "yes", "first", "later", "not_later"])))
_PORTS = (("tp_src", _hex(16)), ("tp_dst", _number(16) | _hex(16)))
_V4 = (("nw_src", _IPV4_MASKED), ("nw_dst", _IPV4_MASKED), *_IP)
_V6 = (("ipv6_src", _IPV6_MASKED), ("ipv6_dst", _IPV6_MASKED), ("ipv6_label", _hex(20)), *_IP)
_V4_PORTS = (*_V4[:2], *_ANY_IP, *_PORTS)
_V6_PORTS = (*_V6[:3], *_ANY_IP, *_PORTS)
_ICMP = (("icmp_type", _number(8)), ("icmp_code", _number(8)))


def _protocol(
    word: str, *pairs: tuple[str, st.SearchStrategy[str]]
) -> st.SearchStrategy[list[str]]:
    return _maybe(*pairs).map(lambda words: [word, *words])


_PROTOCOL = st.one_of(
    st.just([]),
    _protocol("ip", *_V4, ("nw_proto", st.integers(133, 255).map(str))),
    _protocol("ipv6", *_V6, ("nw_proto", st.integers(133, 255).map(str))),
    _protocol("tcp", *_V4_PORTS, ("tcp_flags", _hex(12))),
    _protocol("tcp6", *_V6_PORTS, ("tcp_flags", _hex(12))),
    _protocol("udp", *_V4_PORTS),
    _protocol("udp6", *_V6_PORTS),
    _protocol("sctp", *_V4_PORTS),
    _protocol("sctp6", *_V6_PORTS),
    _protocol("icmp", *_V4, *_ICMP),
    _protocol("icmp6", *_V6, *_ICMP),
    _protocol(
        "icmp6,icmp_type=135,icmp_code=0", *_V6, ("nd_target", _IPV6_MASKED), ("nd_sll", _MAC)
    ),
    _protocol("icmp6,icmp_type=136", *_V6, ("nd_target", _IPV6_MASKED), ("nd_tll", _MAC)),
    _protocol(
        "arp",
        ("arp_op", _number(8)),
        ("arp_spa", _IPV4_MASKED),
        ("arp_tpa", _IPV4_MASKED),
        ("arp_sha", _MAC_MASKED),
        ("arp_tha", _MAC_MASKED),
    ),
    _protocol(
        "mpls",
        ("mpls_label", _number(20)),
        ("mpls_tc", _number(3)),
        ("mpls_bos", _number(1)),
        ("mpls_ttl", _number(8)),
    ),
)


@st.composite
def _any_match(draw: Callable[[st.SearchStrategy[list[str]]], list[str]]) -> str:
    words = draw(_ANYWHERE) + draw(_REGISTERS) + draw(_PROTOCOL)
    words += draw(_STATES.map(lambda word: [word]) | st.just([]))
    return ",".join(draw(st.permutations(words)))


# Many matches an example, for one run of ovs-ofctl; a failure shows all that differ, so shrinking
# would only cost time.
@settings(
    max_examples=10,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(matches=st.lists(_any_match(), min_size=20, max_size=20))
def test_any_match_is_that_of_ovs_ofctl(codec: Codec, oracle: Oracle, matches: list[str]) -> None:
    flows = [f"{match} actions=drop" for match in matches]
    ours = [codec.flow(flow) for flow in flows]
    theirs = oracle.flow_mods(flows)
    assert dict(zip(flows, ours, strict=True)) == dict(zip(flows, theirs, strict=True))
    printed = [line.split("n_bytes=0, ")[1] for line in oracle.print_flows(ours)]
    assert [codec.text(flow_mod) for flow_mod in ours] == printed
    # (Not the same bytes: tcp_flags=0x12/0xfff is printed as tcp_flags=syn|ack.)
    assert [codec.text(codec.flow(text)) for text in printed] == printed


# Hostile text and bytes.


@settings(max_examples=300)
@given(
    text=st.text(alphabet='reg0=1,.:/[]{}()+-|xtcp*" \n\0é', max_size=40)
    | st.tuples(_any_match(), st.integers(0, 100), st.characters(codec="utf-8")).map(
        lambda t: t[0][: t[1]] + t[2] + t[0][t[1] :]
    )
)
def test_any_text_is_parsed_or_refused(codec: Codec, text: str) -> None:
    try:
        codec.text(codec.flow(f"{text} actions=drop"))
    except CodecError as error:
        problem = error
    else:
        return
    assert "\n" not in problem.message
    # ovs-ofctl, too, makes a flow of ipv6_label=0x100000 and can't print it.
    assert problem.code == errno.EINVAL or problem.message.endswith("value has too many bits")


# What a switch could send, but for what it is: each is one match's fields.
OTHER_HEADERS = [
    ("ffff0008 00002320 00000005", "dp_hash=0x5"),
    ("80000a02 0800 80001401 06 ffff5406 4f4e4600 0012", "tcp,tcp_flags=syn|ack"),
]
WRONG = [
    ("80000b04 0800 00ff", 4, "eth_type: its value has bits that its mask hasn't"),
    ("80000b04 0000 00ff", 4, "eth_type: it can't be masked"),
    ("00010004 00000001 00010004 00000001", 12, "reg0: it is there twice"),
    ("00015004 00000001 00015004 00000001", 12, "tun_metadata0: it is there twice"),
    ("ffff0003 000023", 4, "unknown field"),
    ("ffff0008 0000", 4, "unknown field"),
    ("80000004 0000ff01", 4, "there is no such port"),
]


def _flow_mod(codec: Codec, fields: str) -> bytes:
    """A flow_mod whose match has 'fields', in hexadecimal."""
    data = bytes.fromhex(fields)
    match = struct.pack("!HH", 1, 4 + len(data)) + data
    message = codec.flow("actions=drop")[:48] + match + bytes(-len(match) % 8)
    return message[:2] + struct.pack("!H", len(message)) + message[4:]


@pytest.mark.parametrize(("fields", "text"), OTHER_HEADERS)
def test_other_headers_of_a_field(codec: Codec, oracle: Oracle, fields: str, text: str) -> None:
    message = _flow_mod(codec, fields)
    assert codec.text(message) == f"{text} actions=drop"
    assert f" {text} actions=drop" in oracle.print(message)


@pytest.mark.parametrize(("fields", "position", "reason"), WRONG)
def test_wrong_fields_are_blamed(
    codec: Codec, oracle: Oracle, fields: str, position: int, reason: str
) -> None:
    message = _flow_mod(codec, fields)
    assert "decode error" in oracle.print(message)
    with pytest.raises(CodecError) as caught:
        codec.text(message)
    assert reason in caught.value.message
    assert caught.value.position == 48 + position


BIG = (
    "icmp6,in_port=3,dl_src=00:11:22:33:44:55,dl_vlan=7,dl_vlan_pcp=2,ipv6_src=fe80::/10,"
    "nw_frag=first,icmp_type=136,nd_target=fe80::1,reg3=4/0xff,ct_state=+trk+est,ct_label=0x5/0xf"
    " actions=drop"
)


def _text_or_error(codec: Codec, message: bytes) -> str:
    """The message's text or "". It is right about either, or it doesn't return."""
    try:
        return codec.text(message)
    except CodecError as error:
        problem = error
    assert problem.code == errno.EPROTO
    assert problem.position <= len(message)
    return ""


def test_no_truncation_of_a_match_decodes(codec: Codec) -> None:
    whole = codec.flow(BIG)
    for n in range(len(whole)):
        short = bytearray(whole[:n])
        assert not _text_or_error(codec, bytes(short))
        if n > 48:
            struct.pack_into(">H", short, 2, n)
            assert not _text_or_error(codec, bytes(short))


def test_every_change_of_a_byte_is_seen_or_refused(codec: Codec) -> None:
    whole = codec.flow(BIG)
    original = codec.text(whole)
    (match_len,) = struct.unpack_from(">H", whole, 50)
    # A mask of ct_state's bits that there are none of says nothing, to Open vSwitch neither.
    unseen = whole.index(bytes.fromhex("0001d308 00000022")) + 8
    for i in {*range(48, 48 + match_len)} - {unseen, unseen + 1, unseen + 2}:
        for x in {0x01, 0x80, 0xFF, whole[i]}:
            changed = bytearray(whole)
            changed[i] ^= x
            text = _text_or_error(codec, bytes(changed))
            assert text != original or changed == whole
            if text and "[Unknown]" not in text:
                assert codec.text(codec.flow(text)) == text
