"""A real Kubernetes API server with its etcd: all of Kubernetes that an agent ever sees."""

import contextlib
import ipaddress
import signal
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from nsxdp.lab import build, etcd, tools
from nsxdp.lab.daemons import Daemons
from nsxdp.lab.kubeclient import KubeClient, Object, tls_context
from nsxdp.lab.netns import Netns
from nsxdp.lab.pki import Authority, write_kubeconfig, write_private

_LOOPBACK = "127.0.0.1"

# What changes or checks objects beyond their own validation, and has no part in Services or pods.
_WITHOUT_ADMISSION = (
    "CertificateApproval,CertificateSigning,CertificateSubjectRestriction,DefaultIngressClass,"
    "DefaultStorageClass,DefaultTolerationSeconds,LimitRanger,MutatingAdmissionPolicy,"
    "MutatingAdmissionWebhook,PersistentVolumeClaimResize,PodSecurity,Priority,ResourceQuota,"
    "RuntimeClass,ServiceAccount,StorageObjectInUseProtection,TaintNodesByCondition,"
    "ValidatingAdmissionPolicy,ValidatingAdmissionWebhook"
)


class ApiServer:
    """etcd and kube-apiserver on the loopback of a namespace; ready on return.

    The program is built on first use (``nsxdp lab build``). No controllers run: what is put in
    stays as it was put, Services get their cluster IPs from the server itself.

    Parameters
    ----------
    netns
        Where it listens, such as a node's. One of its own if not given.
    port, etcd_port
        On the loopback.
    authorization
        ``RBAC``, or ``AlwaysAllow`` for whoever has a certificate.
    service_cidrs
        Where Services get their addresses from.
    console
        Where the build shows its progress.

    Attributes
    ----------
    kubeconfig
        File with an administrator's credentials.
    client
        Requests as that administrator.
    etcd
        Its store.
    """

    def __init__(
        self,
        netns: Netns | None = None,
        *,
        port: int = 6443,
        etcd_port: int = 2379,
        authorization: str = "RBAC",
        service_cidrs: Sequence[str] = ("10.96.0.0/12", "fd00:96::/108"),
        console: Console | None = None,
    ) -> None:
        tools.require("etcd", "ip")
        self._program = build.ensure("kube-apiserver", console)
        self.port = port
        self.etcd_port = etcd_port
        self.authorization = authorization
        self.service_cidrs = tuple(service_cidrs)
        self._closing = contextlib.ExitStack()
        try:
            self.netns = netns or self._closing.enter_context(Netns("apiserver"))
            self.directory = self.netns.directory("apiserver")
            self._daemons = self._closing.enter_context(
                contextlib.closing(Daemons(self.netns, self.directory))
            )
            self._write_credentials()
            self.client = KubeClient(
                self.netns,
                _LOOPBACK,
                port,
                tls_context(self._file("ca.crt"), self._file("admin.crt"), self._file("admin.key")),
            )
            self.etcd = etcd.Etcd(self.netns, _LOOPBACK, etcd_port)
            self._daemons.start("etcd", etcd.command(self._file("etcd"), etcd_port))
            self._daemons.await_ready("etcd", lambda: self.etcd.revision() > 0)
            self.start()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Kill both; delete the namespace if it is the server's own."""
        self._closing.close()

    def __enter__(self) -> "ApiServer":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"https://{_LOOPBACK}:{self.port}"

    def kubeconfig_for(self, user: str, groups: Sequence[str] = ()) -> Path:
        """A kubeconfig file for a user, who may do what RBAC grants: at first, nothing."""
        path = self._file(f"{user.replace(':', '-').replace('/', '-')}.kubeconfig")
        credential = self.authority.issue(user, organizations=groups)
        write_kubeconfig(path, self.url, self.authority, user, credential)
        return path

    def apply(self, items: Iterable[Object]) -> None:
        """Create objects, or replace those that are there; see `KubeClient.apply`."""
        self.client.apply(items)

    def delete(self, items: Iterable[Object]) -> None:
        """Delete objects; those that are not there are no error."""
        self.client.delete(items)

    def request(self, method: str, path: str, body: object = None) -> Any:
        """One request as the administrator; see `KubeClient.request`."""
        return self.client.request(method, path, body)

    def load(self, items: Iterable[Object]) -> None:
        """Store objects as fast as etcd can, unchecked; see `Etcd.load`. For thousands at once."""
        self.etcd.load(items)

    def clear(self) -> None:
        """Delete what was put in, of the kinds that the project uses."""
        self.etcd.clear()

    def start(self) -> None:
        """Start kube-apiserver; returns when it says it is ready."""
        self._daemons.start(
            "kube-apiserver",
            [
                self._program,
                f"--etcd-servers=http://{_LOOPBACK}:{self.etcd_port}",
                f"--bind-address={_LOOPBACK}",
                f"--advertise-address={_LOOPBACK}",
                f"--external-hostname={_LOOPBACK}",
                f"--secure-port={self.port}",
                f"--tls-cert-file={self._file('server.crt')}",
                f"--tls-private-key-file={self._file('server.key')}",
                f"--client-ca-file={self._file('ca.crt')}",
                f"--service-account-key-file={self._file('server.key')}",
                f"--service-account-signing-key-file={self._file('server.key')}",
                "--service-account-issuer=https://kubernetes.default.svc",
                f"--service-cluster-ip-range={','.join(self.service_cidrs)}",
                f"--authorization-mode={self.authorization}",
                "--anonymous-auth=false",
                f"--disable-admission-plugins={_WITHOUT_ADMISSION}",
                # Only as fast as the machine, not as fair as a server with many users.
                "--enable-priority-and-fairness=false",
                "--max-requests-inflight=0",
                "--max-mutating-requests-inflight=0",
                # `compact` decides when history ends; a loopback address can't be an endpoint.
                "--etcd-compaction-interval=0",
                "--endpoint-reconciler-type=none",
                "--profiling=false",
            ],
        )
        self._daemons.await_ready("kube-apiserver", self._says_ready)

    def kill(self) -> None:
        """End kube-apiserver as ``kill -9`` does; etcd stays."""
        self._daemons.end("kube-apiserver")

    def stop(self) -> None:
        """Ask kube-apiserver to end and wait for it; etcd stays."""
        self._daemons.end("kube-apiserver", signal.SIGTERM)

    def restart(self) -> None:
        """Kill kube-apiserver and start it again on what etcd holds; watches break."""
        self.kill()
        self.start()

    def ensure_running(self) -> None:
        """Start kube-apiserver if it is not running."""
        if not self._daemons.running("kube-apiserver"):
            self.start()

    def compact(self) -> int:
        """Make etcd forget the past: a watch from an older revision gets 410; the revision kept.

        What the server's watch cache holds it still serves, until its next `restart`.
        """
        return self.etcd.compact()

    def pid(self, daemon: str = "kube-apiserver") -> int:
        """Process id of ``kube-apiserver`` or ``etcd``."""
        return self._daemons.pid(daemon)

    def log(self, daemon: str = "kube-apiserver") -> Path:
        """The log of ``kube-apiserver`` or ``etcd``."""
        return self._daemons.log(daemon)

    def _file(self, name: str) -> Path:
        return self.directory / name

    def _says_ready(self) -> bool:
        return bool(self.client.request("GET", "/readyz", timeout=5) == "ok")

    def _write_credentials(self) -> None:
        self.authority = Authority("nsxdp lab")
        services = [_first_address(cidr) for cidr in self.service_cidrs]
        server = self.authority.issue(
            "kube-apiserver", addresses=[_LOOPBACK, "::1", *services, "localhost", "kubernetes"]
        )
        admin = self.authority.issue("admin", organizations=["system:masters"])
        write_private(self._file("ca.crt"), self.authority.certificate)
        server.write(self.directory, "server")
        admin.write(self.directory, "admin")
        self.kubeconfig = self._file("kubeconfig")
        write_kubeconfig(self.kubeconfig, self.url, self.authority, "admin", admin)


def _first_address(cidr: str) -> str:
    """The address that Kubernetes gives to its own Service."""
    return str(ipaddress.ip_network(cidr)[1])
