"""Open vSwitch's two datapaths, and which one a bridge that is made gets."""

from __future__ import annotations

import socket
import struct
from typing import Final, Literal

from nsxdp.rtnetlink.wire import attribute

__all__ = ["Datapath", "chosen", "kernel_has"]

Datapath = Literal["auto", "system", "netdev"]
"""The kernel's (``system``), Open vSwitch's own in userspace, or the kernel's where it has one."""

_FAMILY: Final = "ovs_datapath"
"""Of generic netlink, by which ovs-vswitchd speaks with the kernel's."""

_NETLINK_GENERIC: Final = 16
_HEADER: Final = struct.Struct("=IHHII")
"""struct nlmsghdr."""
_ASK: Final = struct.Struct("=BBH")
"""struct genlmsghdr."""
_CONTROLLER: Final = 0x10
_NLM_F_REQUEST: Final = 1
_CTRL_CMD_GETFAMILY, _CTRL_ATTR_FAMILY_NAME = 3, 2
_SECONDS: Final = 30.0
"""A kernel may have to load a module first."""


def chosen(datapath: Datapath) -> str:
    """The type of a bridge's datapath, ``system`` or ``netdev``."""
    if datapath != "auto":
        return datapath
    return "system" if kernel_has(_FAMILY) else "netdev"


def kernel_has(family: str) -> bool:
    """Whether the kernel has that family of generic netlink.

    Who asks makes the kernel load the module for it, from the machine's own files, if it has one.

    Examples
    --------
    >>> from nsxdp_agents.common.datapath import kernel_has
    >>> kernel_has("nlctrl"), kernel_has("nsxdp")
    (True, False)
    """
    name = attribute(_CTRL_ATTR_FAMILY_NAME, family.encode() + b"\0")
    body = _ASK.pack(_CTRL_CMD_GETFAMILY, 1, 0) + name
    header = _HEADER.pack(_HEADER.size + len(body), _CONTROLLER, _NLM_F_REQUEST, 0, 0)
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_GENERIC) as kernel:
            kernel.settimeout(_SECONDS)
            kernel.send(header + body)
            answer = kernel.recv(1 << 16)
    except OSError:
        return False
    # What isn't there is answered by an error, which is a message of another type.
    return len(answer) >= _HEADER.size and _HEADER.unpack_from(answer)[1] == _CONTROLLER
