"""Messages of other versions of OpenFlow: what a switch may say before both agree on 1.5."""

from __future__ import annotations

import socket
import struct

import pytest
from oracle import Oracle

from nsxdp.lab import OVS
from nsxdp.openflow import DecodeError, codec
from nsxdp.openflow.messages import (
    HEADER,
    AnyVersion,
    EchoReply,
    EchoRequest,
    Error,
    Hello,
    Message,
    decode,
)

TIMEOUT = 10
OLDER = {1: "1.0", 2: "1.1", 3: "1.2", 4: "1.3", 5: "1.4"}

SAME: list[AnyVersion] = [
    Hello(),
    Hello(frozenset({1, 4, 6})),
    EchoRequest(),
    EchoRequest(b"abc"),
    EchoReply(b"abc"),
    Error(0, 0),
    Error(0, 0, b"We speak OpenFlow 1.5."),
    Error(1, 6, HEADER.pack(6, 5, 8, 7)),
]


@pytest.mark.parametrize("version", [*OLDER, 6])
@pytest.mark.parametrize("message", SAME, ids=str)
def test_what_is_the_same_in_all(oracle: Oracle, message: AnyVersion, version: int) -> None:
    data = bytes([version]) + message.encode()[1:]
    read = decode(data)
    assert read == message
    assert isinstance(read, AnyVersion)
    assert read.version == version
    assert read.encode() == data
    assert str(read) == oracle.print(data).rstrip("\n ")


@pytest.mark.parametrize("version", [7, 99])
def test_a_version_that_is_to_come(version: int) -> None:
    read = decode(HEADER.pack(version, 0, 8, 5))
    assert isinstance(read, Hello)
    assert (read.version, read.xid) == (version, 5)


@pytest.mark.parametrize("version", OLDER)
def test_the_rest_is_not_read(version: int) -> None:
    for kind in range(4, 36):
        data = HEADER.pack(version, kind, 16, 0) + bytes(8)
        with pytest.raises(DecodeError) as caught:
            decode(data)
        assert str(caught.value).startswith(
            f"message of OpenFlow {OLDER[version]}: only those of OpenFlow 1.5 are read"
        )
        assert codec.message_print(data).startswith("***decode error: OFPBRC_BAD_VERSION***")


@pytest.mark.parametrize("version", [0, 7, 255])
def test_no_version(version: int) -> None:
    with pytest.raises(DecodeError, match=f"message of version {version:#04x}: only those of"):
        decode(HEADER.pack(version, 5, 8, 0))


def _receive(connection: socket.socket) -> Message:
    data = b""
    size = HEADER.size
    while len(data) < size:
        part = connection.recv(size - len(data))
        assert part
        data += part
        if len(data) == HEADER.size:
            (size,) = struct.unpack_from("!H", data, 2)
    return decode(data)


@pytest.mark.parametrize("version", OLDER)
@pytest.mark.parametrize("allowed", [True, False])
def test_a_real_switch(ovs: OVS, version: int, *, allowed: bool) -> None:
    """It says hello, and answers in the version that is allowed, or refuses that which isn't."""
    path = ovs.add_bridge("br0").removeprefix("unix:")
    try:
        name = OLDER[version].replace(".", "") if allowed else "15"
        ovs.vsctl("set", "bridge", "br0", f"protocols=OpenFlow{name}")
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(TIMEOUT)
            connection.connect(path)
            hello = _receive(connection)
            assert isinstance(hello, Hello)
            assert hello.versions == {version if allowed else 6}
            connection.sendall(
                HEADER.pack(version, Hello.type, 8, 1)
                + HEADER.pack(version, EchoRequest.type, 8, 2)
            )
            answer = _receive(connection)
            if allowed:
                assert isinstance(answer, EchoReply)
                assert (answer.version, answer.xid) == (version, 2)
            else:
                assert isinstance(answer, Error)
                assert answer.name == "OFPHFC_INCOMPATIBLE"
    finally:
        ovs.reset()
