"""A real API server: what a test may rely on when it asks for one."""

import stat
from typing import Any

import pytest

from nsxdp.lab import ApiServer, LabError, Netns
from nsxdp.lab.kubeclient import KubeClient, tls_context


def service(name: str, cluster_ip: str | None = None) -> dict[str, Any]:
    spec: dict[str, Any] = {"ports": [{"name": "http", "port": 80, "targetPort": 8080}]}
    if cluster_ip:
        spec["clusterIP"] = cluster_ip
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}


def endpoint_slice(name: str, *addresses: str) -> dict[str, Any]:
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": f"{name}-1", "labels": {"kubernetes.io/service-name": name}},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        "endpoints": [{"addresses": [a], "conditions": {"ready": True}} for a in addresses],
    }


def names(apiserver: ApiServer, path: str) -> set[str]:
    """Without the server's own Service, which it makes a moment after its start."""
    found = {item["metadata"]["name"] for item in apiserver.request("GET", path)["items"]}
    return found - {"kubernetes"}


SERVICES = "/api/v1/namespaces/default/services"
SLICES = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"


def test_objects_are_created_replaced_and_deleted(apiserver: ApiServer) -> None:
    apiserver.apply([service("web"), endpoint_slice("web", "10.244.0.5")])
    made = apiserver.request("GET", f"{SERVICES}/web")
    assert made["spec"]["clusterIP"].startswith("10.")
    apiserver.apply(
        [service("web", made["spec"]["clusterIP"]), endpoint_slice("web", "10.244.0.6")]
    )
    endpoints = apiserver.request("GET", f"{SLICES}/web-1")["endpoints"]
    assert [endpoint["addresses"] for endpoint in endpoints] == [["10.244.0.6"]]
    apiserver.delete([service("web"), service("never-there")])
    assert names(apiserver, SERVICES) == set()


def test_a_refused_object_is_named(apiserver: ApiServer) -> None:
    with pytest.raises(LabError, match=r"services/web: 422 .*spec\.ports.*Required value"):
        apiserver.apply([service("web") | {"spec": {"clusterIP": "10.96.0.50"}}])
    with pytest.raises(LabError, match="no kind Carrot in v1"):
        apiserver.apply([{"apiVersion": "v1", "kind": "Carrot", "metadata": {"name": "c"}}])


def test_loaded_objects_are_like_created_ones_and_clear_leaves_none(apiserver: ApiServer) -> None:
    numbers = range(1, 201)
    apiserver.load([service(f"s{n}", f"10.100.0.{n}") for n in numbers])
    apiserver.load([endpoint_slice(f"s{n}", "10.244.0.5") for n in numbers])
    assert len(names(apiserver, SERVICES)) == 200
    loaded = apiserver.request("GET", f"{SERVICES}/s7")
    apiserver.apply([service("created")])
    created = apiserver.request("GET", f"{SERVICES}/created")
    assert loaded["spec"].keys() == created["spec"].keys()
    assert loaded["metadata"].keys() >= created["metadata"].keys() - {"managedFields"}
    with pytest.raises(LabError, match="already allocated"):
        apiserver.apply([service("thief", "10.100.0.7")])
    apiserver.clear()
    assert names(apiserver, SERVICES) == set()
    assert names(apiserver, SLICES) == set()
    apiserver.apply([service("owner", "10.100.0.7")])


def test_the_addresses_of_services_that_went_unseen_are_free(apiserver: ApiServer) -> None:
    gone = service("gone", "10.96.0.60")
    apiserver.apply([gone, service("stays", "10.96.0.61")])
    apiserver.kill()
    apiserver.etcd.delete([gone])
    apiserver.start()
    assert names(apiserver, SERVICES) == {"stays"}
    apiserver.apply([gone])
    assert names(apiserver, SERVICES) == {"stays", "gone"}


def test_a_restarted_server_has_its_objects_and_a_compacted_one_no_past(
    apiserver: ApiServer,
) -> None:
    apiserver.apply([service("web")])
    old = apiserver.request("GET", SERVICES)["metadata"]["resourceVersion"]
    apiserver.apply([service("late")])
    before = apiserver.pid()
    apiserver.compact()
    apiserver.restart()
    assert apiserver.pid() != before
    assert names(apiserver, SERVICES) == {"web", "late"}
    watched = apiserver.request("GET", f"{SERVICES}?watch=1&resourceVersion={old}&timeoutSeconds=5")
    assert '"code":410' in watched if isinstance(watched, str) else watched["object"]["code"] == 410


def test_who_has_no_rights_is_refused(apiserver: ApiServer) -> None:
    nobody = apiserver.kubeconfig_for("nobody", ["guests"])
    for path in (apiserver.kubeconfig, nobody):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    credential = apiserver.authority.issue("nobody")
    folder = apiserver.directory
    (folder / "nobody.crt").write_bytes(credential.certificate)
    (folder / "nobody.key").write_bytes(credential.key)
    tls = tls_context(folder / "ca.crt", folder / "nobody.crt", folder / "nobody.key")
    client = KubeClient(apiserver.netns, "127.0.0.1", apiserver.port, tls)
    with pytest.raises(LabError, match='403 services is forbidden: User "nobody" cannot list'):
        client.request("GET", SERVICES)


def test_a_server_without_its_etcd_s_port_shows_its_log(netns: Netns) -> None:
    netns.serve_tcp(2379)
    with pytest.raises(LabError, match=r"etcd did not start; its log ends:\n(.*\n)*.*in use"):
        ApiServer(netns)
