"""Commands that talk to a bridge."""

import asyncio
import contextlib
from typing import Annotated, Any, Literal

import typer
from rich.console import Group as RichGroup
from rich.live import Live
from rich.table import Table
from rich.text import Text

from nsxdp.cli import _openflow as at
from nsxdp.cli._offline import flow_mods, is_file, show_json, split
from nsxdp.openflow import Changes, FlowTable, Switch
from nsxdp.openflow.changes import between, compare
from nsxdp.openflow.stats import FLOW_ROW

app = typer.Typer(rich_markup_mode="markdown")

Stats = Annotated[bool, typer.Option("--stats/--no-stats", help="With what the flows have done.")]


def _json(flows: FlowTable, i: int) -> dict[str, Any]:
    row = flows.rows[i]
    match, actions = flows.match_and_actions(i)
    hidden = {"match", "instructions", "match_len", "instructions_len", "pad"}
    numbers = {name: int(row[name]) for name in FLOW_ROW.names or () if name not in hidden}
    seconds = numbers.pop("duration_sec") + numbers.pop("duration_nsec") * 1e-9
    return {**numbers, "duration": round(seconds, 3), "match": match, "actions": actions}


@app.command("dump-flows")
def dump_flows(
    bridge: at.Bridge,
    flow: at.Filter = "",
    stats: Stats = True,
    as_json: at.Json = False,
) -> None:
    """Show a bridge's flows, by table and priority.

    As ovs-ofctl dump-flows, but sorted. With --json each flow is an object with its numbers, its
    match and its actions.

    ```
    nsxdp dump-flows br0 table=1,ip
    nsxdp dump-flows br0 --json > flows.json
    ```
    """

    async def work() -> FlowTable:
        async with Switch(bridge) as switch:
            return (await switch.dump(flow)).sorted()

    flows = at.run(work())
    if as_json:
        for i in range(len(flows)):
            show_json(_json(flows, i))
    else:
        for line in flows.lines(stats=stats):
            at.show_line(f" {line}")


@app.command("add-flows")
def add_flows(bridge: at.Bridge, sources: at.Source) -> None:
    """Add flows: all of them, or none.

    A line may begin with "delete", "delete_strict", "modify" or "modify_strict". All of it is one
    bundle: packets see the flows before or those after, and nothing between.

    ```
    nsxdp add-flows br0 flows.txt
    nsxdp add-flows br0 "table=1,ip,nw_dst=10.0.0.1 actions=LOCAL"
    ```
    """

    async def work() -> None:
        messages = flow_mods(sources)
        async with Switch(bridge) as switch:
            await switch.session.commit(messages)

    at.run(work())


@app.command("replace-flows")
def replace_flows(bridge: at.Bridge, sources: at.Source) -> None:
    """Make these the bridge's only flows, at once; those that are right are not touched.

    A flow that stays keeps its statistics. See first what would change: nsxdp diff-flows.

    ```
    nsxdp replace-flows br0 flows.txt
    ```
    """

    async def work() -> Changes:
        wanted = list(split(flow_mods(sources)))
        async with Switch(bridge) as switch:
            return await switch.replace(wanted)

    changes = at.run(work())
    if at.out.is_terminal:
        at.out.print(
            f"{len(changes.added)} added, {len(changes.changed)} changed, "
            f"{len(changes.removed)} deleted, {changes.unchanged} as they were"
        )


@app.command("diff-flows")
def diff_flows(
    before: Annotated[str, typer.Argument(help="A bridge, or a file with a flow a line.")],
    after: Annotated[str, typer.Argument(help="Likewise.")],
) -> None:
    """Show how flows differ: "-" only in the first, "+" only in the second.

    Compared are cookie, timeouts, importance and actions, as ovs-ofctl diff-flows does. The exit
    status is 2 where there is a difference.

    ```
    nsxdp diff-flows br0 flows.txt
    ```
    """

    async def read(place: str) -> FlowTable | list[bytes]:
        if is_file(place):
            return list(split(flow_mods([place])))
        async with Switch(place) as switch:
            return await switch.dump()

    async def work() -> list[str]:
        old, new = await read(before), await read(after)
        wanted = [new.flow_mod(i) for i in range(len(new))] if isinstance(new, FlowTable) else new
        if isinstance(old, FlowTable):
            return compare(old, wanted).lines()
        return between(old, wanted).lines()

    lines = at.run(work())
    for line in lines:
        if at.out.is_terminal:
            at.out.print(Text(line, style="red" if line[0] == "-" else "green"))
        else:
            print(line)
    if lines:
        raise typer.Exit(2)


