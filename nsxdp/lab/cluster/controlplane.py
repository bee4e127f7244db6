"""The control plane of a cluster: etcd, kube-apiserver, kube-controller-manager, kube-scheduler.

It has a host of its own on the nodes' network, which is no node. kubectl runs there, and so do the
programs of the tests. The API server reaches pods directly: it has routes to them, by their nodes.
"""

import contextlib
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from nsxdp.lab import etcd, tools
from nsxdp.lab.cluster.network import Fabric, route_pods
from nsxdp.lab.cluster.plan import (
    API_PORT,
    API_SERVICES,
    API_URL,
    CLIENT,
    CONTROL_PLANE,
    POD_CIDRS,
    SERVICE_CIDRS,
    Plan,
)
from nsxdp.lab.daemons import Daemons
from nsxdp.lab.errors import LabError
from nsxdp.lab.kubeclient import KubeClient, tls_context
from nsxdp.lab.netns import Netns
from nsxdp.lab.pki import Authority, write_kubeconfig, write_private

_LOOPBACK = "127.0.0.1"
_ETCD_PORT = 2379
_USERS = ("kube-controller-manager", "kube-scheduler", "kube-proxy")
_FRONT_PROXY = "front-proxy-client"

_WAIT_SECONDS = 180.0
_WARNINGS = 10
"""How many of them an error shows."""


