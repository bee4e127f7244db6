"""``nsxdp lab``: a node with pods and an API server to play with, real and gone afterwards."""

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from nsxdp.cli import _cluster
from nsxdp.cli._lab import (
    all_up,
    choose,
    err,
    errors_in_one_line,
    out,
    stop_signal,
    take_down,
)
from nsxdp.lab import errors, owner, tools

if TYPE_CHECKING:
    from nsxdp.lab.apiserver import ApiServer
    from nsxdp.lab.node import Node

app = typer.Typer(
    help="""A node with pods on a private Open vSwitch, and a real API server if you like.

    All of it is in network namespaces of its own, and gone afterwards, even after kill -9. Needs
    root.

    ```
    nsxdp lab up
    nsxdp lab exec pod-1 ping -c1 10.244.0.3
    ```
    """,
    no_args_is_help=True,
    rich_markup_mode="markdown",
)

_STATE = "lab.json"
_HTTP_PORT = 80
_DOWN_SECONDS = 30.0

app.add_typer(_cluster.app, name="cluster")

Pid = Annotated[
    int | None, typer.Option("--pid", metavar="PID", help="Which lab, if there are several.")
]


@dataclass(frozen=True)
class Running:
    """A lab that is up, as its owner recorded it."""

    owner: owner.Owner
    state: dict[str, Any]

    def netns(self, host: str) -> str:
        """Full name of the namespace of `host`."""
        hosts = {owner.short_name(name): name for name in self.owner.netns()}
        try:
            return hosts[host]
        except KeyError:
            raise errors.LabError(
                f"no host {host} in the lab of process {self.owner.pid}; there are: "
                f"{', '.join(sorted(hosts))}"
            ) from None


@contextlib.contextmanager
def recorded(node: "Node", server: "ApiServer | None" = None) -> Iterator[Running]:
    """Let other terminals' commands find a lab of this process, as long as a ``with`` lasts."""
    state = {
        "node": node.name,
        "bridge": node.bridge,
        "rundir": str(node.ovs.directory),
        "ovsdb": node.ovsdb,
        "openflow": node.mgmt,
        "kubeconfig": str(server.kubeconfig) if server else None,
        "pods": {pod.short: pod.addresses for pod in node.pods.values()},
    }
    path = node.netns.owner.directory / _STATE
    path.write_text(json.dumps(state))
    try:
        yield Running(node.netns.owner, state)
    finally:
        path.unlink(missing_ok=True)


@app.command()
def up(
    pods: Annotated[int, typer.Option(min=0, max=250, metavar="N", help="How many pods.")] = 3,
    api: Annotated[bool, typer.Option("--api", help="Start a Kubernetes API server too.")] = False,
    name: Annotated[str, typer.Option(metavar="NAME", help="The node's name.")] = "node",
) -> None:
    """Bring up a node with pods and keep it until Ctrl-C.

    The pods are called pod-1, pod-2 and so on, and serve HTTP on port 80.

    ```
    nsxdp lab up
    nsxdp lab up --pods 10 --api
    ```
    """
    # Not needed by the other commands, and slow to import.
    from nsxdp.lab.apiserver import ApiServer
    from nsxdp.lab.node import Node

    with errors_in_one_line(), contextlib.ExitStack() as stack:
        stop = stack.enter_context(stop_signal())
        with err.status("starting Open vSwitch"):
            node = stack.enter_context(Node(name))
        server = None
        if api:
            server = stack.enter_context(ApiServer(node.netns, console=err))
        for number in range(1, pods + 1):
            pod = node.add_pod(f"pod-{number}")
            pod.serve_http(_HTTP_PORT)
        running = stack.enter_context(recorded(node, server))
        _describe(running)
        _suggest(running)
        os.read(stop, 1)
        out.print("\ncleaning up")


@app.command()
def status() -> None:
    """Show the labs that are up.

    ```
    nsxdp lab status
    ```
    """
    found = _running()
    for running in found:
        _describe(running)
    if not found:
        out.print("no lab is up; start one with: nsxdp lab up")


@app.command()
def down(pid: Pid = None) -> None:
    """Take a lab down that was brought up elsewhere.

    ```
    nsxdp lab down
    ```
    """
    with errors_in_one_line():
        running = _choose(pid)
        take_down(running.owner, _DOWN_SECONDS)
        out.print(f"the lab of process {running.owner.pid} is down")


