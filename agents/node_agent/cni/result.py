"""What a runtime gets for a pod, in the version of the specification that it speaks."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from nsxdp_agents.node_agent.cni.request import VERSIONS, Dns
from nsxdp_agents.node_agent.leases import Lease, interface_of

__all__ = ["result"]

_WITHOUT_IP_VERSION: Final = VERSIONS.index("1.0.0")
_WITH_MTU: Final = VERSIONS.index("1.1.0")
_ANYWHERE: Final = {4: "0.0.0.0/0", 6: "::/0"}
_IN_POD: Final = 1
"""The place of the pod's end among the interfaces."""


def result(lease: Lease, version: str, dns: Dns | None) -> bytes:
    """The result of an ADD that gave 'lease', as JSON of that 'version'."""
    level = VERSIONS.index(version)
    inside: dict[str, Any] = {"name": lease.ifname, "mac": lease.mac, "sandbox": lease.sandbox}
    if level >= _WITH_MTU:
        inside["mtu"] = lease.mtu
    ips: list[dict[str, Any]] = []
    routes = []
    for address, gateway in zip(lease.ips, lease.gateways, strict=True):
        family = interface_of(address).version
        ip = {"address": address, "gateway": gateway, "interface": _IN_POD}
        ips.append(ip if level >= _WITHOUT_IP_VERSION else {"version": str(family), **ip})
        routes.append({"dst": _ANYWHERE[family], "gw": gateway})
    return msgspec.json.encode(
        {
            "cniVersion": version,
            "interfaces": [{"name": lease.port}, inside],
            "ips": ips,
            "routes": routes,
            "dns": dns or {},
        }
    )
