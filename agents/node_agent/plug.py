"""A pod's interface: a pair of devices (veth), one end in the pod, the other for the bridge.

All of this waits for the kernel, so it is for a thread. What belongs to the node is done over a
socket that was made in the node's own network namespace, and what belongs to a pod after the thread
went there: no thread depends on where it was before.
"""

from __future__ import annotations

import array
import errno
import fcntl
import hashlib
import re
import socket
import struct
from collections.abc import Iterator
from ipaddress import IPv4Address
from typing import Final

from nsxdp.netns import entered
from nsxdp.rtnetlink import Address, Connection, Link, Request, Route, Tbf
from nsxdp.rtnetlink.objects import FAMILIES, IFA_F_NODAD, IFF_NOARP, IFF_PROMISC, IFF_UP
from nsxdp.rtnetlink.veth import create, no_ipv6_address
from nsxdp_agents.common.realtime import next_step
from nsxdp_agents.node_agent.cni.runtime_config import Rate
from nsxdp_agents.node_agent.leases import Lease, interface_of

__all__ = [
    "PlugError",
    "differences",
    "is_port",
    "mac_of",
    "plug",
    "port_name",
    "ports_here",
    "unplug",
]

_PREFIX: Final = "nsx"
_PORT: Final = re.compile(rf"{_PREFIX}[0-9a-f]{{12}}")
"""How pods' ports are called."""

_RTPROT_STATIC: Final = 4

_SIOCETHTOOL: Final = 0x8946
_ETHTOOL_GTXCSUM, _ETHTOOL_STXCSUM = 0x16, 0x17

_QUEUES_A_SECOND: Final = 40
"""What waits because of a rate, beside a burst, waits for a 40th of a second, or is dropped."""


class PlugError(Exception):
    """The kernel refuses; one line."""

    def __init__(self, text: str, code: int = 0) -> None:
        super().__init__(text)
        self.code = code


def port_name(container: str, ifname: str) -> str:
    """What the end on the bridge is called: the same whenever it is asked."""
    digest = hashlib.sha256(f"{container}/{ifname}".encode()).hexdigest()
    return f"{_PREFIX}{digest[:12]}"


def mac_of(address: IPv4Address | object, attachment: str) -> str:
    """A MAC address that goes with an address: who reads one knows the other.

    One that has no IPv4 address gets one of its name, which is just as much its own.
    """
    if isinstance(address, IPv4Address):
        octets = bytes([0x0A, 0x58]) + address.packed
    else:
        octets = bytes([0x0A, 0x59]) + hashlib.sha256(attachment.encode()).digest()[:4]
    return octets.hex(":")


def plug(lease: Lease, netns: int, node: Connection, *, checksums: bool) -> None:
    """Make the pair, with all that 'lease' says. What there was of it before is replaced.

    Parameters
    ----------
    netns
        The pod's network namespace, an open file.
    node
        A connection to the kernel in the node's.
    checksums
        Whether the datapath fills in checksums that the pod's kernel leaves out; if not, it is
        told to leave none out.

    Raises
    ------
    PlugError
        The kernel refuses; what was made is gone.
    """
    try:
        _plug(lease, netns, node, checksums)
    except PlugError as error:
        unplug(lease.port, node)
        if error.code != errno.EEXIST:
            raise
        # What was there may have been one of the same name. To look first would cost all others.
        try:
            _plug(lease, netns, node, checksums)
        except PlugError:
            unplug(lease.port, node)
            raise


def _plug(lease: Lease, netns: int, node: Connection, checksums: bool) -> None:
    near = Link(0, lease.port, mtu=lease.mtu)
    far = Link(0, lease.ifname, 0, bytes.fromhex(lease.mac.replace(":", "")), lease.mtu)
    _apply(
        node,
        (f"{lease.ifname} and {lease.port}", create(near, far, netns)),
        (lease.port, no_ipv6_address(lease.port)),
    )
    if lease.ingress is not None:
        found = node.link(lease.port)
        queue = _queue(found.index if found else 0, lease.ingress)
        _apply(node, (f"rate of {lease.port}", queue.replace()))
    try:
        with entered(netns), Connection() as pod:
            if not checksums:
                _checksums_in_full(lease.ifname)
            index = socket.if_nametoindex(lease.ifname)
            _apply(pod, *_in_pod(lease, index))
    except OSError as error:
        text = f"{lease.ifname}: {error.strerror or error}"
        raise PlugError(text, error.errno or 0) from None
    # What the bridge's end hears is for the bridge: if the node's kernel answered ARP there, with
    # a userspace datapath, pods would send past the bridge. It comes up last, and promiscuous as
    # Open vSwitch wants it: whatever changes of a device later, ovs-vswitchd hears of, and reads
    # all of the node's routes again.
    up = Link(0, lease.port, IFF_UP | IFF_NOARP | IFF_PROMISC).change()
    _apply(node, (lease.port, up))


def _in_pod(lease: Lease, index: int) -> Iterator[tuple[str, Request]]:
    """What is to be done with the pod's end, and what each is about."""
    if lease.egress is not None:
        yield f"rate of {lease.ifname}", _queue(index, lease.egress).replace()
    yield lease.ifname, Link(index, "", IFF_UP).change()
    for address in _addresses(lease, index):
        yield lease.ifname, address
    # A pod's default route is by its first interface: that of another one isn't replaced.
    for route in _wanted_routes(lease, index):
        yield f"default route by {lease.ifname}", route.add()


