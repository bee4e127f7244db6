# ruff: noqa: E501
# A row of a table is one line, however long.
"""The page about network policies: what is supported, and the flows of an example."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address
from typing import Final

import yaml

from nsxdp.k8s.decode import to_object
from nsxdp.k8s.errors import ObjectError
from nsxdp.k8s.resources import RESOURCES
from nsxdp.k8s.source import Op
from nsxdp.openflow import DesiredSet
from nsxdp.openflow.fake import FakeSwitch
from nsxdp.pipeline.node import Gateway
from nsxdp.pipeline.registers import NODE_COOKIE_PREFIX, NODE_GROUP_FIRST, NODE_GROUP_LAST
from nsxdp.pipeline.tables import NODE_STAGES, POLICY_STAGES, STAGES, TABLES
from nsxdp.policy.planner import NodePorts, PolicyPlanner
from pages.markdown import WRITTEN, wrapped
from pages.pipeline import blocks_of

__all__ = ["EXAMPLE", "example", "page"]

TEXT: Final = """\
Policies are flows on each node's bridge: of what a pod sends on its own node, of what it gets on
its own. Only the first packet of a connection is asked about, after a Service's address was
translated to an endpoint; later ones, and answers, are known to connection tracking.

## What is supported

| API | what |
| --- | --- |
| NetworkPolicy, `networking.k8s.io/v1` | all of it: ingress and egress; `podSelector`, `namespaceSelector` and both together, with `matchExpressions`; `ipBlock` with `except`; numbered and named ports, `endPort`; TCP, UDP, SCTP; IPv4 and IPv6 |
| ClusterNetworkPolicy, `policy.networking.k8s.io/v1alpha2` | the standard channel: tiers Admin and Baseline, priorities, `Accept`, `Deny` and `Pass`, peers `namespaces`, `pods` and `networks`, ports, ranges and named ports. Not the experimental peers `nodes` and `domainNames` |

## What the APIs leave open

- **A pod is isolated before its first packet.** As long as nothing is known of a pod that is plugged
  into the bridge, it can neither send nor receive. Then policies and pod come in one transaction, and
  only then is the runtime answered. If the API server hasn't told of the Pod and its Namespace within
  ten seconds, adding it fails, and kubelet tries again.
- **Established connections go on** when a policy that would forbid them comes. They end as
  connections do; their next ones are judged.
- **What was refused stays refused** until a policy lets it in, also where it was for a Service, and
  so is tracked before policies are asked: no answer makes it an established connection.
- **The pod's own node** reaches it always, whatever policies say: kubelet's probes do. A pod that
  NetworkPolicies isolate reaches its own node, too, unless an Admin tier's rule denies it.
- **A pod reaches itself** through a Service, whatever NetworkPolicies say. Rules of
  ClusterNetworkPolicies for egress do have a say in that, as their API wants it.
- **Pods of the host's network** are the node: no policy selects them, and no selector finds them as
  peers; `ipBlock` and `networks` do.
- **`ipBlock`** is about addresses, whoever has them: pods, too. The sender of what was masqueraded
  on its way (a node port with `externalTrafficPolicy: Cluster`) is the masquerade's address.
- **A named port** is looked up at each pod: of ingress, at those that the policy is for; of egress,
  at the peers. If several of a pod's containers have one of that name, the first one's counts.
  An `ipBlock` that is sent to has no named ports, even where pods have its addresses. The API of
  ClusterNetworkPolicies rules out named ports of `networks`: such a rule isn't understood.
- **Rules with ports** are about TCP, UDP and SCTP; ICMP passes where a rule has no ports. ICMP
  errors that belong to a connection always pass.
- **ClusterNetworkPolicies of the same priority** that contradict each other: either may win.
- **What can't be understood allows nothing.** A peer that the API's later versions have and this one
  doesn't: an allowing rule loses it, a ClusterNetworkPolicy's `Accept` rule is left out, and a
  `Deny` or `Pass` rule with it denies everything.

## Limits

- By UDP, who goes on sending to the address of a pod that is gone is known to connection tracking.
  A pod that gets the address gets that, too, as long as the sender doesn't pause for some minutes.
  Addresses are given again in the order in which they became free.
- A port range is as few prefixes as it can be made of, at most 30; an `except` is cut out of its
  block, one flow a bit that it is longer. A block that is more than 8192 prefixes then (600 addresses
  all over a /8, say) isn't understood: it allows nothing.

## What policies do

