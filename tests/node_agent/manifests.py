"""Objects of Kubernetes, as manifests have them."""

from __future__ import annotations

from typing import Any

__all__ = ["Json", "a_pod", "of", "policy"]

Json = dict[str, Any]


def of(kind: str, name: str, group: str, **fields: object) -> Json:
    metadata = {"name": name, "namespace": "default"}
    return {"apiVersion": group, "kind": kind, "metadata": metadata, **fields}


def a_pod(name: str, node: str, ips: list[str]) -> Json:
    """A Pod that may be a client of nobody but port 80's."""
    return of(
        "Pod",
        name,
        "v1",
        spec={"nodeName": node, "containers": [{"name": "c", "image": "c"}]},
        status={"podIP": ips[0], "podIPs": [{"ip": ip} for ip in ips]},
    )


def policy(name: str, direction: str, **rule: object) -> Json:
    spec = {"podSelector": {}, "policyTypes": [direction.capitalize()], direction: [rule]}
    return of("NetworkPolicy", name, "networking.k8s.io/v1", spec=spec)
