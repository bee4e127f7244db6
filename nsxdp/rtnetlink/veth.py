"""Pairs of interfaces, of which one gets what the other one sends (veth(4))."""

from __future__ import annotations

import socket
import struct
from typing import Final

from nsxdp.rtnetlink.objects import Link
from nsxdp.rtnetlink.wire import NLM_F_CREATE, NLM_F_EXCL, RTM, Request, attribute

__all__ = ["create", "no_ipv6_address"]

_IFLA_LINKINFO, _IFLA_AF_SPEC, _IFLA_NET_NS_FD = 18, 26, 28
_INFO_KIND, _INFO_DATA = 1, 2
_VETH_INFO_PEER: Final = 1
_ADDR_GEN_MODE: Final = 8
_NONE: Final = b"\1"


def create(near: Link, far: Link, netns: int) -> Request:
    """Have a new pair: 'near' here and 'far' there.

    Parameters
    ----------
    near, far
        Without numbers, and down: as long as one end isn't there, the other one can't be up.
    netns
        An open file: the network namespace of 'far'.
    """
    peer = far.encode() + attribute(_IFLA_NET_NS_FD, struct.pack("=I", netns))
    kind = attribute(_INFO_KIND, b"veth")
    data = attribute(_INFO_DATA, attribute(_VETH_INFO_PEER, peer))
    body = near.encode() + attribute(_IFLA_LINKINFO, kind + data)
    return Request(RTM.NEWLINK, NLM_F_CREATE | NLM_F_EXCL, body)


def no_ipv6_address(ifname: str) -> Request:
    """Let an interface that is down make no link-local address when it comes up.

    The kernel doesn't take this together with what makes the interface.
    """
    mode = attribute(socket.AF_INET6, attribute(_ADDR_GEN_MODE, _NONE))
    return Request(RTM.NEWLINK, 0, Link(0, ifname).encode() + attribute(_IFLA_AF_SPEC, mode))
