"""Who may send what to whom: the policies' APIs, read word for word and asked about one packet.

It is written from the documentation of networking.k8s.io/v1 and policy.networking.k8s.io/v1alpha2,
walks over all objects for each packet, and shares nothing with what compiles them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Any, Literal

Object = dict[str, Any]
"""As in a manifest."""

Direction = Literal["ingress", "egress"]


@dataclass(frozen=True)
class Packet:
    """A connection's first packet. 'protocol': TCP, UDP, SCTP, ICMP."""

    source: str
    target: str
    protocol: str
    port: int = 0


@dataclass
class World:
    """All objects that there are, by name."""

    namespaces: dict[str, Object] = field(default_factory=dict)
    pods: dict[str, Object] = field(default_factory=dict)
    policies: dict[str, Object] = field(default_factory=dict)
    cluster_policies: dict[str, Object] = field(default_factory=dict)

    def pod_at(self, address: str) -> Object | None:
        """The pod of the pods' network that has an address."""
        for pod in self.pods.values():
            if not pod["spec"].get("hostNetwork") and not is_finished(pod):
                for ip in pod["status"].get("podIPs", []):
                    if ip_address(ip["ip"]) == ip_address(address):
                        return pod
        return None

    def allows(self, direction: Direction, packet: Packet) -> bool:
        """Whether policies for the pod at the near end let the packet out, or in."""
        return self.allowing(direction, packet) is not None

    def allowing(self, direction: Direction, packet: Packet) -> frozenset[str] | None:
        """The rules of which any lets the packet through; empty: none has to; None: it isn't."""
        mine = packet.source if direction == "egress" else packet.target
        pod = self.pod_at(mine)
        assert pod is not None, "there is nobody to ask for"
        for tier in ("Admin", None, "Baseline"):
            if tier is None:
                found = self._by_network_policies(direction, pod, packet)
                if found is not None:
                    return found or None
            else:
                action, name = self._by_cluster_policies(tier, direction, pod, packet)
                if action != "Pass":
                    return frozenset({name}) if action == "Accept" else None
        return frozenset()

    # NetworkPolicy: a pod that any selects is isolated; then the union of what they allow counts.

    def _by_network_policies(
        self, direction: Direction, pod: Object, packet: Packet
    ) -> frozenset[str] | None:
        """The rules that allow it; None: the pod isn't isolated."""
        selecting = [
            policy
            for policy in self.policies.values()
            if policy["metadata"]["namespace"] == pod["metadata"]["namespace"]
            and selects(policy["spec"].get("podSelector", {}), labels(pod))
            and direction in directions(policy["spec"])
        ]
        if not selecting:
            return None
        end = "from" if direction == "ingress" else "to"
        return frozenset(
            f"NetworkPolicy {name_of(policy)} {direction}[{i}]"
            for policy in selecting
            for i, rule in enumerate(policy["spec"].get(direction, []))
            if self._rule_allows(
                policy["metadata"]["namespace"],
                rule.get(end) or [None],
                rule.get("ports"),
                direction,
                packet,
            )
        )

    def _rule_allows(
        self,
        namespace: str,
        peers: list[Object | None],
        ports: list[Object] | None,
        direction: Direction,
        packet: Packet,
    ) -> bool:
        """Peer by peer: an ipBlock that is sent to has no ports that a name stands for."""
        for peer in peers:
            known = ports
            if ports and peer and "ipBlock" in peer and direction == "egress":
                known = [port for port in ports if not isinstance(port.get("port"), str)]
                if not known:
                    continue
            if self._peer_allowed(
                namespace, [peer] if peer is not None else None, direction, packet
            ) and self._port_allowed(known, packet):
                return True
        return False

    def _peer_allowed(
        self, namespace: str, peers: list[Object] | None, direction: Direction, packet: Packet
    ) -> bool:
        if not peers:
            return True
        other = packet.source if direction == "ingress" else packet.target
        pod = self.pod_at(other)
        for peer in peers:
            if "ipBlock" in peer:
                block = peer["ipBlock"]
                if is_in(other, block["cidr"]) and not any(
                    is_in(other, text) for text in block.get("except", [])
                ):
                    return True
                continue
            if pod is None:
                continue
            theirs = pod["metadata"]["namespace"]
            if "namespaceSelector" in peer:
                where = theirs in self.namespaces and selects(
                    peer["namespaceSelector"], labels(self.namespaces[theirs])
                )
            else:
                where = theirs == namespace
            if where and selects(peer.get("podSelector", {}), labels(pod)):
                return True
        return False

    def _port_allowed(self, ports: list[Object] | None, packet: Packet) -> bool:
        if not ports:
            return True
        for port in ports:
            if port.get("protocol", "TCP") != packet.protocol:
                continue
            number = port.get("port")
            if isinstance(number, str):
                number = self._named(packet, number)
                if number == packet.port:
                    return True
            elif number is None or number <= packet.port <= port.get("endPort", number):
                return True
        return False

    def _named(self, packet: Packet, name: str) -> int | None:
        """A named port of the receiver."""
        receiver = self.pod_at(packet.target)
        if receiver is None:
            return None
        for container in receiver["spec"].get("containers", []):
            for port in container.get("ports", []):
                if (port.get("name"), port.get("protocol", "TCP")) == (name, packet.protocol):
                    number: int = port["containerPort"]
                    return number
        return None

    # ClusterNetworkPolicy: by priority, the first rule that matches decides, or passes.

    def _by_cluster_policies(
        self, tier: str, direction: Direction, pod: Object, packet: Packet
    ) -> tuple[str, str]:
        """What is done, and by which rule."""
        found = [
            (policy["spec"]["priority"], i, rule, name_of(policy))
            for policy in self.cluster_policies.values()
            if policy["spec"]["tier"] == tier and self._is_peer(policy["spec"]["subject"], pod)
            for i, rule in enumerate(policy["spec"].get(direction, []))
        ]
        end = "from" if direction == "ingress" else "to"
        other = packet.source if direction == "ingress" else packet.target
        for _, i, rule, name in sorted(found, key=lambda one: one[:2]):
            if any("networks" in peer for peer in rule[end]) and any(
                "destinationNamedPort" in one for one in rule.get("protocols", [])
            ):
                # The API rules that out, so nobody knows what it means.
                if rule["action"] == "Accept":
                    continue
                return "Deny", ""
            if any(self._matches(peer, other) for peer in rule[end]) and (
                "protocols" not in rule
                or any(self._protocol(one, packet) for one in rule["protocols"])
            ):
                return rule["action"], f"ClusterNetworkPolicy {name} {direction}[{i}]"
        return "Pass", ""

    def _matches(self, peer: Object, address: str) -> bool:
        if "networks" in peer:
            return any(is_in(address, text) for text in peer["networks"])
        pod = self.pod_at(address)
        return pod is not None and self._is_peer(peer, pod)

    def _is_peer(self, peer: Object, pod: Object) -> bool:
        namespace = self.namespaces.get(pod["metadata"]["namespace"])
        if namespace is None:
            return False
        if "namespaces" in peer:
            return selects(peer["namespaces"], labels(namespace))
        pods = peer["pods"]
        return selects(pods["namespaceSelector"], labels(namespace)) and selects(
            pods["podSelector"], labels(pod)
        )

    def _protocol(self, one: Object, packet: Packet) -> bool:
        if "destinationNamedPort" in one:
            return self._named(packet, one["destinationNamedPort"]) == packet.port
        given = one.get(packet.protocol.lower())
        if given is None:
            return False
        port = given.get("destinationPort")
        if port is None:
            return True
        if "range" in port:
            return bool(port["range"]["start"] <= packet.port <= port["range"]["end"])
        return bool(port["number"] == packet.port)


