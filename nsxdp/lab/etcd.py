"""The lab's way past the API server: straight into its etcd, for what would take minutes otherwise.

kube-apiserver looks at all addresses in use whenever a Service is created or deleted, so that ten
thousand of them cost a minute; here they cost a second. What is written is what the server reads:
it decodes JSON from its storage as well as its own protobuf, and fills in the defaults. Agents
that watch see nothing unusual.
"""

import base64
import http.client
import ipaddress
import json
import uuid
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any

from nsxdp.lab.errors import LabError
from nsxdp.lab.netns import Netns

STORED = {
    "ConfigMap": "configmaps/{namespace}/{name}",
    "Deployment": "deployments/{namespace}/{name}",
    "EndpointSlice": "endpointslices/{namespace}/{name}",
    "Endpoints": "services/endpoints/{namespace}/{name}",
    "Event": "events/{namespace}/{name}",
    "IPAddress": "ipaddresses/{name}",
    "Namespace": "namespaces/{name}",
    "NetworkPolicy": "networkpolicies/{namespace}/{name}",
    "Node": "minions/{name}",
    "Pod": "pods/{namespace}/{name}",
    "Secret": "secrets/{namespace}/{name}",
    "Service": "services/specs/{namespace}/{name}",
}
"""Kind -> its key under kube-apiserver's ``--etcd-prefix``, for the kinds that agents here use."""

_REGISTRY = "/registry/"
_SYSTEM = frozenset({"default", "kube-system", "kube-public", "kube-node-lease"})
_MAX_OPERATIONS = 128  # etcd's --max-txn-ops


def command(data: Path, port: int) -> list[str]:
    """The command of an etcd that listens on the loopback, at `port` and the one after it."""
    client, peer = (f"http://127.0.0.1:{number}" for number in (port, port + 1))
    return [
        "etcd",
        f"--data-dir={data}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
        "--quota-backend-bytes=4294967296",
        "--logger=zap",
        "--log-level=warn",
        # A lab that loses its machine has lost itself.
        "--unsafe-no-fsync",
    ]


