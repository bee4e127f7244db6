"""The Service flows in os-ken's objects: the peer that Python programs for Open vSwitch use.

What os-ken 4.2 encodes wrongly is left to its own taste: NXActionNAT with a port but without its
upper limit isn't padded, so the limit is given.
"""

from __future__ import annotations

from typing import Any

from os_ken.ofproto import ofproto_v1_5 as ofp
from os_ken.ofproto import ofproto_v1_5_parser as parser
from os_ken.ofproto.ofproto_protocol import ProtocolDesc

from nsxdp.pipeline.registers import LEARNED_COOKIE, ZONE
from nsxdp.pipeline.tables import TABLES

SWITCH = ProtocolDesc(version=ofp.OFP_VERSION)

_TABLE = {name.decode(): number for number, name in enumerate(TABLES.by_number) if name}
_TCP = 6


def _flow(table: str, match: Any, actions: list[Any]) -> bytes:
    flow = parser.OFPFlowMod(
        SWITCH,
        table_id=_TABLE[table],
        priority=200,
        out_port=ofp.OFPP_ANY,
        out_group=ofp.OFPG_ANY,
        match=match,
        instructions=[parser.OFPInstructionActions(ofp.OFPIT_APPLY_ACTIONS, actions)],
    )
    flow.serialize()
    return bytes(flow.buf)


def balance(vip: str, port: int, group: int) -> bytes:
    """ServiceLB: from a virtual address to its group."""
    match = parser.OFPMatch(eth_type=0x800, ip_proto=_TCP, ipv4_dst=vip, tcp_dst=port)
    return _flow("ServiceLB", match, [parser.OFPActionGroup(group)])


def _dnat(ip: str, port: int) -> Any:
    nat = parser.NXActionNAT(
        flags=2,
        range_ipv4_min=ip,
        range_ipv4_max="",
        range_ipv6_min="",
        range_ipv6_max="",
        range_proto_min=port,
        range_proto_max=port,
    )
    return parser.NXActionCT(
        flags=1,
        zone_src="",
        zone_ofs_nbits=ZONE,
        recirc_table=_TABLE["ServiceSNAT"],
        alg=0,
        actions=[nat, parser.OFPActionSetField(ct_mark=(0x10, 0x10))],
    )


def endpoint(slot: int, group: int, timeout: int, ip: str, port: int) -> bytes:
    """EndpointDNAT: learn that this client has this endpoint, and commit the NAT."""
    learn = parser.NXActionLearn(
        table_id=_TABLE["ServiceAffinity"],
        idle_timeout=timeout,
        priority=100,
        cookie=LEARNED_COOKIE,
        specs=[
            parser.NXFlowSpecMatch(src=0x800, dst=("eth_type_nxm", 0), n_bits=16),
            parser.NXFlowSpecMatch(src=_TCP, dst=("ip_proto_nxm", 0), n_bits=8),
            parser.NXFlowSpecMatch(src=("reg7", 0), dst=("reg7", 0), n_bits=32),
            parser.NXFlowSpecMatch(src=("ipv4_src_nxm", 0), dst=("ipv4_src_nxm", 0), n_bits=32),
            parser.NXFlowSpecLoad(src=slot, dst=("reg4", 0), n_bits=32),
        ],
    )
    match = parser.OFPMatch(eth_type=0x800, ip_proto=_TCP, reg4=slot, reg8=group)
    return _flow("EndpointDNAT", match, [learn, _dnat(ip, port)])


def group(number: int, endpoints: list[tuple[int, str, int]]) -> bytes:
    """A Service port's group, of (slot, address, port) each endpoint.

    It has no selection method: os-ken doesn't know that extension.
    """
    buckets = [
        parser.OFPBucket(
            bucket_id=slot,
            actions=[_dnat(ip, port)],
            properties=[parser.OFPGroupBucketPropWeight(weight=100, type_=ofp.OFPGBPT_WEIGHT)],
        )
        for slot, ip, port in endpoints
    ]
    message = parser.OFPGroupMod(SWITCH, ofp.OFPGC_ADD, ofp.OFPGT_SELECT, number, buckets=buckets)
    message.serialize()
    return bytes(message.buf)


def decode(message: bytes) -> Any:
    """A flow_mod of its bytes, as objects: their match and instructions."""
    match = parser.OFPMatch.parser(message, ofp.OFP_FLOW_MOD_SIZE - ofp.OFP_MATCH_SIZE)
    offset = ofp.OFP_FLOW_MOD_SIZE - ofp.OFP_MATCH_SIZE + _padded(match.length)
    instructions = []
    while offset < len(message):
        instruction = parser.OFPInstruction.parser(message, offset)
        instructions.append(instruction)
        offset += instruction.len
    return match, instructions


def _padded(length: int) -> int:
    return (length + 7) // 8 * 8


def decode_reply(reply: bytes) -> list[Any]:
    """The flows of an OFPMP_FLOW_DESC reply, as objects."""
    message = parser.OFPMultipartReply.parser(
        SWITCH, ofp.OFP_VERSION, ofp.OFPT_MULTIPART_REPLY, len(reply), 0, bytearray(reply)
    )
    flows: list[Any] = message.body
    return flows
