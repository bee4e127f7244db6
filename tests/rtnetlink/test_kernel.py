"""The kernel itself: what it tells is what ip(8) shows, and what it is told it does."""

from __future__ import annotations

import asyncio
import errno
import json
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from typing import Any

import pytest
from msgspec.structs import replace

from nsxdp.lab import Netns
from nsxdp.rtnetlink import (
    RTM,
    Address,
    Connection,
    Link,
    Neighbor,
    News,
    Request,
    Route,
    RtnetlinkError,
)
from nsxdp.rtnetlink.inet import route_localnet
from nsxdp.rtnetlink.objects import RT_SCOPE_LINK, RTNH_F_ONLINK
from nsxdp.rtnetlink.wire import NLMSG_ERROR

DEVICE = "gw0"
PROTOCOL = 110
V4, V6 = int(socket.AF_INET), int(socket.AF_INET6)
NAMES = {V4: "inet", V6: "inet6"}
IFF_UP = 1
IFA_F_PERMANENT = 0x80


@pytest.fixture
def linked(netns: Netns) -> Netns:
    netns.iproute(
        f"link add {DEVICE} type veth peer name peer",
        "link set peer up",
        f"link set {DEVICE} up",
        f"addr add 192.0.2.1/24 dev {DEVICE}",
        f"addr add 10.1.1.1 peer 10.1.1.2/32 dev {DEVICE}",
        f"addr add 2001:db8::1/64 dev {DEVICE}",
    )
    return netns


@contextmanager
def connected(netns: Netns, **keywords: Any) -> Iterator[Connection]:
    with netns.enter(), Connection(**keywords) as netlink:
        yield netlink


def ip(netns: Netns, *arguments: str) -> Any:
    return json.loads(netns.run(["ip", "-j", *arguments]).stdout or "[]")


def number(netns: Netns, device: str = DEVICE) -> int:
    return int(ip(netns, "link", "show", device)[0]["ifindex"])


def text(address: bytes) -> str:
    return str(ip_address(address))


def shown(netns: Netns, family: int) -> set[tuple[str, str | None, str | None]]:
    """Of our routes, as ip(8) shows them: destination, next hop, device."""
    return {
        (route["dst"], route.get("gateway"), route.get("dev"))
        for route in ip(netns, f"-{4 if family == V4 else 6}", "route", "show", "proto", "110")
    }


def route(netns: Netns, n: int, **others: Any) -> Route:
    return Route(
        V4,
        bytes([10, 50, n >> 8, n & 255]),
        32,
        number(netns),
        bytes([192, 0, 2, 9]),
        PROTOCOL,
        **others,
    )


def test_links_are_those_of_ip(linked: Netns) -> None:
    with connected(linked) as netlink:
        found = {(link.index, link.ifname, bool(link.flags & IFF_UP)) for link in netlink.links()}
    assert found == {
        (link["ifindex"], link["ifname"], "UP" in link["flags"]) for link in ip(linked, "link")
    }


def test_addresses_are_those_of_ip(linked: Netns) -> None:
    with connected(linked) as netlink:
        found = {
            (one.index, NAMES[one.family], text(one.own), text(one.address), one.prefixlen)
            for one in netlink.addresses()
        }
    assert found == {
        (link["ifindex"], one["family"], one["local"], one.get("address", one["local"]), prefixlen)
        for link in ip(linked, "addr")
        for one in link["addr_info"]
        for prefixlen in [one["prefixlen"]]
    }
    assert "10.1.1.1" in {own for _, _, own, _, _ in found}


@pytest.mark.parametrize(("family", "ip"), [(V4, "203.0.113.1"), (V6, "2001:db8:1::1")])
def test_an_address_says_who_gave_it_and_goes_by_itself(
    linked: Netns, family: int, ip: str
) -> None:
    own = ip_address(ip).packed
    given = Address(family, number(linked), own, 24, own if family == V4 else b"", protocol=111)

    def owns() -> dict[bytes, int]:
        return {one.own: one.protocol for one in netlink.addresses() if one.family == family}

    with connected(linked) as netlink:
        before = owns()
        assert 111 not in before.values()
        assert netlink.apply([given.replace()]) == []
        assert owns() == before | {given.own: 111}
        assert netlink.apply([given.delete()]) == []
        assert owns() == before


