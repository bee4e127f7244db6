"""The commands that look: explain, trace, diff, top."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from copy import copy
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, NoReturn, TypeVar

import typer
from typer.core import TyperCommand

from nsxdp_agents.common.cli import die

if TYPE_CHECKING:
    from nsxdp_agents.kube_proxy.options import Options

__all__ = ["COMMANDS", "SharedOptions"]

_T = TypeVar("_T")

_SHOWN: Final = ("Where Services come from", "The switch")
"""The panels of the proxy's own options that help shows with these commands, too."""

_FILES: Final = ("config", "ncp_ini")

_NOT_SHARED: Final = ("cleanup", "init_only", "version", "write_config_to")
"""What would be something else to do."""

_COMPLETION_SECONDS: Final = 3.0

Json = Annotated[bool, typer.Option("--json", help="JSON: one object a line.")]


class SharedOptions(TyperCommand):
    """A command that takes the options of the proxy before its name, and after it too."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Its own, and the proxy's."""
        own = super().get_params(ctx)
        return [*own, *self._shared(ctx)]

    def invoke(self, ctx: Any) -> Any:
        """Hand on what was given after the name as if it had been given before."""
        for option in self._shared(ctx):
            value = ctx.params.pop(str(option.name), None)
            if value is not None and ctx.parent is not None:
                ctx.parent.params[str(option.name)] = value
        return super().invoke(ctx)

    @staticmethod
    def _shared(ctx: Any) -> list[Any]:
        if ctx.parent is None:
            return []
        shared = []
        for option in ctx.parent.command.params:
            if option.name in _NOT_SHARED:
                continue
            if option.name not in _FILES and option.rich_help_panel not in _SHOWN:
                option = copy(option)
                option.hidden = True
            shared.append(option)
        return shared


def _options(context: typer.Context) -> Options:
    """The proxy's options."""
    from nsxdp_agents.common.logs import configure
    from nsxdp_agents.common.options import OptionsError
    from nsxdp_agents.kube_proxy.cli import configured_by

    assert context.parent is not None
    # Standard output is for what was asked; the log has what is wrong with objects.
    configure("text", "warning")
    try:
        return configured_by(context.parent.params).options
    except OptionsError as error:
        _die(str(error))


def _run(work: Coroutine[Any, Any, _T]) -> _T:
    """Run something that looks at the switch; errors become one line."""
    from nsxdp.k8s.errors import KubernetesError
    from nsxdp.openflow import OpenFlowError
    from nsxdp.ovsdb import OvsdbError
    from nsxdp.tracing.packet import PacketError
    from nsxdp.unixctl import UnixctlError
    from nsxdp_agents.common.start import StartError
    from nsxdp_agents.kube_proxy.inspect.services import UnknownServiceError

    try:
        return asyncio.run(work)
    except (
        KubernetesError,
        OpenFlowError,
        OvsdbError,
        PacketError,
        StartError,
        UnixctlError,
        UnknownServiceError,
    ) as error:
        _die(str(error))
    except KeyboardInterrupt:
        raise SystemExit(130) from None


def _die(text: str) -> NoReturn:
    die("nsx-kube-proxy", text, 2)


def _complete(context: typer.Context, incomplete: str) -> list[str]:
    """Names of Services that begin so; none where they can't be had soon."""
    from nsxdp_agents.common.logs import configure
    from nsxdp_agents.kube_proxy.cli import configured_by
    from nsxdp_agents.kube_proxy.inspect.services import service_names

    async def work() -> list[str]:
        async with asyncio.timeout(_COMPLETION_SECONDS):
            return await service_names(configured_by(given).options)

    given = dict(context.parent.params) if context.parent is not None else {}
    configure("text", "error")
    given |= {name: value for name, value in context.params.items() if name in given and value}
    try:
        names = asyncio.run(work())
    except Exception:  # whatever it is: the line that is being typed is not the place to say it
        return []
    return [name for name in names if name.startswith(incomplete)]


Offline = Annotated[
    bool, typer.Option("--offline", help="Ask no switch: show what it should have.")
]


