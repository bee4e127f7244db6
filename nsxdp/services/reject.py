"""The answer to a packet that is refused: a TCP reset, or ICMP's port unreachable.

Open vSwitch has no action that rejects, so the first packet of a connection to a Service without
endpoints comes to the agent. Packets are hostile: whatever isn't a well-formed packet that may be
answered has no answer.
"""

from __future__ import annotations

from struct import pack, pack_into, unpack_from
from typing import Final

__all__ = ["reject"]

_ETH_VLAN: Final = (0x8100, 0x88A8)
_ETH_IPV4: Final = 0x0800
_ETH_IPV6: Final = 0x86DD

_ICMP: Final = 1
_TCP: Final = 6
_ICMPV6: Final = 58

_TTL: Final = 64

_QUOTE_IPV4: Final = 548
"""Bytes of the refused packet that an ICMP error quotes at most: all of it fits 576 bytes
(RFC 1812, 4.3.2.3)."""
_QUOTE_IPV6: Final = 1232
"""The same for ICMPv6, whose errors must fit the minimum MTU, 1280 bytes (RFC 4443, 3.1)."""

_FIN, _SYN, _RST, _ACK = 0x01, 0x02, 0x04, 0x10


def reject(frame: bytes) -> bytes | None:
    """The Ethernet frame that refuses 'frame', or None where there must be no answer.

    A TCP segment is answered by a reset (RFC 9293, 3.10.7.1), anything else in IPv4 by ICMP type
    3 code 3 (RFC 792) and in IPv6 by ICMPv6 type 1 code 4 (RFC 4443). Nothing is answered that is
    a reset or an ICMP packet, that was sent to or by a group, or that is a later fragment.
    """
    if len(frame) < 14 or frame[0] & 1 or frame[6] & 1:
        return None
    start = 12
    (kind,) = unpack_from("!H", frame, start)
    while kind in _ETH_VLAN:
        start += 4
        if len(frame) < start + 2:
            return None
        (kind,) = unpack_from("!H", frame, start)
    start += 2
    packet = frame[start:]
    if kind == _ETH_IPV4:
        answer = _reject_ipv4(packet)
    elif kind == _ETH_IPV6:
        answer = _reject_ipv6(packet)
    else:
        return None
    return frame[6:12] + frame[:6] + frame[12:start] + answer if answer else None


def _reject_ipv4(packet: bytes) -> bytes | None:
    if len(packet) < 20:
        return None
    header = (packet[0] & 15) * 4
    total, fragment = unpack_from("!2xH2xH", packet)
    source, target = packet[12:16], packet[16:20]
    if packet[0] >> 4 != 4 or header < 20 or total < header or fragment & 0x1FFF:
        return None
    if source[0] >= 224 or source == bytes(4):
        return None
    payload = packet[header:total]
    if packet[9] == _TCP:
        protocol, answer = _TCP, _reset(payload, total - header, target + source)
    elif packet[9] == _ICMP:
        return None
    else:
        protocol = _ICMP
        answer = _icmp(3, 3, packet[: min(total, _QUOTE_IPV4)], b"")
    if answer is None:
        return None
    length = 20 + len(answer)
    head = bytearray(
        pack("!BBHHHBBH4s4s", 0x45, 0, length, 0, 0x4000, _TTL, protocol, 0, target, source)
    )
    pack_into("!H", head, 10, _checksum(bytes(head)))
    return bytes(head) + answer


def _reject_ipv6(packet: bytes) -> bytes | None:
    if len(packet) < 40 or packet[0] >> 4 != 6:
        return None
    length, protocol = unpack_from("!4xHB", packet)
    source, target = packet[8:24], packet[24:40]
    if source[0] == 0xFF or source == bytes(16):
        return None
    payload = packet[40 : 40 + length]
    if protocol == _TCP:
        answer = _reset(payload, length, target + source)
    elif protocol == _ICMPV6:
        return None
    else:
        protocol = _ICMPV6
        answer = _icmp(1, 4, packet[: min(40 + length, _QUOTE_IPV6)], target + source)
    if answer is None:
        return None
    return pack("!IHBB16s16s", 6 << 28, len(answer), protocol, _TTL, target, source) + answer


def _reset(segment: bytes, length: int, addresses: bytes) -> bytes | None:
    """The reset for 'segment', of whose 'length' bytes some may be cut off, between 'addresses'."""
    if len(segment) < 20:
        return None
    source, target, sequence, acknowledged, offset, flags = unpack_from("!HHIIBB", segment)
    header = (offset >> 4) * 4
    if flags & _RST or not 20 <= header <= length:
        return None
    if flags & _ACK:
        number, ack, answer_flags = acknowledged, 0, _RST
    else:
        used = length - header + bool(flags & _SYN) + bool(flags & _FIN)
        number, ack, answer_flags = 0, (sequence + used) & 0xFFFF_FFFF, _RST | _ACK
    answer = bytearray(pack("!HHIIBBHHH", target, source, number, ack, 0x50, answer_flags, 0, 0, 0))
    pack_into("!H", answer, 16, _checksum(_pseudo_header(addresses, _TCP, len(answer)) + answer))
    return bytes(answer)


def _icmp(kind: int, code: int, quoted: bytes, addresses: bytes) -> bytes:
    """An ICMP error that quotes 'quoted'; ICMPv6's checksum covers 'addresses' too."""
    answer = bytearray(pack("!BBHI", kind, code, 0, 0) + quoted)
    pseudo = _pseudo_header(addresses, _ICMPV6, len(answer)) if addresses else b""
    pack_into("!H", answer, 2, _checksum(pseudo + answer))
    return bytes(answer)


def _pseudo_header(addresses: bytes, protocol: int, length: int) -> bytes:
    """What the checksum of a payload of 'length' bytes covers of IP's header."""
    layout = "!HH" if len(addresses) == 8 else "!II"
    order = (protocol, length) if len(addresses) == 8 else (length, protocol)
    return addresses + pack(layout, *order)


def _checksum(data: bytes | bytearray) -> int:
    """The Internet checksum (RFC 1071)."""
    if len(data) % 2:
        data = data + b"\0"
    total: int = sum(unpack_from(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
