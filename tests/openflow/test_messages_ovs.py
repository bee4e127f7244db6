"""Messages that a real switch sends, and others, printed as ovs-ofctl ofp-print prints them."""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator

import pytest
from golden import MESSAGES, PACKETS, REFUSED, frame, packet_in
from oracle import Oracle

from nsxdp.lab import OVS
from nsxdp.openflow import Session
from nsxdp.openflow.codec import message_format
from nsxdp.openflow.errors import DecodeError
from nsxdp.openflow.messages import HEADER, MORE, Message, MultipartRequest, Other, decode
from nsxdp.transport import parse_remote

ANY = 0xFFFFFFFF
ALL_METERS = 0xFFFFFFFF
ALL_GROUPS = 0xFFFFFFFC
NO_MATCH = bytes.fromhex("0001000400000000")
FLOWS = struct.pack("!B3xII4xQQ", 0xFF, ANY, ANY, 0, 0) + NO_MATCH

REQUESTS = {
    "desc": (0, b""),
    "flow": (1, FLOWS),
    "aggregate": (2, FLOWS),
    "table": (3, b""),
    "port": (4, struct.pack("!I4x", ANY)),
    "queue": (5, struct.pack("!II", ANY, ANY)),
    "group": (6, struct.pack("!I4x", ALL_GROUPS)),
    "group_desc": (7, struct.pack("!I4x", ALL_GROUPS)),
    "group_features": (8, b""),
    "meter": (9, struct.pack("!I4x", ALL_METERS)),
    "meter_config": (10, struct.pack("!I4x", ALL_METERS)),
    "meter_features": (11, b""),
    "table_features": (12, b""),
    "port_desc": (13, struct.pack("!I4x", ANY)),
    "table_desc": (14, b""),
    "queue_desc": (15, struct.pack("!II", ANY, ANY)),
    "monitor": (16, struct.pack("!IIIHBB", 7, ANY, ANY, 0x0F | 0x10, 0xFF, 0) + NO_MATCH),
}


def printed(oracle: Oracle, message: bytes) -> str:
    return oracle.print(message).rstrip()


@pytest.fixture
async def session(ovs: OVS) -> AsyncIterator[Session]:
    remote = parse_remote(ovs.add_bridge("br0"))
    for flow in ("table=1,ip,nw_dst=10.0.0.1,actions=output:1", "cookie=5,actions=group:7"):
        if "group" in flow:
            ovs.ofctl("add-group", "br0", "group_id=7,type=select,bucket=output:1,bucket=output:2")
        ovs.ofctl("add-flow", "br0", flow)
    ovs.ofctl("add-meter", "br0", "meter=3,pktps,burst,stats,bands=type=drop,rate=7,burst_size=2")
    session = await Session.open(remote)
    try:
        yield session
    finally:
        session.close()
        ovs.reset()


async def replies(session: Session, request: Message) -> list[bytes]:
    return [part async for part in session.multipart(request)]


@pytest.mark.parametrize("name", REQUESTS)
async def test_what_a_switch_answers(name: str, session: Session, oracle: Oracle) -> None:
    kind, data = REQUESTS[name]
    request = MultipartRequest(kind, 0, data)
    assert str(request) == printed(oracle, request.encode())
    parts = await replies(session, request)
    for part in parts[:4]:
        assert message_format(part) == printed(oracle, part)
        assert decode(part).encode() == part
    assert not parts[-1][HEADER.size + 3] & MORE


async def test_settings(session: Session, oracle: Oracle) -> None:
    for kind, body in ((7, b""), (24, bytes(16)), (26, b"")):
        reply = await session.request(Other(kind, body))
        assert str(reply) == printed(oracle, reply.encode())


@pytest.mark.parametrize("name", MESSAGES)
def test_prints_as_ofp_print(name: str, oracle: Oracle) -> None:
    message = frame(MESSAGES[name])
    assert message_format(message) == printed(oracle, message)


@pytest.mark.parametrize("name", REFUSED)
def test_what_ofp_print_can_t_decode_is_refused(name: str, oracle: Oracle) -> None:
    text, reason, position = REFUSED[name]
    message = frame(text)
    done = oracle.run("ofp-print", message.hex())
    assert "decode error" in done.stdout + done.stderr
    with pytest.raises(DecodeError, match=reason) as caught:
        message_format(message)
    assert caught.value.position == position


@pytest.mark.parametrize("name", PACKETS)
def test_packets(name: str, oracle: Oracle) -> None:
    message = packet_in(PACKETS[name])
    assert message_format(message) == printed(oracle, message)
