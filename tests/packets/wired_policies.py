"""A node whose bridge is wired by us, with policies."""

from __future__ import annotations

import asyncio

from wired import Wired

from nsxdp.forwarding.compiler import ForwardingCompiler
from nsxdp.k8s.objects import ObjectMeta
from nsxdp.k8s.policy_objects import NetworkPolicy, PodIP, PodStatus
from nsxdp.k8s.policy_objects import Pod as PodObject
from nsxdp.k8s.source import Op
from nsxdp.lab.ovs import datapath
from nsxdp.policy.planner import NodePorts, PolicyPlanner
from nsxdp.writer import Commit

__all__ = ["Policed"]


class Policed(Wired):
    """A wired bridge with policies."""

    policies: tuple[NetworkPolicy, ...] = ()
    known = True
    """Whether the API server has told of the pods."""

    def sync(self) -> Commit:
        compiler, planner = ForwardingCompiler(), PolicyPlanner()
        pods = [self.port(pod) for pod in self.node.pods.values()]
        gateway = self.config.gateway
        planner.set_binds(datapath() == "system")
        planner.set_node(
            NodePorts(frozenset({gateway.ofport}), gateway, frozenset(gateway.addresses))
        )
        for pod in pods:
            planner.plug(pod.ofport, pod.name, pod.ips)
        for pod in pods if self.known else ():
            namespace, name = pod.name.split("/")
            meta = ObjectMeta(namespace=namespace, name=name, labels={"app": name})
            status = PodStatus(pod_ips=tuple(PodIP(str(ip)) for ip in pod.ips))
            planner.take(Op.UPSERT, PodObject(metadata=meta, status=status))
        for policy in self.policies:
            planner.take(Op.UPSERT, policy)
        return asyncio.run(
            self._write(compiler.configure(self.config), compiler.set_pods(pods), planner.round())
        )
