"""Pairs of interfaces, of which one gets what the other one sends (veth(4))."""

from __future__ import annotations

import socket
import struct
from typing import Final

from nsxdp.rtnetlink.objects import Link
from nsxdp.rtnetlink.wire import NLM_F_CREATE, NLM_F_EXCL, RTM, Request, attribute

__all__ = ["create", "no_ipv6_address"]

_IFLA_LINKINFO, _IFLA_AF_SPEC, _IFLA_NET_NS_FD = 18, 26, 28
_IFLA_NUM_TX_QUEUES, _IFLA_NUM_RX_QUEUES = 31, 32
_INFO_KIND, _INFO_DATA = 1, 2
_VETH_INFO_PEER: Final = 1
_ADDR_GEN_MODE: Final = 8
_NONE: Final = b"\1"

_ONE: Final = struct.pack("=I", 1)
_QUEUES: Final = attribute(_IFLA_NUM_TX_QUEUES, _ONE) + attribute(_IFLA_NUM_RX_QUEUES, _ONE)
"""One each way. The kernel would make one for each processor, and take all but the first one away
again: while it does, for which it waits for all processors, nobody changes anything of any network.
"""


def create(near: Link, far: Link, netns: int) -> Request:
    """Have a new pair: 'near' here and 'far' there, each with one queue each way.

    Parameters
    ----------
    near, far
        Without numbers, and down: as long as one end isn't there, the other one can't be up.
    netns
        An open file: the network namespace of 'far'.
    """
    peer = far.encode() + _QUEUES + attribute(_IFLA_NET_NS_FD, struct.pack("=I", netns))
    kind = attribute(_INFO_KIND, b"veth")
    data = attribute(_INFO_DATA, attribute(_VETH_INFO_PEER, peer))
    body = near.encode() + _QUEUES + attribute(_IFLA_LINKINFO, kind + data)
    return Request(RTM.NEWLINK, NLM_F_CREATE | NLM_F_EXCL, body)


def no_ipv6_address(ifname: str) -> Request:
    """Let an interface that is down make no link-local address when it comes up.

    The kernel doesn't take this together with what makes the interface.
    """
    mode = attribute(socket.AF_INET6, attribute(_ADDR_GEN_MODE, _NONE))
    return Request(RTM.NEWLINK, 0, Link(0, ifname).encode() + attribute(_IFLA_AF_SPEC, mode))
