"""Pods come and go: addresses, devices, ports and flows together, as a whole or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from nsxdp.logs import get_logger
from nsxdp.ovsdb import Row
from nsxdp.rtnetlink import Connection, RtnetlinkError
from nsxdp_agents.common.realtime import ShortWork
from nsxdp_agents.node_agent import plug
from nsxdp_agents.node_agent.assignment import Assigner
from nsxdp_agents.node_agent.cni.errors import CniError, Code
from nsxdp_agents.node_agent.cni.request import Attachment, Command, Request
from nsxdp_agents.node_agent.cni.result import result
from nsxdp_agents.node_agent.cni.runtime_config import host_ports
from nsxdp_agents.node_agent.dataplane import DataplaneError
from nsxdp_agents.node_agent.hostports import HostPortError, HostPorts
from nsxdp_agents.node_agent.leases import Lease, Leases, LeasesError
from nsxdp_agents.node_agent.plug import PlugError
from nsxdp_agents.node_agent.policies import Policies, UnknownPodError
from nsxdp_agents.node_agent.ports import PortError, Ports
from nsxdp_agents.node_agent.turns import Turns
from nsxdp_agents.node_agent.wiring import Wiring

__all__ = ["Pods"]

log = get_logger(__name__)

_T = TypeVar("_T")

_FAILURES: Final = (HostPortError, PortError, PlugError, RtnetlinkError)
"""Of what a pod has."""

_THREADS: Final = 32
"""That wait for the kernel. It changes one thing of the network at a time, and whose turn it is
doesn't depend on what it is for: so what waits for a thread waits twice."""