def explain(
    context: typer.Context,
    service: Annotated[
        str,
        typer.Argument(
            metavar="SERVICE",
            help="NAMESPACE/NAME, or NAMESPACE/NAME:PORT.",
            autocompletion=_complete,
        ),
    ],
    offline: Offline = False,
    as_json: Json = False,
) -> None:
    """Show what a Service is on the switch: addresses, groups, endpoints, and their counts.

    Counted are the packets that met a flow or a bucket: these are the first ones of connections,
    for connection tracking translates those that follow. The switch may be a second behind.

    ```
    nsx-kube-proxy explain default/web
    nsx-kube-proxy explain kube-system/kube-dns:dns --json
    nsx-kube-proxy explain default/web --manifests examples/manifests --offline
    ```
    """
    from nsxdp.tracing.output import show_tree
    from nsxdp_agents.common.start import StartError
    from nsxdp_agents.kube_proxy.inspect import output
    from nsxdp_agents.kube_proxy.inspect.explain import explain as gather
    from nsxdp_agents.kube_proxy.inspect.explained import Explained
    from nsxdp_agents.kube_proxy.inspect.intent import open_intent, open_view
    from nsxdp_agents.kube_proxy.inspect.services import find_ports

    options = _options(context)

    async def work() -> list[Explained]:
        async with AsyncExitStack() as stack:
            view = switch = None
            if not offline:
                try:
                    view, switch = await stack.enter_async_context(open_view(options))
                except StartError as error:
                    raise StartError(
                        f"{error}\nwhat it should have shows explain --offline"
                    ) from None
            intent = await stack.enter_async_context(open_intent(options, view))
            ports = find_ports(intent.planner.tracker, service)
            return await gather(intent, ports, switch)

    for explained in _run(work()):
        if as_json:
            output.show_json(explained.json())
        else:
            show_tree(explained.tree())


def trace(
    context: typer.Context,
    source: Annotated[
        str,
        typer.Argument(
            metavar="SRC",
            help="Who sends: a pod NAMESPACE/POD of this bridge, node, outside, or an address.",
        ),
    ],
    target: Annotated[
        str,
        typer.Argument(
            metavar="DST",
            help="ADDRESS:PORT, [ADDRESS]:PORT, or a Service NAMESPACE/NAME[:PORT]: its cluster "
            "IP.",
            autocompletion=_complete,
        ),
    ],
    protocol: Annotated[
        Literal["tcp", "udp", "sctp"] | None,
        typer.Option(help="Of the packet.", show_default="the Service port's, else tcp"),
    ] = None,
    ip_version: Annotated[
        int | None,
        typer.Option(
            min=4, max=6, help="4 or 6, of a Service that has both.", show_default="the first"
        ),
    ] = None,
    source_port: Annotated[
        int, typer.Option(metavar="PORT", min=1, max=65535, help="The client's port.")
    ] = 33333,
    endpoint: Annotated[
        str,
        typer.Option(metavar="ADDRESS:PORT", help="Choose this endpoint, where chance does it."),
    ] = "",
    raw: Annotated[
        bool, typer.Option("--raw", help="With what Open vSwitch said (ofproto/trace).")
    ] = False,
    as_json: Json = False,
) -> None:
    """Tell what becomes of a packet: which Service, which endpoint, out of which port, or why not.

    It is taken for the first packet of a connection. Nothing is sent. Open vSwitch itself says what
    its flows do; what it can't know is in the notes at the end.

    ```
    nsx-kube-proxy trace default/client default/web
    nsx-kube-proxy trace outside 192.0.2.1:30080
    nsx-kube-proxy trace node 10.96.0.10:53 --protocol udp --json
    nsx-kube-proxy trace 10.244.0.5 default/web:http --endpoint 10.244.0.7:8080 --raw
    ```
    """
    from nsxdp.openflow import Trace
    from nsxdp.tracing.output import show_tree
    from nsxdp.tracing.story import Story
    from nsxdp.tracing.teller import follow
    from nsxdp_agents.kube_proxy.inspect import output
    from nsxdp_agents.kube_proxy.inspect.intent import open_intent, open_view
    from nsxdp_agents.kube_proxy.inspect.names import IntentNames
    from nsxdp_agents.kube_proxy.inspect.packet import Place, destination, make_packet

    options = _options(context)

    async def work() -> tuple[Story, Trace]:
        async with AsyncExitStack() as stack:
            view, switch = await stack.enter_async_context(open_view(options))
            intent = await stack.enter_async_context(open_intent(options, view))
            assert intent.node is not None
            assert view.bridge is not None
            tracker = intent.planner.tracker
            wanted = protocol.upper() if protocol else None
            to = destination(tracker, target, wanted, ip_version)
            place = Place.of(intent.node.plan, tracker)
            packet = make_packet(place, source, to, source_port)
            names = IntentNames(intent, switch, options.run_directory)
            return await follow(names, view.bridge, switch, packet, endpoint)

    story, traced = _run(work())
    if as_json:
        output.show_json(story.json() | ({"trace": traced.text} if raw else {}))
        return
    show_tree(story.tree())
    if raw:
        print(traced.text.rstrip())


