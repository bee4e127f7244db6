"""Matches of templates: where their holes are, and what else they refuse."""

from __future__ import annotations

import errno
from typing import Any

import pytest
from library import Codec, CodecError
from stamping import stamp


def _holes(codec: Codec, text: str) -> tuple[Any, dict[str, tuple[int, int]]]:
    """A template, and each hole's bytes and bits."""
    ffi, lib = codec.ffi, codec.lib
    template = ffi.new("struct nsx_template **")
    error = ffi.new("struct nsx_error *")
    encoded = text.encode()
    code = lib.nsx_template_new(encoded, len(encoded), ffi.NULL, template, error)
    codec.check(code, error)
    made = ffi.gc(template[0], lib.nsx_template_free)
    holes = {}
    for i in range(lib.nsx_template_n_holes(made)):
        n_bytes, n_bits = ffi.new("size_t *"), ffi.new("size_t *")
        name = lib.nsx_template_hole(made, i, n_bytes, n_bits, ffi.new("bool *"))
        holes[ffi.string(name).decode()] = (n_bytes[0], n_bits[0])
    return made, holes


@pytest.mark.parametrize(
    ("text", "values", "bits"),
    [
        ("table={t},priority={p}", {"t": 7, "p": 3}, {"t": 8, "p": 16}),
        ("cookie={c},idle_timeout={i}", {"c": 2**63, "i": 9}, {"c": 64, "i": 16}),
        ("tcp,nw_dst={v},tp_dst={p}", {"v": 0x0A000001, "p": 80}, {"v": 32, "p": 16}),
        ("udp6,tp_src={p}", {"p": 53}, {"p": 16}),
        ("in_port={i}", {"i": 0xFFFFFFFE}, {"i": 32}),
        ("reg7={r}", {"r": 0xFFFFFFFF}, {"r": 32}),
        ("reg6={r},reg7={s}", {"r": 1, "s": 2}, {"r": 32, "s": 32}),
        ("reg4={r}/0xffff", {"r": 0x1234}, {"r": 16}),
        ("reg4[8..15]={r},reg4[0]=1", {"r": 0x12}, {"r": 8}),
        ("reg4[3..8]={r},reg4[9..20]={s}", {"r": 0x2A, "s": 0x7FF}, {"r": 6, "s": 12}),
        ("xreg1={r}", {"r": 0x1122334455667788}, {"r": 64}),
        ("xreg1[16..47]={r}", {"r": 0x11223344}, {"r": 32}),
        ("xxreg1[64..95]={r}", {"r": 0x11223344}, {"r": 32}),
        ("dl_vlan={v}", {"v": 4095}, {"v": 12}),
        ("dl_vlan=5,dl_vlan_pcp={p}", {"p": 7}, {"p": 3}),
        ("dl_vlan={v},dl_vlan_pcp={p}", {"v": 9, "p": 5}, {"v": 12, "p": 3}),
        ("ip,ip_dscp={d},nw_ecn={e}", {"d": 63, "e": 3}, {"d": 6, "e": 2}),
        ("ipv6,ipv6_label={x}", {"x": 0xFFFFF}, {"x": 20}),
        ("arp,arp_op={o},arp_spa={a}", {"o": 2, "a": 0x01020304}, {"o": 8, "a": 32}),
        ("ct_zone={z},ct_mark={m}/0xff", {"z": 65535, "m": 3}, {"z": 16, "m": 8}),
        ("metadata={m},tun_id={x}", {"m": 2**64 - 1, "x": 1}, {"m": 64, "x": 64}),
        ("conj_id={c}", {"c": 77}, {"c": 32}),
        ("ip,nw_src={v}/24", {"v": 0x0A000100}, {"v": 32}),
        ("icmp,icmp_type={t},icmp_code={c}", {"t": 8, "c": 1}, {"t": 8, "c": 8}),
        ("icmp6,icmp_type={t}", {"t": 128}, {"t": 8}),
        ("sctp6,sctp_src={s},sctp_dst={d}", {"s": 1, "d": 2}, {"s": 16, "d": 16}),
        ("mpls,mpls_label={l}", {"l": 0xFFFFF}, {"l": 20}),
        ("dl_type=0x894f,nsh_spi={s}", {"s": 0xFFFFFF}, {"s": 24}),
        ("dl_src=*,reg0={r}", {"r": 5}, {"r": 32}),
    ],
)
def test_a_hole_is_where_its_value_goes(
    codec: Codec, text: str, values: dict[str, int], bits: dict[str, int]
) -> None:
    template, holes = _holes(codec, f"{text} actions=drop")
    assert {name: n_bits for name, (_, n_bits) in holes.items()} == bits

    data = [codec.ffi.new("uint64_t *", values[name]) for name in holes]
    columns = codec.ffi.new("struct nsx_column[]", len(data))
    for column, value in zip(columns, data, strict=True):
        column.data, column.width, column.stride = value, 8, 0

    def stamp(buf: Any, error: Any) -> int:
        null = codec.ffi.NULL
        code: int = codec.lib.nsx_template_stamp(template, 1, columns, buf, null, error)
        return code

    stamped = codec.call(stamp)
    address = ("nw_src", "nw_dst", "arp_spa")
    plain = text
    for name, value in values.items():
        is_address = any(f"{key}={{{name}}}" in text for key in address)
        word = ".".join(map(str, value.to_bytes(4))) if is_address else str(value)
        plain = plain.replace(f"{{{name}}}", word)
    assert stamped == codec.flow(f"{plain} actions=drop")


