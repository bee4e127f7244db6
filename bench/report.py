"""The results as tables on a terminal, and as a document with plots."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import matplotlib as mpl
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from rich.console import Console
from rich.table import Table

from bench.results import Result, Row, Run, duration, number, rows

TOPICS: Final = {
    "stamp": (
        "Stamping templates",
        "A template is a flow in ovs-ofctl's syntax with holes; stamping fills them from columns, "
        "on one core. os-ken makes the same flows from its objects, one by one: that both are the "
        "same is checked before. (os-ken's groups are without a selection method, an extension "
        "that it doesn't know.)",
    ),
    "codec": (
        "Text, bytes and objects",
        "One flow, group or message at a time, as tools and tests need it: EndpointDNAT's flow, "
        "with learn, ct and nat, and a Service port's group. What a program knows are numbers, and "
        "addresses as text; nsxdp fills a template's holes with them, or puts them into a text "
        "that is parsed. nsxdp's objects check the match and the instructions and keep them as "
        "bytes; os-ken's have an object for each field and action, as text has. `ovs-ofctl` and "
        "`nsxdp parse-flows` are timed as whole processes that read a file.",
    ),
    "desired": (
        "The desired set",
        "What the switch shall have, of ten thousand owners: a group of ten buckets and a flow "
        "each. A change costs what has changed; a comparison goes through everything that the "
        "switch says it has.",
    ),
    "load": (
        "Loading flows into ovs-vswitchd",
        "From the first byte to the barrier's answer, in turns on a bridge that is empty again. "
        "The bare socket writes bytes that were made before, so it shows what the switch itself "
        "takes.",
    ),
    "dump": (
        "Reading flows of ovs-vswitchd",
        "A dump of all flows with their statistics into a running Python: to columns, and to an "
        "object each. python-ovs reads what ovs-ofctl prints, with its own parser "
        "(ovs.flow.ofp.OFPFlow). ovs-ofctl whose output nobody reads shows what the switch and it "
        "take.",
    ),
    "scale": (
        "The agent on a real API server",
        "Services of ten endpoints each, read from kube-apiserver and etcd that run on the same "
        "cores. The start is from fork to the barrier's answer for all flows: a cold one with an "
        "empty bridge, a restart with one that has all flows, to which nothing is sent. A change "
        "is an endpoint added to one Service, and is exactly one OpenFlow message. Its watch event "
        "is there when the kernel has its packet for the agent, and is read when the agent has it "
        "decrypted. Waiting for a processor is what the agent could have done meanwhile, while the "
        "API server, etcd and Open vSwitch had both.",
    ),
    "proxies": (
        "nsx-kube-proxy beside kube-proxy and OVN",
        "nsx-kube-proxy and kube-proxy follow the same real API server on the same node, one after "
        "the other. The rules are in place when nsx-kube-proxy has the answer to its barrier, and "
        "when kube-proxy has handed its transaction to the kernel; kube-proxy need not wait a "
        "second between two syncs, as it does by default. A change is an EndpointSlice with "
        "another endpoint in the place of one, from the request to the API server on; many at once "
        "are written past the API server, straight into etcd. OVN has no API server to follow, "
        "which would cost it more: its Services are load balancers in its northbound database, a "
        "change is a transaction there, and it is done when ovn-controller says that the switch "
        "has it. Memory is the process's own; OVN's is ovn-controller's.",
    ),
    "traffic": (
        "Traffic through a virtual address",
        "A client pod and four pods that serve, all on one node with Open vSwitch's userspace "
        "datapath; each pipeline on a node of its own, in turns. Two tables with a select group "
        "are the least that can balance: conntrack, the group, and a port for each address. OVN "
        "is a logical switch with a load balancer, and the router that is the pods' gateway. "
        "Without a virtual address the client connects to the pods in turn, and the bridge "
        "switches by MAC addresses. Megaflows are what the datapath has cached after 10,000 "
        "connections; a packet is looked up there once, and again after each recirculation.",
    ),
    "pods": (
        "Pods that start",
        "From the start of the CNI plugin to its end, as a container runtime has it: addresses, a "
        "pair of devices and routes of both families, and a port that ovs-vswitchd has at work, on "
        "its userspace datapath. The peer are the CNI project's plugins bridge and host-local, on "
        "a bridge of the kernel. A runtime starts containers too, and so calls for a few pods at "
        "a time.",
    ),
    "starts": (
        "Pods that start in a cluster",
        "A cluster of three nodes on this machine, with its control plane: 200 pods on one of the "
        "nodes, which kubelet, containerd and runc start as fast as all processors let them. As "
        "containerd's histogram tells it, from its call of the plugins (with that of the loopback) "
        "to their answers: that has its own waits for processors in it. And as the agent's tells "
        "it, from its being asked to its answer, with the pod's flows confirmed. The peer are "
        "bridge and host-local, with kube-proxy.",
    ),
    "policies": (
        "Network policies",
        "Fifty namespaces with twenty pods each, dual stack, and a policy for each of them: pods "
        "of the own namespace, those of a team's, and a network without a part of it may come, by "
        "numbered and named ports; it may go to others and ask for names. A start is from the "
        "decoded objects to the barrier's answer, on a bridge that is empty. A change takes a pod "
        "out of all that its label is about, policies of its own among it, or brings it back.",
    ),
    "ovsdb": (
        "OVSDB",
        "The first replica of a large database, in a process of its own: until all rows are there, "
        "the processor's time of the client alone, and what its memory grows by. The bare socket "
        "shows how long the server takes.",
    ),
    "transactions": (
        "OVSDB transactions",
        "Each adds a port: an interface, the port, and the bridge's set of ports. The bare sockets "
        "send bytes that were made before and look at nothing but the ends of answers; one of them "
        "has the server send updates, too, as it must to a client with a replica. Each runs in a "
        "process of its own.",
    ),
    "imports": (
        "Import",
        "A process that imports the library and ends; its resident memory at that time.",
    ),
}

_OURS: Final = "#2a6f97"
_PEER: Final = "#bcbcbc"


def headings(table: list[Row]) -> list[str]:
    """The headings of all rows, each once: those of the row that has most come first."""
    by_length = sorted(table, key=lambda row: -len(row.columns))
    return list(dict.fromkeys(heading for row in by_length for heading in row.columns))


def to_terminal(run: Run, console: Console) -> None:
    """Print all tables."""
    for (topic, group), results in run.groups().items():
        lines = rows(results)
        names = headings(lines)
        table = Table(title=f"{topic}: {group}", title_justify="left", title_style="bold")
        table.add_column("")
        for name in names:
            table.add_column(name, justify="right")
        for row in lines:
            style = "dim" if row.is_peer else ""
            cells = [row.columns.get(name, "") for name in names]
            table.add_row(row.who, *cells, style=style)
        console.print(table)


def to_docs(run: Run, folder: Path) -> None:
    """Write benchmarks.md, its plots and its numbers."""
    plots = folder / "benchmarks"
    plots.mkdir(parents=True, exist_ok=True)
    run.digest().save(plots / "results.json")
    lines = [
        "# Benchmarks",
        "",
        "Written by `make bench`. Each claim is a ratio to something else that did the same in the "
        "same run; the machine's own speed cancels out.",
        "",
    ]
    lines += [f"- {name}: {value}" for name, value in {"Date": run.date, **run.machine}.items()]
    lines += [
        "",
        "To repeat: `make bench` as root (less than half an hour on two cores, with a cluster that "
        "was made before), or a part of it, such as `make bench BENCH=codec` "
        f"(parts: {', '.join(TOPICS)}), or with other numbers "
        'of Services, `make bench BENCH="scale proxies --services=10000,50000"`. Times are medians '
        "unless the heading says otherwise. [results.json](benchmarks/results.json) has the single "
        "times, or their percentiles where they are many.",
    ]
    topic = ""
    for (part, group), results in run.groups().items():
        if part != topic:
            topic = part
            title, text = TOPICS[part]
            lines += ["", f"## {title}", "", text]
            if _plot(run, part, plots / f"{part}.svg"):
                lines += ["", f"![{title}](benchmarks/{part}.svg)"]
        lines += ["", f"### {group[0].upper()}{group[1:]}", "", *_markdown(rows(results))]
    (folder / "benchmarks.md").write_text("\n".join(lines) + "\n")


def _markdown(table: list[Row]) -> list[str]:
    names = headings(table)
    lines = [
        "| | " + " | ".join(names) + " |",
        "| --- |" + " ---: |" * len(names),
    ]
    for row in table:
        cells = [row.columns.get(name, "") for name in names]
        lines.append(f"| {row.who} | " + " | ".join(cells) + " |")
    return lines


def _plot(run: Run, topic: str, path: Path) -> bool:
    """Draw a panel for each group of a topic; returns whether there was anything to draw."""
    groups = [
        (group, timed)
        for (part, group), results in run.groups().items()
        if part == topic and (timed := [result for result in results if result.seconds])
    ]
    if not groups:
        return False
    mpl.rcParams |= {"svg.hashsalt": "nsxdp", "svg.fonttype": "none", "font.size": 9}
    heights = [
        2.2 if _is_distribution(results) else 0.6 + 0.32 * max(2, len(results))
        for _, results in groups
    ]
    figure, axes = plt.subplots(
        len(groups), 1, figsize=(8, sum(heights)), squeeze=False, height_ratios=heights
    )
    for axis, (group, results) in zip(axes[:, 0], groups, strict=True):
        axis.set_title(group, loc="left", fontsize=9, fontweight="bold")
        axis.spines[["top", "right"]].set_visible(False)
        if _is_distribution(results):
            _distribution(axis, results)
        else:
            _bars(axis, results)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None, "Creator": None})
    plt.close(figure)
    return True


def _is_distribution(results: list[Result]) -> bool:
    return any(result.is_distribution for result in results)


def _bars(axis: Axes, results: list[Result]) -> None:
    rates = all(result.unit for result in results)
    values = [1 / result.each if rates else result.each for result in results]
    names = [result.who for result in results]
    colors = [_PEER if result.peer else _OURS for result in results]
    bars = axis.barh(names, values, color=colors)
    axis.bar_label(
        bars, [number(v) if rates else duration(v) for v in values], padding=3, fontsize=8
    )
    axis.invert_yaxis()
    axis.set_xlim(0, max(values) * 1.2)
    axis.set_xlabel(f"{results[0].unit}/s" if rates else "seconds", fontsize=8)


def _distribution(axis: Axes, results: list[Result]) -> None:
    for result in results:
        ordered = sorted(result.seconds)
        share = [100 * (n + 1) / len(ordered) for n in range(len(ordered))]
        axis.plot([1000 * s for s in ordered], share, label=result.who)
    least = min(result.median for result in results)
    axis.set_xscale("log")
    axis.set_xlim(left=300 * least)  # what was confirmed before the write's answer is further left
    axis.set_xlabel("milliseconds", fontsize=8)
    axis.set_ylabel("% of changes", fontsize=8)
    axis.legend(fontsize=8, frameon=False)
