"""The reflector against a real kube-apiserver: what exists is what the consumer knows."""

import asyncio
from typing import Any

import pytest

from nsxdp.backoff import Backoff
from nsxdp.k8s.client import Client
from nsxdp.k8s.credentials import Credentials
from nsxdp.k8s.errors import ForbiddenError
from nsxdp.k8s.objects import SERVICE_NAME_LABEL
from nsxdp.k8s.reflector import Reflector
from nsxdp.k8s.resources import (
    CLUSTER_NETWORK_POLICIES,
    ENDPOINT_SLICES,
    NODES,
    SERVICE_CIDRS,
    SERVICES,
    Want,
    service_proxy_wants,
)
from tests.definitions import cluster_network_policies


def service(name: str, **spec: Any) -> dict[str, Any]:
    labels = spec.pop("labels", {})
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": "default", "labels": labels},
        "spec": {"ports": [{"port": 80}], **spec},
    }


def endpoint_slice(name: str, of: str, *addresses: str, **labels: str) -> dict[str, Any]:
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": name,
            "namespace": "default",
            "labels": {SERVICE_NAME_LABEL: of, **labels},
        },
        "addressType": "IPv4",
        "endpoints": [{"addresses": [address]} for address in addresses],
        "ports": [{"port": 8080}],
    }


async def test_create_update_delete(inside, client, reflector, consumer):
    inside.apply([service("before", clusterIP="10.96.1.1")])
    wants = (Want(SERVICES), Want(ENDPOINT_SLICES), Want(NODES), Want(SERVICE_CIDRS))
    async with reflector(client, wants) as source:
        seen = consumer(source)
        await seen.until(lambda: len(seen.synced) == 4)
        assert seen.keys() == {"default/kubernetes", "default/before"}
        assert seen.get("default/before").spec.cluster_ips == ("10.96.1.1",)
        assert seen.get("kubernetes", "ServiceCIDR").spec.cidrs == inside.service_cidrs

        inside.apply([endpoint_slice("s", "before", "10.0.0.1")])
        await seen.until(lambda: seen.get("default/s", "EndpointSlice"))
        got = seen.get("default/s", "EndpointSlice")
        assert got.endpoints[0].addresses == ("10.0.0.1",)
        assert (got.ports[0].name, got.ports[0].protocol, got.ports[0].port) == ("", "TCP", 8080)

        inside.apply([endpoint_slice("s", "before", "10.0.0.1", "10.0.0.2")])
        await seen.until(lambda: len(seen.get("default/s", "EndpointSlice").endpoints) == 2)

        seen.forget()
        inside.delete([service("before")])
        await seen.until(lambda: seen.said)
        assert seen.said == [("delete", "Service", "default/before")]


async def test_empty_slices_are_null_and_no_error(inside, client, reflector, consumer):
    inside.apply([endpoint_slice("empty", "x") | {"endpoints": [], "ports": []}])
    async with reflector(client, [Want(ENDPOINT_SLICES)]) as source:
        seen = consumer(source)
        await seen.until(lambda: seen.synced)
        got = seen.get("default/empty", "EndpointSlice")
        assert (got.endpoints or (), got.ports or ()) == ((), ())
        assert not seen.errors


async def test_a_server_without_objects_is_synced_too(client, reflector, consumer):
    """KP-10: an agent on an empty cluster must not wait for ever."""
    async with reflector(client, service_proxy_wants("no-such-node")) as source:
        seen = consumer(source)
        await seen.until(lambda: seen.synced == {"Service", "EndpointSlice", "Node"})
        assert seen.keys() == {"default/kubernetes"}


