"""The proxy's parts: opens everything that it needs, joins it, and closes it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Final, TypeVar

from nsxdp.bridge import BridgeError, gateway, require_openflow15
from nsxdp.k8s.client import Client as ApiClient
from nsxdp.k8s.events import EventRecorder
from nsxdp.k8s.source import Source
from nsxdp.logs import get_logger
from nsxdp.openflow import (
    CommitError,
    Connection,
    DesiredSet,
    OpenFlowError,
    Session,
    SessionOptions,
)
from nsxdp.ovsdb import OvsdbError
from nsxdp.pipeline.registers import (
    COOKIE_PREFIX,
    GROUP_FIRST,
    GROUP_LAST,
    LEARNED_COOKIE_MASK,
    OTHER_LEARNED,
    OTHER_PREFIXES,
)
from nsxdp.pipeline.tables import TABLES
from nsxdp.services.planner import ServicePlanner
from nsxdp.switch import BridgeView, open_bridge
from nsxdp.transport import RemoteError, parse_remote
from nsxdp.writer import Commit, Writer
from nsxdp_agents.common import memory
from nsxdp_agents.common.meters import make_meter
from nsxdp_agents.common.nft import NftError
from nsxdp_agents.common.options import tls_files
from nsxdp_agents.common.realtime import realtime
from nsxdp_agents.common.start import StartError
from nsxdp_agents.common.unixctl import serving as answering
from nsxdp_agents.kube_proxy.cleanup import clean_up
from nsxdp_agents.kube_proxy.commands import commands
from nsxdp_agents.kube_proxy.conntrack import of_kernel, of_open_vswitch, set_sysctls
from nsxdp_agents.kube_proxy.events import CONTROLLER, Events
from nsxdp_agents.kube_proxy.health import Health
from nsxdp_agents.kube_proxy.host import HostRoutes
from nsxdp_agents.kube_proxy.meter import METER
from nsxdp_agents.kube_proxy.metrics import Metrics
from nsxdp_agents.kube_proxy.nat import HostNat
from nsxdp_agents.kube_proxy.node import NodeSide, Takes
from nsxdp_agents.kube_proxy.oom import set_oom_score
from nsxdp_agents.kube_proxy.options import Options
from nsxdp_agents.kube_proxy.ovs_conntrack import (
    USERSPACE,
    WATCHES,
    set_limits,
    set_timeouts,
    timeouts,
)
from nsxdp_agents.kube_proxy.proxy import Proxy
from nsxdp_agents.kube_proxy.server import CannotServeError
from nsxdp_agents.kube_proxy.server import serve as serve_http
from nsxdp_agents.kube_proxy.service_health import ServiceHealth

__all__ = [
    "bridge_and_link",
    "cleanup",
    "initialise",
    "make_node_side",
    "make_planner",
    "serve",
]

log = get_logger(__name__)

_Link = TypeVar("_Link")

_CONNECT_SECONDS: Final = 10.0


async def serve(options: Options, client: ApiClient | None, source: Source) -> None:
    """Serve what comes from 'source' until cancelled. What is on the switch stays there.

    Raises
    ------
    StartError
        The bridge can't be used: nothing was changed on the switch.
    """
    memory.before_load()
    metrics = Metrics()
    health = Health(2 * options.sync_period, time.time, needs_node=client is not None)
    if client is not None:
        client.tell_answers(metrics.answered)
    async with AsyncExitStack() as stack:
        view, connection = await stack.enter_async_context(_bridge(options))
        await _track(options, view)
        planner = make_planner(options)
        recorder = None
        if client is not None:
            recorder = EventRecorder(client, CONTROLLER, options.node_name)
            await stack.enter_async_context(recorder)
        events = Events(recorder, options.node_name, planner.compiler.service_of)
        desired = DesiredSet(COOKIE_PREFIX, GROUP_FIRST, GROUP_LAST)

        async def prepare(session: Session) -> None:
            await make_meter(session, METER)
            if _is_userspace(view):
                await set_limits(options.run_directory, of_open_vswitch(options))
                if view.client.connected:  # or else the switch would wait until it is
                    await set_timeouts(view.client, timeouts(of_open_vswitch(options)))

        def committed(commit: Commit) -> None:
            metrics.committed(commit, desired.size.flows, desired.size.groups)

        def refused(error: CommitError) -> None:
            metrics.refused()
            events.refused(error)

        writer = Writer(
            connection,
            desired,
            sync_period=options.sync_period,
            other_prefixes=OTHER_PREFIXES,
            other_learned=[(cookie, LEARNED_COOKIE_MASK) for cookie in OTHER_LEARNED],
            prepare=prepare,
            on_commit=committed,
            on_refusal=refused,
        )
        node = make_node_side(options, view, writer)
        proxy = Proxy(
            planner,
            source,
            node,
            connection,
            writer,
            control=options.run_directory,
            health=health,
            service_health=ServiceHealth(lambda: health.healthy, events.cannot_check),
            metrics=metrics,
            events=events,
            look_period=options.sync_period,
        )
        try:
            await stack.enter_async_context(serve_http(options, health, metrics, events))
        except CannotServeError as error:
            raise StartError(str(error)) from None
        if options.run_directory is not None:
            asked = commands(planner, node, writer)
            await stack.enter_async_context(answering(options.run_directory, CONTROLLER, asked))
        set_oom_score(options.oom_score_adj)
        stack.enter_context(realtime(options.realtime_priority))
        events.starting()
        log.info("started", node=options.node_name, bridge=options.bridge)
        await proxy.run()


async def cleanup(options: Options) -> None:
    """Remove all that the proxy ever made (see `nsxdp_agents.kube_proxy.cleanup`).

    Raises
    ------
    StartError
        The bridge can't be used, or refuses.
    """
    async with _bridge(options) as (view, connection):
        try:
            await clean_up(connection.session)
        except OpenFlowError as error:
            raise StartError(str(error)) from error
        router = gateway(view.bridge) if view.bridge else None
        if _is_userspace(view):
            await set_timeouts(view.client, {})
    if options.host_routes and router is not None:
        await HostRoutes(router.name).clear()
        try:
            await HostNat().clear()
        except NftError as error:
            log.warning("the node's translations stay as they are", reason=str(error))


async def initialise(options: Options) -> None:
    """Do what needs the most permissions, and no more: connection tracking is set.

    Raises
    ------
    StartError
        The bridge can't be used.
    """
    async with _bridge(options) as (view, _):
        await _track(options, view)
        if _is_userspace(view):
            await set_limits(options.run_directory, of_open_vswitch(options))


def _bridge(
    options: Options,
) -> AbstractAsyncContextManager[tuple[BridgeView, Connection]]:
    """The bridge as its database shows it, and an OpenFlow connection to it that is ready."""
    return bridge_and_link(options, lambda: _connected(options))


@asynccontextmanager
async def _connected(options: Options) -> AsyncIterator[Connection]:
    connection = Connection(
        parse_remote(options.openflow, 6653),
        tls=tls_files(options),
        tables=TABLES,
        options=SessionOptions(receive_packets=True),
    )
    async with connection:
        await connection.ready(_CONNECT_SECONDS)
        yield connection


@asynccontextmanager
async def bridge_and_link(
    options: Options, connect: Callable[[], AbstractAsyncContextManager[_Link]]
) -> AsyncIterator[tuple[BridgeView, _Link]]:
    """The bridge as its database shows it, and what 'connect' opens to speak OpenFlow with it.

    Raises
    ------
    StartError
        The bridge can't be used; says what to do.
    """
    async with AsyncExitStack() as stack:
        try:
            view = await stack.enter_async_context(
                open_bridge(options.ovsdb, options.bridge, more=WATCHES, tls=tls_files(options))
            )
            if view.bridge is not None:
                require_openflow15(options.bridge, view.bridge.protocols)
            link = await stack.enter_async_context(connect())
        except (BridgeError, OvsdbError, OpenFlowError, RemoteError) as error:
            raise StartError(str(error)) from error
        yield view, link


def _is_userspace(view: BridgeView) -> bool:
    return view.bridge is not None and view.bridge.datapath_type == USERSPACE


async def _track(options: Options, view: BridgeView) -> None:
    """Have connections tracked as configured, by whom the datapath has for it.

    The kernel tracks the node's own, and those that it translates, also where the datapath's are
    tracked by Open vSwitch.
    """
    kernel = of_kernel(options)
    if _is_userspace(view):
        await set_timeouts(view.client, timeouts(of_open_vswitch(options)))
        kernel = kernel._replace(most=0)
    for problem in await asyncio.to_thread(set_sysctls, kernel):
        log.warning("connections are not tracked as configured", reason=problem)


def make_planner(options: Options) -> ServicePlanner:
    """Who plans the Services."""
    return ServicePlanner(
        options.node_name,
        proxy_name=options.service_proxy_name or None,
        started_at=time.time(),
        external_ips=options.external_ips,
    )


def make_node_side(options: Options, view: BridgeView, writer: Takes) -> NodeSide:
    """Who knows the bridge's ports and the node."""
    return NodeSide(
        view,
        writer,
        HostRoutes(options.bridge) if options.host_routes else None,
        uplink_port=options.uplink_port,
        primary_address=options.bind_address,
        node_port_cidrs=options.nodeport_addresses,
        masquerade_all=options.masquerade_all,
        check_period=options.sync_period,
    )
