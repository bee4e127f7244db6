"""The agent's parts: opens everything that it needs, joins it, and closes it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AsyncExitStack, closing
from functools import partial
from ipaddress import ip_network
from pathlib import Path
from typing import Final
from zlib import crc32

from nsxdp.bridge import BridgeError
from nsxdp.logs import get_logger
from nsxdp.ovsdb import Client, OvsdbError
from nsxdp.pipeline.compiled import Compiled
from nsxdp.rtnetlink import Connection, RtnetlinkError
from nsxdp.switch import DATABASE, BridgeView
from nsxdp.transport import parse_remote
from nsxdp_agents.common.limits import open_many_files
from nsxdp_agents.common.nft import NftError
from nsxdp_agents.common.options import run_directory, tls_files
from nsxdp_agents.common.realtime import realtime
from nsxdp_agents.common.start import StartError
from nsxdp_agents.common.unixctl import serving as answering
from nsxdp_agents.common.wait import until_done
from nsxdp_agents.node_agent.assignment import OwnNetworks
from nsxdp_agents.node_agent.bridge import GatewayKeeper
from nsxdp_agents.node_agent.cache import Cache
from nsxdp_agents.node_agent.cni.install import InstallError, install
from nsxdp_agents.node_agent.cni.server import Server
from nsxdp_agents.node_agent.commands import commands
from nsxdp_agents.node_agent.counters import Counters
from nsxdp_agents.node_agent.dataplane import Dataplane, open_dataplane
from nsxdp_agents.node_agent.denials import Denials, log_denied
from nsxdp_agents.node_agent.flow_outputs import Collector, Lines, Output, Queued
from nsxdp_agents.node_agent.flow_records import FlowRecords
from nsxdp_agents.node_agent.host import HostKeeper
from nsxdp_agents.node_agent.hostports import Disguise, HostPorts
from nsxdp_agents.node_agent.ipam import Network, Pools
from nsxdp_agents.node_agent.leases import Leases, LeasesError
from nsxdp_agents.node_agent.metrics import Metrics
from nsxdp_agents.node_agent.mtu import PodMtu
from nsxdp_agents.node_agent.node import Nodes, follow, open_source
from nsxdp_agents.node_agent.options import Options
from nsxdp_agents.node_agent.platform import Platform
from nsxdp_agents.node_agent.plug import PlugError
from nsxdp_agents.node_agent.pods import Pods
from nsxdp_agents.node_agent.policies import Policies
from nsxdp_agents.node_agent.ports import WATCHES, PortError, Ports
from nsxdp_agents.node_agent.readiness import Readiness
from nsxdp_agents.node_agent.repair import ensure_all, keep_all
from nsxdp_agents.node_agent.restore import restore
from nsxdp_agents.node_agent.server import serve as serve_http
from nsxdp_agents.node_agent.uplink import NodeUplink, UplinkError
from nsxdp_agents.node_agent.who import Ends
from nsxdp_agents.node_agent.wiring import Wiring

__all__ = ["serve"]

log = get_logger(__name__)

_OVS_RUN: Final = Path("/var/run/openvswitch")

_FINISH_SECONDS: Final = 10.0
"""For which all goes on at the end, until what is done for runtimes is done. What isn't by then
fails as soon as it needs the switch, so that it is taken back within the 30 seconds that Kubernetes
leaves a process."""


async def serve(options: Options) -> None:
    """Serve the container runtime until cancelled. Pods keep what they have.

    Raises
    ------
    StartError
        Something that the agent needs can't be used.
    """
    async with AsyncExitStack() as stack:
        try:
            await _serve(options, stack)
        except (BridgeError, OvsdbError, LeasesError, PlugError, PortError) as error:
            raise StartError(str(error)) from error
        except (RtnetlinkError, UplinkError, NftError) as error:
            raise StartError(str(error)) from error


async def _serve(options: Options, stack: AsyncExitStack) -> None:
    open_many_files()
    # What there is: of pods, and of the switch.
    leases = Leases(Path(options.state_dir) / "leases", options.realtime_priority)
    stack.push_async_callback(leases.close)
    client = await stack.enter_async_context(
        Client(options.ovsdb, DATABASE, WATCHES, tls=tls_files(options))
    )
    node_uplink = NodeUplink(client, Path(options.state_dir) / "uplink")
    if options.node_uplink:
        await node_uplink.set_up(*options.node_uplink_place)
    else:
        await node_uplink.take_down()
    await ensure_all(options, client)
    view = stack.enter_context(closing(BridgeView(client, options.bridge)))
    ports = stack.enter_context(closing(Ports(client, options.bridge)))
    source = await open_source(options, stack)

    # Who takes care of what.
    by_platform = options.mode == "nsx"
    pools = Pools()
    policies = None if source is None or by_platform else _policies(options)
    opened = HostPorts(options.bridge, _disguised(options, policies))
    gateway = GatewayKeeper(options.bridge, leases, opened.gateway_is_there)
    metrics = Metrics(lambda: pools.pools, lambda: len(leases), lambda: len(wiring.peers))
    denials = _denials(options, policies)
    dataplane = await stack.enter_async_context(
        open_dataplane(
            parse_remote(options.openflow, 6653),
            tls_files(options),
            prepare=None if denials is None else denials.prepare,
            on_commit=lambda commit: metrics.committed(commit, dataplane.size.flows),
            on_refusal=metrics.refused,
        )
    )
    wiring = Wiring(view, dataplane, options.mode)
    if policies is not None:
        wiring.followers.append(partial(_policed, policies, wiring, view))
        metrics.rules.counters = Counters(policies.planner, dataplane)
    with Connection() as node:
        await restore(leases, ports, node)
    await opened.restore(leases)
    use = partial(_use_networks, pools, leases, gateway, wiring)
    nodes = Nodes(options.node_name, use, wiring.set_peers)
    mtu = PodMtu(options, client, lambda: nodes.by_ipv6)
    host = HostKeeper(
        options.bridge,
        wiring,
        lambda: nodes.addresses,
        tell_mtu=mtu.take,
        on_repair=metrics.host_repaired,
    )
    wiring.listeners.append(host.look_again)
    platform = Platform(leases, seconds=options.config_retry_timeout) if by_platform else None
    assigner = platform or OwnNetworks(options.node_name, pools)
    repaired = asyncio.Event()
    readiness = Readiness(
        options.bridge, client, view, assigner, nodes, wiring, gateway, repaired, policies
    )
    pods = Pods(
        leases,
        ports,
        opened,
        assigner,
        wiring,
        policies,
        mtu=mtu,
        checksums=partial(_fills_checksums, view),
        readiness=readiness,
        realtime_priority=options.realtime_priority,
    )
    stack.enter_context(closing(pods))

    # What is known without asking anybody.
    if options.pod_cidrs:
        use([ip_network(cidr) for cidr in options.pod_cidrs])
    if by_platform:
        gateway.use(())
        wiring.use(())
    if source is None or by_platform:
        nodes.loaded.set()

    # Who may ask.
    run = run_directory(options.ovsdb) or _OVS_RUN
    counters = metrics.rules.counters
    answers = commands(options.node_name, leases, pools, wiring, nodes, policies, counters)
    await stack.enter_async_context(serve_http(options, metrics, readiness))
    server = Server(Path(options.cni_socket), pods.handle, metrics.request)
    await stack.enter_async_context(server.serving())
    await stack.enter_async_context(answering(run, "nsx-node-agent", answers))
    records = _flow_records(options, run, wiring, policies, metrics)
    if records is not None and denials is not None:
        denials.listeners.append(records.denied)
    stack.enter_context(realtime(options.realtime_priority))
    log.info("started", node=options.node_name, bridge=options.bridge)

    # And all goes on.
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(gateway.keep())
        tasks.create_task(opened.keep())
        if options.node_uplink:
            tasks.create_task(node_uplink.keep(*options.node_uplink_place))
        if options.install_cni:
            known = [part.loaded for part in (nodes, policies, platform) if part is not None]
            tasks.create_task(_install(options, known))
        tasks.create_task(keep_all(options, client, pods, repaired))
        forget = Cache(view, run).forget
        tasks.create_task(_forward(wiring, dataplane, nodes, host, policies, forget))
        if denials is not None:
            tasks.create_task(denials.keep(dataplane))
        if records is not None:
            tasks.create_task(records.keep())
        if source is not None and policies is not None:
            tasks.create_task(follow(source, nodes.take, policies.take))
        if source is not None and platform is not None:
            tasks.create_task(follow(source, platform.take))
        try:
            await asyncio.Event().wait()
        finally:
            if platform is not None:
                platform.close()  # before the server waits for those that wait for it
            await server.finish(_FINISH_SECONDS)


def _policies(options: Options) -> Policies:
    """What pods may do, as Kubernetes says."""
    return Policies(
        options.node_name, every_pod=not options.manifests, log=options.tells_of_denials
    )


def _disguised(options: Options, policies: Policies | None) -> Disguise:
    """Who comes to a pod's host port with the node's address."""
    if options.mode == "nsx":
        return "all"
    return "by bridge" if policies is None else "itself"


def _denials(options: Options, policies: Policies | None) -> Denials | None:
    """Who tells of what policies deny, if anybody wants that."""
    if policies is None or not options.tells_of_denials:
        return None
    denials = Denials(policies.planner)
    if options.log_dropped_traffic:
        denials.listeners.append(log_denied)
    return denials


def _use_networks(
    pools: Pools,
    leases: Leases,
    gateway: GatewayKeeper,
    wiring: Wiring,
    networks: list[Network],
) -> None:
    """The node's pods have addresses of these from now on."""
    taken = [address for lease in leases for address in lease.addresses]
    pools.use(networks, taken, leases.free)
    gateway.use(pools.pools)
    wiring.use(pools.networks)
    log.info("pods get addresses of", networks=", ".join(map(str, networks)))