class Etcd:
    """Requests to the etcd at `host`:`port` of `netns`, by its JSON gateway."""

    def __init__(self, netns: Netns, host: str, port: int) -> None:
        self._netns = netns
        self._host = host
        self._port = port

    def call(self, *requests: tuple[str, Mapping[str, object]]) -> list[dict[str, Any]]:
        """Post (method, body) pairs on one connection; the answers."""
        answers = []
        with self._netns.enter():
            connection = http.client.HTTPConnection(self._host, self._port, timeout=60)
            try:
                for method, body in requests:
                    connection.request("POST", f"/v3/kv/{method}", json.dumps(body))
                    answer = connection.getresponse()
                    text = answer.read().decode()
                    if answer.status != http.client.OK:
                        raise LabError(f"etcd: {method}: {answer.status} {text}")
                    answers.append(json.loads(text))
            finally:
                connection.close()
        return answers

    def revision(self) -> int:
        """The store's present revision: Kubernetes's resourceVersion."""
        return int(self.call(("range", {"key": _encoded("\0")}))[0]["header"]["revision"])

    def compact(self) -> int:
        """Forget all before the present revision; that revision."""
        revision = self.revision()
        self.call(("compaction", {"revision": str(revision), "physical": True}))
        return revision

    def keys(self, prefix: str) -> list[str]:
        """All keys that begin with `prefix`."""
        end = prefix[:-1] + chr(ord(prefix[-1]) + 1)
        body = {"key": _encoded(prefix), "range_end": _encoded(end), "keys_only": True}
        found = self.call(("range", body))[0].get("kvs", [])
        return [base64.b64decode(row["key"]).decode() for row in found]

    def load(self, items: Iterable[Mapping[str, Any]]) -> None:
        """Store Kubernetes objects, as a backup is restored: nobody checks or completes them.

        Services need their ``clusterIP``; for each, the IPAddress that reserves it is stored too.

        Raises
        ------
        LabError
            For a kind without a known key.
        """
        puts: dict[str, list[Mapping[str, object]]] = {}
        for item in items:
            for stored in _with_reservations(item):
                put = {"key": _encoded(_key(stored)), "value": _encoded(json.dumps(stored))}
                puts.setdefault(stored["kind"], []).append({"requestPut": put})
        self._commit(iter(puts.pop("IPAddress", [])))
        # Of one kind, a revision has one object: who lists between two objects of one revision,
        # and watches from there, never hears of the second.
        rows = zip_longest(*puts.values())
        self.call(*(("txn", {"success": [put for put in row if put]}) for row in rows))

    def delete(self, items: Iterable[Mapping[str, Any]]) -> None:
        """Delete Kubernetes objects, in one revision: as from the store of a server that is away.

        With Services go the IPAddresses that reserve theirs: the server would refuse a Service
        with such an address until it has seen, after minutes, that nobody has it.
        """
        self._commit(
            {"requestDeleteRange": {"key": _encoded(_key(stored))}}
            for item in items
            for stored in _with_reservations(item)
        )

    def clear(self) -> None:
        """Delete all objects of the known kinds but those that the server keeps for itself.

        Many go in one revision, which is for when nobody watches: see `load`.
        """
        prefixes = sorted({_REGISTRY + key.split("{")[0] for key in STORED.values()})
        self._commit(
            {"requestDeleteRange": {"key": _encoded(key)}}
            for prefix in prefixes
            for key in self.keys(prefix)
            if not self._is_the_server_s_own(key)
        )

    def _is_the_server_s_own(self, key: str) -> bool:
        kind, _, rest = key.removeprefix(_REGISTRY).rpartition("/")
        resource, _, namespace = kind.rpartition("/")
        if kind == "namespaces":
            return rest in _SYSTEM
        if kind == "ipaddresses":
            return int(ipaddress.ip_address(rest)) & 0xFFFF == 1
        if namespace in _SYSTEM - {"default"}:
            return True
        return (namespace, rest) == ("default", "kubernetes") and resource.startswith("services")

    def _commit(self, operations: Iterator[Mapping[str, object]]) -> None:
        requests = []
        while batch := list(islice(operations, _MAX_OPERATIONS)):
            requests.append(("txn", {"success": batch}))
        self.call(*requests)


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _key(item: Mapping[str, Any]) -> str:
    metadata = item["metadata"]
    try:
        pattern = STORED[item["kind"]]
    except KeyError:
        raise LabError(f"{item['kind']}: not a kind that can be loaded into etcd") from None
    return _REGISTRY + pattern.format(
        namespace=metadata.get("namespace", "default"), name=metadata["name"]
    )


def _with_reservations(item: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The object with what the server gives otherwise, after the addresses that it reserves."""
    metadata = {
        "uid": str(uuid.uuid4()),
        "creationTimestamp": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "generation": 1,
        **item["metadata"],
    }
    if "{namespace}" in STORED.get(item["kind"], ""):
        metadata.setdefault("namespace", "default")
    if item["kind"] != "Service":
        yield {**item, "metadata": metadata}
        return
    spec = dict(item["spec"])
    addresses = spec.get("clusterIPs") or [spec.get("clusterIP")]
    if not addresses[0]:
        raise LabError(f"Service {metadata['name']}: give it a clusterIP to load it into etcd")
    families = ["IPv6" if ":" in address else "IPv4" for address in addresses]
    spec |= {"clusterIP": addresses[0], "clusterIPs": addresses, "ipFamilies": families}
    spec.setdefault("ipFamilyPolicy", "SingleStack" if len(families) == 1 else "RequireDualStack")
    for address, family in zip(addresses, families, strict=True):
        if address != "None":
            yield _reservation(address, family, metadata)
    yield {**item, "metadata": metadata, "spec": spec, "status": {"loadBalancer": {}}}


def _reservation(address: str, family: str, service: Mapping[str, Any]) -> Mapping[str, Any]:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "IPAddress",
        "metadata": {
            "name": address,
            "uid": str(uuid.uuid4()),
            "creationTimestamp": service["creationTimestamp"],
            "labels": {
                "ipaddress.kubernetes.io/ip-family": family,
                "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io",
            },
        },
        "spec": {
            "parentRef": {
                "group": "",
                "resource": "services",
                "namespace": service["namespace"],
                "name": service["name"],
            }
        },
    }