class Pods:
    """Does what a runtime asks for.

    Parameters
    ----------
    leases, ports, opened
        What pods have; nobody else changes them.
    assigner
        Says what a new pod's interface is to have.
    wiring
        Has the switch forward for pods.
    policies
        Know what pods may do; None: they may do anything.
    mtu
        Asked for that of a new pod's interface.
    checksums
        Whether the bridge's datapath fills in checksums (see `nsxdp_agents.node_agent.plug`).
    readiness
        Why no pod can be added just now, asked for STATUS, and before one is added.
    realtime_priority
        Of the threads that speak with the kernel; 0: none.
    """

    def __init__(
        self,
        leases: Leases,
        ports: Ports,
        opened: HostPorts,
        assigner: Assigner,
        wiring: Wiring,
        policies: Policies | None,
        *,
        mtu: Callable[[], int],
        checksums: Callable[[], bool],
        readiness: Callable[[], CniError | None],
        realtime_priority: int,
    ) -> None:
        self._leases = leases
        self._ports = ports
        self._opened = opened
        self._assigner = assigner
        self._wiring = wiring
        self._policies = policies
        self._mtu = mtu
        self._checksums = checksums
        self._readiness = readiness
        self._turns = Turns()
        self._threads = ShortWork(_THREADS, "netlink", realtime_priority)

    def close(self) -> None:
        """Wait for the threads."""
        self._threads.close()

    async def handle(self, request: Request, netns: int | None) -> bytes:
        """Do what 'request' wants: the JSON that the runtime gets, empty where it gets none.

        Parameters
        ----------
        netns
            The container's network namespace, an open file.

        Raises
        ------
        CniError
            It can't be done; nothing is left of what was begun.
        """
        handlers: dict[Command, Callable[[Request], Awaitable[bytes]]] = {
            Command.DEL: self._delete,
            Command.GC: self._collect,
            Command.STATUS: self._status,
        }
        try:
            if request.command in handlers:
                return await handlers[request.command](request)
            if netns is None:
                raise CniError(Code.BAD_ENVIRONMENT, "CNI_NETNS is not set")
            async with self._turns.of(request.attachment.container):
                if request.command is Command.ADD:
                    return await self._add(request, netns)
                return await self._check(request, netns)
        except (PlugError, RtnetlinkError, LeasesError) as error:
            raise CniError(Code.IO_FAILURE, str(error)) from None
        except (PortError, HostPortError, DataplaneError, UnknownPodError) as error:
            raise CniError(Code.TRY_AGAIN, str(error)) from None

    async def _add(self, request: Request, netns: int) -> bytes:
        config = request.config
        if config.prev_result is not None:
            raise CniError(
                Code.BAD_CONFIG,
                "prevResult: nsx-cni makes the pod's interface, and so it comes first in a list",
            )
        if (problem := self._readiness()) is not None:
            raise CniError(Code.TRY_AGAIN, problem.message, problem.details)
        lease = self._leases.get(request.attachment)
        if lease is not None and await self._problems(lease, netns):
            await self._remove(request.attachment)
            lease = None
        if lease is None:
            lease = await self._new(request, netns)
        else:
            await self._wiring.plugged(lease.port)
        return result(lease, config.cni_version, config.dns)

    async def _new(self, request: Request, netns: int) -> Lease:
        """Give a pod what it needs."""
        attachment = request.attachment
        wants = request.config.runtime
        to_open = host_ports(wants.port_mappings)
        assigned = await self._assigner.assign(request)
        lease = Lease(
            *attachment,
            network=request.config.name,
            ips=assigned.ips,
            gateways=assigned.gateways,
            mac=assigned.mac,
            vlan=assigned.vlan,
            mtu=self._mtu(),
            port=plug.port_name(*attachment),
            sandbox=request.sandbox,
            namespace=request.pod.namespace,
            pod=request.pod.name,
            uid=request.pod.uid,
            host_ports=to_open,
            ingress=wants.bandwidth.ingress,
            egress=wants.bandwidth.egress,
        )
        checksums = self._checksums()
        given = self._leases.give(lease)
        try:
            # All at once: a device that nobody has written down is removed at the next start.
            async with asyncio.TaskGroup() as both:
                both.create_task(_done(given))
                if self._policies is not None:
                    both.create_task(self._policies.known(request.pod))
                both.create_task(
                    self._kernel(lambda node: plug.plug(lease, netns, node, checksums=checksums))
                )
            await self._ports.add(lease)
            await self._opened.add(lease)
            await self._wiring.plugged(lease.port)
        except BaseException as error:
            await self._undo(lease)
            if isinstance(error, ExceptionGroup):
                raise error.exceptions[0] from None
            raise
        log.info("added", pod=str(request.pod), attachment=str(attachment), ips=lease.ips)
        return lease

    async def _undo(self, lease: Lease) -> None:
        """Take back what was given in part; what can't be, a later DEL or GC does."""
        try:
            await self._opened.remove(lease.attachment)
            await self._ports.remove(lease.port)
            await self._wiring.unplugged(lease.port)
            await self._kernel(lambda node: plug.unplug(lease.port, node))
            await self._leases.give_back(lease.attachment)
        except _FAILURES as error:
            log.warning("something is left of a failed pod", port=lease.port, reason=str(error))
        else:
            self._assigner.take_back(lease.addresses)

    async def _delete(self, request: Request) -> bytes:
        # An ADD whose runtime went away may still wait, and has this container's turn.
        self._assigner.give_up(request.attachment.container)
        async with self._turns.of(request.attachment.container):
            await self._remove(request.attachment)
        return b""

    async def _remove(self, attachment: Attachment) -> None:
        """Let an attachment have nothing; it may have nothing already."""
        lease = self._leases.get(attachment)
        port = lease.port if lease else plug.port_name(*attachment)
        await self._opened.remove(attachment)
        await self._ports.remove(port)
        await self._wiring.unplugged(port)
        await self._kernel(lambda node: plug.unplug(port, node))
        if lease is not None:
            await self._leases.give_back(attachment)
            self._assigner.take_back(lease.addresses)
            log.info("deleted", pod=str(lease.owner), attachment=str(attachment), ips=lease.ips)

    async def _check(self, request: Request, netns: int) -> bytes:
        attachment = request.attachment
        lease = self._leases.get(attachment)
        if lease is None:
            raise CniError(Code.NO_CONTAINER, f"{attachment} is not known here")
        problems = await self._problems(lease, netns)
        if not problems and (lacking := self._wiring.lacks(lease.port) or self._wiring.problem):
            problems.append(lacking)
        before = request.config.prev_result
        if before is not None:
            had = {ip.address for ip in before.ips}
            problems += [
                f"{ip} is not in prevResult, which has {', '.join(sorted(had)) or 'none'}"
                for ip in lease.ips
                if ip not in had
            ]
        if problems:
            raise CniError(Code.FAILED, f"{attachment}: {problems[0]}", "; ".join(problems))
        return b""

    async def _problems(self, lease: Lease, netns: int) -> list[str]:
        """How what there is differs from 'lease', in words."""
        checksums = self._checksums()
        row = self._ports.named(lease.port)
        problems = []
        if row is None or not self._ports.has(lease):
            problems.append(f"the bridge has no port {lease.port} for it")
        elif row.ofport is None or row.ofport <= 0:
            problems.append(f"port {lease.port} is not at work: {row.error or 'it has no number'}")
        return problems + await self._kernel(
            lambda node: plug.differences(lease, netns, node, checksums=checksums)
        )

    async def _collect(self, request: Request) -> bytes:
        valid = request.config.valid_attachments
        if valid is None:
            raise CniError(Code.BAD_CONFIG, "cni.dev/valid-attachments is not there")
        problems = []
        for lease in self._leases:
            if lease.network != request.config.name or lease.attachment in valid:
                continue
            try:
                async with self._turns.of(lease.container):
                    await self._remove(lease.attachment)
            except _FAILURES as error:
                problems.append(f"{lease.attachment}: {error}")
        if problems:
            raise CniError(
                Code.IO_FAILURE, f"not all could be removed: {problems[0]}", "; ".join(problems)
            )
        return b""

    async def _status(self, _: Request) -> bytes:
        if (problem := self._readiness()) is not None:
            raise problem
        return b""

    async def repair(self) -> None:
        """Have the ports again that the bridge has lost, and none that is nobody's.

        Such a one is left where the database took it, and its answer was lost.

        Raises
        ------
        PortError
            It doesn't take them.
        """
        # All at once, and each by itself: one whose device is gone takes nothing from the others.
        missing = [lease for lease in self._leases if not self._ports.has(lease)]
        known = self._known()
        left = [row for row in self._ports.ours() if row.name not in known]
        done = await asyncio.gather(
            *map(self._repair, missing), *map(self._clear, left), return_exceptions=True
        )
        for problem in done:
            if problem is not None:
                raise problem

    async def _repair(self, lease: Lease) -> None:
        # Whose pod is being added has no port yet, but will when it is our turn.
        async with self._turns.of(lease.container):
            if self._leases.get(lease.attachment) is lease and not self._ports.has(lease):
                log.warning("a pod's port was lost, and is made again", port=lease.port)
                await self._ports.add(lease)

    async def _clear(self, row: Row) -> None:
        name = row.name
        async with self._turns.of(row.external_ids.get("container-id", "")):
            if name not in self._known():
                log.warning("a port is left of a pod that is gone", port=name)
                await self._ports.remove(name)

    def _known(self) -> set[str]:
        """The ports that somebody has."""
        return {lease.port for lease in self._leases}

    async def _kernel(self, work: Callable[[Connection], _T]) -> _T:
        """Do 'work' in a thread, with a connection to the kernel in the node's namespace."""
        node = Connection()  # here, where nobody goes elsewhere

        def with_connection() -> _T:
            with node:
                return work(node)

        return await self._in_thread(with_connection)

    async def _in_thread(self, work: Callable[[], _T]) -> _T:
        """Do 'work' in a thread. Who is cancelled meanwhile waits: a thread can't be, and what it
        makes must not be there after all was taken back.
        """
        running = asyncio.ensure_future(self._threads.do(work))
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            await asyncio.wait([running])
            if not running.cancelled():
                running.exception()  # what failed is of no interest any more
            raise


async def _done(work: Awaitable[None]) -> None:
    await work