async def test_a_kind_that_the_server_does_not_have_may_come_and_go(
    inside, client, reflector, consumer
):
    wants = (Want(SERVICES), Want(CLUSTER_NETWORK_POLICIES, optional=True))
    async with reflector(client, wants, absent=0.05) as source:
        seen = consumer(source)
        await seen.until(lambda: len(seen.synced) == 2)
        assert seen.keys() == {"default/kubernetes"}
        with cluster_network_policies(inside):
            policy = {
                "apiVersion": "policy.networking.k8s.io/v1alpha2",
                "kind": "ClusterNetworkPolicy",
                "metadata": {"name": "late"},
                "spec": {"tier": "Admin", "priority": 1, "subject": {"namespaces": {}}},
            }
            inside.apply([policy])
            await seen.until(lambda: seen.keys("ClusterNetworkPolicy") == {"late"})
        await seen.until(lambda: not seen.keys("ClusterNetworkPolicy"))
        inside.apply([service("other")])
        await seen.until(lambda: seen.get("default/other"))


async def test_pages(inside, client, reflector, consumer):
    names = {f"default/s{i}" for i in range(25)}
    inside.apply([service(name.partition("/")[2]) for name in names])
    async with reflector(client, page_size=4) as source:
        seen = consumer(source)
        await seen.step()
        assert len(seen.objects) == 4
        assert not seen.synced
        await seen.until(lambda: seen.synced)
        assert seen.keys() == names | {"default/kubernetes"}
        assert len(seen.said) == 26


async def test_kp_2_3_4_selection(inside, client, reflector, consumer):
    """KP-2, KP-3, KP-4: what kube-proxy doesn't serve doesn't come over the wire."""
    other = {"service.kubernetes.io/service-proxy-name": "other"}
    headless = {"service.kubernetes.io/headless": ""}
    inside.apply(
        [
            service("served"),
            service("headless", clusterIP="None"),
            service("others", labels=other),
            endpoint_slice("served-1", "served", "10.0.0.1"),
            endpoint_slice("headless-1", "headless", "10.0.0.1", **headless),
            endpoint_slice("others-1", "others", "10.0.0.1", **other),
        ]
    )
    async with reflector(client, service_proxy_wants()) as source:
        seen = consumer(source)
        await seen.until(lambda: len(seen.synced) == 2)
        assert seen.keys() == {"default/kubernetes", "default/served"}
        assert seen.keys("EndpointSlice") == {"default/served-1", "default/others-1"}

        # Handing a Service to another proxy deletes it here.
        seen.forget()
        inside.apply([service("served", labels=other)])
        await seen.until(lambda: seen.said)
        assert seen.said == [("delete", "Service", "default/served")]

    async with reflector(client, service_proxy_wants(proxy_name="other")) as source:
        seen = consumer(source)
        await seen.until(lambda: len(seen.synced) == 2)
        assert seen.keys() == {"default/others", "default/served"}
        assert seen.keys("EndpointSlice") == {"default/served-1", "default/others-1"}


