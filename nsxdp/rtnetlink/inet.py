"""What the kernel does with IPv4 at an interface: settings that sysctl(8) has, too.

A container whose /proc/sys can't be written may change them here, if it may change the network.
"""

from __future__ import annotations

import socket
import struct
from typing import Final

from nsxdp.rtnetlink.objects import Link
from nsxdp.rtnetlink.wire import RTM, Request, attribute

__all__ = ["route_localnet"]

_IFLA_AF_SPEC: Final = 26
_IFLA_INET_CONF: Final = 1
_ROUTE_LOCALNET: Final = 26


def route_localnet(ifname: str) -> Request:
    """Let packets of 127.0.0.0/8 come and go by an interface, which the kernel else forbids."""
    setting = attribute(_ROUTE_LOCALNET, struct.pack("=I", 1))
    inet = attribute(socket.AF_INET, attribute(_IFLA_INET_CONF, setting))
    return Request(RTM.NEWLINK, 0, Link(0, ifname).encode() + attribute(_IFLA_AF_SPEC, inet))
