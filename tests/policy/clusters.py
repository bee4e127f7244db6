"""Clusters at random: few names, few labels, few ports, so that everything meets everything."""

from __future__ import annotations

from random import Random
from typing import Any

from semantics import Object, World

NAMESPACES = ("a", "b", "c")
LABELS = {"app": ("web", "db"), "env": ("dev", "live"), "odd": ("",)}
NAMED = (("http", "TCP", 80), ("http", "TCP", 8080), ("dns", "UDP", 53), ("sip", "SCTP", 80))
PORTS = (0, 53, 80, 81, 443, 8080)
OUTSIDE = ("10.244.9.9", "192.0.2.7", "192.0.3.129", "fd00:244::99", "2001:db8::1")
NETWORKS = (
    *(
        "0.0.0.0/0",
        "10.244.0.0/16",
        "10.244.0.4/30",
        "10.244.0.2/32",
        "192.0.2.0/23",
        "192.0.2.7/32",
    ),
    *("::/0", "fd00:244::/64", "fd00:244::4/126", "fd00:244::2/128", "2001:db8::/32"),
)
POLICIES = 6


class Maker:
    """Makes objects, one after the other, by a seed."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)

    def chance(self, percent: int) -> bool:
        return self.random.randrange(100) < percent

    def some(self, of: tuple[Any, ...], least: int = 1, most: int = 3) -> list[Any]:
        return self.random.sample(of, min(len(of), self.random.randint(least, most)))

    def namespace(self, name: str) -> Object:
        return {
            "kind": "Namespace",
            "metadata": {
                "name": name,
                "labels": {"kubernetes.io/metadata.name": name, **self.labels()},
            },
        }

    def pod(self, number: int) -> Object:
        spec: Object = {"hostNetwork": True} if self.chance(8) else {}
        named = {(n, p): port for n, p, port in self.some(NAMED, 0, 3)}
        ports = [{"name": n, "protocol": p, "containerPort": c} for (n, p), c in named.items()]
        spec["containers"] = [{"name": "c", "ports": ports}]
        if self.chance(20):
            # Doesn't count: it runs before the pod does.
            again = [{"name": "early", "protocol": "TCP", "containerPort": 443}]
            spec["initContainers"] = [{"name": "i", "ports": again}]
        ips = [f"10.244.0.{number}", f"fd00:244::{number:x}"]
        return {
            "kind": "Pod",
            "metadata": {
                "name": f"p{number}",
                "namespace": self.random.choice(NAMESPACES),
                "labels": self.labels(),
            },
            "spec": spec,
            "status": {
                "phase": "Succeeded" if self.chance(5) else "Running",
                "podIPs": [{"ip": ip} for ip in (ips if self.chance(70) else ips[:1])],
            },
        }

    def labels(self) -> dict[str, str]:
        return {
            key: self.random.choice(values) for key, values in LABELS.items() if self.chance(60)
        }

    def selector(self) -> Object:
        found: Object = {}
        if self.chance(55):
            key = self.random.choice([*LABELS])
            found["matchLabels"] = {key: self.random.choice(LABELS[key])}
        if self.chance(30):
            key = self.random.choice([*LABELS])
            operator = self.random.choice(("In", "NotIn", "Exists", "DoesNotExist"))
            one: Object = {"key": key, "operator": operator}
            if operator in ("In", "NotIn"):
                one["values"] = self.some(LABELS[key], 1, 2)
            found["matchExpressions"] = [one]
        return found

    def network_policy(self, name: str) -> Object:
        spec: Object = {"podSelector": self.selector()}
        if self.chance(70):
            spec["policyTypes"] = self.some(("Ingress", "Egress"), 1, 2)
        for direction, end in (("ingress", "from"), ("egress", "to")):
            if self.chance(70):
                spec[direction] = [self._allow(end) for _ in range(self.random.randint(0, 3))]
        where = self.random.choice(NAMESPACES)
        return {
            "kind": "NetworkPolicy",
            "metadata": {"name": name, "namespace": where},
            "spec": spec,
        }

    def _allow(self, end: str) -> Object:
        rule: Object = {}
        if self.chance(75):
            rule[end] = [self._peer() for _ in range(self.random.randint(1, 3))]
        if self.chance(65):
            rule["ports"] = [self._port() for _ in range(self.random.randint(1, 3))]
        return rule

    def _peer(self) -> Object:
        if self.chance(30):
            cidr = self.random.choice(NETWORKS)
            block: Object = {"cidr": cidr}
            if self.chance(50):
                block["except"] = self.some(NETWORKS[1:], 1, 2)
            return {"ipBlock": block}
        peer: Object = {}
        if self.chance(60):
            peer["namespaceSelector"] = self.selector()
        if not peer or self.chance(50):
            peer["podSelector"] = self.selector()
        return peer

    def _port(self) -> Object:
        port: Object = {}
        if self.chance(70):
            port["protocol"] = self.random.choice(("TCP", "UDP", "SCTP"))
        if self.chance(35):
            port["port"] = self.random.choice(("http", "dns", "sip", "early"))
        elif self.chance(90):
            port["port"] = self.random.choice(PORTS[1:])
            if self.chance(30):
                port["endPort"] = port["port"] + self.random.choice((0, 1, 30, 7920))
        return port

    def cluster_policy(self, name: str, priority: int) -> Object:
        spec: Object = {
            "tier": self.random.choice(("Admin", "Baseline")),
            "priority": priority,
            "subject": self._pods(),
        }
        for direction, end in (("ingress", "from"), ("egress", "to")):
            if self.chance(70):
                rules = range(self.random.randint(1, 3))
                spec[direction] = [self._rule(direction, end) for _ in rules]
        return {"kind": "ClusterNetworkPolicy", "metadata": {"name": name}, "spec": spec}

    def _pods(self) -> Object:
        if self.chance(50):
            return {"namespaces": self.selector()}
        return {"pods": {"namespaceSelector": self.selector(), "podSelector": self.selector()}}

    def _rule(self, direction: str, end: str) -> Object:
        peers = [self._pods() for _ in range(self.random.randint(1, 2))]
        if direction == "egress" and self.chance(40):
            peers.append({"networks": self.some(NETWORKS, 1, 2)})
        rule: Object = {"action": self.random.choice(("Accept", "Deny", "Pass")), end: peers}
        if self.chance(60):
            rule["protocols"] = [self._protocol() for _ in range(self.random.randint(1, 2))]
        return rule

    def _protocol(self) -> Object:
        if self.chance(30):
            return {"destinationNamedPort": self.random.choice(("http", "dns", "sip"))}
        first = self.random.choice(PORTS[1:])
        port = (
            {"number": first} if self.chance(50) else {"range": {"start": first, "end": first + 30}}
        )
        given = {"destinationPort": port} if self.chance(85) else {}
        return {self.random.choice(("tcp", "udp", "sctp")): given}

    def world(self, pods: int = 9, *, cluster: bool = True) -> World:
        world = World()
        world.namespaces = {name: self.namespace(name) for name in NAMESPACES}
        for pod in map(self.pod, range(1, pods + 1)):
            world.pods[pod["metadata"]["name"]] = pod
        for i in range(self.random.randint(0, POLICIES)):
            world.policies[f"n{i}"] = self.network_policy(f"n{i}")
        for i in range(self.random.randint(0, 3) if cluster else 0):
            # Of equal priorities, the API leaves it open who is asked first.
            world.cluster_policies[f"c{i}"] = self.cluster_policy(f"c{i}", 7 * i)
        return world