def unplug(port: str, node: Connection) -> None:
    """Remove a pair, wherever its other end is; one that isn't there is none.

    Raises
    ------
    PlugError
        The kernel refuses.
    """
    for refused in node.apply([Link(0, port).delete()]):
        if refused.code != errno.ENODEV:
            raise PlugError(f"{port}: {refused.reason}", refused.code)


def differences(lease: Lease, netns: int, node: Connection, *, checksums: bool) -> list[str]:
    """How the pod's interface differs from what 'lease' says, in words; none: it doesn't.

    The arguments are those of `plug`.

    Raises
    ------
    PlugError
        The pod can't be looked at.
    """
    try:
        with entered(netns), Connection() as pod:
            found = list(_differences(lease, pod, checksums))
    except OSError as error:
        raise PlugError(f"{lease.ifname}: {error.strerror or error}") from None
    return found + list(_other_rate(node, lease.port, lease.ingress))


def is_port(ifname: str) -> bool:
    """Whether a device of that name is a pod's end on the bridge."""
    return _PORT.fullmatch(ifname) is not None


def ports_here(node: Connection) -> set[str]:
    """The names of all ports of pods that there are on the node, whoever made them."""
    return {link.ifname for link in node.links() if is_port(link.ifname)}


def _differences(lease: Lease, pod: Connection, checksums: bool) -> Iterator[str]:
    link = next((link for link in pod.links() if link.ifname == lease.ifname), None)
    if link is None:
        yield f"there is no interface {lease.ifname}"
        return
    if not link.flags & IFF_UP:
        yield f"{lease.ifname} is down"
    if link.address.hex(":") != lease.mac:
        yield f"{lease.ifname} has the MAC address {link.address.hex(':')}, not {lease.mac}"
    if link.mtu != lease.mtu:
        yield f"{lease.ifname} has an MTU of {link.mtu}, not {lease.mtu}"
    if not checksums and _leaves_checksums_out(lease.ifname):
        yield f"{lease.ifname} leaves checksums out (ethtool -K {lease.ifname} tx off)"
    has = {(a.own, a.prefixlen) for a in pod.addresses() if a.index == link.index}
    for ip in map(interface_of, lease.ips):
        if (ip.packed, ip.network.prefixlen) not in has:
            yield f"{lease.ifname} has no address {ip}"
    for route in _wanted_routes(lease, link.index):
        found = pod.routes(route.family, oif=link.index, protocol=_RTPROT_STATIC)
        if not any((r.dst_len, r.gateway) == (0, route.gateway) for r in found):
            gateway = socket.inet_ntop(route.family, route.gateway)
            yield f"there is no default route by {gateway}"
    yield from _other_rate(pod, lease.ifname, lease.egress)


def _queue(index: int, rate: Rate) -> Tbf:
    """The queue of an interface that sends at that rate."""
    return Tbf(index, rate.bytes, rate.burst + rate.bytes // _QUEUES_A_SECOND, rate.burst)


def _other_rate(kernel: Connection, ifname: str, rate: Rate | None) -> Iterator[str]:
    """How an interface sends at another rate, in words. What nobody limits, anybody may."""
    if rate is None:
        return
    link = kernel.link(ifname)
    found = next((tbf for tbf in kernel.tbfs() if link and tbf.index == link.index), None)
    if found is None or found.rate != rate.bytes:
        yield f"{ifname} does not keep to {rate.bytes} bytes a second"


def _addresses(lease: Lease, index: int) -> Iterator[Request]:
    for ip in map(interface_of, lease.ips):
        family = FAMILIES[ip.version]
        # Addresses are ours to give: nobody else has it, and no time is spent to find that out.
        flags = IFA_F_NODAD if ip.version == 6 else 0
        local = ip.packed if ip.version == 4 else b""
        address = Address(family, index, ip.packed, ip.network.prefixlen, local, flags=flags)
        yield address.replace()


def _wanted_routes(lease: Lease, index: int) -> Iterator[Route]:
    for text in lease.gateways:
        gateway = interface_of(text).ip
        family = FAMILIES[gateway.version]
        anywhere = bytes(len(gateway.packed))
        yield Route(family, anywhere, 0, index, gateway.packed, protocol=_RTPROT_STATIC)


def _apply(kernel: Connection, *wanted: tuple[str, Request]) -> None:
    """Have all that done, in this order, at once; each with what it is about.

    Raises
    ------
    PlugError
        Something is refused: the first is told.
    """
    refused = kernel.apply([request for _, request in wanted])
    next_step()
    for error in refused:
        what = next(what for what, request in wanted if request is error.request)
        raise PlugError(f"{what}: {error.reason}", error.code)


def _checksums_in_full(ifname: str) -> None:
    """Let nothing leave the interface whose checksum isn't there yet."""
    _ethtool(ifname, _ETHTOOL_STXCSUM, 0)


def _leaves_checksums_out(ifname: str) -> bool:
    return bool(_ethtool(ifname, _ETHTOOL_GTXCSUM))


def _ethtool(ifname: str, command: int, data: int = 0) -> int:
    """One of ethtool(8)'s simple settings, in the thread's namespace."""
    value = array.array("I", (command, data))
    asked = bytearray(struct.pack("16sP16x", ifname.encode(), value.buffer_info()[0]))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as device:
        fcntl.ioctl(device, _SIOCETHTOOL, asked)
    return value[1]
