"""``nsxdp lab cluster``: a Kubernetes cluster of several nodes on this machine."""

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from nsxdp.cli._lab import (
    all_up,
    choose,
    err,
    errors_in_one_line,
    out,
    stop_signal,
    take_down,
)
from nsxdp.lab import tools
from nsxdp.lab.cluster.lists import LISTS
from nsxdp.lab.cluster.plan import MOST_NODES, Cni, Plan, Proxy

if TYPE_CHECKING:
    from nsxdp.lab.cluster.cluster import Cluster, Running

app = typer.Typer(
    invoke_without_command=True,
    rich_markup_mode="markdown",
)

_DOWN_SECONDS = 90.0
_SPECS_SECONDS = 3600.0

Directory = Annotated[
    Path | None,
    typer.Option(
        metavar="DIRECTORY",
        help="Where it keeps images, logs and reports.",
        show_default="cluster in nsxdp's cache",
    ),
]
Pid = Annotated[
    int | None, typer.Option("--pid", metavar="PID", help="Which cluster, if there are several.")
]


@app.callback()
def up(
    context: typer.Context,
    nodes: Annotated[
        int, typer.Option(min=1, max=MOST_NODES, metavar="N", help="How many nodes.")
    ] = 3,
    cni: Annotated[
        Cni,
        typer.Option(
            help="The network of pods: bridges and routes (reference); nsx-node-agent, installed "
            "with nsx-ovs by its manifest (nsx); or none: nodes are there, and not ready until "
            "something is installed that brings one."
        ),
    ] = "reference",
    proxy: Annotated[
        Proxy,
        typer.Option(
            help="Who serves Services; nsx-kube-proxy is installed, with nsx-ovs, by its manifests."
        ),
    ] = "kube-proxy",
    directory: Directory = None,
) -> None:
    """Bring up a Kubernetes cluster and keep it until Ctrl-C.

    etcd, the API server, controllers, scheduler, CoreDNS and, on each node, containerd and kubelet
    are real ones. The first time, programs and images are made, which takes some minutes.

    ```
    nsxdp lab cluster --nodes 3
    nsxdp lab cluster --cni nsx --proxy nsx-kube-proxy
    ```
    """
    if context.invoked_subcommand is not None:
        return
    # Not needed by the other commands, and slow to import.
    from nsxdp.lab.cluster.cluster import Cluster, Running

    with errors_in_one_line(), contextlib.ExitStack() as stack:
        cluster = stack.enter_context(Cluster(Plan(nodes, cni, proxy), directory, err))
        stop = stack.enter_context(stop_signal())
        _describe(cluster)
        _suggest(Running(cluster.owner))
        os.read(stop, 1)
        out.print("\ncleaning up")


@app.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
def kubectl(
    arguments: Annotated[
        list[str], typer.Argument(metavar="ARGUMENT", help="What kubectl is given.")
    ],
    pid: Pid = None,
) -> None:
    """Run kubectl as the cluster's administrator.

    ```
    nsxdp lab cluster kubectl get pods -A -o wide
    ```
    """
    with errors_in_one_line():
        from nsxdp.lab.build import ensure

        running = _choose(pid)
        program = str(ensure("kubectl", err))
        _become(running.at_control_plane([program, *arguments]), running.environment)


@app.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
def shell(
    node: Annotated[str, typer.Argument(metavar="NODE", help="Such as node-1.")],
    command: Annotated[
        list[str] | None,
        typer.Argument(metavar="COMMAND", help="What to run there.", show_default="a shell"),
    ] = None,
    pid: Pid = None,
) -> None:
    """Open a shell on a node, in all of its namespaces, or run a command there.

    ```
    nsxdp lab cluster shell node-1
    nsxdp lab cluster shell node-1 nft list ruleset
    ```
    """
    with errors_in_one_line():
        running = _choose(pid)
        inside = command or [os.environ.get("SHELL", "/bin/sh")]
        _become(running.on_node(node, inside), running.environment)


@app.command()
def e2e(
    focus: Annotated[
        str,
        typer.Argument(
            metavar="FOCUS",
            help=f"Which specs: {', '.join(LISTS)}; or a regular expression for their names.",
        ),
    ],
    skip: Annotated[
        str, typer.Option(metavar="PATTERN", help="Regular expression: which of them not.")
    ] = "",
    procs: Annotated[
        int,
        typer.Option(
            min=1,
            metavar="N",
            help="How many at a time; with several, no serial or disruptive ones.",
        ),
    ] = 1,
    timeout: Annotated[
        float, typer.Option(metavar="SECONDS", help="When to end what still runs.")
    ] = _SPECS_SECONDS,
    pid: Pid = None,
) -> None:
    r"""Run Kubernetes's own end-to-end tests on the cluster; status 1 if one fails.

    They are built when they are first asked for, which takes some minutes.

    ```
    nsxdp lab cluster e2e 'Services should serve a basic endpoint from pods'
    nsxdp lab cluster e2e --procs 4 conformance
    ```
    """
    with errors_in_one_line():
        from nsxdp.lab.cluster import e2e as suite

        found = suite.run(_choose(pid), focus, skip=skip, procs=procs, timeout=timeout, console=err)
        found.show(out)
        if not found.ok:
            raise typer.Exit(1)


@app.command()
def down(
    purge: Annotated[
        bool, typer.Option("--purge", help="Delete its images, logs and reports, too.")
    ] = False,
    directory: Directory = None,
    pid: Pid = None,
) -> None:
    """Take a cluster down that was brought up elsewhere.

    ```
    nsxdp lab cluster down
    nsxdp lab cluster down --purge
    ```
    """
    with errors_in_one_line():
        from nsxdp.lab.cluster.cluster import default_directory
        from nsxdp.lab.cluster.cluster import purge as delete

        # What is kept can be deleted also when nothing is up.
        if _running() or not purge:
            running = _choose(pid)
            directory = running.directory
            take_down(running.owner, _DOWN_SECONDS)
            out.print(f"the cluster of process {running.owner.pid} is down")
        if purge:
            directory = directory or default_directory()
            delete(directory)
            out.print(f"{directory} is deleted", highlight=False)


def _running() -> "list[Running]":
    from nsxdp.lab.cluster.cluster import Running

    return all_up(Running)


def _choose(pid: int | None) -> "Running":
    return choose(_running(), pid, what="cluster", start="nsxdp lab cluster")


def _become(command: list[str], environment: dict[str, str]) -> None:
    os.execve(tools.program(command[0]), command, environment)


def _describe(cluster: "Cluster") -> None:
    table = Table(title=f"cluster of process {os.getpid()}", title_justify="left")
    for column in ("node", "addresses", "pods"):
        table.add_column(column)
    for node in cluster.plan:
        addresses = (str(address.ip) for address in node.addresses)
        table.add_row(node.name, "\n".join(addresses), "\n".join(map(str, node.pods)))
    out.print(table)
    out.print(f"  kubeconfig  {cluster.control.kubeconfig}", highlight=False, soft_wrap=True)
    out.print(f"  logs        {cluster.directory / 'log'}", highlight=False, soft_wrap=True)


def _suggest(running: "Running") -> None:
    out.print("\nIn another terminal:", highlight=False)
    for line in (
        "nsxdp lab cluster kubectl get pods -A -o wide",
        f"nsxdp lab cluster shell {running.nodes[0]}",
        "nsxdp lab cluster e2e 'Services should serve a basic endpoint from pods'",
    ):
        out.print(f"  {line}", highlight=False, soft_wrap=True)
    out.print("\nCtrl-C here ends it all.")