@pytest.mark.parametrize("family", [V4, V6])
def test_routes_are_those_of_ip(linked: Netns, family: int) -> None:
    index = number(linked)
    width, gateway = (4, "192.0.2.9") if family == V4 else (16, "2001:db8::9")
    hop = ip_address(gateway).packed
    first = bytes([10, 60]) if family == V4 else bytes([0xFD, 0x60])
    made = [
        Route(family, hop, 8 * width, index, protocol=PROTOCOL, scope=RT_SCOPE_LINK),
        Route(family, first.ljust(width, b"\0"), 16, index, hop, PROTOCOL, flags=RTNH_F_ONLINK),
        Route(family, bytes(width), 0, index, hop, PROTOCOL, priority=1024),
    ]
    with connected(linked) as netlink:
        assert netlink.apply([each.replace() for each in made]) == []
        found = netlink.routes(family, oif=index, protocol=PROTOCOL)
        # Of another protocol, or by another interface, there is none.
        assert netlink.routes(family, oif=index, protocol=PROTOCOL + 1) == []
        assert netlink.routes(family, oif=number(linked, "peer"), protocol=PROTOCOL) == []
    dsts = {(text(one.dst), one.dst_len, text(one.gateway) if one.gateway else "") for one in found}
    assert dsts == {
        (text(one.dst), one.dst_len, text(one.gateway) if one.gateway else "") for one in made
    }
    of_prefix = "10.60.0.0/16" if family == V4 else "fd60::/16"
    assert shown(linked, family) == {
        (gateway, None, DEVICE),
        (of_prefix, gateway, DEVICE),
        ("default", gateway, DEVICE),
    }
    with connected(linked) as netlink:
        assert netlink.apply([each.delete() for each in found]) == []
    assert shown(linked, family) == set()


def test_a_table_with_a_large_number(linked: Netns) -> None:
    made = route(linked, 1, table=1000)
    with connected(linked) as netlink:
        assert netlink.apply([made.replace()]) == []
        assert netlink.routes(V4, oif=made.oif, protocol=PROTOCOL) == [made]
    assert [one["dst"] for one in ip(linked, "route", "show", "table", "1000")] == ["10.50.0.1"]


def test_neighbors_are_replaced_and_deleted(linked: Netns) -> None:
    def known() -> list[tuple[str, str]]:
        return [
            (one["dst"], one["lladdr"]) for one in ip(linked, "neigh", "show", "nud", "permanent")
        ]

    neighbor = Neighbor(V4, number(linked), bytes([192, 0, 2, 9]), bytes.fromhex("020000000001"))
    with connected(linked) as netlink:
        assert netlink.apply([neighbor.replace()]) == []
        assert known() == [("192.0.2.9", "02:00:00:00:00:01")]
        other = replace(neighbor, lladdr=bytes.fromhex("020000000002"))
        assert netlink.apply([other.replace()]) == []
        assert known() == [("192.0.2.9", "02:00:00:00:00:02")]
        assert netlink.apply([neighbor.delete()]) == []
        assert known() == []
        (refused,) = netlink.apply([neighbor.delete()])
        assert (refused.code, refused.request) == (errno.ENOENT, neighbor.delete())


def test_what_is_refused_is_told_and_the_rest_is_done(linked: Netns) -> None:
    first = route(linked, 0)
    made = [replace(first, dst=bytes([10, 50, n >> 8, n & 255])) for n in range(1000)]
    bad = {n for n in range(1000) if n % 3 == 1}
    # Nobody is at that next hop, and none may believe that it is there.
    mixed = [
        replace(one, gateway=bytes([198, 51, 100, 1])) if n in bad else one
        for n, one in enumerate(made)
    ]
    with connected(linked) as netlink:
        refused = netlink.apply([one.replace() for one in mixed])
        assert [error.request for error in refused] == [mixed[n].replace() for n in sorted(bad)]
        assert {str(error) for error in refused} == {
            "RTM_NEWROUTE: Network is unreachable (Nexthop has invalid gateway)"
        }
        there = {one.dst for one in netlink.routes(V4, oif=made[0].oif, protocol=PROTOCOL)}
    assert there == {one.dst for n, one in enumerate(made) if n not in bad}


def test_a_dump_that_is_refused_is_an_error(linked: Netns) -> None:
    with connected(linked) as netlink, pytest.raises(RtnetlinkError, match="No such device"):
        netlink.routes(V4, oif=4711, protocol=PROTOCOL)


def test_answers_that_are_lost_are_an_error(linked: Netns) -> None:
    bad = [replace(route(linked, 1), gateway=bytes([198, 51, 100, 1]))] * 64
    with connected(linked) as netlink:
        netlink._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        with pytest.raises(RtnetlinkError, match="No buffer space available"):
            netlink.apply([one.replace() for one in bad])


