"""Where Services come from: an API server, or manifests."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack

from nsxdp.k8s.client import Client as ApiClient
from nsxdp.k8s.manifests import ManifestDirectory
from nsxdp.k8s.rate import Rate
from nsxdp.k8s.reflector import Reflector
from nsxdp.k8s.resources import Want, service_proxy_wants
from nsxdp.k8s.source import Source
from nsxdp_agents.common import start as common
from nsxdp_agents.common.options import api_files
from nsxdp_agents.kube_proxy.options import Options

__all__ = ["open_client", "open_source", "wants_of"]


async def open_client(
    options: Options, stack: AsyncExitStack, *, patient: bool = True
) -> ApiClient | None:
    """The API server, if it is one where Services come from; it answers.

    Who is 'patient' waits for one that isn't there yet.

    Raises
    ------
    StartError
        It can't be used.
    """
    if options.manifests:
        return None
    client = await common.open_client(
        stack,
        "nsx-kube-proxy",
        kubeconfig=options.kubeconfig,
        otherwise="a directory of manifests with --manifests",
        server=options.server,
        files=api_files(options),
        rate=Rate(options.api_qps, options.api_burst) if options.api_qps > 0 else None,
    )
    await common.reach(client, patient=patient)
    return client


def wants_of(options: Options) -> tuple[Want, ...]:
    """What the proxy follows."""
    return service_proxy_wants(
        options.node_name, proxy_name=options.service_proxy_name, service_cidrs=True
    )


def open_source(options: Options, client: ApiClient | None, wants: Sequence[Want]) -> Source:
    """Where Services come from: an API server, else manifests."""
    if client is None:
        return ManifestDirectory(options.manifests, wants)
    return Reflector(client, wants, relist=options.config_sync_period)
