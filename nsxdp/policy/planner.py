"""From Kubernetes objects to the flows of policies, round by round, for one node's bridge.

A round takes all that changed since the last one: its cost is proportional to that.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from ipaddress import IPv4Address, IPv6Address
from itertools import chain
from typing import NamedTuple, cast

from msgspec import Struct

from nsxdp.k8s.objects import Object
from nsxdp.k8s.policy_objects import ClusterNetworkPolicy, Namespace, NetworkPolicy, Pod
from nsxdp.k8s.source import Op
from nsxdp.pipeline import policy as stages
from nsxdp.pipeline.columns import mac
from nsxdp.pipeline.compiled import Compiled
from nsxdp.pipeline.node import Gateway
from nsxdp.pipeline.policy import DIRECTIONS, Action, Direction
from nsxdp.pipeline.service import FAMILIES, Family
from nsxdp.policy.allowing import Asked, allowing, in_order
from nsxdp.policy.flows import Flows, Stamp
from nsxdp.policy.groups import Groups
from nsxdp.policy.kinds import Kind, Kinds, addresses_of
from nsxdp.policy.live import Desk, LiveRule
from nsxdp.policy.rules import Policy, Rule, read_policy
from nsxdp.policy.selectors import Labels

__all__ = ["NodePorts", "PolicyPlanner", "Verdict", "isolation"]

Address = IPv4Address | IPv6Address


class NodePorts(Struct, frozen=True):
    """The bridge's ports that aren't pods', and who the node is.

    Attributes
    ----------
    others
        OpenFlow's numbers of the ports that policies have no say in: the gateway, tunnels, the
        uplink.
    gateway
        Behind which the node itself is; None: there is none.
    addresses
        The node's: what comes from them by the gateway, the node itself has sent.
    """

    others: frozenset[int] = frozenset()
    gateway: Gateway | None = None
    addresses: frozenset[Address] = frozenset()


class Verdict(NamedTuple):
    """What a rule does with the first packets of connections.

    Attributes
    ----------
    rule
        Its name: ``NetworkPolicy default/web ingress[0]``. Where no rule allows a packet of a pod
        that NetworkPolicies select: ``NetworkPolicy default/* ingress``.
    action
        What becomes of a packet.
    """

    rule: str
    action: Action


class _Key(NamedTuple):
    """Whose flows they are: ``("pod", "default/web")``."""

    what: str
    name: object = None


class PolicyPlanner:
    """Plans the policies of one node.

    Parameters
    ----------
    node
        The node's name. Pods on it have the addresses that `plug` says and no others, whatever the
        API has heard of that by then; pods that are on another have those of the API, even if a
        port of one of before is still here.
    log
        Whether what policies refuse is told to the agent.

    Examples
    --------
    >>> from nsxdp.k8s.objects import ObjectMeta
    >>> from nsxdp.k8s.policy_objects import NetworkPolicy, Pod, PodStatus
    >>> from nsxdp.k8s.source import Op
    >>> from nsxdp.openflow.fake import FakeSwitch
    >>> from nsxdp.pipeline.tables import TABLES
    >>> from nsxdp.policy.planner import PolicyPlanner
    >>> planner = PolicyPlanner()
    >>> web = ObjectMeta(namespace="default", name="web", labels={"app": "web"})
    >>> planner.take(Op.UPSERT, Pod(metadata=web, status=PodStatus(pod_ip="10.244.0.5")))
    >>> planner.take(Op.UPSERT, NetworkPolicy(metadata=ObjectMeta(namespace="default", name="no")))
    >>> planner.plug(5, "default/web")
    >>> switch = FakeSwitch(TABLES)
    >>> _ = switch.apply(planner.round().messages)
    >>> print(next(flow for flow in switch.dump_flows() if "IngressRules, priority=1," in flow))
    table=IngressRules, priority=1,reg5=0x... actions=goto_table:Refused
    """

    def __init__(self, node: str = "", *, log: bool = False) -> None:
        self.problems: dict[str, tuple[str, ...]] = {}
        self._name = node
        self._kinds = Kinds()
        self._flows = Flows(self._other_flows)
        self._peers = Groups()
        self._targets = Groups()
        self._desk = Desk(self._flows, self._peers, self._rename)
        self._policies: dict[str, _LivePolicy] = {}
        self._ports: dict[str, dict[int, tuple[bytes, ...]]] = {}
        self._told: dict[str, tuple[bytes, ...]] = {}
        self._pod_at: dict[int, str] = {}
        self._node = NodePorts()
        self._judged: dict[tuple[Direction, Kind], int] = {}
        self._isolated: dict[tuple[Direction, Kind], int] = {}
        self._holding: dict[Kind, list[Policy]] = {}
        self._rules: dict[tuple[Direction, Kind], tuple[Rule, ...]] = {}
        self._binds = False
        self._log = log
        self._judges_anew = False
        self._flows.mark(_Key("base"))
        self._flows.mark(_Key("commit"))
        self._flows.mark(_Key("report"))

    # What there is.

    def take(self, op: Op, obj: Object) -> None:
        """Take note of a Pod, Namespace or policy; other objects don't matter.

        A policy that can't be used at all leaves the one of before in force, and is in `problems`.
        """
        if isinstance(obj, Pod):
            self._take_pod(op, obj)
        elif isinstance(obj, Namespace):
            self._take_namespace(obj.name, obj.metadata.labels or {} if op is Op.UPSERT else None)
        elif isinstance(obj, NetworkPolicy | ClusterNetworkPolicy):
            self._take_policy(op, obj)

    def plug(self, port: int, pod: str, addresses: Iterable[Address] = ()) -> None:
        """A pod, ``namespace/name``, is at a port of the bridge, with these addresses there.

        As long as the Pod isn't known, it can neither send nor receive.
        """
        has = tuple(address.packed for address in addresses)
        if self._pod_at.get(port) == pod and self._ports[pod][port] == has:
            return
        self.unplug(port)
        self._pod_at[port] = pod
        ports = self._ports.setdefault(pod, {})
        ports[port] = has
        kind = self._kinds.of(pod)
        if kind is not None:
            if len(ports) == 1:
                self._comes(pod, kind)
            self._move(pod, kind)
        self._flows.mark(_Key("pod", pod))

    def unplug(self, port: int) -> None:
        """Nobody is at a port any more."""
        pod = self._pod_at.pop(port, None)
        if pod is None:
            return
        ports = self._ports[pod]
        had = ports.pop(port)
        if not ports:
            del self._ports[pod]
        kind = self._kinds.of(pod)
        if kind is not None:
            if not ports:
                self._goes(pod, kind)
            if had:
                self._move(pod, kind)
        self._flows.mark(_Key("pod", pod))

    def set_node(self, node: NodePorts) -> None:
        """The ports that aren't pods', and who the node is, from now on."""
        if node != self._node:
            self._node = node
            self._flows.mark(_Key("node"))
            self._flows.mark(_Key("commit"))
            for direction, kind in self._isolated:
                self._flows.mark(_Key("to node", (direction, kind)))

    def set_binds(self, binds: bool) -> None:
        """Whether the bridge can bind connections (`nsxdp.bridge.Bridge.binds`): it isn't asked to
        until this says so.
        """
        if binds != self._binds:
            self._binds = binds
            self._flows.mark(_Key("commit"))

    def judged_anew(self) -> bool:
        """Whether, since this was asked last, policies changed, or labels that they are about: what
        was allowed may be forbidden.
        """
        judges_anew, self._judges_anew = self._judges_anew, False
        return judges_anew

    def round(self) -> Compiled:
        """What has to change since the last round."""
        return self._flows.compile()

    def set_log(self, log: bool) -> None:
        """Whether what policies refuse is told to the agent, from now on."""
        if log != self._log:
            self._log = log
            self._flows.mark(_Key("report"))

    # Who is who.

    def rule(self, number: int) -> str | None:
        """The rule that a conjunction's number, ``conj_id``, stands for; None: none."""
        return self._desk.rule(number)

    def kind(self, number: int) -> Kind | None:
        """The kind of pods that a number in reg5 or reg6 stands for; None: none."""
        return self._kinds.by_number(number)

    def is_isolated(self, pod: str, direction: Direction) -> bool:
        """Whether a NetworkPolicy selects a pod that is on the bridge."""
        return (direction, self._kinds.of(pod)) in self._isolated

    def pods(self) -> Iterator[tuple[str, int]]:
        """The pods on the bridge, and their ports."""
        for pod, ports in self._ports.items():
            for port in ports:
                yield pod, port

    def kind_of(self, pod: str) -> Kind | None:
        """What policies see of a pod, ``namespace/name``; None: no such Pod is known."""
        return self._kinds.of(pod)

    def knows_namespace(self, name: str) -> bool:
        """Whether a namespace's labels are known: as long as they aren't, only what is in its own
        namespace selects its pods.
        """
        return self._peers.namespace(name) is not None

    def pod_at(self, port: int) -> str | None:
        """The pod at a port of the bridge."""
        return self._pod_at.get(port)

    def pod_with(self, address: bytes) -> str | None:
        """The pod of the cluster that has an address."""
        return self._kinds.pod_with(address)

    def policies_of(self, kind: Kind) -> Iterator[tuple[str, Policy]]:
        """The policies that are for pods of 'kind', by name: ``NetworkPolicy default/web``."""
        for name, live in self._policies.items():
            if self._targets.selects(live.policy.target, kind):
                yield name, live.policy

    def isolating(self, kind: Kind, direction: Direction) -> str:
        """The policies that isolate pods of 'kind', with commas between their names."""
        of_kind = self.policies_of(kind)
        return ", ".join(sorted(name for name, policy in of_kind if direction in policy.isolates))

    def allowing(
        self, direction: Direction, pod: str, other: bytes, protocol: str, port: int
    ) -> str:
        """The rule that lets a connection of a pod on the bridge through, as policies are now.

        Parameters
        ----------
        direction
            ``egress``: the pod began it; ``ingress``: it is for the pod.
        other
            The address at the other end, packed.
        protocol, port
            ``TCP`` and the port that it is for; 0: the protocol has none.

        Returns
        -------
        str
            One that does: ``NetworkPolicy default/web ingress[0]``. Empty: none has to, or none
            does any more; or the pod isn't on the bridge.
        """
        kind = self._kinds.of(pod)
        if kind is None or kind not in self._holding or pod not in self._ports:
            return ""
        implied = other in kind.pods[pod] or any(
            other == address.packed for address in self._node.addresses
        )
        if implied and direction == "ingress":
            return ""
        key = direction, kind
        rules = self._rules.get(key)
        if rules is None:
            policies = self._holding[kind]
            rules = in_order(r for p in policies for r in p.rules if r.direction == direction)
            self._rules[key] = rules
        asked = Asked(direction, kind, self._kinds.by_address(other), other, protocol, port)
        return allowing(
            rules, asked, self._peers.selects, isolated=key in self._isolated, implied=implied
        )

    def isolated_by(self, owner: int) -> str:
        """As `isolating`, where an owner's flow drops what no rule allows; else empty."""
        for direction, kind in self._isolated:
            if self._flows.owner(_Key("isolated", (direction, kind))) == owner:
                return self.isolating(kind, direction)
        return ""

    def verdicts(self) -> dict[int, Verdict]:
        """The owners of flows that decide about packets, and what they decide."""
        found = {}
        for owner, rule, action in self._flows.deciding():
            name = self.rule(rule) if isinstance(rule, int) else rule
            found[owner] = Verdict(name or "", action)
        for direction, kind in self._isolated:
            of_all = self._flows.owner(_Key("isolated", (direction, kind)))
            if of_all is not None:
                found[of_all] = Verdict(isolation(kind.namespace, direction), "deny")
        return found

    # Namespaces and pods.

    def _take_namespace(self, name: str, labels: Labels | None) -> None:
        if labels != self._peers.namespace(name):
            self._judges_anew = True
            self._peers.set_namespace(name, labels)
            self._targets.set_namespace(name, labels)

    def _take_pod(self, op: Op, pod: Pod) -> None:
        name = pod.key
        self._hear(op, pod)
        has = self._addresses(name)
        if has is None:
            has = addresses_of(pod)
        if op is Op.UPSERT and self._kinds.knows(pod, has):
            return
        kind = self._kinds.of(name)
        addresses = kind.pods[name] if kind is not None else ()
        self._mark_addresses(kind, addresses)
        if op is Op.UPSERT:
            before, after = self._kinds.upsert(pod, has)
        else:
            before, after = self._kinds.delete(name), None
        now = after.pods[name] if after is not None else ()
        self._mark_addresses(after, now)
        if (before, addresses) != (after, now) and name in self._ports:
            self._flows.mark(_Key("pod", name))
        if before is after:
            return
        self._judges_anew |= before is not None and after is not None
        # First what comes: rules that are for both needn't be let go.
        if after is not None:
            if len(after.pods) == 1:
                self._peers.add(after)
                self._mark_addresses(after, now)
            if name in self._ports:
                self._comes(name, after)
        if before is not None:
            self._goes(name, before)
            if not before.pods:
                self._peers.remove(before)
                self._kinds.drop(before)

    def _hear(self, op: Op, pod: Pod) -> None:
        """Keep which pods may be on this node, and what the API says of the addresses of those."""
        node = pod.spec.node_name
        if op is Op.DELETE or (self._name and node and node != self._name):
            self._told.pop(pod.key, None)
        else:
            self._told[pod.key] = () if self._name and node else addresses_of(pod)

    def _addresses(self, pod: str) -> tuple[bytes, ...] | None:
        """Those of a pod that may be on this node: on the bridge, or else of the API; None: it is
        on another, or isn't known.
        """
        told = self._told.get(pod)
        if told is None:
            return None
        return tuple(chain.from_iterable(self._ports.get(pod, {}).values())) or told

    def _move(self, pod: str, kind: Kind) -> None:
        """A pod that is known came to a port, or left one."""
        had, has = kind.pods[pod], self._addresses(pod)
        if has is not None and has != had:
            self._mark_addresses(kind, had)
            self._kinds.move(pod, has)
            self._mark_addresses(kind, has)

    def _mark_addresses(self, kind: Kind | None, addresses: Iterable[bytes]) -> None:
        """Flows that say who has 'addresses' may change."""
        if kind is None:
            return
        for direction in DIRECTIONS:
            is_peer = self._desk.is_peer(direction, kind)
            for address in addresses:
                if is_peer or self._kinds.is_shared(address):
                    self._flows.mark(_Key("peer", (direction, address)))

    def _rename(self, direction: Direction, kind: Kind | None) -> None:
        """Rules begin, or cease, to be about 'kind' at the other end; None: about all pods."""
        for one in self._kinds if kind is None else (kind,):
            for addresses in one.pods.values():
                for address in addresses:
                    self._flows.mark(_Key("peer", (direction, address)))

    def _comes(self, pod: str, kind: Kind) -> None:
        """A pod of 'kind' is on the bridge."""
        kind.local.add(pod)
        if len(kind.local) == 1:
            self._targets.add(kind)

    def _goes(self, pod: str, kind: Kind) -> None:
        """It isn't any more, or isn't of that kind."""
        if pod in kind.local:
            kind.local.discard(pod)
            if not kind.local:
                self._targets.remove(kind)

    # Policies.

    def _take_policy(self, op: Op, obj: NetworkPolicy | ClusterNetworkPolicy) -> None:
        name = f"{type(obj).__name__} {obj.key}"
        before = self._policies.get(name)
        self.problems.pop(name, None)
        if op is Op.DELETE:
            if before is not None:
                self._replace(self._policies.pop(name), None)
            return
        try:
            policy = read_policy(obj)
        except ValueError as error:
            self.problems[name] = (str(error),)
            return
        if policy.problems:
            self.problems[name] = policy.problems
        if before is None or before.policy != policy:
            self._policies[name] = _LivePolicy(self, policy)
            self._replace(before, self._policies[name])

    def _replace(self, before: _LivePolicy | None, after: _LivePolicy | None) -> None:
        """Let go of a policy's rules that aren't any more, and take the new ones."""
        self._judges_anew = True
        same_target = before and after and before.policy.target == after.policy.target
        kept = (
            before.rules.keys() & after.rules.keys() if before and after and same_target else set()
        )
        if before is not None:
            for rule, live in before.rules.items():
                if rule not in kept:
                    self._targets.release(before.policy.target, live)
        if after is not None:
            for rule, live in after.rules.items():
                if before is not None and rule in kept:
                    after.rules[rule] = before.rules[rule]
                else:
                    self._targets.acquire(after.policy.target, live)
            self._targets.acquire(after.policy.target, after)
        if before is not None:
            self._targets.release(before.policy.target, before)

    def judge(self, policy: Policy, kind: Kind, n: int) -> None:
        """'n', 1 or -1, more policies like 'policy' are for pods of 'kind' on the bridge."""
        self._hold(policy, kind, n)
        for counts, directions in (
            (self._judged, policy.directions),
            (self._isolated, policy.isolates),
        ):
            for direction in directions:
                key = direction, kind
                left = counts.get(key, 0) + n
                if left:
                    counts[key] = left
                else:
                    del counts[key]
                if left in (0, n):
                    self._flows.mark(_Key("isolated", key))
                    self._flows.mark(_Key("to node", key))
                    for pod in kind.local:
                        self._flows.mark(_Key("pod", pod))

    def _hold(self, policy: Policy, kind: Kind, n: int) -> None:
        for direction in DIRECTIONS:
            self._rules.pop((direction, kind), None)
        if n > 0:
            self._holding.setdefault(kind, []).append(policy)
            return
        policies = self._holding[kind]
        policies.remove(policy)
        if not policies:
            del self._holding[kind]

    # Flows.

    def _other_flows(self, what: Hashable) -> Iterator[Stamp]:
        assert isinstance(what, _Key)
        if what.what == "base":
            yield from ((template, {}) for template in stages.BASE)
        elif what.what == "commit":
            yield from self._commit_flows()
        elif what.what == "report":
            if self._log:
                yield stages.REPORT, {}
        elif what.what == "node":
            yield from self._node_flows()
        elif what.what == "pod":
            yield from self._pod_flows(cast(str, what.name))
        elif what.what in ("isolated", "to node"):
            key = cast("tuple[Direction, Kind]", what.name)
            if key in self._isolated:
                yield from (
                    self._isolating(*key) if what.what == "isolated" else self._to_node(*key)
                )
        else:
            yield from self._peer_flows(*cast("tuple[Direction, bytes]", what.name))

    def _commit_flows(self) -> Iterator[Stamp]:
        gateway = self._node.gateway
        for family in FAMILIES:
            yield stages.commit(family, bind=self._binds), {}
            if gateway is not None:
                by_gateway = stages.commit_by_gateway(family, bind=self._binds)
                yield by_gateway, {"port": gateway.ofport}
                yield stages.answer_by_gateway(family), {"gateway_mac": mac(gateway.mac)}

    def _node_flows(self) -> Iterator[Stamp]:
        for direction in DIRECTIONS:
            for port in sorted(self._node.others):
                yield stages.not_judged(direction), {"port": _port(direction, port)}
        gateway = self._node.gateway
        if gateway is not None:
            for address in sorted(self._node.addresses, key=str):
                values: dict[str, int | bytes] = {"port": gateway.ofport, "ip": address.packed}
                yield stages.from_node(_family(address.packed)), values

    def _pod_flows(self, pod: str) -> Iterator[Stamp]:
        kind = self._kinds.of(pod)
        if kind is not None:
            for port in sorted(self._ports.get(pod, ())):
                yield from self._port_flows(pod, port, kind)

    def _port_flows(self, pod: str, port: int, kind: Kind) -> Iterator[Stamp]:
        for direction in DIRECTIONS:
            if (direction, kind) not in self._judged:
                yield stages.not_judged(direction), {"port": _port(direction, port)}
                continue
            yield (
                stages.pod_judged(direction),
                {
                    "port": _port(direction, port),
                    "kind": kind.number,
                    "namespace": kind.namespace_number,
                },
            )
        addresses = kind.pods[pod]
        if ("egress", kind) in self._isolated:
            for address in addresses:
                yield stages.to_itself(_family(address)), {"port": port, "ip": address}
        if ("ingress", kind) in self._isolated:
            for family in sorted({_family(address) for address in addresses}):
                yield stages.from_itself(family), {"port": port}

    def _isolating(self, direction: Direction, kind: Kind) -> Iterator[Stamp]:
        yield stages.default(direction), {"kind": kind.number}

    def _to_node(self, direction: Direction, kind: Kind) -> Iterator[Stamp]:
        if direction == "egress":
            for address in sorted(self._node.addresses, key=str):
                values: dict[str, int | bytes] = {"kind": kind.number, "ip": address.packed}
                yield stages.to_node(_family(address.packed)), values

    def _peer_flows(self, direction: Direction, address: bytes) -> Iterator[Stamp]:
        kind = self._kinds.by_address(address)
        if kind is not None and self._desk.is_peer(direction, kind):
            yield stages.peer(direction, _family(address)), {"ip": address, "kind": kind.number}


class _LivePolicy:
    """A policy, and its rules at work, by name: the user of the group of pods that it is for."""

    def __init__(self, planner: PolicyPlanner, policy: Policy) -> None:
        self._planner = planner
        self.policy = policy
        self.rules = {rule: LiveRule(planner._desk, rule) for rule in policy.rules}

    def enter(self, kind: Kind) -> None:
        self._planner.judge(self.policy, kind, 1)

    def leave(self, kind: Kind) -> None:
        self._planner.judge(self.policy, kind, -1)


def isolation(namespace: str, direction: Direction) -> str:
    """What refuses a packet that no rule of a namespace's NetworkPolicies allows."""
    return f"NetworkPolicy {namespace}/* {direction}"


def _family(address: bytes) -> Family:
    return 4 if len(address) == 4 else 6


def _port(direction: Direction, port: int) -> int:
    """A port's number as a match of that direction has it: in reg1 it is one of 16 bits."""
    return port & 0xFFFF if direction == "ingress" else port