@pytest.mark.parametrize(
    ("match", "message"),
    [
        ("ct_state={x}", "ct_state can't be a hole"),
        ("tcp,tcp_flags={x}", "tcp_flags can't be a hole"),
        ("vlan_tci={x}", "can't be a hole"),
        ("ip,nw_tos={x}", "can't be a hole"),
        ("xxreg0={x}", "wider than an xreg"),
        ("xxreg0[32..95]={x}", "wider than an xreg"),
        ("ip,nw_src={x}/255.0.255.0", "mask has to be of the least significant bits"),
        ("packet_type={x}", "packet_type can't be a hole"),
        ("tun_metadata0={x}", "tun_metadata0 can't be a hole"),
        ("tun_metadata0[0..7]={x}", "only a template can have a hole"),
        ("reg0={x}/0xff00", "mask has to be of the least significant bits"),
        ("reg0={}", "a hole needs a name"),
        ("reg0={a b}", "a hole's name is letters, digits and '_'"),
        ("reg0={1}", "a hole's name is letters, digits and '_'"),
        ("reg0={x},reg0=1", "matched twice"),
        ("reg0=1,reg0={x}", "matched twice"),
        ("reg0={x},xreg0=1", "matched twice"),
        ("eth_type[0..3]={x}", "eth_type can't be masked"),
        ("reg0={a23456789012345678901234567890123}", "a hole's name has at most 31 bytes"),
        (",".join(f"reg{i}[{j}]={{x}}" for i in range(16) for j in range(32)), "too many holes"),
        ("icmp6,icmp_type={t},nd_target=::1", "needs icmp6"),
        ("dl_type={t},nw_proto=6", "needs ip"),
        ("ip,nw_proto={p},tp_dst=5", "needs tcp"),
    ],
)
def test_what_can_not_be_a_hole(codec: Codec, match: str, message: str) -> None:
    with pytest.raises(CodecError) as caught:
        _holes(codec, f"{match} actions=drop")
    assert message in caught.value.message


@pytest.mark.parametrize(
    "match",
    [
        "eth_type[]=0x800",
        "dl_vlan=0xffff",
        "dl_vlan=65535",
        "ipv6,ipv6_label=0x12345/0xfffff",
        "ipv6,ipv6_label=0x12345/0xff0ff",
        "arp,arp_spa=1.2.3.4/255.255.255.0",
    ],
)
def test_without_a_hole_a_template_is_a_flow(codec: Codec, match: str) -> None:
    flow = f"{match} actions=drop"
    assert stamp(codec, flow, {}) == codec.flow(flow)


