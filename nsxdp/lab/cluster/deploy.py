"""Installs nsxdp's agents on a cluster by their manifests, with kubectl, as its users do."""

from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

from nsxdp.lab.cluster.controlplane import ControlPlane
from nsxdp.lab.cluster.plan import API_PORT, CONTROL_PLANE
from nsxdp.lab.errors import LabError

NAMESPACE = "kube-system"
ENDPOINT = "kubernetes-services-endpoint"
"""The ConfigMap that tells agents where the API server is, as long as there are no Services."""

NCP_INI = "nsx-node-agent-config"
"""The manifest with the ConfigMap of that name: ncp.ini, for all agents."""

DAEMON_SETS = ("nsx-ovs", "nsx-node-agent", "nsx-kube-proxy")


def manifests() -> Path:
    """The folder with the agents' manifests."""
    found = find_spec("nsxdp_agents")
    if found is None or not found.submodule_search_locations:
        raise LabError("nsxdp_agents can't be imported: install nsxdp with its agents")
    return Path(next(iter(found.submodule_search_locations))) / "deploy"


def apply_agents(control: ControlPlane, names: Iterable[str] = DAEMON_SETS) -> None:
    """Apply the manifests of those agents, and wait until they are ready on every node.

    Raises
    ------
    LabError
        They aren't within three minutes.
    """
    control.kubectl(
        *("create", "configmap", ENDPOINT, f"--namespace={NAMESPACE}"),
        f"--from-literal=KUBERNETES_SERVICE_HOST={CONTROL_PLANE[0].ip}",
        f"--from-literal=KUBERNETES_SERVICE_PORT={API_PORT}",
    )
    names = list(names)
    files = (manifests() / f"{name}.yaml" for name in (NCP_INI, *names))
    control.kubectl("apply", *(f"--filename={file}" for file in files))
    for name in names:
        control.await_rollout("daemonset", name)
