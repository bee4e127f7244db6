"""A node of a cluster: containerd, runc and kubelet in namespaces of their own."""

import contextlib
import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nsxdp.lab import tools
from nsxdp.lab.cluster import init
from nsxdp.lab.cluster.network import Fabric, reference_cni, route_pods
from nsxdp.lab.cluster.plan import DNS_SERVICE, POD_CIDRS, NodePlan, Plan
from nsxdp.lab.errors import LabError
from nsxdp.lab.kubeclient import Object
from nsxdp.lab.netns import Netns

CNI_PLUGINS = Path("/usr/lib/cni")
"""Where Debian's containernetworking-plugins has them."""

_CONFIGURATION = Path("/etc/kubernetes")
_START_SECONDS = 600.0
"""With the first import of all images, on a busy machine."""

METRICS = "127.0.0.1:1338"
"""Where containerd tells of its metrics, on the node."""

_CONTAINERD = """\
version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
disabled_plugins = [
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs",
]
[metrics]
  address = "{metrics}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  enable_unprivileged_ports = true
  enable_unprivileged_icmp = true
  # Without CAP_SYS_RESOURCE, a negative oom_score_adj can't be written.
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/opt/cni/bin"
    conf_dir = "/etc/cni/net.d"
"""


@dataclass(frozen=True)
class Equipment:
    """What all nodes of a cluster are made with.

    Attributes
    ----------
    directory
        Of the cluster: ``nodes``, ``log`` and ``pki`` are in it.
    programs
        Where the built ones are, by name.
    archives
        Of container images, which each node imports.
    pause_image
        Which of them holds a pod's namespaces.
    """

    directory: Path
    programs: Mapping[str, Path]
    archives: Sequence[Path]
    pause_image: str


class ClusterNode:
    """A node that is starting; `await_started` tells when its daemons have been started.

    Attributes
    ----------
    plan
        Its name and addresses.
    netns
        Its network namespace, which has its name.
    """

    def __init__(self, plan: NodePlan, cluster: Plan, fabric: Fabric, equipment: Equipment) -> None:
        self.plan = plan
        self._equipment = equipment
        self._directory = equipment.directory / "nodes" / plan.name
        self._closing = contextlib.ExitStack()
        try:
            self.netns = self._closing.enter_context(Netns(plan.name))
            for key, value in (
                ("net.ipv4.ip_forward", 1),
                ("net.ipv6.conf.all.forwarding", 1),
                ("net.ipv4.conf.all.rp_filter", 0),
                ("net.ipv4.conf.default.rp_filter", 0),
            ):
                self.netns.sysctl(key, value)
            fabric.plug(self.netns, plan.addresses)
            if cluster.cni == "reference":
                route_pods(self.netns, (other for other in cluster if other != plan))
            self._prepare_directory()
            self._started = self._closing.enter_context(
                tools.PathWatch(self._directory / "started")
            )
            self._start(cluster)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End everything on the node; its images are kept for the next one of its name."""
        self._closing.close()

    def await_started(self) -> None:
        """Wait until images are imported and the daemons have been started.

        Raises
        ------
        LabError
            The node ended, or takes too long; with what it said.
        """
        if not self._started.wait(self._process, _START_SECONDS * tools.slowness()):
            said = tools.tail(self.log("init"))
            raise LabError(f"{self.plan.name} did not start; its log ends:\n{said}")

    def command(self, argv: Sequence[str]) -> list[str]:
        """The command that runs another one inside, in all of the node's namespaces."""
        inside = f"/proc/{self._process.pid}/task/{self._process.pid}/children"
        pid = Path(inside).read_text().split()[0]
        return ["nsenter", f"--target={pid}", "-m", "-n", "-p", "-u", "-i", "--", *argv]

    def log(self, daemon: str) -> Path:
        """The log of ``init``, ``containerd``, ``kubelet`` or ``kube-proxy``."""
        return self._equipment.directory / "log" / f"{self.plan.name}-{daemon}.log"

    def _prepare_directory(self) -> None:
        """What is left of an earlier node of this name is removed, but for its images."""
        self._directory.mkdir(parents=True, exist_ok=True)
        for entry in self._directory.iterdir():
            if entry.name != "containerd":
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()

    def _start(self, cluster: Plan) -> None:
        specification = self._directory / "specification.json"
        specification.write_text(json.dumps(self._specification(cluster), indent=1))
        with self.log("init").open("ab") as log:
            self._process = self.netns.popen(
                [
                    *("unshare", "--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child"),
                    *(sys.executable, "-ISE", init.__file__, specification),
                ],
                stdout=log,
                stderr=log,
            )

    def _specification(self, cluster: Plan) -> dict[str, Any]:
        name, equipment = self.plan.name, self._equipment
        cgroup = f"/{self.netns.owner.cgroup}/{name}"
        addresses = [str(address.ip) for address in self.plan.addresses]
        pki = equipment.directory / "pki"
        kubelet, proxy = _CONFIGURATION / "kubelet.yaml", _CONFIGURATION / "proxy.yaml"
        # JSON is YAML, and needs no other library to be written.
        files = {
            "/etc/containerd/config.toml": _CONTAINERD.format(
                metrics=METRICS, pause=equipment.pause_image
            ),
            str(kubelet): json.dumps(_kubelet_configuration(name, cgroup, pki)),
        }
        daemons = {
            "containerd": ["containerd", "--config=/etc/containerd/config.toml"],
            "kubelet": [
                str(equipment.programs["kubelet"]),
                f"--config={kubelet}",
                f"--kubeconfig={pki}/{name}.kubeconfig",
                f"--hostname-override={name}",
                f"--node-ip={','.join(addresses)}",
                "--v=2",
            ],
        }
        if cluster.cni == "reference":
            files["/etc/cni/net.d/10-reference.conflist"] = json.dumps(reference_cni(self.plan))
        if cluster.proxy == "kube-proxy":
            files[str(proxy)] = json.dumps(_proxy_configuration(name, pki))
            daemons["kube-proxy"] = [str(equipment.programs["kube-proxy"]), f"--config={proxy}"]
        return {
            "name": name,
            "hosts": {node.name: str(node.addresses[0].ip) for node in cluster},
            "directory": str(self._directory),
            "logs": str(equipment.directory / "log"),
            "cgroup": cgroup,
            "plugins": str(CNI_PLUGINS),
            "files": files,
            "archives": [str(archive) for archive in equipment.archives],
            "daemons": daemons,
        }


