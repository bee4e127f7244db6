"""Addresses, links, neighbors and routes of the kernel: asked for, changed and listened for.

Names are those of rtnetlink(7): `Route.dst_len` is ``rtm_dst_len``, `Route.oif` is ``RTA_OIF``.
Objects are what a message says, and nothing is kept of what was said before.
"""

from nsxdp.rtnetlink.connection import Connection, RefusedError
from nsxdp.rtnetlink.holdings import Holding
from nsxdp.rtnetlink.news import News
from nsxdp.rtnetlink.objects import Address, Link, Neighbor, Route
from nsxdp.rtnetlink.tbf import Tbf
from nsxdp.rtnetlink.wire import RTM, MalformedError, Request, RtnetlinkError

__all__ = [
    "RTM",
    "Address",
    "Connection",
    "Holding",
    "Link",
    "MalformedError",
    "Neighbor",
    "News",
    "RefusedError",
    "Request",
    "Route",
    "RtnetlinkError",
    "Tbf",
]
