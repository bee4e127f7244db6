"""CoreDNS as objects of Kubernetes: the cluster's DNS."""

from typing import Any

from nsxdp.lab.cluster.images import COREDNS_IMAGE
from nsxdp.lab.cluster.plan import DNS_SERVICE
from nsxdp.lab.kubeclient import Object

NAMESPACE = "kube-system"
DEPLOYMENT = "coredns"

_COREFILE = """\
.:53 {
  errors
  health
  ready
  kubernetes cluster.local in-addr.arpa ip6.arpa {
    pods insecure
    fallthrough in-addr.arpa ip6.arpa
    ttl 30
  }
  cache 30
  reload
  loadbalance
}
"""
_ROLE = "system:coredns"
_LABELS = {"k8s-app": "kube-dns"}
_READ = ["list", "watch"]


def coredns() -> list[Object]:
    """All that CoreDNS needs; it answers at the cluster's DNS address."""
    return [*_access(), _configuration(), _deployment(), _service()]


def _object(version: str, kind: str, name: str, **content: Any) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": name}
    if not kind.startswith("Cluster"):
        metadata |= {"namespace": NAMESPACE, "labels": _LABELS}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, **content}


def _access() -> list[Object]:
    rbac = "rbac.authorization.k8s.io"
    read = [
        {"apiGroups": [""], "resources": ["services", "pods", "namespaces"], "verbs": _READ},
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": _READ},
    ]
    account = {"kind": "ServiceAccount", "name": DEPLOYMENT, "namespace": NAMESPACE}
    return [
        _object("v1", "ServiceAccount", DEPLOYMENT),
        _object(f"{rbac}/v1", "ClusterRole", _ROLE, rules=read),
        _object(
            f"{rbac}/v1",
            "ClusterRoleBinding",
            _ROLE,
            roleRef={"apiGroup": rbac, "kind": "ClusterRole", "name": _ROLE},
            subjects=[account],
        ),
    ]


def _configuration() -> Object:
    return _object("v1", "ConfigMap", DEPLOYMENT, data={"Corefile": _COREFILE})


def _deployment() -> Object:
    container = {
        "name": DEPLOYMENT,
        "image": COREDNS_IMAGE,
        "imagePullPolicy": "Never",
        "args": ["-conf", "/etc/coredns/Corefile"],
        "ports": [
            {"containerPort": 53, "name": "dns", "protocol": "UDP"},
            {"containerPort": 53, "name": "dns-tcp", "protocol": "TCP"},
        ],
        "readinessProbe": {"httpGet": {"path": "/ready", "port": 8181}, "periodSeconds": 1},
        "volumeMounts": [{"name": "configuration", "mountPath": "/etc/coredns"}],
    }
    pod = {
        "serviceAccountName": DEPLOYMENT,
        "dnsPolicy": "Default",
        "priorityClassName": "system-cluster-critical",
        "containers": [container],
        "volumes": [{"name": "configuration", "configMap": {"name": DEPLOYMENT}}],
    }
    specification = {
        "selector": {"matchLabels": _LABELS},
        "template": {"metadata": {"labels": _LABELS}, "spec": pod},
    }
    return _object("apps/v1", "Deployment", DEPLOYMENT, spec=specification)


def _service() -> Object:
    ports = [
        {"name": "dns", "port": 53, "protocol": "UDP"},
        {"name": "dns-tcp", "port": 53, "protocol": "TCP"},
    ]
    # The suite finds the DNS Service by its name.
    specification = {"clusterIP": DNS_SERVICE, "selector": _LABELS, "ports": ports}
    return _object("v1", "Service", "kube-dns", spec=specification)