`ovs-appctl -t nsx-node-agent policy/counters`, and the agent's metrics, have what each rule has
decided; [records of connections](nsx-node-agent.md#records-of-connections) name the rules that let
one through. With `--log-dropped-traffic` the agent's log has a record of each connection that is
denied; with `--log-format json`, as an object (here in several lines):

```json
{"event": "a connection is denied", "level": "info", "timestamp": "2026-01-31T12:00:00.000000Z",
 "direction": "ingress", "policy": "NetworkPolicy shop/web", "rule": "", "verdict": "deny",
 "source": "10.244.1.9", "source_pod": "shop/stranger", "source_port": 40312,
 "destination": "10.244.0.5", "destination_pod": "shop/web", "destination_port": 8080,
 "protocol": "TCP"}
```

`rule` is empty where NetworkPolicies isolate the pod and none allows the connection; otherwise
`policy` has a rule, `ingress[0]` say, that denies it. A client that gets no answer tries again, and
each try is a record. There are at most ten a second on a node, after 50 at once: a meter in the
switch lets no more packets through to the agent, so that a flood costs no more than its being
dropped. The counters count all. Where a switch has no meters, what is denied is dropped, and not
told.

## What it costs

A rule is a conjunctive match: its flows are as many as its pods, peers and ports together, not
their product. Pods of the same namespace, labels and named ports are of one *kind*, and rules are
about kinds: one more replica is one or two flows. A rule about all pods is one flow, whatever pods
there are. Of policies that are for no pod of a node, the node has nothing.

"""

EXAMPLE: Final = """\
kind: Namespace
metadata: {name: shop}
---
kind: Pod
metadata: {name: web, namespace: shop, labels: {app: web}}
spec: {containers: [{name: web, ports: [{name: http, containerPort: 8080}]}]}
status: {podIPs: [{ip: 10.244.0.5}]}
---
kind: Pod
metadata: {name: client, namespace: shop, labels: {app: client}}
status: {podIPs: [{ip: 10.244.1.7}]}
---
# Clients may, at the port that the pods call http; who has that, may resolve names.
kind: NetworkPolicy
metadata: {name: web, namespace: shop}
spec:
  podSelector: {matchLabels: {app: web}}
  policyTypes: [Ingress, Egress]
  ingress:
    - from: [{podSelector: {matchLabels: {app: client}}}, {ipBlock: {cidr: 198.51.100.0/24}}]
      ports: [{port: http}]
  egress:
    - to: [{namespaceSelector: {}}]
      ports: [{port: 53, protocol: UDP}]
---
# Nobody may reach the metadata server.
kind: ClusterNetworkPolicy
metadata: {name: metadata}
spec:
  tier: Admin
  priority: 10
  subject: {namespaces: {}}
  egress: [{action: Deny, to: [{networks: [169.254.169.254/32]}]}]
"""

NODE: Final = NodePorts(
    frozenset({1}), Gateway(1, "0a:58:0a:f4:00:01"), frozenset({ip_address("10.244.0.1")})
)


def example() -> FakeSwitch:
    """A switch that has what the example's policies need."""
    planner = PolicyPlanner(log=True)
    for value in yaml.safe_load_all(EXAMPLE):
        obj = to_object(RESOURCES[value["kind"]], value)
        assert not isinstance(obj, ObjectError), obj
        planner.take(Op.UPSERT, obj)
    planner.plug(5, "shop/web")
    planner.set_node(NODE)
    owned = planner.round()
    desired = DesiredSet(NODE_COOKIE_PREFIX, NODE_GROUP_FIRST, NODE_GROUP_LAST)
    desired.replace(owned.owners, owned.messages, owned.ends)
    switch = FakeSwitch(TABLES)
    switch.apply(desired.dump())
    return switch


def page() -> str:
    """The page, in Markdown."""
    return "\n".join(["# Network policies", "", WRITTEN, "", TEXT + "\n".join(_flows())]) + "\n"


def _flows() -> Iterator[str]:
    flows = example().dump_flows()
    yield "## An example"
    yield ""
    yield wrapped(
        "A node whose gateway is port 1 and has 10.244.0.1, with the pod `web` at port 5; `client` is "
        "on another node."
    )
    yield ""
    yield from ("```yaml", *EXAMPLE.splitlines(), "```")
    for stage in sorted((*STAGES, *NODE_STAGES, *POLICY_STAGES), key=lambda stage: stage.number):
        own = [flow for flow in flows if flow.startswith(f"table={stage.name},")]
        if own:
            yield from ("", f"### {stage.name}", "")
            if stage in POLICY_STAGES:
                yield from (wrapped(stage.purpose), "")
            yield from blocks_of(own)
