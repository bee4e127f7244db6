"""A Kubernetes node in a namespace: a bridge of its own, a gateway, and pods behind it."""

import contextlib
import hashlib
import ipaddress
from collections.abc import Sequence

from nsxdp.lab import tools
from nsxdp.lab.errors import LabError
from nsxdp.lab.netns import Netns
from nsxdp.lab.ovs import OVS

AUTO = "auto"
"""As an address of a pod: the next free one of the node's subnet."""

SERVICE_HOPS = {4: "169.254.96.1", 6: "fe80::96:1"}
"""Next hop of the host's route to Services: nobody has the address, its MAC is what counts."""

_INTERFACE_NAME_MAX = 15


class Pod(Netns):
    """A host behind one port of a node's bridge.

    Attributes
    ----------
    port
        Name of its interface on the bridge.
    ip, ip6
        Its addresses, or None.
    mac
        Of its ``eth0``.
    """

    def __init__(
        self,
        name: str,
        *,
        namespace: str,
        port: str,
        mac: str,
        ip: str | None,
        ip6: str | None,
    ) -> None:
        super().__init__(name)
        self.namespace = namespace
        self.port = port
        self.mac = mac
        self.ip = ip
        self.ip6 = ip6

    @property
    def addresses(self) -> list[str]:
        """Those that it has, IPv4 first."""
        return [address for address in (self.ip, self.ip6) if address]


