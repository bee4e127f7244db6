"""Network policies at work on this node: what Kubernetes says of them, and who is on the bridge.

A pod's policies and its forwarding come to the switch in one bundle: whoever changes who is on the
bridge asks `Policies.follow` what policies need because of that. A change of policies, labels or
namespaces is a bundle of its own; while one is under way, what comes gathers for the next.

A pod is added only when its Pod and its Namespace are known here, for it is their labels that
policies are about. kubelet has the Pod before it asks for an interface, and so has the API server;
if the watches haven't told of both in time, adding fails, and kubelet tries again. A directory of
manifests needn't have either: who isn't in it is a pod without labels.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Final

from nsxdp.bridge import LocalPod
from nsxdp.forwarding.model import NodeConfig
from nsxdp.k8s import objects as k8s
from nsxdp.k8s.defaults import parse_ip
from nsxdp.k8s.objects import ObjectMeta
from nsxdp.k8s.policy_objects import Namespace, Pod
from nsxdp.k8s.resources import (
    CLUSTER_NETWORK_POLICIES,
    NAMESPACES,
    NETWORK_POLICIES,
    PODS,
    Want,
)
from nsxdp.k8s.source import Batch, Op
from nsxdp.logs import get_logger
from nsxdp.pipeline.compiled import Compiled
from nsxdp.policy.planner import Address, NodePorts, PolicyPlanner
from nsxdp.policy.words import holding
from nsxdp_agents.node_agent.cni.request import Pod as Owner
from nsxdp_agents.node_agent.dataplane import DataplaneError

__all__ = ["WANTS", "Policies", "UnknownPodError"]

log = get_logger(__name__)

WANTS: Final = (
    Want(PODS),
    Want(NAMESPACES),
    Want(NETWORK_POLICIES),
    Want(CLUSTER_NETWORK_POLICIES, optional=True),
)
"""What policies are about."""


class UnknownPodError(Exception):
    """A pod's policies can't be known; one line with what comes next."""


class Policies:
    """The policies of the pods on one bridge.

    Parameters
    ----------
    node
        This node's name.
    every_pod
        Whether the source knows every pod, as an API server does.
    seconds
        How long it may take until it has told of a new one.
    log
        Whether what policies drop is told to the agent.

    Attributes
    ----------
    loaded
        Set when all that there was at the start is known.
    planner
        Who plans the flows: to look at.
    """

    def __init__(
        self, node: str, *, every_pod: bool, seconds: float = 10.0, log: bool = False
    ) -> None:
        self.loaded = asyncio.Event()
        self.planner = PolicyPlanner(node, log=log)
        self._node = node
        self._every_pod = every_pod
        self._seconds = seconds
        self._unsynced = {want.resource.kind for want in WANTS}
        self._uids: dict[str, frozenset[str]] = {}
        self._awaited: dict[str, asyncio.Event] = {}
        self._due = asyncio.Event()
        self._pods: dict[str, LocalPod] = {}
        self._config: NodeConfig | None = None
        self._addresses: frozenset[Address] = frozenset()
        self._said: dict[str, tuple[str, ...]] = {}

    # What Kubernetes says.

    @property
    def missing(self) -> str:
        """The kinds of which not all is known that there was at the start."""
        return ", ".join(sorted(self._unsynced))

    def take(self, batch: Batch) -> None:
        """Take note of what a source says; what doesn't matter here is left out."""
        for op, obj in batch.events:
            self.planner.take(op, obj)
            if isinstance(obj, Pod):
                self._take_pod(op, obj)
            elif isinstance(obj, Namespace):
                self._take_namespace(obj.name)
            elif isinstance(obj, k8s.Node) and obj.name == self._node:
                self._take_node(op, obj)
        if batch.synced:
            self._unsynced.discard(batch.kind)
            if not self._unsynced:
                self.loaded.set()
        self._complain()
        self._due.set()

    def _take_pod(self, op: Op, pod: Pod) -> None:
        name = pod.key
        if op is Op.DELETE or (self._node and pod.spec.node_name != self._node):
            self._uids.pop(name, None)
        else:
            self._uids[name] = pod.uids
        if op is Op.DELETE:
            self._assume(local for local in self._pods.values() if local.iface_id == name)
        else:
            self._look_again(name)

    def _take_namespace(self, name: str) -> None:
        for pod in [*self._awaited]:
            if pod.startswith(f"{name}/"):
                self._look_again(pod)

    def _look_again(self, pod: str) -> None:
        """Wake whoever waits for something of a pod."""
        awaited = self._awaited.pop(pod, None)
        if awaited is not None:
            awaited.set()

    def _take_node(self, op: Op, node: k8s.Node) -> None:
        told = node.status.addresses if op is Op.UPSERT else ()
        found = (parse_ip(address.address) for address in told)
        self._addresses = frozenset(address for address in found if address is not None)
        self._set_node()

    # Who is on the bridge.

    async def known(self, owner: Owner) -> None:
        """Wait until a pod that is to be added is known, and its namespace.

        Raises
        ------
        UnknownPodError
            One of both isn't in time.
        """
        if not self._every_pod or not owner.name:
            return
        name = str(owner)
        try:
            async with asyncio.timeout(self._seconds):
                while self._missing(owner):
                    await self._awaited.setdefault(name, asyncio.Event()).wait()
        except TimeoutError:
            missing = self._missing(owner) or "it"
            raise UnknownPodError(
                f"pod {name}: the API server hasn't told of {missing} within {self._seconds:g} s, "
                "and so its policies aren't known: it is to be tried again"
            ) from None
        finally:
            self._look_again(name)

    def _missing(self, owner: Owner) -> str:
        """What of a pod isn't known, in words; empty: nothing."""
        name = str(owner)
        knows = self.planner.kind_of(name) is not None
        if not knows or (owner.uid and owner.uid not in self._uids.get(name, ())):
            return "it"
        return "" if self.planner.knows_namespace(owner.namespace) else "its namespace"

    def follow(
        self, pods: Mapping[str, LocalPod], config: NodeConfig | None, *, binds: bool = False
    ) -> Compiled:
        """What policies need with these pods on the bridge, by their ports' names, and this node.

        Also what else has changed since the last time. ``binds``: see `nsxdp.bridge.Bridge.binds`.
        """
        self.planner.set_binds(binds)
        if pods != self._pods:
            gone = {pod.ofport for pod in self._pods.values()}
            new = [pod for name, pod in pods.items() if self._pods.get(name) != pod]
            self._pods = dict(pods)
            for port in gone - {pod.ofport for pod in pods.values()}:
                self.planner.unplug(port)
            for pod in filter(_is_pod, new):
                self.planner.plug(pod.ofport, pod.iface_id, pod.ips)
            self._assume(new)
        self._config = config
        self._set_node()
        return self.planner.round()

    def _assume(self, pods: Iterable[LocalPod]) -> None:
        """Whoever a directory of manifests doesn't know is a pod without labels."""
        for pod in pods:
            if self._every_pod or not _is_pod(pod) or self.planner.kind_of(pod.iface_id):
                continue
            namespace, _, name = pod.iface_id.partition("/")
            meta = ObjectMeta(name=name, namespace=namespace)
            self.planner.take(Op.UPSERT, Pod(metadata=meta))

    def _set_node(self) -> None:
        config = self._config
        if config is None:
            return
        ports = {config.gateway.ofport, config.tunnel, config.uplink}
        ports |= {pod.ofport for pod in self._pods.values() if not _is_pod(pod)}
        self.planner.set_node(
            NodePorts(
                frozenset(port for port in ports if port is not None),
                config.gateway,
                frozenset(config.gateway.addresses) | self._addresses,
            )
        )

    # What comes of it.

    async def keep(
        self,
        write: Callable[[Compiled], None],
        done: Callable[[], Awaitable[None]],
        forget: Callable[[], Awaitable[None]],
    ) -> None:
        """Have each change written, until cancelled.

        Parameters
        ----------
        write
            Hands flows to the switch.
        done
            Waits until the switch has them: what changes meanwhile goes together.
        forget
            Has the switch forget what it has cached of policies of before.
        """
        while True:
            await self._due.wait()
            self._due.clear()
            write(self.planner.round())
            with suppress(DataplaneError):  # it is in the log, and in why no pod can be added
                await done()
            if self.planner.judged_anew():
                await forget()

    def show(self, pod: str = "") -> Iterator[str]:
        """What holds for a pod, ``namespace/name``, or for all on the bridge; in lines.

        Raises
        ------
        ValueError
            There is no such pod.
        """
        names = sorted({name for name, _ in self.planner.pods()})
        if pod and pod not in names:
            raise ValueError(f"{pod}: the bridge has no such pod: {', '.join(names) or 'none'}")
        for name in [pod] if pod else names:
            yield from self._show(name)
        for policy, problems in sorted(self.planner.problems.items()):
            for problem in problems:
                yield f"not understood: {policy}: {problem}"

    def _show(self, name: str) -> Iterator[str]:
        kind = self.planner.kind_of(name)
        if kind is None:
            yield f"{name}: not known, or finished: it neither sends nor receives"
            return
        labels = ",".join(f"{key}={value}" for key, value in kind.labels.items())
        yield f"{name} ({labels or 'no labels'})"
        for line in holding(kind, self.planner.policies_of(kind)):
            yield f"  {line}"

    def _complain(self) -> None:
        """Tell what of policies isn't understood: once each."""
        for policy, problems in self.planner.problems.items():
            if self._said.get(policy) != problems:
                for problem in problems:
                    log.warning("a policy is not understood", policy=policy, reason=problem)
        self._said = dict(self.planner.problems)


def _is_pod(pod: LocalPod) -> bool:
    """Whether it is a Pod of Kubernetes, and not another container on the bridge."""
    return "/" in pod.iface_id