def diff(
    context: typer.Context,
    summary: Annotated[bool, typer.Option("--summary", help="Only how many, and whose.")] = False,
    as_json: Json = False,
) -> None:
    """Compare the switch with what it should have: flows, groups and the meter, by owner.

    A line that begins with "-" is on the switch, one with "+" should be there. Nothing is changed.
    What differs is looked at again a second later, so a change that is under way doesn't count.
    The exit status is 0 if all is alike, 1 if not, and 2 if that can't be told.

    ```
    nsx-kube-proxy diff
    nsx-kube-proxy diff --summary
    nsx-kube-proxy diff --json
    ```
    """
    from nsxdp_agents.kube_proxy.inspect import diff as differ
    from nsxdp_agents.kube_proxy.inspect import output
    from nsxdp_agents.kube_proxy.inspect.intent import open_intent, open_view

    options = _options(context)

    async def work() -> differ.Compared:
        async with AsyncExitStack() as stack:
            view, switch = await stack.enter_async_context(open_view(options))
            intent = await stack.enter_async_context(open_intent(options, view))
            return await differ.compare(intent, switch)

    compared = _run(work())
    if as_json:
        for obj in differ.objects(compared):
            output.show_json(obj)
    else:
        differ.show(compared, summary=summary)
    if compared.differences:
        raise typer.Exit(1)


def top(
    context: typer.Context,
    number: Annotated[
        int, typer.Option("--number", "-n", min=1, help="How many Service ports.")
    ] = 20,
    interval: Annotated[float, typer.Option("--interval", "-i", min=0.1, help="Seconds.")] = 2.0,
    connections: Annotated[
        bool,
        typer.Option(
            "--connections",
            help="Ask connection tracking, too: how many connections there are and, if the "
            "datapath counts (the kernel's does with net.netfilter.nf_conntrack_acct=1), their "
            "packets and bytes.",
        ),
    ] = False,
    once: Annotated[
        bool, typer.Option("--once", help="Show one interval, and end; in a pipe always.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show the busiest Services until Ctrl-C: new connections a second, refused packets, endpoints.

    A connection is counted by its first packet, for that is the only one that meets the Services'
    flows. Refused are packets that are rejected or dropped. NEW and REFUSED count since the flows
    were made.

    ```
    nsx-kube-proxy top
    nsx-kube-proxy top -n 5 --interval 1 --json
    nsx-kube-proxy top --connections --once
    ```
    """
    from rich.live import Live

    from nsxdp.tracing.output import out
    from nsxdp_agents.kube_proxy.inspect import output
    from nsxdp_agents.kube_proxy.inspect import top as counter
    from nsxdp_agents.kube_proxy.inspect.intent import open_intent, open_view

    options = _options(context)

    async def work() -> None:
        async with AsyncExitStack() as stack:
            view, switch = await stack.enter_async_context(open_view(options))
            intent = await stack.enter_async_context(open_intent(options, view))
            before = await counter.sample(intent, switch, connections=connections)
            if once or as_json or not out.is_terminal:
                await asyncio.sleep(interval)
                now = await counter.sample(intent, switch, connections=connections)
                found = counter.busiest(intent, now, before, number)
                if as_json:
                    for busy in found:
                        output.show_json(busy.json())
                else:
                    print(*counter.lines(found, connections=connections), sep="\n")
                return
            live = stack.enter_context(Live(console=out, screen=True, auto_refresh=False))
            while True:
                await asyncio.sleep(interval)
                await intent.compile()
                now = await counter.sample(intent, switch, connections=connections)
                found = counter.busiest(intent, now, before, number)
                live.update(counter.table(found, connections=connections), refresh=True)
                before = now

    _run(work())


COMMANDS: Final = (explain, trace, diff, top)
"""In the order in which help shows them."""