@app.command("del-flows")
def del_flows(
    bridge: at.Bridge,
    flow: at.Filter = "",
    strict: Annotated[
        bool, typer.Option("--strict", help="Only the very flow, with its priority.")
    ] = False,
) -> None:
    """Delete a bridge's flows; all of them, if none is named.

    ```
    nsxdp del-flows br0 table=1,tcp
    nsxdp del-flows br0 --strict table=1,priority=7,ip,nw_dst=10.0.0.1
    ```
    """

    async def work() -> None:
        async with Switch(bridge) as switch:
            await switch.delete(flow, strict=strict)

    at.run(work())


@app.command("dump-groups")
def dump_groups(bridge: at.Bridge, as_json: at.Json = False) -> None:
    """Show a bridge's groups.

    As ovs-ofctl dump-groups. With --json each group is an object with its number and its text.

    ```
    nsxdp dump-groups br0
    ```
    """

    async def work() -> list[tuple[int, str]]:
        async with Switch(bridge) as switch:
            return [(group.group_id, str(group)) for group in await switch.groups()]

    for number, text in sorted(at.run(work())):
        if as_json:
            show_json({"group_id": number, "group": text})
        else:
            at.show_line(f" {text}")


@app.command()
def monitor(
    bridge: at.Bridge,
    flow: at.Filter = "",
    count: Annotated[
        int, typer.Option("--count", "-n", min=0, help="End after so many; 0: never.")
    ] = 0,
    as_json: at.Json = False,
) -> None:
    """Show a bridge's flows, and then each change of them, until Ctrl-C.

    A line begins with what happened: INITIAL (it was there), ADDED, MODIFIED, REMOVED; ABBREV is a
    change that this connection asked for. PAUSED: we read too slowly, and what is missed is told
    later.

    ```
    nsxdp monitor br0 table=1
    ```
    """

    async def work() -> None:
        async with Switch(bridge) as switch, contextlib.aclosing(switch.monitor(flow)) as updates:
            seen = 0
            async for update in updates:
                if as_json:
                    text = update.flow.format(cookie=True) if update.flow else ""
                    show_json({"event": update.event.name, "flow": text})
                elif at.out.is_terminal:
                    at.out.print(at.coloured(str(update)))
                else:
                    print(update, flush=True)
                seen += 1
                if seen == count:
                    return

    at.run(work())


@app.command()
def top(
    bridge: at.Bridge,
    flow: at.Filter = "",
    by: Annotated[Literal["packets", "bytes"], typer.Option(help="What is counted.")] = "packets",
    number: Annotated[int, typer.Option("--number", "-n", min=1, help="How many flows.")] = 20,
    interval: Annotated[float, typer.Option("--interval", "-i", min=0.1, help="Seconds.")] = 1.0,
    once: Annotated[
        bool,
        typer.Option(
            "--once", help="Show the counts since the flows were added, and end; in a pipe always."
        ),
    ] = False,
) -> None:
    """Show the busiest flows, and how busy they are, until Ctrl-C.

    ```
    nsxdp top br0 table=1
    nsxdp top br0 --by bytes -n 5 --once
    ```
    """

    async def work() -> None:
        async with Switch(bridge) as switch:
            flows = await switch.dump(flow)
            if once or not at.out.is_terminal:
                _print_top(flows.top(number, by))
                return
            with Live(console=at.out, screen=True, auto_refresh=False) as live:
                while True:
                    await asyncio.sleep(interval)
                    flows, before = await switch.dump(flow), flows
                    live.update(_rates(flows, before, by, number, interval), refresh=True)

    at.run(work())


def _print_top(flows: FlowTable) -> None:
    for i in range(len(flows)):
        row = flows.rows[i]
        match, actions = flows.match_and_actions(i)
        print(
            f"packets={row['packets']} bytes={row['bytes']} table={row['table']} "
            f"priority={row['priority']} {match or 'any'} actions={actions}"
        )


def _rates(flows: FlowTable, before: FlowTable, by: str, number: int, seconds: float) -> RichGroup:
    """A table of those that have done the most since ``before``."""
    known = {before.key(i): int(before.rows[by][i]) for i in range(len(before))}
    counts = flows.rows[by]
    rates = [int(counts[i]) - known.get(flows.key(i), 0) for i in range(len(flows))]
    order = sorted(range(len(flows)), key=lambda i: -rates[i])[:number]
    table = Table(expand=True, pad_edge=False, box=None)
    for name in (f"{by}/s", "packets", "bytes", "table", "priority"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("match", ratio=1, overflow="fold")
    table.add_column("actions", ratio=1, no_wrap=True)
    for i in order:
        row = flows.rows[i]
        match, actions = flows.match_and_actions(i)
        numbers = (row["packets"], row["bytes"], row["table"], row["priority"])
        rate = max(rates[i], 0) / seconds
        style = "bold" if rate else "dim"
        table.add_row(f"{rate:,.0f}", *map(str, numbers), match or "any", actions, style=style)
    return RichGroup(Text(f"{len(flows)} flows", style="bold"), table)
