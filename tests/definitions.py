"""Custom resources that tests' API servers have: as much of their definitions as a server needs."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

from nsxdp.lab.apiserver import ApiServer
from nsxdp.lab.errors import LabError

_DEFINITION = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
_GROUP = "policy.networking.k8s.io"
_NAME = f"clusternetworkpolicies.{_GROUP}"
_SECONDS = 60.0

CLUSTER_NETWORK_POLICIES: dict[str, Any] = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {
        "name": _NAME,
        "annotations": {"api-approved.kubernetes.io": "unapproved, of a test"},
    },
    "spec": {
        "group": _GROUP,
        "names": {"kind": "ClusterNetworkPolicy", "plural": "clusternetworkpolicies"},
        "scope": "Cluster",
        "versions": [
            {
                "name": "v1alpha2",
                "served": True,
                "storage": True,
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {
                            "spec": {
                                "type": "object",
                                "x-kubernetes-preserve-unknown-fields": True,
                            }
                        },
                    }
                },
            }
        ],
    },
}


@contextlib.contextmanager
def cluster_network_policies(server: ApiServer) -> Iterator[None]:
    """The server has that resource for as long as this lasts."""
    server.request("POST", _DEFINITION, CLUSTER_NETWORK_POLICIES)
    try:
        _until_served(server, served=True)
        yield
    finally:
        server.request("DELETE", f"{_DEFINITION}/{_NAME}")
        _until_served(server, served=False)


def _until_served(server: ApiServer, *, served: bool) -> None:
    """Wait until there is the resource, and what tells of it: the one may come before the other."""
    version = f"/apis/{_GROUP}/v1alpha2"
    deadline = time.monotonic() + _SECONDS
    while True:
        found = {_found(server, path) for path in (version, f"{version}/clusternetworkpolicies")}
        if found == {served}:
            return
        if time.monotonic() > deadline:
            raise LabError(f"{_NAME}: {'not ' if served else 'still '}served")
        time.sleep(0.05)


def _found(server: ApiServer, path: str) -> bool:
    try:
        server.request("GET", path)
    except LabError as error:
        return " 404 " not in str(error)
    return True
