"""Inputs that a target once failed on; each run starts with them."""

from __future__ import annotations

from typing import Final

FOUND: Final[dict[str, list[bytes]]] = {
    "packet_out": [
        b"OXM_OF_TUNNEL_ID=0,actions=drop",  # refused, and the error said nothing
    ],
    "flow_text": [
        # a length of 0 was counted down from
        b"\0 actions=write_actions(encap(nsh(md_type=2,tlv(0x800,255,0x  ))))",
    ],
    "actions": [
        bytes.fromhex("06 0004002000000000 ffff001800002320 002e00000001894f 0004020810000500"),
    ],
    "match_text": [
        b"",  # arithmetic on no pointer
    ],
    "match": [
        bytes.fromhex("0001000a0000080200010001120a0000"),  # vlan_tci=0x0001: none in OpenFlow 1.5
    ],
    "desired": [
        bytes.fromhex("4f4d5f23"),  # a group without buckets: arithmetic on no pointer
    ],
}