def node_object(node: NodePlan) -> Object:
    """A Node as its kubelet finds it: made beforehand, so that its pods have the plan's range."""
    labels = {
        "kubernetes.io/hostname": node.name,
        "kubernetes.io/os": "linux",
        "topology.kubernetes.io/region": "lab",
        "topology.kubernetes.io/zone": node.zone,
    }
    pods = [str(network) for network in node.pods]
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": node.name, "labels": labels},
        "spec": {"podCIDR": pods[0], "podCIDRs": pods},
    }


def _kubelet_configuration(name: str, cgroup: str, pki: Path) -> dict[str, Any]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": "0.0.0.0",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": f"{pki}/ca.crt"},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": f"{pki}/{name}.crt",
        "tlsPrivateKeyFile": f"{pki}/{name}.key",
        "clusterDNS": [DNS_SERVICE],
        "clusterDomain": "cluster.local",
        "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": cgroup,
        "failCgroupV1": False,
        "failSwapOn": False,
        "enforceNodeAllocatable": [],
        # As many as a node's range has addresses for; two are the node's own.
        "maxPods": 250,
        # The machine's disk and memory are shared with all else that runs there.
        "evictionHard": {
            "memory.available": "100Mi",
            "nodefs.available": "0%",
            "nodefs.inodesFree": "0%",
            "imagefs.available": "0%",
        },
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "resolvConf": "/etc/resolv.conf",
        "nodeStatusUpdateFrequency": "5s",
        "kubeAPIQPS": 100,
        "kubeAPIBurst": 200,
    }


def _proxy_configuration(name: str, pki: Path) -> dict[str, Any]:
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "clusterCIDR": POD_CIDRS,
        "hostnameOverride": name,
        "clientConnection": {"kubeconfig": f"{pki}/kube-proxy.kubeconfig"},
        # How many connections may be tracked belongs to the machine; timeouts, to the namespace.
        "conntrack": {"maxPerCore": 0, "min": 0},
    }