@app.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
def exec(  # noqa: A001  (the command's name)
    host: Annotated[str, typer.Argument(metavar="HOST", help="The node or a pod, by name.")],
    command: Annotated[list[str], typer.Argument(metavar="COMMAND", help="What to run there.")],
    pid: Pid = None,
) -> None:
    """Run a command on the node or in a pod.

    The lab's Open vSwitch and API server are those that ovs-vsctl, ovs-ofctl, nsxdp and kubectl
    find there.

    ```
    nsxdp lab exec pod-1 curl -s http://10.244.0.3/
    nsxdp lab exec node nsxdp dump-flows br-int
    ```
    """
    with errors_in_one_line():
        _run_inside(_choose(pid), host, command)


@app.command()
def shell(
    host: Annotated[
        str, typer.Argument(metavar="HOST", help="The node or a pod, by name.")
    ] = "node",
    pid: Pid = None,
) -> None:
    """Open a shell on the node or in a pod; ovs-vsctl, ovs-ofctl and kubectl find the lab's own.

    ```
    nsxdp lab shell
    nsxdp lab shell pod-1
    ```
    """
    with errors_in_one_line():
        _run_inside(_choose(pid), host, [os.environ.get("SHELL", "/bin/sh")])


@app.command()
def build(
    programs: Annotated[
        list[str] | None,
        typer.Argument(metavar="PROGRAM", help="Such as kubelet.", show_default="kube-apiserver"),
    ] = None,
) -> None:
    """Build programs of Kubernetes into the cache, if they aren't there, and show where they are.

    They are built from their Go modules: the first takes some minutes, those after it less.

    ```
    nsxdp lab build
    nsxdp lab build kubelet kubectl
    ```
    """
    from nsxdp.lab.build import ensure

    with errors_in_one_line():
        for program in programs or ["kube-apiserver"]:
            out.print(str(ensure(program, err)), highlight=False)


@app.command()
def gc() -> None:
    """Remove what killed labs left behind; what runs is left alone.

    ```
    nsxdp lab gc
    ```
    """
    with errors_in_one_line():
        tools.require("ip")
        removed = owner.sweep()
    for name in removed:
        out.print(f"removed {name}", highlight=False)
    if not removed:
        out.print("nothing is left over")


def _running() -> list[Running]:
    return all_up(lambda known: Running(known, json.loads((known.directory / _STATE).read_text())))


def _choose(pid: int | None) -> Running:
    return choose(_running(), pid, what="lab", start="nsxdp lab up")


def _describe(running: Running) -> None:
    state = running.state
    table = Table(title=f"lab of process {running.owner.pid}", title_justify="left")
    for column in ("host", "addresses", "namespace"):
        table.add_column(column, overflow="fold")
    table.add_row(state["node"], f"gateway on {state['bridge']}", running.netns(state["node"]))
    for name, addresses in state["pods"].items():
        table.add_row(name, "\n".join(addresses), running.netns(name))
    out.print(table)
    for label, key in (("OVSDB", "ovsdb"), ("OpenFlow", "openflow"), ("kubeconfig", "kubeconfig")):
        if state[key]:
            out.print(f"  {label:<11}{state[key]}", highlight=False)


def _suggest(running: Running) -> None:
    state = running.state
    node, bridge, pods = state["node"], state["bridge"], list(state["pods"].items())
    out.print("\nIn another terminal:", highlight=False)
    lines = [f"nsxdp lab exec {node} ovs-ofctl -O OpenFlow15 dump-flows {bridge}"]
    if len(pods) > 1:
        lines.append(f"nsxdp lab exec {pods[0][0]} ping -c1 {pods[1][1][0]}")
        lines.append(f"nsxdp lab exec {pods[0][0]} curl -s http://{pods[1][1][0]}/")
    if state["kubeconfig"]:
        lines.append(f"nsxdp lab exec {node} kubectl get services -A")
    lines.append(f"nsxdp lab shell {pods[0][0] if pods else node}")
    for line in lines:
        out.print(f"  {line}", highlight=False, soft_wrap=True)
    out.print("\nCtrl-C here ends it all.")


def _run_inside(running: Running, host: str, command: list[str]) -> None:
    """Become `command` in the namespace of `host`, with the lab's Open vSwitch and API server."""
    name = running.netns(host)
    path = shutil.which(command[0], path=tools.SEARCH_PATH)
    if not path:
        raise errors.LabError(f"no such command: {command[0]}")
    state = running.state
    environment = dict(os.environ)
    for kind in ("RUN", "DB", "LOG", "SYSCONF"):
        environment[f"OVS_{kind}DIR"] = state["rundir"]
    environment["PATH"] = tools.SEARCH_PATH
    if state["kubeconfig"]:
        environment["KUBECONFIG"] = state["kubeconfig"]
    netns = Path(owner.NETNS / name)
    os.execve(
        tools.program("nsenter"),
        ["nsenter", f"--net={netns}", "--", path, *command[1:]],
        environment,
    )