def test_a_mask_of_more_bits_than_the_field_has_is_none(codec: Codec) -> None:
    text = "ipv6,ipv6_label=0x12345{} actions=drop"
    assert stamp(codec, text.format("/0xffffffff"), {}) == codec.flow(text.format(""))


# What ovs-ofctl takes and then leaves out, cuts off, or overwrites: a dump would show another flow
# than the one that was asked for, and a template would make many of them.
STRICTER = [
    ("tp_dst=80", "tp_dst=80", "tcp_dst needs tcp or tcp6"),
    ("ip,tp_dst=80", "tp_dst=80", "tcp_dst needs tcp or tcp6"),
    ("reg0=1,nw_dst=10.0.0.1", "nw_dst=10.0.0.1", "ip_dst needs ip"),
    ("ipv6_dst=::1", "ipv6_dst=::1", "needs ipv6"),
    ("ip,ipv6_dst=::1", "ipv6_dst=::1", "needs ipv6"),
    ("arp_op=1", "arp_op=1", "needs arp or rarp"),
    ("tcp,nw_frag=later,tp_dst=80", "tp_dst=80", "not nw_frag=later"),
    ("udp,tcp_flags=+syn", "tcp_flags=+syn", "needs tcp"),
    ("nd_target=::1", "nd_target=::1", "needs icmp6"),
    ("icmp6,icmp_type=135,nd_tll=0:0:0:0:0:1", "nd_tll=0:0:0:0:0:1", "icmp_type 136"),
    ("icmp6,icmp_type=135,icmp_code=1,nd_target=::1", "nd_target=::1", "icmp_code 0"),
    ("ip,ct_nw_src=1.2.3.4", "ct_nw_src=1.2.3.4", "needs a ct_state"),
    ("ip,ct_state=+trk,ct_nw_src=1.2.3.4", "ct_nw_src=1.2.3.4", "+trk-inv"),
    ("dl_vlan=4096", "4096", "dl_vlan has only 12 bits"),
    ("dl_vlan_pcp=8", "8", "dl_vlan_pcp has only 3 bits"),
    ("vlan_vid=0x2000", "0x2000", "vlan_vid has only 13 bits"),
    ("ip,nw_tos=3", "3", "nw_ecn"),
    ("ip,ip_dscp=64", "64", "ip_dscp has only 6 bits"),
    ("ip,nw_ecn=4", "4", "nw_ecn has only 2 bits"),
    ("arp,arp_op=256", "256", "arp_op has only 8 bits"),
    ("vlan_tci=0x2000/0x2000", "vlan_tci=0x2000/0x2000", "some bits of the VLAN's priority"),
    ("vlan_tci=0x0005", "vlan_tci=0x0005", "without its tag"),
    ("vlan_pcp=1,vlan_vid=0", "0", "matched twice, differently"),
    ("tcp,udp", "udp", "matched twice, differently"),
    ("reg0=1,reg0=2", "2", "matched twice, differently"),
    ("xreg0=1,reg1=2", "2", "matched twice, differently"),
    ("ip,reg0", "reg0", "reg0 has no value"),
    ("reg0=", "reg0", "reg0 has no value"),
    ("table=255", "255", "no table 255"),
    ("tcp=80", "tcp", "unknown key"),
]


@pytest.mark.parametrize(("match", "word", "message"), STRICTER)
def test_a_template_says_what_it_means(codec: Codec, match: str, word: str, message: str) -> None:
    flow = f"priority=3,{match} actions=drop"
    with pytest.raises(CodecError) as caught:
        _holes(codec, flow)
    error = caught.value
    assert message in error.message
    assert word in error.message
    assert flow[error.position :].startswith(word)
    assert error.code == errno.EINVAL
    codec.flow(flow)
