"""Messages that a real switch sends, and others, printed as ovs-ofctl ofp-print prints them."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from golden import MESSAGES, PACKETS, REFUSED, frame, packet_in
from oracle import Oracle

from nsxdp.lab import OVS
from nsxdp.openflow import Session
from nsxdp.openflow.codec import message_format
from nsxdp.openflow.errors import DecodeError
from nsxdp.openflow.messages import (
    HEADER,
    MORE,
    AggregateStatsRequest,
    DescRequest,
    FlowDescRequest,
    FlowMonitorRequest,
    GetAsyncRequest,
    GetConfigRequest,
    GroupDescRequest,
    GroupFeaturesRequest,
    GroupStatsRequest,
    Message,
    MeterDescRequest,
    MeterFeaturesRequest,
    MeterStatsRequest,
    NiciraRole,
    NiciraRoleRequest,
    Other,
    OtherReply,
    PortDescRequest,
    PortStatsRequest,
    QueueDescRequest,
    QueueStatsRequest,
    Role,
    RoleRequest,
    TableDescRequest,
    TableFeaturesRequest,
    TableStatsRequest,
    TlvTableRequest,
    decode,
)
from nsxdp.transport import parse_remote

REQUESTS: list[Message] = [
    DescRequest(),
    FlowDescRequest(),
    AggregateStatsRequest(),
    TableStatsRequest(),
    PortStatsRequest(),
    QueueStatsRequest(),
    GroupStatsRequest(),
    GroupDescRequest(),
    GroupFeaturesRequest(),
    MeterStatsRequest(),
    MeterDescRequest(),
    MeterFeaturesRequest(),
    TableFeaturesRequest(),
    PortDescRequest(),
    TableDescRequest(),
    QueueDescRequest(),
    FlowMonitorRequest.parse(7),
]


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


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda request: type(request).__name__)
async def test_what_a_switch_answers(request_: Message, session: Session, oracle: Oracle) -> None:
    request = request_
    assert str(request) == printed(oracle, request.encode())
    parts = await replies(session, request)
    for part in parts[:4]:
        assert message_format(part) == printed(oracle, part)
        message = decode(part)
        assert not isinstance(message, OtherReply)
        assert message.encode() == part
    assert not parts[-1][HEADER.size + 3] & MORE


async def test_settings(session: Session, oracle: Oracle) -> None:
    for request in (
        GetConfigRequest(),
        RoleRequest(Role.NOCHANGE),
        NiciraRoleRequest(NiciraRole.OTHER),
        GetAsyncRequest(),
        TlvTableRequest(),
    ):
        reply = await session.request(request)
        assert not isinstance(reply, Other)
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
