"""Texts of every action with every option, for comparing the codec with ovs-ofctl.

``FORMS`` has the actions by the match that they need.  A form's fields are drawn anew for each
text: ``{n8}`` to ``{n64}`` are numbers of so many bits, ``{port}`` is a port, ``{reg}`` a
register's number, ``{low}`` and ``{high}`` are bits of a register, ``{hex}`` is hexadecimal bytes.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

FORMS: dict[str, list[str]] = {
    "": [
        # Output.
        "{port}",
        "output:{port}",
        "output({port})",
        "output_reg:reg{reg}",
        "output:reg{reg}[{low}..{high}]",
        "output:NXM_NX_REG{reg}[]",
        "output:xxreg1[{low}..{high}]",
        "output:OXM_OF_PKT_REG{reg8}[]",
        "output(port={port},max_len={len})",
        "output(max_len={len},port=LOCAL)",
        "in_port",
        "LOCAL",
        "Normal",
        "FLOOD",
        "all",
        "table",
        "controller",
        "CONTROLLER:{n16}",
        "controller()",
        "controller(max_len={n16})",
        "controller(id={n16})",
        "controller(reason={reason},max_len={n16},id={n16})",
        "controller(userdata={hex})",
        "controller(userdata={hex},pause,meter_id={n32},reason={reason},id={n16},max_len={n16})",
        "controller(pause)",
        "enqueue:{port}:{n32}",
        "enqueue({port},{n32})",
        "enqueue:LOCAL:0x{hexnum}",
        "set_queue:{n32}",
        "pop_queue",
        "group:{n32}",
        "bundle({hash},{n16},{balgorithm},ofport,members:{port},{port2})",
        "bundle({hash},{n16},{balgorithm},ofport,slaves:{port})",
        "bundle({hash}, {n16}, {balgorithm}, ofport, members:)",
        "bundle_load({hash},{n16},{balgorithm},ofport,reg{reg}[{low16}..{high16}],members:{port})",
        "bundle_load({hash},{n16},{balgorithm},ofport,NXM_NX_REG{reg}[],members:{port},{port2})",
        "multipath({hash},{n16},{malgorithm},{links},{n16},reg{reg}[])",
        "multipath({hash}, {n16}, {malgorithm}, {links}, {n16}, NXM_NX_REG{reg}[{low}..{high}])",
        # Fields.
        "set_field:{n32}->reg{reg}",
        "set_field:{n32}/{m32}->reg{reg}",
        "set_field:{n64}->xreg{reg8}",
        "set_field:{n64}/{m64}->metadata",
        "set_field:0x{hex128}->xxreg{reg4}",
        "set_field:{mac}->eth_src",
        "set_field:{mac}/{maskmac}->eth_dst",
        "set_field:{n64}->tun_id",
        "set_field:{ip}->tun_src",
        "set_field:{ip6}->tun_ipv6_dst",
        "set_field:{n8}->tun_ttl",
        "set_field:{n32}->pkt_mark",
        "set_field:{n16}->vlan_tci",
        "load:{n32}->NXM_NX_REG{reg}[]",
        "load:{one}->NXM_NX_REG{reg}[{low}..{high}]",
        "load:{one}->reg{reg}[{low}]",
        "load:{n64}->OXM_OF_METADATA[]",
        "load:0x{hex128}->NXM_NX_XXREG{reg4}[]",
        "load:{n32}->NXM_NX_XXREG{reg4}[{wide}]",
        "load:{n16}->NXM_OF_VLAN_TCI[]",
        "load:{n16}->NXM_OF_IN_PORT[]",
        "load:0x{hexnum}->NXM_OF_ETH_SRC[]",
        "move:NXM_NX_REG{reg}[{low}..{high}]->NXM_NX_REG1[{low}..{high}]",
        "move:reg{reg}->reg1",
        "move:OXM_OF_IN_PORT[]->NXM_NX_REG{reg}[]",
        "move:NXM_OF_IN_PORT[]->NXM_NX_XXREG{reg4}[{wide16}]",
        "move:NXM_OF_ETH_SRC[]->NXM_OF_ETH_DST[]",
        "move:NXM_NX_TUN_ID[0..31]->OXM_OF_PKT_REG{reg8}[32..63]",
        "mod_dl_src:{mac}",
        "mod_dl_dst:{mac}",
        "mod_vlan_vid:{n12}",
        "mod_vlan_pcp:{n3}",
        "push_vlan:0x8100",
        "push_vlan:0x88a8,set_field:{vid}->vlan_vid,set_field:{n3}->vlan_pcp,pop_vlan",
        "push_vlan:33024,load:{n12}->OXM_OF_VLAN_VID[],load:{n3}->OXM_OF_VLAN_PCP[]",
        "push_vlan:0x8100,set_vlan_vid:{n12},set_vlan_pcp:{n3},strip_vlan",
        "mod_vlan_vid:{n12},mod_vlan_pcp:{n3},mod_vlan_vid:{n12}",
        "set_tunnel:{n32}",
        "set_tunnel:{n64}",
        "set_tunnel64:{n64}",
        "push:NXM_NX_REG{reg}[{low}..{high}]",
        "push:reg{reg}",
        "push:xreg{reg8}[],pop:NXM_OF_ETH_SRC[]",
        "pop:NXM_NX_XXREG{reg4}[{wide}]",
        "push:OXM_OF_IN_PORT[],push:NXM_OF_IN_PORT[],push:ct_state",
        "check_pkt_larger({n16})->NXM_NX_REG{reg}[{low}]",
        "check_pkt_larger({n16})->xxreg{reg4}[{low}]",
        # Headers.
        "push_mpls:0x8847",
        "push_mpls:0x8848,set_mpls_label({n20}),set_mpls_tc({n3}),set_mpls_ttl({n8})",
        "push_mpls:0x8847,dec_mpls_ttl,pop_mpls:0x0800,dec_ttl",
        "push_mpls:0x8847,set_field:{n20}->mpls_label,set_field:{n3}->mpls_tc,push_mpls:0x8848",
        "push_mpls:0x8847,load:{n20}->OXM_OF_MPLS_LABEL[],move:OXM_OF_MPLS_TC[]->reg0[0..2]",
        "encap(ethernet)",
        "encap(nsh)",
        "encap(nsh(md_type=1))",
        "encap(nsh(md_type=2,tlv(0x{hex16},{n8},0x{hexbytes})))",
        "encap(nsh(md_type=2,tlv(0x1000,10,0x12345678),tlv(0x2000,{n8},0x{hexbytes})))",
        "encap(mpls)",
        "encap(mpls_mc),set_mpls_label({n20})",
        "encap(nsh),dec_nsh_ttl,encap(ethernet)",
        "decap",
        "decap()",
        "decap(packet_type(ns={ns},type={n16}))",
        "decap(packet_type(ns=1,type=0x894f))",
        "decap,decap",
        # Others.
        "resubmit:{port}",
        "resubmit({port},{table})",
        "resubmit(,{table})",
        "resubmit({port})",
        "resubmit({port},)",
        "learn()",
        "learn(table={table},idle_timeout={n16},hard_timeout={n16},priority={n16},cookie={n64})",
        "learn(fin_idle_timeout={n16},fin_hard_timeout={n16},send_flow_rem,delete_learned)",
        "learn(limit={n31},result_dst=NXM_NX_REG{reg}[{low}])",
        "learn(limit={n31},NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[],output:NXM_OF_IN_PORT[])",
        "learn(result_dst=reg{reg}[{low}],NXM_NX_REG{reg}[{low}..{high}])",
        "learn(NXM_OF_VLAN_TCI[0..11],load:NXM_OF_IN_PORT[]->NXM_NX_REG{reg}[0..15])",
        "learn(eth_type=0x800,nw_dst={ip},load:{n32}->NXM_NX_REG{reg}[],load:{one}->reg1[{low}])",
        "learn(eth_type=0x86dd,ipv6_dst={ip6},dl_src={mac},in_port={port})",
        "learn(eth_type=0x800,nw_proto=6,tcp_dst={n16},reg{reg}[{low}..{high}]={one})",
        "learn(reg{reg}=reg2,xreg1={n64},load:reg3[{low}..{high}]->reg{reg}[{low}..{high}])",
        "learn(load:0x{hex128}->NXM_NX_XXREG{reg4}[],tun_id={n64})",
        "note:{hex}",
        "note:",
        "note:0.1 2",
        "exit",
        "sample(probability={prob})",
        "sample(probability={prob},collector_set_id={n32},obs_domain_id={n32},obs_point_id={n32})",
        "sample(probability={prob},sampling_port={port})",
        "sample(probability={prob},ingress)",
        "sample(probability={prob},sampling_port=LOCAL,egress,obs_point_id={n32})",
        "ct_clear",
        "clone()",
        "clone({port},clone(drop))",
        "debug_slow,debug_recirc",
        # Instructions.
        "drop",
        "clear_actions",
        "write_metadata:{n64}",
        "write_metadata:{n64}/{m64}",
        "goto_table:{table}",
        "write_actions()",
        "write_actions(group:{n32})",
        "meter:{meter}",
        "meter:{meter},output:{port},clear_actions,write_actions({port}),write_metadata:{n64},goto_table:{table}",
        "conjunction({n31},{clause}/{clauses})",
        "note:{hex},conjunction({n31}, {clause} / {clauses} ),conjunction({n16},1/2)",
    ],
    "ip": [
        "mod_nw_src:{ip}",
        "mod_nw_dst:{ip}",
        "mod_nw_tos:{tos}",
        "mod_nw_ecn:{n2}",
        "mod_nw_ttl:{n8}",
        "set_nw_ttl:{n8}",
        "dec_ttl",
        "dec_ttl({n16},{n16})",
        "DEC_TTL(0)",
        "set_field:{ip}->ip_dst",
        "set_field:{ip}/{maskip}->nw_src",
        "set_field:{n6}->ip_dscp",
        "set_field:{tos}->nw_tos",
        "set_field:{n2}->nw_ecn",
        "set_field:{n8}->nw_ttl",
        "load:0x{hexnum}->NXM_OF_IP_SRC[]",
        "load:{n2}->NXM_NX_IP_ECN[]",
        "load:{n8}->NXM_NX_IP_TTL[]",
        "load:{n6}->OXM_OF_IP_DSCP[]",
        "load:{one}->NXM_OF_IP_TOS[2..7]",
        "move:NXM_OF_IP_SRC[{low}..{high}]->NXM_OF_IP_DST[{low}..{high}]",
        "push:NXM_OF_IP_SRC[],pop:NXM_OF_IP_DST[]",
        "multipath({hash},{n16},{malgorithm},{links},0,NXM_OF_IP_SRC[])",
        "learn(NXM_OF_ETH_TYPE[],NXM_OF_IP_DST[]=NXM_OF_IP_SRC[])",
        "ct",
        "ct()",
        "ct(commit)",
        "ct(commit,force,zone={n16},table={table})",
        "ct(zone=NXM_NX_REG{reg}[0..15],table={table})",
        "ct(commit,zone=reg{reg}[4..19],nat(src={ip6}))",
        "ct(nat)",
        "ct(table={table},nat)",
        "ct(commit,nat(src))",
        "ct(commit,nat(dst={ip}))",
        "ct(commit,nat(src={ip}-255.255.255.255:{nat},persistent,random))",
        "ct(commit,nat(dst={ip}:{nat}-65535,hash))",
        "ct(commit,nat(src=0.0.0.0))",
        "ct(commit,nat(src=1.2.3.4:0))",
        "ct(nat(src={ip}))",
        "ct(commit,exec(set_field:{n32}->ct_mark))",
        "ct(commit,exec(set_field:{n32}/{m32}->ct_mark,set_field:0x{hex128}->ct_label))",
        "ct(commit,exec(load:{n32}->NXM_NX_CT_MARK[],load:{one}->NXM_NX_CT_LABEL[{wide}]))",
        "ct(commit,exec(move:NXM_NX_REG{reg}[]->NXM_NX_CT_MARK[],nat(dst={ip})),nat)",
        "ct(exec(set_field:{n32}->ct_mark))",
        "resubmit(,{table},ct)",
    ],
    "ipv6": [
        "ct(commit,nat(src={ip6}))",
        "ct(commit,nat(dst=[{ip6}]:{nat}))",
        "ct(commit,nat(src=[{ip6}]-[ffff::1]:{nat}-65535,random))",
        "ct(commit,nat(src={ip6}-ffff:ffff::,hash,persistent))",
        "set_field:{ip6}->ipv6_dst",
        "set_field:{ip6}/64->ipv6_src",
        "set_field:{n20}->ipv6_label",
        "load:{n20}->NXM_NX_IPV6_LABEL[]",
        "load:{n32}->NXM_NX_IPV6_SRC[{wide}]",
        "move:NXM_NX_IPV6_SRC[]->NXM_NX_XXREG{reg4}[]",
        "mod_nw_tos:{tos},dec_ttl",
    ],
    "tcp": [
        "mod_tp_src:{n16}",
        "mod_tp_dst:{n16}",
        "set_field:{n16}->tcp_dst",
        "set_field:{n16}/{n16}->tcp_src",
        "load:{n16}->NXM_OF_TCP_DST[]",
        "move:NXM_OF_TCP_SRC[]->NXM_NX_REG{reg}[0..15]",
        "fin_timeout()",
        "fin_timeout(idle_timeout={n16})",
        "fin_timeout(hard_timeout={n16},idle_timeout={n16})",
        "ct(commit,alg=ftp)",
    ],
    "udp": ["mod_tp_src:{n16}", "set_field:{n16}->udp_dst", "ct(commit,alg=tftp)"],
    "sctp": ["mod_tp_dst:{n16}", "set_field:{n16}->sctp_src"],
    "icmp": ["set_field:{n8}->icmp_type", "load:{n8}->NXM_OF_ICMP_CODE[]"],
    "icmp6,icmp_type=135,icmp_code=0": [
        "set_field:{ip6}->nd_target",
        "set_field:{mac}->nd_sll",
    ],
    "arp": [
        "set_field:{ip}->arp_spa",
        "load:{n8}->NXM_OF_ARP_OP[]",
        "set_field:{mac}->arp_sha",
        "move:NXM_NX_ARP_SHA[]->NXM_NX_ARP_THA[]",
    ],
    "mpls": [
        "set_mpls_label:{n20}",
        "set_mpls_tc:{n3}",
        "set_mpls_ttl:{n8}",
        "dec_mpls_ttl",
        "pop_mpls:0x0800,mod_nw_src:{ip}",
        "pop_mpls:0x86dd,set_field:{ip6}->ipv6_dst",
        "set_field:{n20}->mpls_label",
        "load:{n3}->OXM_OF_MPLS_TC[]",
        "push_mpls:0x8847",
    ],
    "dl_vlan={n12}": [
        "pop_vlan",
        "strip_vlan",
        "mod_vlan_vid:{n12}",
        "mod_vlan_pcp:{n3}",
        "set_vlan_vid:{n12}",
        "set_vlan_pcp:{n3}",
        "set_field:{vid}->vlan_vid",
        "set_field:{vid}/{n12}->vlan_vid",
        "set_field:{n3}->vlan_pcp",
        "push_vlan:0x88a8,pop_vlan,pop_vlan",
        "move:OXM_OF_VLAN_VID[]->NXM_NX_REG{reg}[0..11]",
        "set_field:0x0->vlan_tci",
    ],
    "ct_state=+trk-inv,tcp": ["resubmit({port},{table},ct)", "ct(commit)"],
    "dl_type=0x894f": ["dec_nsh_ttl"],
}

OUTER = ["{}", "clone({})", "write_actions({})", "{},{}", "clone({},note:00),{}"]
"""What an action may stand in."""

_REASONS = ["no_match", "action", "invalid_ttl", "action_set", "group", "packet_out"]
_HASHES = ["eth_src", "symmetric_l4", "symmetric_l3l4", "symmetric_l3l4+udp", "nw_src", "nw_dst"]


def _number(rng: random.Random, bits: int) -> str:
    """A number of at most 'bits' bits, often an extreme one, in some base."""
    value = rng.choice([0, 1, (1 << bits) - 1, rng.getrandbits(bits), rng.getrandbits(bits)])
    return rng.choice([str(value), str(value), hex(value)])


def _decimal(rng: random.Random, bits: int) -> str:
    return str(int(_number(rng, bits), 0))


def _port(rng: random.Random) -> str:
    names = ["LOCAL", "in_port", "IN_PORT"]
    return rng.choice([*names, str(rng.randrange(1, 0xFF00)), str(rng.randrange(1, 9))])


def _ip6(rng: random.Random) -> str:
    groups = ":".join(f"{rng.getrandbits(16):x}" for _ in range(8))
    return rng.choice(["fe80::1", "::1", "2001:db8::ff", groups])


def _hex(rng: random.Random, separator: str) -> str:
    return separator.join(f"{rng.getrandbits(8):02x}" for _ in range(rng.randrange(1, 20)))


def values(rng: random.Random) -> dict[str, str]:
    """One value for each field of a form."""
    low = rng.randrange(31)
    clauses = rng.randrange(2, 65)
    wide = rng.randrange(0, 96)
    return {
        **{f"n{bits}": _number(rng, bits) for bits in (2, 3, 6, 8, 12, 20, 31, 32, 64)},
        # Of what Open vSwitch reads with atoi().
        "n16": _decimal(rng, 16),
        "n31": _decimal(rng, 31),
        "m32": _number(rng, 32),
        "m64": _number(rng, 64),
        "maskmac": ":".join(f"{rng.getrandbits(8):02x}" for _ in range(6)),
        "maskip": ".".join(str(rng.randrange(256)) for _ in range(4)),
        "links": str(rng.randrange(1, 3)),
        "port": _port(rng),
        "port2": _port(rng),
        "reg": str(rng.randrange(16)),
        "reg8": str(rng.randrange(8)),
        "reg4": str(rng.randrange(4)),
        "low": str(low),
        "high": str(rng.randrange(low + 1, 32)),
        "low16": str(rng.randrange(4)),
        "high16": str(rng.randrange(19, 32)),
        "wide": f"{wide}..{wide + 31}",
        "wide16": f"{wide}..{wide + 15}",
        "one": rng.choice(["0", "1"]),
        "hex": _hex(rng, rng.choice(["", "."])),
        "hexbytes": _hex(rng, ""),
        "hexnum": f"{rng.getrandbits(32):x}",
        "hex16": f"{rng.getrandbits(16):x}",
        "hex128": f"{rng.getrandbits(128):x}",
        "len": str(rng.randrange(14, 65536)),
        "reason": rng.choice(_REASONS),
        "hash": rng.choice(_HASHES),
        "balgorithm": rng.choice(["active_backup", "hrw"]),
        "malgorithm": rng.choice(["modulo_n", "hash_threshold", "hrw", "iter_hash"]),
        "mac": ":".join(f"{rng.getrandbits(8):02x}" for _ in range(6)),
        "ip": ".".join(str(rng.randrange(1, 255)) for _ in range(4)),
        "ip6": _ip6(rng),
        "vid": str(0x1000 | rng.getrandbits(12)),
        "tos": str(rng.getrandbits(6) << 2),
        "table": str(rng.randrange(1, 255)),
        "prob": str(rng.randrange(1, 65536)),
        "meter": str(rng.randrange(1, 0xFFFF0001)),
        "clauses": str(clauses),
        "clause": str(rng.randrange(1, clauses + 1)),
        "nat": str(rng.randrange(1, 65536)),
        "ns": str(rng.randrange(5)),
    }


def fill(rng: random.Random, form: str) -> str:
    """'form' with values in its fields."""
    return form.format_map(values(rng))


def walk(rng: random.Random) -> Iterator[str]:
    """Every form alone and in everything that an action may stand in, as flows."""
    for match, forms in FORMS.items():
        for form in forms:
            for outer in OUTER:
                actions = outer.replace("{}", "\0").replace("{", "{{").replace("}", "}}")
                parts = [fill(rng, form) for _ in range(outer.count("{}"))]
                for part in parts:
                    actions = actions.replace("\0", part, 1)
                yield f"{fill(rng, match)} actions={actions}"


def mix(rng: random.Random) -> str:
    """A flow of a few actions, whether they go together or not."""
    match = rng.choice(list(FORMS))
    pool = FORMS[""] + FORMS[match]
    words = [fill(rng, rng.choice(pool)) for _ in range(rng.randrange(1, 5))]
    if rng.random() < 0.2:
        words.append(rng.choice(OUTER[1:3]).format(fill(rng, rng.choice(pool))))
    return f"{fill(rng, match)} actions={','.join(words)}"


def spoil(rng: random.Random, text: str) -> str:
    """'text' with one character missing, doubled, or another."""
    at = rng.randrange(text.index("actions=") + len("actions="), len(text))
    new = rng.choice(["", text[at] * 2, rng.choice("0f(),:->[]./= x")])
    return text[:at] + new + text[at + 1 :]
