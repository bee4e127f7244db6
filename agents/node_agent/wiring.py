"""What is on the bridge, as flows: the node's pods, the node itself, and the other nodes.

A pod is what a port says of itself (`nsxdp.bridge`), so the bridge's database alone tells who is
there: a port that came, went or has another number is that pod's flows, and nothing else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from types import MappingProxyType

from nsxdp.bridge import Bridge, LocalPod, Port, local_pod, uplink
from nsxdp.forwarding.compiler import ForwardingCompiler
from nsxdp.forwarding.model import (
    TUNNELS,
    Mode,
    Network,
    NodeConfig,
    Peer,
    PodPort,
    reserved,
)
from nsxdp.logs import get_logger
from nsxdp.pipeline.compiled import Compiled
from nsxdp.pipeline.node import Gateway
from nsxdp.switch import BridgeView
from nsxdp.writer import Owned
from nsxdp_agents.node_agent.bridge import TUNNEL
from nsxdp_agents.node_agent.dataplane import Dataplane, DataplaneError

__all__ = ["Follower", "Wiring"]

log = get_logger(__name__)

Follower = Callable[[], Owned]
"""What somebody else needs from now on, because of who is on the bridge now."""


class Wiring:
    """Keeps the flows of forwarding as the bridge's ports need them.

    Parameters
    ----------
    view
        The bridge.
    dataplane
        Whom the flows go to.
    mode
        How pods of other nodes are reached.

    Attributes
    ----------
    followers
        Are asked whenever a port or the node changed; what they need goes in the same bundle.
    listeners
        Are told when the node or the others changed.
    departures
        Are told of each pod that isn't on the bridge any more, or isn't what it was.
    configured
        Set when all is known that the first flow needs.
    """

    def __init__(self, view: BridgeView, dataplane: Dataplane, mode: Mode) -> None:
        self.followers: list[Follower] = []
        self.listeners: list[Callable[[], None]] = []
        self.departures: list[Callable[[LocalPod], None]] = []
        self.configured = asyncio.Event()
        self._view = view
        self._dataplane = dataplane
        self._mode: Mode = mode
        self._compiler = ForwardingCompiler()
        self._networks: tuple[Network, ...] = ()
        self._peers: dict[str, Peer] = {}
        self._pods: dict[str, LocalPod] = {}
        self._config: NodeConfig | None = None
        self._problems: dict[str, str] = {}

    # What there is.

    @property
    def config(self) -> NodeConfig | None:
        """The node as it is on the bridge; None as long as something of it is missing."""
        return self._config

    @property
    def pods(self) -> Mapping[str, LocalPod]:
        """The pods on the bridge, by their ports' names."""
        return MappingProxyType(self._pods)

    @property
    def peers(self) -> Collection[Peer]:
        """The other nodes."""
        return self._peers.values()

    @property
    def problem(self) -> str:
        """Why the bridge can't forward as it should; empty: it does."""
        return self._problems.get(self._view.name, "") or self._dataplane.problem

    # What comes in.

    def use(self, networks: Iterable[Network]) -> None:
        """The node's pods have addresses of these from now on."""
        self._networks = tuple(networks)
        self.sync()

    def set_peers(self, peers: Iterable[Peer], gone: Iterable[str] = ()) -> None:
        """These other nodes are there, or as they are now; those of the names in 'gone' aren't.

        A Node that is written anew, as each heartbeat does it, is the same peer.
        """
        peers = [peer for peer in peers if self._peers.get(peer.name) != peer]
        gone = [name for name in gone if name in self._peers]
        if not peers and not gone:
            return
        for name in gone:
            self._peers.pop(name, None)
        self._peers |= {peer.name: peer for peer in peers}
        if self._config is not None:
            self._dataplane.replace(self._compiler.set_peers(peers, gone))
            self._tell()

    def sync(self) -> None:
        """Compile all that differs from what was compiled last."""
        bridge = self._view.bridge
        config = None if bridge is None else self._read(bridge)
        if bridge is None or config is None:
            return
        try:
            of_node = self._compiler.configure(config)
        except ValueError as error:
            self._complain(bridge.name, str(error))
            return
        before, self._config = self._config, config
        self._write(
            of_node,
            self._compiler.set_peers(self._peers.values()),
            *self._take(bridge, self._pods.keys() | bridge.ports.keys()),
        )
        self.configured.set()
        if config != before:
            self._tell()

    def look(self, ports: Iterable[str]) -> None:
        """Compile what the ports of these names are now."""
        bridge = self._view.bridge
        if bridge is not None and self._config is not None:
            self._write(*self._take(bridge, ports))

    async def follow(self) -> None:
        """Compile what the bridge is now, and each change, until cancelled."""
        async for change in self._view.changes():
            if change.new is None:
                continue
            if self._read(change.new) != self._config:
                self.sync()
            else:
                self.look(port.name for one in change.ports if (port := one.new or one.old))

    # A pod.

    async def plugged(self, port: str) -> None:
        """The bridge has a port of that name: wait until the switch forwards for its pod.

        Raises
        ------
        DataplaneError
            It doesn't.
        """
        self.look([port])
        if problem := self.lacks(port):
            raise DataplaneError(problem)
        await self._dataplane.confirmed()

    async def unplugged(self, port: str) -> None:
        """It has none of that name any more: wait until the switch knows, if there is one."""
        self.look([port])
        if self._dataplane.problem:
            return  # it has no flows now, or will be compared with what is wanted
        try:
            await self._dataplane.confirmed()
        except DataplaneError as error:
            log.warning("flows are left of a pod that is gone", port=port, reason=str(error))

    def lacks(self, port: str) -> str:
        """Why the pod at a port isn't forwarded for, in words; empty: it is."""
        if port in self._pods:
            return ""
        default = f"the bridge has no port {port}"
        return self._problems.get(port) or self._problems.get(self._view.name) or default

    # What comes of it.

    def _read(self, bridge: Bridge) -> NodeConfig | None:
        """The node, if all is there that it needs."""
        local = bridge.local_port
        tunnel = bridge.ports.get(TUNNEL) if self._mode in TUNNELS else None
        trunk = uplink(bridge) if self._mode == "nsx" else None
        problem = ""
        if local is None or not local.mac:
            problem = f"bridge {bridge.name} is not at work: see whether ovs-vswitchd runs"
        elif self._mode in TUNNELS and (tunnel is None or tunnel.type != self._mode):
            problem = f"bridge {bridge.name} has no {self._mode} port {TUNNEL} at work"
        elif self._mode == "nsx" and trunk is None:
            problem = f"bridge {bridge.name} has no uplink at work: name one with --uplink-port"
        self._complain(bridge.name, problem)
        if problem or local is None:
            return None
        own = [reserved(network) for network in self._networks]
        return NodeConfig(
            self._mode,
            Gateway.of(local, [each.gateway for each in own]),
            self._networks,
            tuple(each.masquerade for each in own) if tunnel else (),
            tunnel.ofport if tunnel else None,
            trunk.ofport if trunk else None,
        )

    def _take(self, bridge: Bridge, names: Iterable[str]) -> Iterator[Compiled]:
        """What changes where the ports of these names are as the bridge has them now."""
        pods: dict[str, PodPort] = {}
        gone: list[str] = []
        for name in names:
            before = self._pods.pop(name, None)
            port = bridge.ports.get(name)
            now = self._pod(port) if port is not None else None
            if port is not None and now is not None:
                vlan = port.tag if self._mode == "nsx" else None
                self._pods[name] = now
                pods[name] = PodPort(_who(name, now), now.ofport, now.mac, now.ips, vlan)
            if before is not None and (now is None or now.iface_id != before.iface_id):
                gone.append(_who(name, before))
            if before is not None and now != before:
                for departure in self.departures:
                    departure(before)
            if port is None:
                self._problems.pop(name, None)
        try:
            yield self._compiler.set_pods(pods.values(), gone)
        except ValueError:
            yield from self._one_by_one(pods, gone)

    def _one_by_one(self, pods: Mapping[str, PodPort], gone: Iterable[str]) -> Iterator[Compiled]:
        """As one of them can't be forwarded for, the others by themselves."""
        yield self._compiler.set_pods((), gone)
        for name, pod in pods.items():
            try:
                yield self._compiler.set_pods([pod])
            except ValueError as error:
                del self._pods[name]
                self._complain(name, str(error))
                yield self._compiler.set_pods((), [pod.name])

    def _pod(self, port: Port) -> LocalPod | None:
        """The pod behind a port."""
        try:
            pod = local_pod(port)
        except ValueError as error:
            self._complain(port.name, str(error))
            return None
        self._complain(port.name, "")
        return pod

    def _write(self, *compiled: Compiled) -> None:
        self._dataplane.replace(*compiled, *(follower() for follower in self.followers))

    def _tell(self) -> None:
        for listener in self.listeners:
            listener()

    def _complain(self, of: str, problem: str) -> None:
        """Tell what is wrong with a port, or with the bridge: once each."""
        if problem and self._problems.get(of) != problem:
            log.warning("pods can't be forwarded for", reason=problem)
        if problem:
            self._problems[of] = problem
        else:
            self._problems.pop(of, None)


def _who(port: str, pod: LocalPod) -> str:
    """Who a pod's flows belong to: two sandboxes of one pod may be there at the same time."""
    return f"{pod.iface_id} at {port}"
