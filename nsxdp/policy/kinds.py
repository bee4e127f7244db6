"""Kinds of pods: what policies see of a pod, and which pods are alike to them.

A policy sees a pod's namespace, its labels and its named ports, and nothing else. The replicas of a
Deployment are of one kind, be they two or two thousand; so all that is worked out is worked out for
kinds, and only two flows of a pod's address say that it is of that kind.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, cast

from nsxdp.k8s.defaults import parse_ip
from nsxdp.k8s.policy_objects import Container, Pod
from nsxdp.pipeline.ids import Numbers
from nsxdp.pipeline.policy import KIND_FIRST, KIND_LAST
from nsxdp.policy.selectors import Labels

__all__ = ["Kind", "Kinds", "NamedPort", "addresses_of"]

NamedPort = tuple[str, str, int]
"""A container's port: name, protocol and number."""

_FINISHED: Final = ("Succeeded", "Failed")

_Key = tuple[str, tuple[tuple[str, str], ...], tuple[NamedPort, ...]]


class Kind:
    """What policies see of some pods.

    Attributes
    ----------
    namespace, labels
        Of each of its pods.
    ports
        The named ones of each of its pods.
    number
        By which the switch knows it; from 1.
    namespace_number
        Likewise, its namespace.
    pods
        Its pods, and each one's addresses, packed.
    local
        Those of them that are on this node's bridge.
    """

    __slots__ = (
        "_key",
        "labels",
        "local",
        "namespace",
        "namespace_number",
        "number",
        "pods",
        "ports",
    )

    def __init__(self, key: _Key, number: int, namespace_number: int) -> None:
        self._key = key
        self.namespace = key[0]
        self.labels: Labels = dict(key[1])
        self.ports = key[2]
        self.number = number
        self.namespace_number = namespace_number
        self.pods: dict[str, tuple[bytes, ...]] = {}
        self.local: set[str] = set()

    def port(self, name: str, protocol: str) -> int | None:
        """The number of a named port; None: it has none of that name."""
        return next((number for n, p, number in self.ports if (n, p) == (name, protocol)), None)

    def __repr__(self) -> str:
        labels = ",".join(f"{key}={value}" for key, value in self.labels.items())
        return f"<Kind {self.number:#x} {self.namespace} {labels}>"


