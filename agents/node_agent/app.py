"""The agent's parts: opens everything that it needs, joins it, and closes it."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, closing
from functools import partial
from ipaddress import ip_network
from pathlib import Path
from typing import Final
from zlib import crc32

from nsxdp.bridge import BridgeError
from nsxdp.forwarding.model import pod_mtu
from nsxdp.logs import get_logger
from nsxdp.ovsdb import Client, OvsdbError
from nsxdp.pipeline.compiled import Compiled
from nsxdp.rtnetlink import Connection, RtnetlinkError
from nsxdp.switch import DATABASE, BridgeView
from nsxdp.transport import parse_remote
from nsxdp_agents.common.nft import NftError
from nsxdp_agents.common.options import run_directory, tls_files
from nsxdp_agents.common.start import StartError
from nsxdp_agents.common.unixctl import serving as answering
from nsxdp_agents.node_agent.assignment import OwnNetworks
from nsxdp_agents.node_agent.bridge import (
    GatewayKeeper,
    ensure_bridge,
    ensure_mtu,
    ensure_tunnel,
    ensure_uplink,
)
from nsxdp_agents.node_agent.cni.install import InstallError, install
from nsxdp_agents.node_agent.cni.server import Server
from nsxdp_agents.node_agent.commands import commands
from nsxdp_agents.node_agent.counters import Counters
from nsxdp_agents.node_agent.dataplane import Dataplane, open_dataplane
from nsxdp_agents.node_agent.denials import Denials, log_denied
from nsxdp_agents.node_agent.flow_outputs import Collector, Lines, Output, Queued
from nsxdp_agents.node_agent.flow_records import FlowRecords
from nsxdp_agents.node_agent.host import HostKeeper
from nsxdp_agents.node_agent.hostports import HostPorts
from nsxdp_agents.node_agent.ipam import Network, Pools
from nsxdp_agents.node_agent.leases import Leases, LeasesError
from nsxdp_agents.node_agent.metrics import Metrics
from nsxdp_agents.node_agent.node import Nodes, follow, open_source
from nsxdp_agents.node_agent.options import Options
from nsxdp_agents.node_agent.platform import Platform
from nsxdp_agents.node_agent.plug import PlugError
from nsxdp_agents.node_agent.pods import Pods
from nsxdp_agents.node_agent.policies import Policies
from nsxdp_agents.node_agent.ports import WATCHES, PortError, Ports
from nsxdp_agents.node_agent.readiness import Readiness
from nsxdp_agents.node_agent.restore import restore
from nsxdp_agents.node_agent.server import serve as serve_http
from nsxdp_agents.node_agent.uplink import NodeUplink, UplinkError
from nsxdp_agents.node_agent.who import pod_with
from nsxdp_agents.node_agent.wiring import Wiring

__all__ = ["serve"]

log = get_logger(__name__)

_OVS_RUN: Final = Path("/var/run/openvswitch")
_REPAIR_SECONDS: Final = 1.0
"""The least time between two looks for ports that were lost."""
_MTU: Final = 1500
"""Of a nodes' network that isn't known."""


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
        except (RtnetlinkError, InstallError, UplinkError, NftError) as error:
            raise StartError(str(error)) from error


async def _serve(options: Options, stack: AsyncExitStack) -> None:
    leases = Leases(Path(options.state_dir) / "leases")
    stack.push_async_callback(leases.close)
    client = await stack.enter_async_context(
        Client(options.ovsdb, DATABASE, WATCHES, tls=tls_files(options))
    )
    by_platform = options.mode == "nsx"
    node_uplink = NodeUplink(client, Path(options.state_dir) / "uplink")
    if options.node_uplink:
        await node_uplink.set_up(*options.node_uplink_place)
    else:
        await node_uplink.take_down()
    await ensure_bridge(client, options.bridge, options.datapath)
    await _ensure_ways_out(options, client)
    view = stack.enter_context(closing(BridgeView(client, options.bridge)))
    ports = stack.enter_context(closing(Ports(client, options.bridge)))
    run = run_directory(options.ovsdb) or _OVS_RUN
    pools = Pools()
    opened = HostPorts(options.bridge, routed=not by_platform)
    gateway = GatewayKeeper(options.bridge, opened.gateway_is_there)
    metrics = Metrics(lambda: pools.pools, lambda: len(leases), lambda: len(wiring.peers))
    source = await open_source(options, stack)
    policies = denials = None
    if source is not None and not by_platform:
        told = options.log_dropped_traffic or options.records_flows
        policies = Policies(options.node_name, every_pod=not options.manifests, log=told)
        denials = Denials(policies.planner) if told else None
    if denials is not None and options.log_dropped_traffic:
        denials.listeners.append(log_denied)
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
    with Connection() as node:
        await restore(leases, ports, node)
    await opened.restore(leases)

    def use(networks: list[Network]) -> None:
        taken = [address for lease in leases for address in lease.addresses]
        pools.use(networks, taken, leases.free)
        gateway.use(pools.pools)
        wiring.use(pools.networks)
        log.info("pods get addresses of", networks=", ".join(map(str, networks)))

    def mtu() -> int:
        return options.mtu or pod_mtu(
            options.mode, host.underlay_mtu or _MTU, ipv6_underlay=nodes.by_ipv6
        )

    async def set_mtu() -> None:
        try:
            await ensure_mtu(client, options.bridge, mtu())
        except OvsdbError as error:
            log.warning("the gateway has another MTU than pods", reason=str(error))

    nodes = Nodes(options.node_name, use, wiring.set_peers)
    host = HostKeeper(
        options.bridge,
        wiring,
        lambda: nodes.addresses,
        also=set_mtu,
        on_repair=metrics.host_repaired,
    )
    wiring.listeners.append(host.look_again)
    if policies is not None:
        wiring.followers.append(partial(_policed, policies, wiring))
        metrics.rules.counters = Counters(policies.planner, dataplane)

    platform = None
    if by_platform:
        platform = Platform(leases, seconds=options.config_retry_timeout)
    assigner = platform or OwnNetworks(options.node_name, pools)
    readiness = Readiness(options.bridge, client, view, assigner, nodes, wiring, policies)

    def checksums() -> bool:
        return view.bridge is None or view.bridge.datapath_type != "netdev"

    if options.pod_cidrs:
        use([ip_network(cidr) for cidr in options.pod_cidrs])
    if by_platform:
        gateway.use(())
        wiring.use(())
    if source is None or by_platform:
        nodes.loaded.set()
    pods = stack.enter_context(
        closing(
            Pods(
                leases,
                ports,
                opened,
                assigner,
                wiring,
                policies,
                mtu=mtu,
                checksums=checksums,
                readiness=readiness,
            )
        )
    )
    await stack.enter_async_context(serve_http(options, metrics, readiness))
    server = Server(Path(options.cni_socket), pods.handle, metrics.request)
    await stack.enter_async_context(server.serving())
    await stack.enter_async_context(
        answering(
            run,
            "nsx-node-agent",
            commands(
                options.node_name,
                leases,
                pools,
                wiring,
                nodes,
                policies,
                metrics.rules.counters,
            ),
        )
    )
    records = _flow_records(options, run, wiring, policies, metrics)
    if records is not None and denials is not None:
        denials.listeners.append(records.denied)
    if options.install_cni:
        directories = Path(options.install_cni), Path(options.cni_conf_dir)
        await asyncio.to_thread(install, *directories, options.cni_socket)
    log.info("started", node=options.node_name, bridge=options.bridge)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(gateway.keep())
        tasks.create_task(opened.keep())
        if options.node_uplink:
            tasks.create_task(node_uplink.keep(*options.node_uplink_place))
        tasks.create_task(_keep_ports(options, client, view, pods))
        tasks.create_task(_forward(wiring, dataplane, nodes, host, policies))
        if denials is not None:
            tasks.create_task(denials.keep(dataplane))
        if records is not None:
            tasks.create_task(records.keep())
        if source is not None and policies is not None:
            tasks.create_task(follow(source, nodes.take, policies.take))
        if source is not None and platform is not None:
            tasks.create_task(follow(source, platform.take))


async def _ensure_ways_out(options: Options, client: Client) -> None:
    """Have the bridge's port to other nodes, or to the platform."""
    await ensure_tunnel(client, options.bridge, options.mode)
    if options.mode == "nsx":
        await ensure_uplink(client, options.bridge, options.uplink_port)


async def _keep_ports(options: Options, client: Client, view: BridgeView, pods: Pods) -> None:
    """Have the bridge and its ports again when somebody deleted them."""
    async for _ in view.changes(view.bridge):
        try:
            if view.bridge is None:
                await ensure_bridge(client, options.bridge, options.datapath)
            await _ensure_ways_out(options, client)
            await pods.repair()
        except (BridgeError, PortError, OvsdbError, RtnetlinkError) as error:
            log.warning("the bridge lacks ports", reason=str(error))
        await asyncio.sleep(_REPAIR_SECONDS)


async def _forward(
    wiring: Wiring,
    dataplane: Dataplane,
    nodes: Nodes,
    host: HostKeeper,
    policies: Policies | None,
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
            tasks.create_task(policies.keep(dataplane.replace, dataplane.confirmed))
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
    pod = partial(pod_with, wiring, policies)
    interval = options.flow_records_interval
    return FlowRecords(options.node_name, run, interval, queued, pod, metrics.lost)


def _policed(policies: Policies, wiring: Wiring) -> Compiled:
    """What policies need, with who is on the bridge now."""
    return policies.follow(wiring.pods, wiring.config)
