"""A Kubernetes cluster of several nodes on this machine, for as long as a ``with`` lasts."""

import contextlib
import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console

from nsxdp.lab import build, tools
from nsxdp.lab.cluster.controlplane import ControlPlane
from nsxdp.lab.cluster.coredns import DEPLOYMENT, coredns
from nsxdp.lab.cluster.deploy import apply_agents
from nsxdp.lab.cluster.images import ensure_images
from nsxdp.lab.cluster.loadbalancers import LoadBalancers
from nsxdp.lab.cluster.network import Fabric, route_pods
from nsxdp.lab.cluster.node import CNI_PLUGINS, ClusterNode, Equipment, node_object
from nsxdp.lab.cluster.plan import MOST_NODES, Plan
from nsxdp.lab.errors import LabError, MissingTool
from nsxdp.lab.owner import CGROUPS, Owner, ensure_watched, sysctl

RECORD = "cluster.json"
"""In the run directory of the owner: what other processes need to find their way in."""

_PROGRAMS = (
    *("kube-apiserver", "kube-controller-manager", "kube-scheduler"),
    *("kubectl", "kubelet", "kube-proxy"),
)
_TOOLS = (
    *("containerd", "conntrack", "ctr", "etcd", "ip", "iptables", "mmdebstrap", "nft"),
    *("nsenter", "runc", "unshare"),
)
_CHANGED_BY_KUBELET = ("kernel.panic", "kernel.panic_on_oops", "vm.overcommit_memory")
_INOTIFY = "fs.inotify.max_user_instances"
_INOTIFY_INSTANCES = 8192
"""A containerd and a kubelet need some dozens each; often the machine's limit is 128."""

_REALTIME = "kernel.sched_rt_runtime_us"
"""How much of a second processes with a real-time priority may have."""

_SHARES = 1024
"""Of the processors, as the kernel gives them to who says nothing."""


def default_directory() -> Path:
    """Where a cluster keeps what it has, if not told otherwise."""
    return build.cache_directory() / "cluster"