class Kinds:
    """The pods that there are, by kind and by address."""

    def __init__(self) -> None:
        self._kinds: dict[_Key, Kind] = {}
        self._of: dict[str, Kind] = {}
        self._leaving: set[str] = set()
        self._addresses: dict[bytes, dict[str, Kind]] = {}
        self._numbers = Numbers(KIND_FIRST, KIND_LAST)
        self._namespaces = Numbers(KIND_FIRST, KIND_LAST)
        self._in_namespace: dict[str, int] = {}

    def __iter__(self) -> Iterator[Kind]:
        return iter(self._kinds.values())

    def of(self, pod: str) -> Kind | None:
        """The kind of a pod, ``namespace/name``; None: the pods' network has no such pod."""
        return self._of.get(pod)

    def by_address(self, address: bytes) -> Kind | None:
        """The kind of the pod that has an address.

        An address may be given on before the API server knows that its last pod is gone: then it is
        the one's that isn't being deleted.
        """
        pod = self.pod_with(address)
        return None if pod is None else self._of[pod]

    def pod_with(self, address: bytes) -> str | None:
        """Likewise, the pod itself."""
        pods = self._addresses.get(address, ())
        return min(pods, key=lambda pod: (pod in self._leaving, pod), default=None)

    def is_shared(self, address: bytes) -> bool:
        """Whether several pods have it, as far as is known."""
        return len(self._addresses.get(address, ())) > 1

    def by_number(self, number: int) -> Kind | None:
        """The kind that the switch knows by a number; None: there is none any more."""
        key = cast("_Key | None", self._numbers.name(number))
        return None if key is None else self._kinds[key]

    def knows(self, pod: Pod, addresses: tuple[bytes, ...]) -> bool:
        """Whether of a pod, with these addresses, all is known that matters here."""
        name = pod.key
        kind = self._of.get(name)
        if kind is None or not _is_in_network(pod):
            return kind is None and not _is_in_network(pod)
        return (
            kind._key == _key(pod)
            and kind.pods[name] == addresses
            and (name in self._leaving) == bool(pod.metadata.deletion_timestamp)
        )

    def upsert(self, pod: Pod, addresses: tuple[bytes, ...]) -> tuple[Kind | None, Kind | None]:
        """Take note of a pod, which has these addresses.

        Returns
        -------
        tuple
            Of what kind it was, and of what kind it is; None: it wasn't, or isn't, in the pods'
            network.
        """
        key = pod.key
        before = self._of.get(key)
        if not _is_in_network(pod):
            if before is not None:
                self._leave(key, before)
            return before, None
        after = self._kind(pod)
        if after is not before:
            if before is not None:
                self._leave(key, before)
            self._of[key] = after
        self._set_addresses(key, after, addresses)
        if pod.metadata.deletion_timestamp:
            self._leaving.add(key)
        else:
            self._leaving.discard(key)
        return before, after

    def move(self, pod: str, addresses: tuple[bytes, ...]) -> None:
        """A pod that is known has other addresses."""
        self._set_addresses(pod, self._of[pod], addresses)

    def delete(self, pod: str) -> Kind | None:
        """A pod is gone. Returns of what kind it was."""
        kind = self._of.get(pod)
        if kind is not None:
            self._leave(pod, kind)
        return kind

    def drop(self, kind: Kind) -> None:
        """Forget a kind of which there is no pod any more."""
        del self._kinds[kind._key]
        self._numbers.release(kind._key)
        left = self._in_namespace[kind.namespace] - 1
        if left:
            self._in_namespace[kind.namespace] = left
        else:
            del self._in_namespace[kind.namespace]
            self._namespaces.release(kind.namespace)

    def _kind(self, pod: Pod) -> Kind:
        namespace = pod.namespace
        key = _key(pod)
        kind = self._kinds.get(key)
        if kind is None:
            kind = self._kinds[key] = Kind(
                key,
                self._numbers.take(key, repr(key)),
                self._namespaces.take(namespace, namespace),
            )
            self._in_namespace[namespace] = self._in_namespace.get(namespace, 0) + 1
        return kind

    def _leave(self, pod: str, kind: Kind) -> None:
        self._set_addresses(pod, kind, ())
        kind.pods.pop(pod, None)
        self._of.pop(pod, None)
        self._leaving.discard(pod)

    def _set_addresses(self, pod: str, kind: Kind, addresses: tuple[bytes, ...]) -> None:
        for address in kind.pods.get(pod, ()):
            if address not in addresses:
                pods = self._addresses[address]
                del pods[pod]
                if not pods:
                    del self._addresses[address]
        for address in addresses:
            self._addresses.setdefault(address, {})[pod] = kind
        kind.pods[pod] = addresses


def _is_in_network(pod: Pod) -> bool:
    return not pod.spec.host_network and pod.status.phase not in _FINISHED


def _key(pod: Pod) -> _Key:
    labels = tuple(sorted((pod.metadata.labels or {}).items()))
    return pod.namespace, labels, _named_ports(pod)


def _named_ports(pod: Pod) -> tuple[NamedPort, ...]:
    """The named ports of a pod; of two of the same name and protocol, the first one counts."""
    found: dict[tuple[str, str], int] = {}
    for container in _serving(pod):
        for port in container.ports:
            if port.name:
                found.setdefault((port.name, port.protocol or "TCP"), port.container_port)
    return tuple(sorted((name, protocol, n) for (name, protocol), n in found.items()))


def _serving(pod: Pod) -> Iterable[Container]:
    """The containers whose ports count: of init containers, only sidecars go on running."""
    yield from pod.spec.containers
    yield from (c for c in pod.spec.init_containers if c.restart_policy == "Always")


def addresses_of(pod: Pod) -> tuple[bytes, ...]:
    """The addresses that the API knows of a pod, packed."""
    texts = [ip.ip for ip in pod.status.pod_ips] or [pod.status.pod_ip]
    parsed = [parse_ip(text) for text in texts]
    return tuple(dict.fromkeys(address.packed for address in parsed if address is not None))
