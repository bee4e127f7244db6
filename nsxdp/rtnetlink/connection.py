"""Asks the kernel, and has it change things.

The kernel does what it is told while it is being told: sending returns when it is done, and all
answers are there. Until then it may have waited for the lock that everybody needs who changes
anything of the network; there is no way to ask it not to. So nothing here is for an event loop, but
for `asyncio.to_thread`.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Final, Self, TypeVar

from nsxdp.rtnetlink.holdings import Holding, address_of, next_hops, route_of
from nsxdp.rtnetlink.objects import WIDTHS, Address, Link, Route
from nsxdp.rtnetlink.tbf import Tbf
from nsxdp.rtnetlink.wire import (
    NLM_F_ACK,
    NLM_F_DUMP,
    NLM_F_DUMP_INTR,
    NLMSG_DONE,
    NLMSG_ERROR,
    NLMSG_OVERRUN,
    RTM,
    Failure,
    MalformedError,
    Message,
    Request,
    RtnetlinkError,
    messages,
)

__all__ = ["Connection", "RefusedError", "receive"]

_Object = TypeVar("_Object")

_BATCH: Final = 64
"""Requests that are sent at once. All may be refused, and what isn't read yet of the answers must
fit in the socket's buffer: 1 KiB each at most, of 200 KiB that Linux gives.
"""

_LARGEST: Final = 1 << 16
"""Bytes of a datagram: twice what the kernel puts in one of a dump."""

_TRIES: Final = 10
"""For a dump in which nothing changes."""

_SOL_NETLINK: Final = 270
_NETLINK_CAP_ACK, _NETLINK_EXT_ACK, _NETLINK_GET_STRICT_CHK = 10, 11, 12
"""Options: no requests in answers; words in answers; what a dump shall have is looked at."""


class RefusedError(RtnetlinkError):
    """The kernel refuses a request.

    Attributes
    ----------
    request
        Which one.
    code
        The errno.
    reason
        What it means, with what the kernel said.
    """

    def __init__(self, request: Request, failure: Failure) -> None:
        self.request = request
        self.code = failure.code
        self.reason = os.strerror(failure.code) + (f" ({failure.text})" if failure.text else "")
        super().__init__(f"RTM_{request.type.name}: {self.reason}")


class Connection:
    """A socket to the kernel, in the network namespace of the thread that makes it.

    Parameters
    ----------
    seconds
        How long an answer is waited for.

    Raises
    ------
    RtnetlinkError
        There is none.

    Examples
    --------
    >>> from nsxdp.rtnetlink import Connection
    >>> with Connection() as netlink:
    ...     print([link.index for link in netlink.links() if link.ifname == "lo"])
    [1]
    """

    def __init__(self, seconds: float = 30.0) -> None:
        self._seconds = seconds
        self._sequence = 0
        try:
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
            self._socket.settimeout(seconds)
            for option in (_NETLINK_CAP_ACK, _NETLINK_EXT_ACK, _NETLINK_GET_STRICT_CHK):
                with suppress(OSError):  # what an older kernel doesn't know, it does without
                    self._socket.setsockopt(_SOL_NETLINK, option, 1)
            self._socket.bind((0, 0))
        except OSError as error:
            raise RtnetlinkError(f"no netlink socket: {error.strerror}") from None

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def links(self) -> list[Link]:
        """All interfaces.

        Raises
        ------
        RtnetlinkError
            The kernel doesn't tell.
        """
        return self._dump(Request(RTM.GETLINK, 0, Link(0, "").encode()), RTM.NEWLINK, Link.decode)

    def link(self, ifname: str) -> Link | None:
        """The interface of that name; None: there is none.

        Raises
        ------
        RtnetlinkError
            The kernel doesn't tell.
        """
        asked = Request(RTM.GETLINK, 0, Link(0, ifname).encode())
        try:
            answers = list(self._answers(asked, NLM_F_ACK))
        except RefusedError as refused:
            if refused.code == errno.ENODEV:
                return None
            raise
        return next(Link.decode(each.body) for each in answers if each.type == RTM.NEWLINK)

    def tbfs(self) -> list[Tbf]:
        """The token bucket filters by which interfaces send.

        Raises
        ------
        RtnetlinkError
            The kernel doesn't tell.
        """
        found = self._dump(Tbf.asked(), RTM.NEWQDISC, Tbf.decode)
        return [tbf for tbf in found if tbf is not None]

    def addresses(self) -> list[Address]:
        """All addresses, IPv4 and IPv6.

        Raises
        ------
        RtnetlinkError
            The kernel doesn't tell.
        """
        asked = Request(RTM.GETADDR, 0, Address(0, 0, b"", 0).encode())
        found = self._dump(asked, RTM.NEWADDR, Address.decode)
        return [address for address in found if address.family in WIDTHS]

    def routes(self, family: int, *, protocol: int, oif: int = 0) -> list[Route]:
        """The routes of 'family', in all tables, that lead to 'oif' and that 'protocol' made.

        0 is any interface.

        The kernel picks them, if it can: a router may have a million others.

        Raises
        ------
        RtnetlinkError
            The kernel doesn't tell.
        """
        wanted = Route(family, b"", 0, oif, protocol=protocol, type=0, table=0)
        found = self._dump(Request(RTM.GETROUTE, 0, wanted.encode()), RTM.NEWROUTE, Route.decode)
        return [
            route
            for route in found
            if (route.family, route.protocol) == (family, protocol) and oif in (0, route.oif)
        ]

    def holdings(self, index: int) -> list[Holding]:
        """The addresses of an interface, and then its routes, as another one can have them.

        What each interface has by itself is left out, also because of an address. A route comes
        after that by which its next hop is reached.

        Raises
        ------
        RtnetlinkError
            The kernel doesn't tell; or it has a route with several next hops, which no single
            interface has.
        """
        asked = Request(RTM.GETADDR, 0, Address(0, 0, b"", 0).encode())
        found = self._dump(asked, RTM.NEWADDR, address_of)
        routes: list[tuple[int, Holding] | None] = []
        for family in WIDTHS:
            wanted = Route(family, b"", 0, index, type=0, table=0).encode()
            bodies = self._dump(Request(RTM.GETROUTE, 0, wanted), RTM.NEWROUTE, bytes)
            for network, devices in map(next_hops, bodies):
                if index in devices:
                    raise RtnetlinkError(f"the route to {network} has several next hops")
            routes += map(route_of, bodies)
        routes.sort(key=lambda each: each is not None and " via " in each[1].name)
        held = [each[1] for each in (*found, *routes) if each is not None and each[0] == index]
        by_itself = {each.network for each in held if not each.route} - {""}
        return [each for each in held if not (each.route and each.network in by_itself)]

    def apply(self, requests: Sequence[Request]) -> list[RefusedError]:
        """Have the kernel do all that, in this order; what is refused keeps nothing else from it.

        Only the last of a batch is answered when it was done: what is refused is answered anyway.

        Raises
        ------
        RtnetlinkError
            There is no answer; some of it may be done.
        """
        refused: list[RefusedError] = []
        for first in range(0, len(requests), _BATCH):
            refused += self._apply(requests[first : first + _BATCH])
        return refused

    def _apply(self, batch: Sequence[Request]) -> Iterator[RefusedError]:
        numbers = range(self._sequence + 1, self._sequence + 1 + len(batch))
        last = self._sequence = numbers[-1]
        self._send(
            b"".join(
                request.encode(number, NLM_F_ACK if number == last else 0)
                for number, request in zip(numbers, batch, strict=True)
            )
        )
        while True:
            for message in self._receive():
                if message.sequence not in numbers or message.type != NLMSG_ERROR:
                    continue
                failure = Failure.decode(message)
                if failure.code:
                    yield RefusedError(batch[message.sequence - numbers[0]], failure)
                if message.sequence == last:
                    return

    def _dump(
        self, request: Request, kind: RTM, decode: Callable[[bytes], _Object]
    ) -> list[_Object]:
        """What the kernel tells in messages of that kind, as it was at one time."""
        for _ in range(_TRIES):
            found = []
            interrupted = False
            for message in self._answers(request, NLM_F_DUMP):
                interrupted = interrupted or bool(message.flags & NLM_F_DUMP_INTR)
                if message.type == kind:
                    found.append(decode(message.body))
            if not interrupted:
                return found
        raise RtnetlinkError(f"RTM_{request.type.name}: it changed at each of {_TRIES} looks")

    def _answers(self, request: Request, flags: int) -> Iterator[Message]:
        self._sequence += 1
        self._send(request.encode(self._sequence, flags))
        while True:
            for message in self._receive():
                if message.sequence != self._sequence:
                    continue
                yield message
                if message.type in (NLMSG_ERROR, NLMSG_DONE):
                    failure = Failure.decode(message) if message.body else Failure(0)
                    if failure.code:
                        raise RefusedError(request, failure)
                    return

    def _send(self, data: bytes) -> None:
        try:
            self._socket.send(data)
        except OSError as error:
            raise RtnetlinkError(f"netlink: {error.strerror or error}") from None

    def _receive(self) -> Iterator[Message]:
        try:
            yield from receive(self._socket)
        except TimeoutError:
            raise RtnetlinkError(f"netlink: no answer within {self._seconds:g} s") from None
        except OSError as error:  # ENOBUFS among them: answers were lost
            raise RtnetlinkError(f"netlink: {error.strerror or error}") from None


def receive(netlink: socket.socket) -> Iterator[Message]:
    """The messages of the next datagram; none, where it isn't the kernel's.

    Raises
    ------
    OSError
        There is none, or some were lost (ENOBUFS).
    MalformedError
        It is none.
    """
    datagram, _, flags, sender = netlink.recvmsg(_LARGEST)
    if sender[0] != 0:
        return
    if flags & socket.MSG_TRUNC:
        raise MalformedError(f"netlink: a datagram of more than {_LARGEST} bytes")
    for message in messages(datagram):
        if message.type == NLMSG_OVERRUN:
            raise MalformedError("netlink: the kernel says that messages were lost")
        yield message