def directions(spec: Object) -> set[str]:
    """In which directions a NetworkPolicy isolates."""
    types = spec.get("policyTypes") or ["Ingress", *(["Egress"] if spec.get("egress") else [])]
    return {kind.lower() for kind in types}


def name_of(policy: Object) -> str:
    """``default/web``."""
    meta = policy["metadata"]
    return f"{meta['namespace']}/{meta['name']}" if "namespace" in meta else str(meta["name"])


def labels(obj: Object) -> dict[str, str]:
    found: dict[str, str] = obj["metadata"].get("labels", {})
    return found


def is_finished(pod: Object) -> bool:
    return pod["status"].get("phase") in ("Succeeded", "Failed")


def is_in(address: str, network: str) -> bool:
    net, ip = ip_network(network), ip_address(address)
    return net.version == ip.version and ip in net


def selects(selector: Object, have: dict[str, str]) -> bool:
    """A label selector."""
    for key, value in selector.get("matchLabels", {}).items():
        if have.get(key) != value:
            return False
    for expression in selector.get("matchExpressions", []):
        key, operator = expression["key"], expression["operator"]
        values = expression.get("values", [])
        held = {
            "In": key in have and have[key] in values,
            "NotIn": key not in have or have[key] not in values,
            "Exists": key in have,
            "DoesNotExist": key not in have,
        }
        if not held[operator]:
            return False
    return True
