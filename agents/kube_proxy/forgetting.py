"""Lets conntrack forget UDP connections to endpoints that went (KP-50), a little at a time.

Where clients aren't named, Open vSwitch looks at all connections that it tracks, and does so in the
thread that forwards packets on the userspace datapath, for up to fifty messages in a row. With
30,000 connections that is half a second without a packet, again and again for as long as there are
such messages: what comes in meanwhile is lost, and so is what was sent again. So there is one such
message at a time, and then a pause. A connection whose client is known is found by a hash.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from nsxdp import unixctl
from nsxdp.logs import get_logger
from nsxdp.openflow import Connection, ConnectionLost, CtTuple, ct_flush
from nsxdp.openflow.messages import CtFlush
from nsxdp.pipeline.registers import ZONE
from nsxdp.services.addresses import Family
from nsxdp.services.conntrack import Stale, parse_entries
from nsxdp.unixctl import UnixctlError
from nsxdp_agents.kube_proxy.metrics import Metrics

__all__ = ["Forgetting"]

log = get_logger(__name__)

_UDP: Final = 17

_PAUSE: Final = 3.0
"""So many times as long as the switch has looked at its connections, it isn't asked again."""

_MOST: Final = 50
"""So often it looks at all; if there is more to forget, it tells of all, once."""

_PORTION: Final = 500
"""Connections that it is told to forget before it must have done so."""


class Forgetting:
    """Tells the switch what to forget.

    Parameters
    ----------
    connection
        To the bridge.
    control
        Open vSwitch's run directory; None: it is not on this machine.
    check
        Which of all tracked connections are stale.
    metrics
        Count what was told.
    """

    def __init__(
        self,
        connection: Connection,
        control: Path | None,
        check: Callable[[Iterable[Stale]], list[Stale]],
        metrics: Metrics,
    ) -> None:
        self._connection = connection
        self._control = control
        self._check = check
        self._metrics = metrics
        self._due: dict[Stale, None] = {}
        self._more = asyncio.Event()

    def soon(self, stale: Iterable[Stale]) -> None:
        """Forget these, one after the other: they are of all clients."""
        self._due.update(dict.fromkeys(stale))
        if self._due:
            self._more.set()

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            await self._more.wait()
            self._more.clear()
            try:
                await self._work()
            except ConnectionLost as error:
                self._due.clear()
                log.warning("conntrack keeps connections to endpoints that went", reason=str(error))

    async def all_old(self) -> bool:
        """Forget what went while nobody looked; whether the switch has told what it tracks."""
        if self._control is None:
            return False
        try:
            dump = await unixctl.call(
                unixctl.control_socket(self._control), "dpctl/dump-conntrack", f"zone={ZONE}"
            )
        except UnixctlError as error:
            log.warning(
                "connections to endpoints that went may still be tracked", reason=str(error)
            )
            return False
        stale = self._check(parse_entries(dump))
        clock = asyncio.get_running_loop().time
        try:
            for family in Family:
                of_family = [entry for entry in stale if len(entry.endpoint) == family.width]
                began = clock()
                for at in range(0, len(of_family), _PORTION):
                    self._connection.send(*map(_message, of_family[at : at + _PORTION]))
                    await self._connection.barrier()
                self._metrics.forgotten(family, len(of_family), clock() - began)
        except ConnectionLost as error:
            log.warning("conntrack keeps connections to endpoints that went", reason=str(error))
        return True

    async def _work(self) -> None:
        if len(self._due) > _MOST:
            due, self._due = self._due, {}
            if not await self.all_old():
                self._due = due | self._due
        clock = asyncio.get_running_loop().time
        while self._due:
            stale = next(iter(self._due))
            del self._due[stale]
            asked = clock()
            self._connection.send(_message(stale))
            await self._connection.barrier()
            took = clock() - asked
            self._metrics.forgotten(Family.of(stale.endpoint), 1, took)
            await asyncio.sleep(_PAUSE * took)


def _message(stale: Stale) -> CtFlush:
    """What makes the switch forget it.

    Where the client is known, the first packet's addresses and ports say all, and answers' are left
    out: only then Open vSwitch asks its hash table (lib/ct-dpif.c, ct_dpif_flush_tuple()).
    """
    vip = None if stale.vip is None else ip_address(stale.vip)
    if stale.client is not None:
        client = ip_address(stale.client)
        return ct_flush(ZONE, _UDP, CtTuple(client, vip, stale.client_port, stale.port))
    return ct_flush(
        ZONE,
        _UDP,
        CtTuple(dst=vip, dst_port=stale.port),
        CtTuple(src=ip_address(stale.endpoint), src_port=stale.endpoint_port),
    )
