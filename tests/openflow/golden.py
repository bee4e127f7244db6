"""Messages made by hand, which say what the switch of the tests doesn't: a type and hexadecimal.

The fuzz targets start from them, too.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

NO_MATCH = "00010004 00000000"
NAMED = "0048 0000 525400000001 0000" + b"eth1".hex() + "00" * 12 + "00000001 00000004"
PORT = f"00000003 {NAMED}"
ETHERNET = "0000 0020 00000000 00000040 0000a800 0000002f 00000000 000f4240 00989680"
TLV = "0102 81 04 0000 0000  ffff 02 10 0005 0000"
UPDATE = "0020 0001 02 00 0005 0006 0007 00000000 0000000000000009"

ONE_TO_21 = "".join(f"{n:016x}" for n in range(1, 22))
UNKNOWN = "ff" * 8
PORT_STATS = "0000 00000001 00000002 00000003" + "00" * 64
INTEL = "0000aa01"
NX_REMOVED = "0000000000000007 0005 02 03 00000005 00000006 0004"
NX_PACKET_IN = "ffffffff 0004 00 01 0000000000000007 0006 000000000000"
GROUP_STATS = "0000 00000005 00000001 00000000 0000000000000002 0000000000000003"
METER_STATS = "000000000000 00000001 0000000000000001 0000000000000002 00000003 00000004"

MESSAGES = {
    "flow_removed": "11 0203 0004 0005 0006 0000000000000007 0001000c 80000004 00000003 00000000"
    " 0000001c 80020008 0000000500000006 80020808 0000000000000009 00000000",
    "port_status": f"12 02 {'00' * 7} {PORT} {ETHERNET}",
    "port_desc_sorted": "19 000d 0000 00000000"
    + "".join(f" {port} {NAMED} {ETHERNET}" for port in ("00000009", "00000002", "fffffffe")),
    "port_mod": "16 00000003 00000000 525400000001 0000 00000065 00000001 0000 0008 00000003",
    "port_mod_bare": "16 fffffffe 00000000 525400000001 0000 00000000 00000001",
    "table_mod": "17 ff 000000 0000000c 0003 0008 0a 14 00 00",
    "table_mod_plain": "17 05 000000 00000000",
    "role_request": "24 00000002 00000000 0000000000000003",
    "role_reply": "25 00000003 00000000 ffffffffffffffff",
    "set_async": "28 0000 0008 00000001 0001 0008 0000003f 0009 0008 00000018",
    "get_async_reply": "27 0003 0008 ffffffff",
    "role_status": "30 00000003 02 000000 0000000000000004",
    "table_status": "31 03 00000000000000 0010 05 00 00000008 0003 0008 0a 14 1e 00",
    "requestforward": "32 06 1d 0020 00000009 0000 0005 00000001 0001 0010 00000064 0000000a"
    " 00000000",
    "meter_mod_remark": "29 0000 000d 00000005 0002 0010 00000064 0000000a 03 000000",
    "monitor_reply": f"19 0010 0000 00000000 {UPDATE} 00010004 00000000"
    " 0008 0004 00000009 0008 0005 00000000",
    "monitor_removed": "19 0010 0000 00000000"
    " 0020 0002 01 00 0005 0006 0007 00000000 0000000000000009 00010004 00000000",
    "monitor_request": "18 0010 0000 00000000"
    " 00000007 00000003 00000005 005f 04 00 00010004 00000000"
    " 00000008 ffffffff ffffffff 0002 ff 02 00010004 00000000",
    "queue_desc_request": "18 000f 0000 00000000 00000001 00000005",
    "queue_desc_sorted": "19 000f 0000 00000000 00000002 00000005 0010 000000000000"
    " 00000001 00000009 0018 000000000000 0009 0004 00000000"
    " 00000001 00000003 0010 000000000000",
    "queue_desc": "19 000f 0000 00000000 00000001 00000005 0020 000000000000"
    " 0001 0006 01f4 0000 0002 0006 ffff 0000",
    "queue_stats": "19 0005 0000 00000000 0030 000000000000 00000001 00000005"
    " 0000000000000001 ffffffffffffffff 0000000000000003 00000004 1dcd6500",
    "queue_stats_unknown": "19 0005 0000 00000000 0030 000000000000 00000001 ffffffff"
    f" {UNKNOWN} {UNKNOWN} {UNKNOWN} ffffffff 00000000",
    "port_stats": f"19 0004 0001 00000000 0050 {PORT_STATS}",
    "port_stats_rfc2819": f"19 0004 0000 00000000 0108 {PORT_STATS}"
    f" ffff 00b8 {INTEL} 00000001 00000000 {ONE_TO_21}",
    "port_stats_rfc2819_unknown": f"19 0004 0000 00000000 0108 {PORT_STATS}"
    f" ffff 00b8 {INTEL} 00000001 00000000 {UNKNOWN * 21}",
    "port_stats_rfc2819_some": f"19 0004 0000 00000000 0108 {PORT_STATS}"
    f" ffff 00b8 {INTEL} 00000001 00000000 {UNKNOWN * 13} {'00' * 8} {UNKNOWN * 7}",
    "port_stats_custom": f"19 0004 0000 00000000 0090 {PORT_STATS}"
    f" ffff 003a {INTEL} 00000002 0000 0004 026162 0000000000000005 0163 0000000000000006"
    f" 00 0000000000000001 03646566 {UNKNOWN} 000000000000",
    "port_stats_custom_long": f"19 0004 0000 00000000 00b8 {PORT_STATS}"
    f" ffff 0067 {INTEL} 00000002 0000 0001 4e{'61' * 78} 0000000000000005 00",
    "port_stats_custom_none": f"19 0004 0000 00000000 0060 {PORT_STATS}"
    f" ffff 0010 {INTEL} 00000002 0000 0000",
    "port_stats_others": f"19 0004 0000 00000000 0070 {PORT_STATS}"
    f" ffff 000c {INTEL} 00000009 00000000 ffff 000c 00002320 00000001 00000000",
    "group_stats": f"19 0006 0000 00000000 0048 {GROUP_STATS} ffffffff 00000000"
    f" {UNKNOWN} {UNKNOWN} 0000000000000005 0000000000000007",
    "group_features": "19 0008 0000 00000000 0000000f 00000009 00000001 00000001 00000001 00000001"
    " 00000000 00000001 00400001 ffffffff",
    "meter_stats": f"19 0009 0000 00000000 00000005 0038 {METER_STATS} 0000000000000009 {UNKNOWN}",
    "meter_config_flags": "19 000a 0000 00000000"
    " 0018 00f1 00000005 0001 0010 00000064 00000000 00000000",
    "table_desc_ditto": "19 000e 0000 00000000 0008 03 00 00000000 0008 04 00 00000000"
    " 0008 05 00 00000000 0008 07 00 00000004 0008 09 00 00000004",
    "ipfix_request": "18 ffff 0000 00000000 00002320 00000003",
    "ipfix_flow_request": "18 ffff 0000 00000000 00002320 00000004",
    "ipfix_flow": "19 ffff 0000 00000000 00002320 00000004"
    f" {'0000000000000001' * 10} 00000003 00000000 {UNKNOWN * 10} 000004d2 00000000",
    "nx_flow_removed": f"04 00002320 0000000e {NX_REMOVED} 0006"
    " 0000000000000001 0000000000000002 00000002 0003 0000",
    "nx_flow_removed_any": f"04 00002320 0000000e {NX_REMOVED} 0000"
    " 0000000000000001 0000000000000002",
    "nx_packet_in": f"04 00002320 00000011 {NX_PACKET_IN} 00000002 0003 0000 0000 01020304",
    "nx_packet_in_unknown": f"04 00002320 00000011 {NX_PACKET_IN} f00d0202 0003 0000 0000 0102",
    "nx_resume": "04 00002320 0000001c 0000 0012 ffffffffffff 525400000001 0806 000000000000",
    "ipfix": "19 ffff 0000 00000000 00002320 00000003" + "00" * 87 + "01",
    "nx_role": "04 00002320 0000000a 00000001",
    "nx_async": "04 00002320 00000013 00000007 00000003 00000007 00000000 00000007 00000000",
    "nx_controller_id": "04 00002320 00000014 000000000000 007b",
    "nx_flow_age": "04 00002320 00000012",
    "nx_table_id": "04 00002320 0000000f 01 00000000000000",
    "tlv_mod": f"04 00002320 00000018 0000 000000000000 {TLV}",
    "tlv_clear": "04 00002320 00000018 0002 000000000000",
    "tlv_reply": f"04 00002320 0000001a 000000f8 0040 {'00' * 10} {TLV}",
}


FLOW_MOD = f"14 {'00' * 16} 01 {{command}} 0000 0000 8000 {'ff' * 12} {{flags}} 0000 {{rest}}"
GROUP_DESC = "19 0007 0000 00000000"

REFUSED = {
    "flow_mod's command": (
        FLOW_MOD.format(command="09", flags="0000", rest=NO_MATCH),
        "unknown flow command 9",
        25,
    ),
    "flow_mod's flags": (
        FLOW_MOD.format(command="00", flags="ffff", rest=NO_MATCH),
        "unknown flow flags 0xffe0",
        44,
    ),
    "flow_mod's match": (
        FLOW_MOD.format(command="00", flags="0000", rest="00020004 00000000"),
        "match is of type 2",
        48,
    ),
    "flow_mod's instructions": (
        FLOW_MOD.format(command="00", flags="0000", rest=f"{NO_MATCH} 0009 0008 00000000"),
        "unknown instruction 9",
        56,
    ),
    "flow's instructions": (
        f"19 0001 0000 00000000 0030 0000 0000 8000 {'00' * 16} {NO_MATCH}"
        " 0000 0004 00000000 0009 0008 00000000",
        "unknown instruction 9",
        56,
    ),
    "aggregate": (
        "19 0002 0000 00000000 0000 0014 80020608 0000",
        "20 bytes where there are 10",
        16,
    ),
    "group's bucket": (
        f"{GROUP_DESC} 0018 01 00 00000005 0008 000000000000 0000 0008 00000000 0000000000000000",
        "bad length of a bucket",
        32,
    ),
    "group statistics": (
        f"19 0006 0000 00000000 0030 {GROUP_STATS} 00000001 3b9aca00 {UNKNOWN}",
        "statistics are cut off",
        56,
    ),
    "meter_mod's command": ("29 0003 0001 00000005", "unknown meter command 3", 8),
    "meter_mod's flags": ("29 0000 0003 00000005", "both kbps and pktps", 10),
    "meter's band": (
        "19 000a 0000 00000000 0018 0001 00000005 0003 0010 00000064 00000000 00000000",
        "unknown type 3",
        24,
    ),
    "meter's band's length": (
        "19 000a 0000 00000000 0018 0001 00000005 0001 0018 00000064 00000000 00000000",
        "wrong length",
        24,
    ),
    "meter's length": (
        "19 000a 0000 00000000 0020 0001 00000005 0001 0010 00000064 00000000 00000000",
        "32 bytes where there are 24",
        16,
    ),
    "meter statistics' length": (
        f"19 0009 0000 00000000 00000005 0040 {METER_STATS}",
        "64 bytes where there are 40",
        16,
    ),
    "meter statistics' bands": (
        f"19 0009 0000 00000000 00000005 0030 {METER_STATS} 0000000000000009",
        "cut off",
        56,
    ),
    "monitor's flags": (
        "18 0010 0000 00000000 00000007 ffffffff ffffffff 020e ff 00 00010004 00000000",
        "flags are 0x20e",
        28,
    ),
    "monitor of nothing": (
        "18 0010 0000 00000000 00000007 ffffffff ffffffff 0001 ff 00 00010004 00000000",
        "flags are 0x1",
        28,
    ),
    "monitor's match": (
        "18 0010 0000 00000000 00000007 ffffffff ffffffff 000e ff 00 00020004 00000000",
        "match is of type 2",
        32,
    ),
    "monitor's length": ("18 0010 0000 00000000 00000007 ffffffff", "cut off", 16),
    "port's number": (f"19 000d 0000 00000000 0000ff01 {NAMED} {ETHERNET}", "no port 0xff01", 16),
    "port statistics' custom": (
        f"19 0004 0000 00000000 0068 {PORT_STATS}"
        f" ffff 0015 {INTEL} 00000002 0000 0001 0461626364 000000",
        "property 65535 has counters that are cut off",
        96,
    ),
    "port statistics' RFC 2819": (
        f"19 0004 0000 00000000 0060 {PORT_STATS} ffff 0010 {INTEL} 00000001 00000000",
        "property 65535 has a wrong length",
        96,
    ),
    "port statistics' Ethernet": (
        f"19 0004 0000 00000000 0058 {PORT_STATS} 0000 0008 00000000",
        "property 0 has a wrong length",
        96,
    ),
    "queue's port": ("18 0005 0000 00000000 0000ff01 00000005", "no port 0xff01", 16),
    "queue's rate": (
        "19 000f 0000 00000000 00000002 00000005 0018 000000000000 0001 0004 00000000",
        "property 1 has a wrong length",
        32,
    ),
    "queue's property": (
        "19 000f 0000 00000000 00000002 00000005 0018 000000000000 0001 0003 00000000",
        "property of 3 bytes where there are 8",
        32,
    ),
    "asynchronous messages": ("28 0000 0007 00000001", "property 0 has a wrong length", 8),
    "what is forwarded": ("32 0602 0010 00000009 0003 0001 00000001", "message of type 2", 8),
    "forwarded group_mod": (
        "32 060f 0018 00000009 0000 0500 00000001 0000 0000 ffffffff",
        "unknown type 5",
        18,
    ),
    "forwarded meter_mod": ("32 061d 0010 00000009 0003 0001 00000001", "meter command 3", 16),
    "packet-in's match": (
        "10 ffffffff 0000 01 02 0000000000000003 0001 0003 00000000 0000",
        "match of 3 bytes",
        24,
    ),
    "NXT_PACKET_IN": (
        "04 00002320 00000011 ffffffff 0004 00 01 0000000000000007 0008 000000000000 00000002 0003",
        "cut off before the packet",
        40,
    ),
    "NXT_FLOW_REMOVED": (
        f"04 00002320 0000000e {NX_REMOVED} 0010 {UNKNOWN} {UNKNOWN} 00000002 0003 0000",
        "match of 16 bytes",
        56,
    ),
    "NXT_FLOW_REMOVED's field": (
        f"04 00002320 0000000e {NX_REMOVED} 0006 {UNKNOWN} {UNKNOWN} f00d0202 0003 0000",
        "unknown field",
        56,
    ),
    "NXT_CT_FLUSH": (
        "04 00002320 00000020 0000000000000000 0000 0006 0000 0000",
        "property 0 has a wrong length",
        24,
    ),
}


ETH = "ffffffffffff00163e000001"
IP = "4500{:04x}0001000040{:02x}0000 0a000001 0a000002"
IP6 = "60112345 {:04x} {:02x} 40" + "fd" + "00" * 14 + "01" + "fd" + "00" * 14 + "02"

PACKETS = {
    "short": "0102",
    "empty": ETH + "0000",
    "llc": ETH + "0010" + "424203" + "00" * 13,
    "snap": ETH + "0026" + "aaaa03000000 0806 0001",
    "tcp": ETH + "0800" + IP.format(40, 6) + "0050 0051 00000000 00000000 5012 0000 1234 0000",
    "udp": ETH + "0800" + IP.format(28, 17) + "0035 1234 0008 abcd",
    "sctp": ETH + "0800" + IP.format(32, 132) + "0035 1234 00000000 abcdef01",
    "icmp": ETH + "0800" + IP.format(28, 1) + "08 00 abcd 0001 0002",
    "igmp": ETH + "0800" + IP.format(20, 2),
    "short tcp": ETH + "0800" + IP.format(24, 6) + "0050 0051",
    "short ip": ETH + "0800" + IP.format(60, 6) + "0050 0051",
    "fragment": ETH + "0800" + IP.format(28, 17).replace("00010000", "00010010") + "00" * 8,
    "arp": ETH + "0806" + "0001080006040001 00163e000001 0a000001 000000000000 0a000002",
    "bad arp": ETH + "0806" + "0002080006040001 00163e000001 0a000001 000000000000 0a000002",
    "udp6": ETH + "86dd" + IP6.format(8, 17) + "0035 1234 0008 abcd",
    "hop6": ETH + "86dd" + IP6.format(16, 0) + "1100000000000000 0035 1234 0008 abcd",
    "frag6": ETH + "86dd" + IP6.format(16, 44) + "1100000100000001 0035 1234 0008 abcd",
    "later6": ETH + "86dd" + IP6.format(16, 44) + "1100000900000001 0035 1234 0008 abcd",
    "cut6": ETH + "86dd" + IP6.format(4, 0) + "11000000",
    "authenticated6": ETH
    + "86dd"
    + IP6.format(20, 51)
    + "1101"
    + "00" * 10
    + "0035 1234 0008 abcd",
    "cut authenticated6": ETH + "86dd" + IP6.format(4, 51) + "11010000",
    "icmp of the other family": ETH + "86dd" + IP6.format(8, 1) + "08 00 abcd 0001 0002",
    "icmp6 of the other family": ETH + "0800" + IP.format(28, 58) + "80 00 abcd 00000000",
    "two addresses": ETH
    + "86dd"
    + IP6.format(40, 58)
    + "87 00 abcd 00000000 fe80"
    + "00" * 13
    + "09"
    + "0101 00163e000009 0101 00163e00000a",
    "icmp6": ETH + "86dd" + IP6.format(8, 58) + "80 00 abcd 00000000",
    "solicit": ETH + "86dd" + IP6.format(32, 58) + "87 00 abcd 00000000" + "fe80" + "00" * 13 + "09"
    "0101 00163e000009",
    "mpls": ETH + "8847" + "00012340",
    "vlan": ETH + "81002005" + "0800" + IP.format(28, 17) + "0035 1234 0008 abcd",
    "qinq": ETH + "88a82005" + "81000006" + "0800" + IP.format(28, 17) + "0035 1234 0008 abcd",
    "vlan of nothing": ETH + "8100",
}


def frame(text: str) -> bytes:
    """The message of 'text', with xid 5."""
    kind, _, body = text.partition(" ")
    data = bytes.fromhex(body)
    return struct.pack("!BBHI", 6, int(kind), 8 + len(data), 5) + data


def packet_in(text: str) -> bytes:
    """An OFPT_PACKET_IN with the packet 'text'."""
    packet = bytes.fromhex(text)
    head = struct.pack("!IHBBQHH", 0xFFFFFFFF, len(packet), 1, 0, 5, 1, 12)
    return frame(f"10 {head.hex()} 80000004 00000003 00000000 0000 {packet.hex()}")


def messages() -> Iterator[bytes]:
    """All of them, right or wrong."""
    yield from (frame(text) for text in MESSAGES.values())
    yield from (frame(text) for text, _, _ in REFUSED.values())
    yield from (packet_in(text) for text in PACKETS.values())
