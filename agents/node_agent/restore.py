"""After a restart of anything: what was given, what the kernel has and what the bridge has agree.

A pod that lives has a device: where the device is gone, the pod is, and its address is free. A
device or a port that nobody has a lease for was never told to a runtime, or its pod was deleted
while the agent was away. Only what differs is touched. Ports that the bridge lacks are for
`nsxdp_agents.node_agent.repair`, as at any time.
"""

from __future__ import annotations

from nsxdp.logs import get_logger
from nsxdp.rtnetlink import Connection
from nsxdp_agents.node_agent import plug
from nsxdp_agents.node_agent.leases import Leases
from nsxdp_agents.node_agent.ports import Ports, lease_of

__all__ = ["restore"]

log = get_logger(__name__)


async def restore(leases: Leases, ports: Ports, node: Connection) -> None:
    """Do so, before any runtime is answered.

    Raises
    ------
    PlugError, PortError, RtnetlinkError
        Something can't be read or changed.
    """
    devices = plug.ports_here(node)
    rows = {row.name: row for row in ports.ours()}
    known = {lease.port for lease in leases}
    for name, row in rows.items():
        lease = lease_of(row)
        if name in known:
            continue
        if lease is not None and lease.port == name and name in devices:
            log.warning("a pod's lease was lost, and is that of its port again", port=name)
            await leases.find(lease)
            known.add(name)
        else:
            log.info("a port is left of a pod that is gone", port=name)
            await ports.remove(name)
    for lease in leases:
        if lease.port not in devices:
            log.info("a pod went while nobody looked", attachment=str(lease.attachment))
            await ports.remove(lease.port)
            await leases.give_back(lease.attachment)
    for name in devices - known:
        log.info("a device is left of a pod that is gone", port=name)
        plug.unplug(name, node)