class Node:
    """A namespace that is a node: Open vSwitch inside, a bridge whose local port is the gateway.

    Parameters
    ----------
    name
        The node's name.
    bridge
        The bridge's name, and so the gateway interface's.
    gateway, gateway6
        The gateway's addresses with their prefix length; None for a node without that family.
    mac
        The gateway's MAC address.
    service_cidrs
        Ranges that the node routes into the bridge, as a kube-proxy would: for tests of flows
        without one. The packets' destination MAC is `service_mac`.
    fail_mode
        ``standalone``: the bridge starts with a NORMAL flow, so pods reach each other at once.
        ``secure``: it starts empty.
    ovsdb_servers
        That have Open vSwitch's database (see `OVS`).

    Attributes
    ----------
    netns
        The namespace.
    ovs
        The Open vSwitch inside; a restart of it gives the gateway its addresses again.
    pods
        By name.
    name, bridge, mac, service_mac
        As they were given.
    gateway, gateway6
        As they were given, as `ipaddress` has interfaces.

    Raises
    ------
    LabError
        Something could not be started; `MissingTool` where the machine lacks something.

    Examples
    --------
    >>> from nsxdp.lab import Node
    >>> with Node() as node:
    ...     web, client = node.add_pod("web"), node.add_pod("client")
    ...     _ = web.serve_http(80)
    ...     print(client.http_get(f"http://{web.ip}/"))
    ...     print(node.ovs.ofctl("dump-flows", "--no-stats", node.bridge))
    web
     priority=0 actions=NORMAL
    """

    def __init__(
        self,
        name: str = "node",
        *,
        bridge: str = "br-int",
        gateway: str | None = "10.244.0.1/24",
        gateway6: str | None = "fd00:244::1/64",
        mac: str = "0a:58:0a:f4:00:01",
        service_cidrs: Sequence[str] = (),
        service_mac: str = "0a:58:a9:fe:60:01",
        fail_mode: str = "standalone",
        ovsdb_servers: int = 1,
    ) -> None:
        tools.require("ethtool")
        self.name = name
        self.bridge = bridge
        self.mac = mac
        self.service_mac = service_mac
        self.gateway = ipaddress.IPv4Interface(gateway) if gateway else None
        self.gateway6 = ipaddress.IPv6Interface(gateway6) if gateway6 else None
        self._service_cidrs = [ipaddress.ip_network(cidr) for cidr in service_cidrs]
        self.pods: dict[str, Pod] = {}
        self._closing = contextlib.ExitStack()
        try:
            self.netns = self._closing.enter_context(Netns(name))
            for key, value in (
                ("net.ipv4.ip_forward", 1),
                ("net.ipv6.conf.all.forwarding", 1),
                ("net.ipv4.conf.all.rp_filter", 0),
                ("net.ipv4.conf.default.rp_filter", 0),
                # Pod to pod through the gateway leaves where it came in: that needs no redirect.
                ("net.ipv4.conf.all.send_redirects", 0),
                ("net.ipv4.conf.default.send_redirects", 0),
            ):
                self.netns.sysctl(key, value)
            self.ovs = self._closing.enter_context(OVS(self.netns, servers=ovsdb_servers))
            self.ovs.add_bridge(bridge, hwaddr=mac, fail_mode=fail_mode)
            self._set_up_gateway()
            self.ovs.after_start.append(self._set_up_gateway)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Remove pods, switch and namespace."""
        for pod in self.pods.values():
            pod.close()
        self.pods.clear()
        self._closing.close()

    def __enter__(self) -> "Node":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def mgmt(self) -> str:
        """The bridge's OpenFlow address, ``unix:FILE``."""
        return self.ovs.mgmt(self.bridge)

    @property
    def ovsdb(self) -> str:
        """The database's address, ``unix:FILE``; of a cluster, all of them."""
        return self.ovs.ovsdb

    def add_pod(
        self,
        name: str,
        *,
        ip: str | None = AUTO,
        ip6: str | None = AUTO,
        namespace: str = "default",
        mac: str | None = None,
    ) -> Pod:
        """Make a host, plug it into the bridge, and record in OVSDB whose port it is.

        The transaction that adds the port gives its Interface the ``external_ids`` ``iface-id``
        (``namespace/name``), ``attached-mac`` and ``ip_addresses`` (with commas).

        Parameters
        ----------
        ip, ip6
            Addresses in the gateway's subnets, "auto" for the next free ones, or None.
        mac
            Of its ``eth0``; None: one that goes with its address.

        Raises
        ------
        LabError
            There is a pod of that name, or no such address is free.
        """
        if name in self.pods:
            raise LabError(f"{self.name} has a pod {name} already")
        ip = self._address(self.gateway, ip)
        ip6 = self._address(self.gateway6, ip6)
        pod = Pod(
            name,
            namespace=namespace,
            port=self._port_name(namespace, name),
            mac=mac or _mac(ip, f"{namespace}/{name}"),
            ip=ip,
            ip6=ip6,
        )
        try:
            self._plug(pod)
        except BaseException:
            pod.close()
            raise
        self.pods[name] = pod
        return pod

    def del_pod(self, pod: Pod) -> None:
        """Unplug a pod and end it."""
        self.ovs.vsctl("--if-exists", "del-port", self.bridge, pod.port)
        self.pods.pop(pod.short, None)
        pod.close()

    def _plug(self, pod: Pod) -> None:
        self.netns.iproute(
            f"link add {pod.port} type veth peer name eth0 address {pod.mac} netns {pod.name}",
            # With the userspace datapath the kernel hears what comes in here too. If it answered
            # ARP for the gateway, with this device's MAC, pods would send past the bridge.
            f"link set {pod.port} addrgenmode none arp off up",
        )
        commands = ["link set eth0 up"]
        for address, gateway in ((pod.ip, self.gateway), (pod.ip6, self.gateway6)):
            if address and gateway:
                flags = " nodad" if gateway.version == 6 else ""
                commands += [
                    f"addr add {address}/{gateway.network.prefixlen} dev eth0{flags}",
                    f"route add default via {gateway.ip}",
                ]
        pod.iproute(*commands)
        # The userspace datapath gets the frame as it is: nobody fills in a checksum after us.
        pod.run(["ethtool", "-K", "eth0", "tx", "off"])
        self.ovs.vsctl(
            *("add-port", self.bridge, pod.port),
            *("--", "set", "interface", pod.port),
            f"external_ids:iface-id={pod.namespace}/{pod.short}",
            f'external_ids:attached-mac="{pod.mac}"',
            f'external_ids:ip_addresses="{",".join(pod.addresses)}"',
        )

    def _set_up_gateway(self) -> None:
        device = self.bridge
        commands = [f"link set {device} up"]
        for gateway in (self.gateway, self.gateway6):
            if gateway is None:
                continue
            flags = " nodad" if gateway.version == 6 else ""
            commands.append(f"addr replace {gateway} dev {device}{flags}")
            if not self._service_cidrs:
                continue
            hop = SERVICE_HOPS[gateway.version]
            commands.append(
                f"neigh replace {hop} lladdr {self.service_mac} dev {device} nud permanent"
            )
            commands += [
                f"route replace {cidr} via {hop} dev {device} onlink src {gateway.ip}"
                for cidr in self._service_cidrs
                if cidr.version == gateway.version
            ]
        self.netns.iproute(*commands)

    def _address(
        self,
        gateway: ipaddress.IPv4Interface | ipaddress.IPv6Interface | None,
        wanted: str | None,
    ) -> str | None:
        if gateway is None or wanted is None:
            return None
        if wanted != AUTO:
            if ipaddress.ip_address(wanted) not in gateway.network:
                raise LabError(f"{wanted} is not in {gateway.network}, the subnet of {self.name}")
            return wanted
        taken = {address for pod in self.pods.values() for address in pod.addresses}
        for host in gateway.network.hosts():
            if host != gateway.ip and str(host) not in taken:
                return str(host)
        raise LabError(f"{self.name}: no address is left in {gateway.network}")

    def _port_name(self, namespace: str, name: str) -> str:
        taken = {pod.port for pod in self.pods.values()} | {self.bridge}
        if len(name) <= _INTERFACE_NAME_MAX and name not in taken:
            return name
        return f"{name[:8]}-{hashlib.sha256(f'{namespace}/{name}'.encode()).hexdigest()[:6]}"


def _mac(ip: str | None, name: str) -> str:
    """The MAC address that goes with an address: locally administered, the same in every run."""
    if ip:
        octets = bytes([0x0A, 0x58]) + ipaddress.IPv4Address(ip).packed
    else:
        octets = bytes([0x0A, 0x59]) + hashlib.sha256(name.encode()).digest()[:4]
    return octets.hex(":")