def test_nobody_else_answers_for_the_kernel(linked: Netns) -> None:
    with connected(linked) as netlink, connected(linked) as liar:
        port = netlink._socket.getsockname()[0]
        refusal = Request(RTM.NEWLINK, 0, struct.pack("=i16x", -errno.EPERM)).encode(1)
        refusal = refusal[:4] + struct.pack("=H", NLMSG_ERROR) + refusal[6:]
        liar._socket.sendto(refusal, (port, 0))
        assert netlink.apply([route(linked, 1).replace()]) == []


def test_a_silent_kernel_is_not_waited_for_for_ever(linked: Netns) -> None:
    class Unsent(Connection):
        def _send(self, data: bytes) -> None:
            """Nothing arrives."""

    silent = pytest.raises(RtnetlinkError, match=r"no answer within 0\.05 s")
    with linked.enter(), Unsent(seconds=0.05) as netlink, silent:
        netlink.addresses()


def test_a_dump_that_was_disturbed_is_made_anew(linked: Netns) -> None:
    linked.iproute(*(f"addr add 10.2.{n >> 8}.{n & 255}/32 dev {DEVICE}" for n in range(2000)))

    class Disturbed(Connection):
        datagrams = dumps = 0

        def _send(self, data: bytes) -> None:
            self.dumps += 1
            super()._send(data)

        def _receive(self) -> Iterator[Any]:
            self.datagrams += 1
            if self.datagrams == 3:
                linked.iproute(f"addr del 10.2.0.0/32 dev {DEVICE}")
            yield from super()._receive()

    with linked.enter(), Disturbed() as netlink:
        found = netlink.addresses()
    assert netlink.dumps == 2
    ours = [text(one.own) for one in found if one.own[:2] == bytes([10, 2])]
    assert len(ours) == len(set(ours)) == 1999


def hearing(types: set[RTM], protocol: int | None = None) -> tuple[News, Any, Any]:
    """News, what they tell, and how often they were lost."""
    heard: asyncio.Queue[Link | Address | Route | Neighbor] = asyncio.Queue()
    lost = asyncio.Event()
    return News(types, heard.put_nowait, lost.set, protocol=protocol), heard, lost


async def test_news_are_those_that_were_asked_for(linked: Netns) -> None:
    index = number(linked)
    news, heard, lost = hearing({RTM.NEWADDR, RTM.NEWLINK, RTM.DELROUTE}, PROTOCOL)
    with linked.enter():
        news.__enter__()
    try:
        linked.iproute(
            f"route add 10.60.0.0/16 dev {DEVICE} proto 110",
            f"route add 10.61.0.0/16 dev {DEVICE} proto 111",
            "route del 10.61.0.0/16 proto 111",
            "route del 10.60.0.0/16 proto 110",
            f"addr add 192.0.2.7/32 dev {DEVICE}",
            f"addr del 192.0.2.7/32 dev {DEVICE}",
            f"link set {DEVICE} down",
        )
        first, second, third = [await heard.get() for _ in range(3)]
        assert (first.dst, first.dst_len, first.oif) == (bytes([10, 60, 0, 0]), 16, index)
        ip = bytes([192, 0, 2, 7])
        assert second == Address(V4, index, ip, 32, ip, flags=IFA_F_PERMANENT)
        assert (third.index, third.ifname, third.flags & IFF_UP) == (index, DEVICE, 0)
        assert not lost.is_set()
    finally:
        news.__exit__()


async def test_news_that_are_lost_are_told(linked: Netns) -> None:
    news, heard, lost = hearing({RTM.NEWADDR, RTM.DELADDR})
    with linked.enter():
        news.__enter__()
    try:
        # Meanwhile nobody listens: nothing is awaited.
        linked.iproute(*(f"addr add 10.2.{n >> 8}.{n & 255}/32 dev {DEVICE}" for n in range(4000)))
        await lost.wait()
        while not heard.empty():
            heard.get_nowait()
        lost.clear()
        linked.iproute(f"addr add 10.3.0.1/32 dev {DEVICE}")
        while (await heard.get()).own != bytes([10, 3, 0, 1]):
            pass
    finally:
        news.__exit__()


def test_packets_of_127_are_let_through_an_interface(linked: Netns) -> None:
    setting = f"net.ipv4.conf.{DEVICE}.route_localnet"
    assert linked.run(["sysctl", "-n", setting]).stdout.strip() == "0"
    with connected(linked) as netlink:
        assert netlink.apply([route_localnet(DEVICE)]) == []
        (refused,) = netlink.apply([route_localnet("absent")])
    assert linked.run(["sysctl", "-n", setting]).stdout.strip() == "1"
    assert refused.code == errno.ENODEV