class ControlPlane:
    """A control plane; when it is made, its API server is ready.

    Attributes
    ----------
    netns
        Its host.
    kubeconfig
        File with an administrator's credentials.
    client
        Requests as that administrator.
    """

    def __init__(
        self, plan: Plan, fabric: Fabric, directory: Path, programs: Mapping[str, Path]
    ) -> None:
        self._programs = programs
        self._pki = directory / "pki"
        self.kubeconfig = directory / "kubeconfig"
        self._closing = contextlib.ExitStack()
        try:
            self.netns = self._closing.enter_context(Netns("control-plane"))
            fabric.plug(self.netns, [*CONTROL_PLANE, *CLIENT])
            route_pods(self.netns, plan)
            self._daemons = self._closing.enter_context(
                contextlib.closing(Daemons(self.netns, directory / "log"))
            )
            self._write_credentials(plan)
            self.client = KubeClient(
                self.netns,
                _LOOPBACK,
                API_PORT,
                tls_context(*(self._pki / name for name in ("ca.crt", "admin.crt", "admin.key"))),
            )
            self._start(directory / "etcd")
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End them all."""
        self._closing.close()

    def kubectl(self, *arguments: str, stdin: str | None = None, timeout: float = 60.0) -> str:
        """Run kubectl as administrator; what it prints.

        Raises
        ------
        LabError
            It failed, or took longer than `timeout` seconds.
        """
        done = self.netns.run(
            [self._programs["kubectl"], *arguments],
            stdin=stdin,
            timeout=timeout,
            env=dict(os.environ) | {"KUBECONFIG": str(self.kubeconfig)},
        )
        return done.stdout

    def await_all(self, *arguments: str) -> None:
        """Run a kubectl that waits, such as ``wait`` or ``rollout status``.

        Raises
        ------
        LabError
            What it waits for isn't so within three minutes; with the cluster's last warnings.
        """
        seconds = _WAIT_SECONDS * tools.slowness()
        try:
            self.kubectl(*arguments, f"--timeout={seconds:.0f}s", timeout=_WAIT_SECONDS + 30)
        except LabError as error:
            order = ("--sort-by=.lastTimestamp", "--field-selector=type=Warning")
            warnings = self.kubectl("get", "events", "--all-namespaces", *order).splitlines()
            raise LabError("\n".join([str(error), *warnings[-_WARNINGS:]])) from error

    def await_rollout(self, kind: str, name: str, namespace: str = "kube-system") -> None:
        """Wait until all pods of a Deployment or DaemonSet are ready; see `await_all`."""
        self.await_all("rollout", "status", f"--namespace={namespace}", f"{kind}/{name}")

    def _start(self, data: Path) -> None:
        shutil.rmtree(data, ignore_errors=True)
        store = etcd.Etcd(self.netns, _LOOPBACK, _ETCD_PORT)
        self._daemons.start("etcd", etcd.command(data, _ETCD_PORT))
        self._daemons.await_ready("etcd", lambda: store.revision() > 0)
        self._run("kube-apiserver", self._apiserver_options())
        self._daemons.await_ready("kube-apiserver", self._says_ready)
        self._run("kube-controller-manager", self._controller_manager_options())
        self._run("kube-scheduler", self._client_options("kube-scheduler"))

    def _run(self, name: str, options: Sequence[str]) -> None:
        self._daemons.start(name, [self._programs[name], *options, "--v=2"])

    def _says_ready(self) -> bool:
        return bool(self.client.request("GET", "/readyz", timeout=5) == "ok")

    def _apiserver_options(self) -> list[str]:
        pki = self._pki
        return [
            f"--etcd-servers=http://{_LOOPBACK}:{_ETCD_PORT}",
            "--bind-address=0.0.0.0",
            f"--advertise-address={CONTROL_PLANE[0].ip}",
            f"--secure-port={API_PORT}",
            f"--tls-cert-file={pki}/apiserver.crt",
            f"--tls-private-key-file={pki}/apiserver.key",
            f"--client-ca-file={pki}/ca.crt",
            f"--kubelet-client-certificate={pki}/kubelet-client.crt",
            f"--kubelet-client-key={pki}/kubelet-client.key",
            "--kubelet-preferred-address-types=InternalIP",
            f"--service-cluster-ip-range={SERVICE_CIDRS}",
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
            f"--service-account-key-file={pki}/service-accounts.key",
            f"--service-account-signing-key-file={pki}/service-accounts.key",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--allow-privileged=true",
            # Aggregated API servers are reached without any proxy of Services.
            "--enable-aggregator-routing=true",
            f"--requestheader-client-ca-file={pki}/front-proxy-ca.crt",
            f"--requestheader-allowed-names={_FRONT_PROXY}",
            "--requestheader-username-headers=X-Remote-User",
            "--requestheader-group-headers=X-Remote-Group",
            "--requestheader-extra-headers-prefix=X-Remote-Extra-",
            f"--proxy-client-cert-file={pki}/{_FRONT_PROXY}.crt",
            f"--proxy-client-key-file={pki}/{_FRONT_PROXY}.key",
        ]

    def _controller_manager_options(self) -> list[str]:
        pki = self._pki
        return [
            *self._client_options("kube-controller-manager"),
            f"--root-ca-file={pki}/ca.crt",
            f"--service-account-private-key-file={pki}/service-accounts.key",
            "--use-service-account-credentials",
            f"--cluster-signing-cert-file={pki}/ca.crt",
            f"--cluster-signing-key-file={pki}/ca.key",
            "--allocate-node-cidrs=false",
            f"--cluster-cidr={POD_CIDRS}",
            f"--service-cluster-ip-range={SERVICE_CIDRS}",
        ]

    def _client_options(self, user: str) -> list[str]:
        kubeconfig = self._pki / f"{user}.kubeconfig"
        return [
            f"--kubeconfig={kubeconfig}",
            f"--authentication-kubeconfig={kubeconfig}",
            f"--authorization-kubeconfig={kubeconfig}",
            "--leader-elect=false",
            "--kube-api-qps=100",
            "--kube-api-burst=200",
        ]

    def _write_credentials(self, plan: Plan) -> None:
        pki = self._pki
        pki.mkdir(parents=True, exist_ok=True)
        authority, front = Authority("nsxdp lab"), Authority("nsxdp lab front proxy")
        authority.own.write(pki, "ca")
        write_private(pki / "front-proxy-ca.crt", front.certificate)
        front.issue(_FRONT_PROXY).write(pki, _FRONT_PROXY)
        own = [_LOOPBACK, *(str(address.ip) for address in CONTROL_PLANE), *API_SERVICES]
        kubernetes = ["kubernetes", "kubernetes.default", "kubernetes.default.svc"]
        names = [*own, "localhost", *kubernetes, "kubernetes.default.svc.cluster.local"]
        authority.issue("kube-apiserver", addresses=names).write(pki, "apiserver")
        authority.issue("service-accounts").write(pki, "service-accounts")
        masters = ["system:masters"]
        kubelet_client = authority.issue("kube-apiserver-kubelet-client", organizations=masters)
        kubelet_client.write(pki, "kubelet-client")
        admin = authority.issue("admin", organizations=masters)
        admin.write(pki, "admin")
        write_kubeconfig(self.kubeconfig, API_URL, authority, "admin", admin)
        for name in _USERS:
            credential = authority.issue(f"system:{name}")
            write_kubeconfig(pki / f"{name}.kubeconfig", API_URL, authority, name, credential)
        for node in plan:
            credential = authority.issue(
                f"system:node:{node.name}",
                organizations=["system:nodes"],
                addresses=[*(str(address.ip) for address in node.addresses), node.name],
            )
            credential.write(pki, node.name)
            path = pki / f"{node.name}.kubeconfig"
            write_kubeconfig(path, API_URL, authority, node.name, credential)
