"""What Kubernetes says of this node: the networks of its pods."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack
from ipaddress import ip_network

from nsxdp.k8s.manifests import ManifestDirectory
from nsxdp.k8s.objects import Node
from nsxdp.k8s.reflector import Reflector
from nsxdp.k8s.resources import NODES, Want
from nsxdp.k8s.source import Batch, Op, Source
from nsxdp.logs import get_logger
from nsxdp_agents.common.start import open_client
from nsxdp_agents.node_agent.ipam import Network
from nsxdp_agents.node_agent.options import Options
from nsxdp_agents.node_agent.policies import WANTS

__all__ = ["follow", "open_source", "wants"]

log = get_logger(__name__)


def wants(node_name: str) -> tuple[Want, ...]:
    """What the agent follows."""
    return (Want(NODES, fields=f"metadata.name={node_name}"), *WANTS)


async def open_source(options: Options, stack: AsyncExitStack) -> Source | None:
    """Where the Node comes from; None: nobody is asked.

    Raises
    ------
    StartError
        It can't be used.
    """
    if options.pod_cidrs:
        return None
    wanted = wants(options.node_name)
    if options.manifests:
        return await stack.enter_async_context(ManifestDirectory(options.manifests, wanted))
    client = await open_client(
        stack,
        "nsx-node-agent",
        kubeconfig=options.kubeconfig,
        otherwise="the networks of its pods with --pod-cidr",
    )
    return await stack.enter_async_context(Reflector(client, wanted))


async def follow(
    source: Source, use: Callable[[list[Network]], None], take: Callable[[Batch], None]
) -> None:
    """Tell 'use' the networks of the node's pods whenever they are others, until cancelled.

    And 'take' all that comes.

    A node that has none keeps those it had: its pods do.
    """
    before: list[Network] = []
    async for batch in source:
        for error in batch.errors:
            log.warning("an object cannot be used", reason=str(error))
        take(batch)
        for op, obj in batch.events:
            if op is not Op.UPSERT or not isinstance(obj, Node):
                continue
            texts = obj.spec.pod_cidrs or tuple(filter(None, (obj.spec.pod_cidr,)))
            try:
                found = [ip_network(text) for text in texts]
                if found and found != before:
                    use(found)
                    before = found
            except ValueError as error:
                log.warning("the node's podCIDRs cannot be used", reason=str(error))
