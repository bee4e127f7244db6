"""Traffic between pods of all nodes, to each other and to Services, that shall not break."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from faults.agent import until
from nsxdp.lab.cluster.cluster import Cluster
from nsxdp.lab.cluster.ours import NAME as IMAGE

__all__ = ["SERVER", "Place", "Traffic"]

NAMESPACE = "mesh"
PORT = 7
SERVER = "/usr/lib/python3/dist-packages/nsxdp/lab/server.py"


class Place(NamedTuple):
    """Who asks, whom, and whether by a Service."""

    client: str
    target: str
    by_service: bool


def daemon_set(name: str, command: list[str], **more: Any) -> dict[str, Any]:
    labels = {"app": name}
    container = {
        "name": name,
        "image": IMAGE.removeprefix("docker.io/library/"),
        "imagePullPolicy": "Never",
        "command": command,
        "volumeMounts": [{"name": "program", "mountPath": "/program"}],
        **more,
    }
    pod = {
        "terminationGracePeriodSeconds": 1,
        "containers": [container],
        "volumes": [{"name": "program", "configMap": {"name": "program", "optional": True}}],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }


class Traffic:
    """A client and a server on each node; each client has connections to every server.

    They lead to the pods' own addresses, to cluster IPs of both families, and to a node port of
    every node.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._control = cluster.control
        apply = self._control.client.apply
        apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}])
        program = (Path(__file__).parent / "mesh.py").read_text()
        service = {
            "type": "NodePort",
            "ipFamilyPolicy": "RequireDualStack",
            "selector": {"app": "server"},
            "ports": [{"port": PORT}],
        }
        ready = {"tcpSocket": {"port": PORT}, "periodSeconds": 1}
        metadata = {"name": "program", "namespace": NAMESPACE}
        server = ["python3", SERVER, "--name=server", f"--tcp={PORT}"]
        apply(
            [
                {
                    "apiVersion": "v1",
                    "kind": "ConfigMap",
                    "metadata": metadata,
                    "data": {"mesh.py": program},
                },
                daemon_set("server", server, readinessProbe=ready),
                {
                    "apiVersion": "v1",
                    "kind": "Service",
                    "metadata": {"name": "server", "namespace": NAMESPACE},
                    "spec": service,
                },
            ]
        )
        self._control.await_rollout("daemonset", "server", NAMESPACE)
        pods = [ip["ip"] for pod in self._pods("server") for ip in pod["status"]["podIPs"]]
        made = self._get("service", "server")["spec"]
        by_service = [(ip, PORT) for ip in made["clusterIPs"]]
        by_service += [
            (str(node.addresses[0].ip), made["ports"][0]["nodePort"]) for node in cluster.plan
        ]
        direct = [(ip, PORT) for ip in pods]
        self._by_service = {f"{address} {port}" for address, port in by_service}
        words = [str(word) for place in direct + by_service for word in place]
        apply([daemon_set("client", ["python3", "/program/mesh.py", *words])])
        self._control.await_rollout("daemonset", "client", NAMESPACE)
        self._clients = [pod["metadata"]["name"] for pod in self._pods("client")]
        self._forgotten: dict[Place, int] = {}
        until("all clients have begun", lambda: all(map(self._last_line, self._clients)), 180)
        self.await_answers()

    def close(self) -> None:
        self._control.kubectl("delete", "namespace", NAMESPACE, timeout=120)

    def await_answers(self) -> None:
        """Wait until every question that is asked from now on is answered."""
        before = self._told()
        until(
            "all are answered",
            lambda: all(
                now["answered"] > before[place]["answered"] + 1
                for place, now in self._told().items()
            ),
            180,
        )

    def lost(self) -> dict[Place, list[str]]:
        """The connections that broke since `forget`, and how."""
        told = {
            place: told["lost"][self._forgotten.get(place, 0) :]
            for place, told in self._told().items()
        }
        return {place: how for place, how in told.items() if how}

    def forget(self) -> None:
        """What broke until now is another's fault."""
        self._forgotten = {place: len(told["lost"]) for place, told in self._told().items()}

    def _told(self) -> dict[Place, dict[str, Any]]:
        found = {}
        for client in self._clients:
            for target, told in json.loads(self._last_line(client)).items():
                found[Place(client, target, target in self._by_service)] = told
        return found

    def _last_line(self, client: str) -> str:
        return self._control.kubectl("logs", f"--namespace={NAMESPACE}", client, "--tail=1")

    def _pods(self, name: str) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = self._get("pods", f"--selector=app={name}")["items"]
        return items

    def _get(self, *what: str) -> dict[str, Any]:
        said = self._control.kubectl("get", f"--namespace={NAMESPACE}", *what, "--output=json")
        found: dict[str, Any] = json.loads(said)
        return found