async def test_only_the_own_node(inside, client, reflector, consumer):
    for name in ("n1", "n2"):
        inside.apply([{"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}}])
    async with reflector(client, service_proxy_wants("n1")) as source:
        seen = consumer(source)
        await seen.until(lambda: "Node" in seen.synced)
        assert seen.keys("Node") == {"n1"}


async def test_the_api_server_restarts(inside, client, reflector, consumer):
    inside.apply([service("before")])
    async with reflector(client) as source:
        seen = consumer(source)
        await seen.until(lambda: seen.synced)
        seen.forget()
        inside.restart()
        inside.apply([service("after")])
        await seen.until(lambda: seen.said)
        assert seen.said == [("upsert", "Service", "default/after")]
        assert seen.synced == {"Service"}


async def test_who_waits_hears_that_the_server_is_back(inside, client, consumer):
    """One kind is followed again at once: the other doesn't wait for an hour more."""
    waits = asyncio.Event()

    class HourAtFirst(Backoff):
        def delay(self, failures: int, at_least: float = 0.0) -> float:
            if waits.is_set():
                return super().delay(failures, at_least)
            waits.set()
            return 3600.0

    wants = [Want(SERVICES), Want(ENDPOINT_SLICES)]
    async with Reflector(client, wants, backoff=HourAtFirst(0.01, 0.1)) as source:
        seen = consumer(source)
        await seen.until(lambda: len(seen.synced) == 2)
        inside.kill()
        await asyncio.wait_for(waits.wait(), 60)
        inside.start()
        inside.apply([endpoint_slice("s", "before", "10.0.0.1")])
        await seen.until(lambda: seen.get("default/s", "EndpointSlice"))


async def test_compacted_history_gives_exactly_the_differences(inside, client, reflector, consumer):
    """What happened while the server was away and forgot it: one line each, and nothing else."""
    inside.apply([service(name) for name in ("stays", "changes", "goes", "reborn")])
    async with reflector(client) as source:
        seen = consumer(source)
        await seen.until(lambda: seen.synced)
        uid = seen.get("default/reborn").metadata.uid
        seen.forget()
        inside.kill()
        inside.start()
        # The reflector hasn't run since the kill: no await came in between.
        inside.apply([service("changes", type="NodePort"), service("comes")])
        inside.delete([service("goes"), service("reborn")])
        inside.apply([service("reborn")])
        inside.compact()
        inside.restart()
        await seen.until(lambda: len(seen.said) >= 4)
        assert sorted(seen.said) == [
            ("delete", "Service", "default/goes"),
            ("upsert", "Service", "default/changes"),
            ("upsert", "Service", "default/comes"),
            ("upsert", "Service", "default/reborn"),
        ]
        assert seen.get("default/reborn").metadata.uid != uid
        assert seen.get("default/changes").spec.type == "NodePort"
        # And the watch goes on from there.
        seen.forget()
        inside.apply([service("last")])
        await seen.until(lambda: seen.said)
        assert seen.said == [("upsert", "Service", "default/last")]


async def test_streaming_where_the_server_cannot_falls_back_to_pages(
    inside, client, reflector, consumer
):
    """Debian's etcd has no progress requests, which streaming lists need; newer ones do."""
    inside.apply([service("x")])
    async with reflector(client, streaming=True) as source:
        seen = consumer(source)
        await seen.until(lambda: seen.synced)
        assert seen.keys() == {"default/kubernetes", "default/x"}
        inside.apply([service("y")])
        await seen.until(lambda: seen.get("default/y"))


async def test_permission_comes_later(inside, reflector, consumer):
    """A 403 names the verb and resource that RBAC must grant, and it goes on when it does."""
    nobody = await Credentials.from_kubeconfig(inside.kubeconfig_for("nobody"))
    inside.apply([service("x")])
    async with Client(nobody) as client, reflector(client, [Want(ENDPOINT_SLICES)]) as source:
        seen = consumer(source)
        rules = "/apis/rbac.authorization.k8s.io/v1"
        role = {
            "metadata": {"name": "reader"},
            "rules": [
                {
                    "apiGroups": ["discovery.k8s.io"],
                    "resources": ["endpointslices"],
                    "verbs": ["list", "watch"],
                }
            ],
        }
        binding = {
            "metadata": {"name": "reader"},
            "roleRef": {
                "apiGroup": "rbac.authorization.k8s.io",
                "kind": "ClusterRole",
                "name": "reader",
            },
            "subjects": [
                {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "nobody"}
            ],
        }
        try:
            grant = "RBAC must grant the verb list on endpointslices.discovery.k8s.io"
            with pytest.raises(ForbiddenError, match=grant):
                await anext(client.list(Want(ENDPOINT_SLICES)))
            inside.request("POST", f"{rules}/clusterroles", role)
            inside.request("POST", f"{rules}/clusterrolebindings", binding)
            await seen.until(lambda: seen.synced)
        finally:
            for kind in ("clusterrolebindings", "clusterroles"):
                inside.request("DELETE", f"{rules}/{kind}/reader")