class Cluster:
    """etcd, control plane and nodes, each in namespaces of its own; ready on return.

    What is slow to make stays in `directory` for the next cluster: images, and each node's copy of
    them. Programs are built on first use, into the user's cache.

    Parameters
    ----------
    plan
        How many nodes, and which network. Without a CNI the nodes are there, and NotReady until
        something is installed that brings one.
    directory
        For all its files: images, nodes, logs, credentials, reports.
    console
        Where long steps show their progress; stderr by default.

    Attributes
    ----------
    control
        The control plane, with its kubectl.
    nodes
        By name.
    pause
        The image of a container that does nothing.
    """

    def __init__(
        self, plan: Plan, directory: Path | None = None, console: Console | None = None
    ) -> None:
        self.plan = plan
        self.directory = (directory or default_directory()).absolute()
        self._console = console or Console(stderr=True)
        self._require()
        self._closing = contextlib.ExitStack()
        try:
            self._closing.enter_context(_alone(self.directory))
            programs = {name: build.ensure(name, self._console) for name in _PROGRAMS}
            images = ensure_images(self.directory / "images", self._console)
            shutil.rmtree(self.directory / "log", ignore_errors=True)
            (self.directory / "log").mkdir()
            self.pause = images.pause
            equipment = Equipment(self.directory, programs, images.archives, images.pause)
            self.owner = ensure_watched()
            self._closing.callback(self._restore_machine)
            self._prepare_machine()
            self._start(equipment)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End all of it, and put back what it changed of the machine."""
        self._closing.close()

    def __enter__(self) -> "Cluster":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self, equipment: Equipment) -> None:
        plan, status = self.plan, self._console.status
        with status("control plane"):
            fabric = self._closing.enter_context(Fabric())
            if plan.cni == "reference":
                route_pods(fabric.netns, plan)
            self.control = ControlPlane(plan, fabric, self.directory, equipment.programs)
            self._closing.callback(self.control.close)
            self.control.client.apply(node_object(node) for node in plan)
            log = self.directory / "log" / "load-balancers.log"
            self._closing.callback(LoadBalancers(self.control, plan, log).close)
        self.nodes: dict[str, ClusterNode] = {}
        with status("nodes: containerd, images, kubelet"):
            for node in plan:
                made = ClusterNode(node, plan, fabric, equipment)
                self._closing.callback(made.close)
                self.nodes[node.name] = made
            for made in self.nodes.values():
                made.await_started()
        self._record()
        with status("nodes: waiting until they are registered"):
            # Who has registered tells the version of its kubelet.
            self._await_nodes(f"jsonpath={{.status.nodeInfo.kubeletVersion}}=v{build.VERSION}")
        self.control.client.apply(coredns())
        if plan.agents:
            with status(f"{', '.join(plan.agents)}: waiting until they are ready"):
                apply_agents(self.control, plan.agents)
        if plan.has_pod_network:
            with status("nodes: waiting until they are ready"):
                self._await_nodes("condition=Ready")
            if plan.proxy != "none":
                with status("CoreDNS: waiting until it is ready"):
                    self.control.await_rollout("deployment", DEPLOYMENT)

    def _await_nodes(self, condition: str) -> None:
        self.control.await_all("wait", "node", "--all", f"--for={condition}")

    def _record(self) -> None:
        record = {
            "directory": str(self.directory),
            "netns": self.control.netns.name,
            "kubeconfig": str(self.control.kubeconfig),
            "nodes": {name: node.command([]) for name, node in self.nodes.items()},
        }
        path = self.owner.directory / RECORD
        path.write_text(json.dumps(record))
        self._closing.callback(path.unlink, missing_ok=True)

    def _require(self) -> None:
        if not 1 <= self.plan.nodes <= MOST_NODES:
            raise LabError(f"{self.plan.nodes} nodes: a cluster has 1 to {MOST_NODES}")
        tools.require(*_TOOLS)
        if not (CNI_PLUGINS / "loopback").exists():
            raise MissingTool(
                f"no {CNI_PLUGINS}/loopback; install with: "
                "apt-get install --no-install-recommends containernetworking-plugins"
            )
        if not list(Path("/sys/fs/cgroup").glob("*/cgroup.procs")):
            raise MissingTool(
                "the nodes need cgroups of version 1, each controller in its own hierarchy; "
                "boot with: systemd.unified_cgroup_hierarchy=0"
            )

    def _prepare_machine(self) -> None:
        for hierarchy in CGROUPS.glob("*/cpu.shares"):
            # As much for each node as for another program of this machine.
            nodes = hierarchy.with_name(self.owner.cgroup)
            nodes.mkdir(exist_ok=True)
            (nodes / "cpu.shares").write_text(str(_SHARES * self.plan.nodes))
        self.owner.note_sysctls([*_CHANGED_BY_KUBELET, _INOTIFY, _REALTIME])
        if list(CGROUPS.glob(f"*/{self.owner.cgroup}/cpu.rt_runtime_us")):
            # No cgroup has a share of the time for these; without a limit, none is asked for.
            sysctl(_REALTIME).write_text("-1")
        instances = sysctl(_INOTIFY)
        if int(instances.read_text()) < _INOTIFY_INSTANCES:
            instances.write_text(str(_INOTIFY_INSTANCES))

    def _restore_machine(self) -> None:
        self.owner.remove_cgroups()
        self.owner.restore_sysctls()
        with contextlib.suppress(OSError):
            self.owner.directory.rmdir()


@contextlib.contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Keep other clusters out of `directory`, as long as a ``with`` lasts."""
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LabError(
                f"another cluster is in {directory}: take it down with nsxdp lab cluster down, "
                "or give this one its own --directory"
            ) from None
        yield


def purge(directory: Path) -> None:
    """Delete all that clusters keep in `directory`.

    Raises
    ------
    LabError
        A cluster is up that uses it.
    """
    if directory.exists():
        with _alone(directory):
            shutil.rmtree(directory)


class Running:
    """A cluster that is up, as another process sees it.

    Attributes
    ----------
    owner
        The process that keeps it up.
    directory
        Its files.
    """

    def __init__(self, owner: Owner) -> None:
        self.owner = owner
        self._record = json.loads((owner.directory / RECORD).read_text())
        self.directory = Path(self._record["directory"])
        self.nodes: list[str] = list(self._record["nodes"])

    @property
    def environment(self) -> dict[str, str]:
        """For programs that shall find the API server."""
        return dict(os.environ) | {
            "KUBECONFIG": self._record["kubeconfig"],
            "PATH": tools.SEARCH_PATH,
        }

    def at_control_plane(self, argv: Sequence[str]) -> list[str]:
        """The command that runs another one where the control plane is."""
        return ["nsenter", f"--net=/run/netns/{self._record['netns']}", "--", *argv]

    def on_node(self, node: str, argv: Sequence[str]) -> list[str]:
        """The command that runs another one on a node.

        Raises
        ------
        LabError
            There is no such node.
        """
        try:
            return [*self._record["nodes"][node], *argv]
        except KeyError:
            raise LabError(f"no node {node}; there are: {', '.join(self.nodes)}") from None
