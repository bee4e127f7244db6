"""Tells Open vSwitch's userspace datapath how to track our zones' connections.

For how long is in its database, where it stays: a timeout policy for each zone
(ovs-vswitchd.conf.db(5), CT_Timeout_Policy). How many, and how strictly, is told the daemon, which
forgets it when it ends.

A closed connection is remembered for as long as its server may do so. All who are masqueraded have
one address, and get the ports that they come from where those are free: forgotten sooner, as Open
vSwitch by itself does, a client gets a port whose last connection the server still holds
(TIME_WAIT), and its first packets are taken for that one's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from nsxdp import unixctl
from nsxdp.logs import get_logger
from nsxdp.ovsdb import Client, OvsdbError, Row, Transaction, Watch
from nsxdp.pipeline.registers import SNAT_ZONE, ZONE
from nsxdp.unixctl import UnixctlError
from nsxdp_agents.kube_proxy.conntrack import Tracking

__all__ = ["CLOSED", "USERSPACE", "WATCHES", "set_limits", "set_timeouts", "timeouts"]

log = get_logger(__name__)

USERSPACE: Final = "netdev"
"""The datapath's type."""

_DATAPATH: Final = f"{USERSPACE}@ovs-{USERSPACE}"
"""Open vSwitch's name of the one that all bridges of the type share."""

_ZONES: Final = (ZONE, SNAT_ZONE)
"""Both: what is translated to an endpoint gets another port where its own is taken, too."""

_PATIENCE: Final = 5.0
"""Seconds for the database's answer; the flows wait for it."""

CLOSED: Final = 66
"""Seconds. Linux holds a closed connection for 60, by a timer that may be late by a tenth of it."""

WATCHES: Final = (
    Watch("Datapath", ("ct_zones",)),
    Watch("CT_Zone", ("timeout_policy",)),
    Watch("CT_Timeout_Policy", ("timeouts",)),
)
"""What `set_timeouts` needs of its client, beside `nsxdp.switch.BRIDGE_WATCHES`."""


def timeouts(tracking: Tracking) -> dict[str, int]:
    """A timeout policy's, by their names there.

    Those of UDP are of a first packet, of packets that go one way, and of those that go both. Of
    TCP, ``tcp_time_wait`` is of a connection that both ends close, ``tcp_close`` of one that both
    have closed, or one has reset (Open vSwitch's lib/conntrack-tp.c).
    """
    wanted = {
        "tcp_established": tracking.tcp_established,
        "tcp_close_wait": tracking.tcp_close_wait,
        "tcp_time_wait": CLOSED,
        "tcp_close": CLOSED,
        "udp_first": tracking.udp,
        "udp_single": tracking.udp,
        "udp_multiple": tracking.udp_stream,
    }
    return {name: seconds for name, seconds in wanted.items() if seconds}


async def set_timeouts(client: Client, wanted: Mapping[str, int]) -> None:
    """Have our zones' timeouts in the database; none: as Open vSwitch has them by itself.

    Nothing is sent where they are there already.
    """
    if _found(client) == {zone: wanted for zone in _ZONES if wanted}:
        return
    try:
        async with asyncio.timeout(_PATIENCE):
            await client.transact(lambda transaction: _build(client, transaction, wanted))
    except (OvsdbError, TimeoutError) as error:
        reason = str(error) or f"the database did not answer in {_PATIENCE:.0f} s"
        log.warning("connections are not tracked as long as they should be", reason=reason)


async def set_limits(directory: Path | None, tracking: Tracking) -> None:
    """Tell ovs-vswitchd, whose control socket is in 'directory', what it forgets when it ends."""
    commands: list[tuple[str, ...]] = []
    if tracking.most:
        commands.append(("dpctl/ct-set-maxconns", _DATAPATH, str(tracking.most)))
    if tracking.tcp_be_liberal:
        commands.append(("dpctl/ct-disable-tcp-seq-chk", _DATAPATH))
    for command in commands:
        try:
            if directory is None:
                raise UnixctlError("Open vSwitch's control socket is not on this machine")
            await unixctl.call(unixctl.control_socket(directory), *command)
        except UnixctlError as error:
            log.warning("connections are not tracked as configured", reason=str(error))


def _zones(client: Client) -> tuple[Row, Row | None]:
    """The database's only row, and the datapath's, if there is one."""
    (root,) = client.replica["Open_vSwitch"]
    uuid = root.datapaths.get(USERSPACE)
    return root, client.replica["Datapath"].get(uuid) if uuid else None


def _found(client: Client) -> dict[int, dict[str, int]]:
    """Our zones that have timeouts."""
    _, datapath = _zones(client)
    found = {}
    for number in _ZONES:
        uuid = datapath.ct_zones.get(number) if datapath else None
        zone = client.replica["CT_Zone"].get(uuid) if uuid else None
        policy = (
            client.replica["CT_Timeout_Policy"].get(zone.timeout_policy)
            if zone and zone.timeout_policy
            else None
        )
        if zone is not None:
            found[number] = dict(policy.timeouts) if policy else {}
    return found


def _build(client: Client, transaction: Transaction, wanted: Mapping[str, int]) -> None:
    root, datapath = _zones(client)
    zones: dict[int, Any] = {}
    if wanted:
        policy = transaction.insert("CT_Timeout_Policy", {"timeouts": dict(wanted)})
        for number in _ZONES:
            zones[number] = transaction.insert("CT_Zone", {"timeout_policy": policy})
    if datapath is None:
        made = transaction.insert("Datapath", {"ct_zones": zones})
        transaction.mutate("Open_vSwitch", root, [("datapaths", "insert", {USERSPACE: made})])
    else:
        others = dict(transaction.read(datapath, "ct_zones"))
        transaction.update(
            "Datapath",
            datapath,
            {"ct_zones": {**{n: z for n, z in others.items() if n not in _ZONES}, **zones}},
        )