def _fills_checksums(view: BridgeView) -> bool:
    """Whether the bridge's datapath fills in checksums."""
    return view.bridge is None or view.bridge.datapath_type != "netdev"


async def _install(options: Options, known: Iterable[asyncio.Event]) -> None:
    """Have the runtime call the plugin, once all is known that pods need.

    What stands in the way keeps nobody from deleting pods.
    """
    for each in known:
        await each.wait()
    directories = Path(options.install_cni), Path(options.cni_conf_dir)
    told = options.cni_socket, options.plugin_timeout

    async def attempt() -> str:
        try:
            await asyncio.to_thread(install, *directories, *told)
        except InstallError as error:
            return str(error)
        return ""

    await until_done(attempt, lambda why: log.error("the plugin can't be installed", reason=why))


async def _forward(
    wiring: Wiring,
    dataplane: Dataplane,
    nodes: Nodes,
    host: HostKeeper,
    policies: Policies | None,
    forget: Callable[[], Awaitable[None]],
) -> None:
    """Keep the bridge's flows, and the kernel's routes, once all is known that they are made of.

    What there is and isn't wanted goes at once.
    """
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(wiring.follow())
        await wiring.configured.wait()
        await nodes.loaded.wait()
        tasks.create_task(host.keep())
        await host.looked.wait()
        if policies is not None:
            await policies.loaded.wait()
            tasks.create_task(policies.keep(dataplane.replace, dataplane.confirmed, forget))
        tasks.create_task(dataplane.run())


def _flow_records(
    options: Options, run: Path, wiring: Wiring, policies: Policies | None, metrics: Metrics
) -> FlowRecords | None:
    """Who tells of connections, if anybody wants that."""
    outputs: list[Output] = []
    if options.flow_records:
        outputs.append(Lines(options.flow_records))
    if options.ipfix_collector:
        outputs.append(Collector(*options.collector, crc32(options.node_name.encode())))
    if not outputs:
        return None
    queued = [Queued(output, metrics.recorded, metrics.lost) for output in outputs]
    ends = Ends(options.node_name, wiring, policies)
    interval = options.flow_records_interval
    return FlowRecords(options.node_name, run, interval, queued, ends.at, ends.rules, metrics.lost)


def _policed(policies: Policies, wiring: Wiring, view: BridgeView) -> Compiled:
    """What policies need, with who is on the bridge now."""
    binds = view.bridge is not None and view.bridge.binds
    return policies.follow(wiring.pods, wiring.config, binds=binds)
