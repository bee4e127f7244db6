"""The manual page of nsx-node-agent, written from what the program knows of itself."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Iterator
from typing import Final

import msgspec

from nsxdp.flowrecords.record import FlowRecord, as_line
from nsxdp_agents.node_agent.cli import run
from nsxdp_agents.node_agent.cni.install import CONFLIST, conflist
from nsxdp_agents.node_agent.cni.request import VERSIONS
from nsxdp_agents.node_agent.metrics import Metrics
from nsxdp_agents.node_agent.ncp_options import OPTIONS as NCP_INI
from nsxdp_agents.node_agent.node import WANTS
from nsxdp_agents.node_agent.options import API_VERSION, KIND, Options
from pages import commands, ncp_ini
from pages.markdown import WRITTEN, code, item

__all__ = ["manual"]


def manual() -> str:
    """The page, in Markdown."""
    return (
        "\n".join([*_head(), *_options(), *ncp_ini.section(NCP_INI), *_plugin(), *_rest()]) + "\n"
    )


def _head() -> Iterator[str]:
    first, _, rest = inspect.cleandoc(run.__doc__ or "").partition("\n\n")
    yield from ("# nsx-node-agent", "", WRITTEN, "")
    yield from (first, "")
    yield from code(["nsx-node-agent [OPTIONS]"])
    yield ""
    yield from commands.text(rest)


def _options() -> Iterator[str]:
    keys = {
        field.name: f"In the file: `{field.encode_name}`."
        for field in msgspec.structs.fields(Options)
    }
    yield from ("## Options", "")
    yield from commands.options(run, keys, "###")
    yield textwrap.dedent(f"""\
        ## Configuration file

        What can be said by options can be said in a file; an option overrides it.

        ```yaml
        apiVersion: {API_VERSION}
        kind: {KIND}
        nodeName: node-1
        bridge: br-int
        mtu: 1450
        installCni: /opt/cni/bin
        ```

        When it says something else, the process ends with status 1, so that whoever started it
        starts it again. A file that can't be used any more is an error in the log, and nothing
        else. `/configz`, where the metrics are, shows all that is configured.

        The file alone has `server`, the API server's URL in place of the kubeconfig's, and, with
        it and without a kubeconfig, the files that it is spoken to with: `apiCaFile`, and
        `apiTokenFile` or `apiCertFile` and `apiKeyFile`.
        """)


def _plugin() -> Iterator[str]:
    yield textwrap.dedent(f"""\
        ## nsx-cni

        The plugin that the container runtime calls is a small program without a knowledge of its
        own: it hands what the runtime says to this agent, and to the runtime what the agent
        answers. It speaks the CNI specification's versions {", ".join(VERSIONS)}, and needs no
        library of the node's. `--install-cni` puts it where the runtime looks for it, along with
        `{CONFLIST}`:

        ```json""")
    yield conflist(Options().cni_socket).decode().rstrip("\n")
    yield textwrap.dedent("""\
        ```

        `socket` is where the agent listens. `timeout`, a number, is how many seconds the agent has
        for an answer: 60 if nothing is said, and at most 600. Without an answer the plugin fails
        with error 11, which tells a runtime to try again later.

        The pod's network namespace is handed over as an open file, so the agent needs to see none
        of the runtime's files.

        ## What a pod gets

        - An address of each of the node's networks. One that was released is given again as late
          as can be. The first address is the node's, on the bridge's own port; the second one is
          kept free.
        - A default route by the node, a MAC address that has the IPv4 address in it, and, where
          the bridge has a userspace datapath, an interface that leaves no checksums out.
        - A port on the bridge, whose `external_ids` say whose it is: `iface-id` is
          `NAMESPACE/POD`.
        - The node's ports that it asks for (`hostPort`), by TCP, UDP and SCTP: see below.
        - No more than the bandwidth that its annotations say, either way: see below.

        A pod is answered for when ovs-vswitchd has its port at work, and has confirmed the flows
        that forward for it.

        ## Forwarding

        A bridge that the agent makes has `fail_mode=secure`: it drops until it has flows. One that
        is there keeps its mode, for Open vSwitch deletes all flows when that changes; who wants it
        runs `ovs-vsctl set-fail-mode BRIDGE secure` before there are pods. The bridge's MAC address
        is written into its `other_config:hwaddr`: pods know their router by it.

        The bridge is the pods' switch and router: who may send what, who answers ARP and neighbor
        discovery, and which pod is where, is told by flows (forwarding.md). A pod is what a port's
        `external_ids` say. Every half minute, and after each restart of ovs-vswitchd, what the
        bridge has is compared with what it should have, and what differs is repaired.

        The bridge's own port has the first address of each podCIDR, and those that pods' networks
        of before had as long as such a pod is there: the agent marks them by protocol 111
        (`ip address show proto 111`; Linux keeps it since 5.18), and takes away no others. A
        network that is another node's now, it loses in any case.

        The node routes for its pods (`net.ipv4.ip_forward`, `net.ipv6.conf.all.forwarding`). Before
        it does so by IPv6, interfaces whose `accept_ra` is 1, and those to come, get 2: else Linux
        would forget the default routes that it heard of by router advertisements. Where /proc/sys
        is read-only for the agent, as in a container, `nsx-node-agent --init-only` does it before.
        No pods are added until it is so.

        ## Other nodes, and the outside

        Every other Node that has podCIDRs is a peer: its pods are reached as `--encapsulation`
        says, which is the same on all nodes.

        - `none`: by routes to the nodes' addresses (`InternalIP`), of which one of each family is
          needed that pods have. Nodes are in one network, without a router between them, and that
          network lets pods' addresses pass.
        - `geneve`, `vxlan`: in tunnels, by UDP, to the node's address of that family which is the
          first one of this node. The bridge's port `nsx-tunnel` leads to all of them. With a
          userspace datapath the node's address is at a bridge of that datapath, too.

        The node's kernel has the routes, marked by protocol 111 (`ip route show proto 111`), and
        the nftables table `inet nsxdp_pods`: what leaves the cluster gets the node's address, and
        between pods everybody has its own; neighbor discovery, which no policy judges, is not
        routed; and with tunnels no pod sends to their UDP port (Geneve's 6081, VXLAN's 4789) what
        leaves the node, for by the node's address it could send as other pods. The agent looks at
        both when a node comes or goes, when the kernel tells of links, addresses or these routes,
        at most once a second, and every 30 s, and touches only what differs. Both stay when the
        agent ends. When it starts, nothing is deleted before it knows all nodes.

        Pods and the bridge's own port have the MTU of the interface with the node's first
        `InternalIP`, less 50 bytes in tunnels between IPv4 addresses, and 70 between IPv6 ones.
        Where no interface of the node has it, that is 1500. A pod keeps the MTU that it was added
        with.

        ## The node's own interface

        With `--node-uplink NAME` the interface that has the node's addresses goes on a bridge of
        its own, `--node-bridge`, and the bridge's own port gets its MAC address, its MTU, its
        addresses and its routes, those of other tables, too. A switch with a userspace datapath
        needs that for tunnels. The bridge switches as any other. Without the option, all of it is
        given back when the agent starts, and a bridge that it made is gone.

        Connections to the node outlive both. At any time either the old interface or the bridge has
        all that it takes; if the agent is killed on the way, the next one goes on. What is moved is
        in the file `uplink` of `--state-dir` before it is: an interface that ovs-vswitchd makes
        anew gets it again, and what is added to or taken from the bridge's own port meanwhile is
        kept, too. Addresses that somebody, such as a DHCP client, gives the old interface move on;
        better let the client look after the bridge. An interface with a route of several next
        hops is refused. Link-local addresses are not moved, nor are settings (sysctl) such as
        `accept_ra`.

        With a userspace datapath, what comes by the interface would come to the kernel, too: the
        nftables table `netdev nsxdp_uplink` drops that.

        ## On a platform's network

        With `--forwarding nsx` a platform (NSX) switches, routes and filters for pods: each one has
        a VLAN of its own on the uplink, which leads to the platform's trunk, also on the way to
        another pod of this node. The bridge takes care that a pod sends with nothing but its own
        addresses, and has the Services; network policies, and the ways to other nodes and to the
        outside, are the platform's. forwarding.md has the flows.

        The uplink is the interface that `--uplink-port` names: the agent puts it on the bridge,
        sets it up, and writes `nsxdp-role=uplink` into its `external_ids`, by which nsx-kube-proxy
        knows it, too. It is an interface without addresses, beside that of the node's own network.

        What a pod has, the platform has said: in the annotation `ncp/pod-network` of the Pod, when
        the pod's port works there. Until then the pod's ADD waits, `--config-retry-timeout` seconds
        at most; then it fails with error 11, and what is missing is in its details. The plugin that
        `--install-cni` puts there waits for 30 seconds more than that; who installs it by other
        means lets `timeout` say so. A DEL ends the wait.

        ```json
        {
          "uid": "6d1c7f2e-0f0e-4ed6-9c0b-6a3a4d1f2b11",
          "vlan": 11,
          "mac_address": "02:50:56:00:00:0b",
          "ip_addresses": ["10.4.7.2/24", "fd00:4:7::2/64"],
          "gateway_ips": ["10.4.7.1", "fd00:4:7::1"]
        }
        ```

        `uid` is the Pod's own: what was said of another Pod of its name doesn't count. `vlan` is 1
        to 4093. There are one or two addresses, of different families, with their prefix lengths,
        and for each a gateway in its network. No VLAN, MAC address or address is given that another
        pod of this node still has. A pod keeps what it was added with.

        Who may change this annotation chooses a pod's network: where others than the platform's
        agent may change Pods, an admission policy should keep them from it.

        Pods have an MTU of 1500, if `--mtu` says nothing else. Who comes to a host
        port comes to the pod with the node's address, and nobody comes by 127.0.0.1.

        ## Host ports

        Who reaches the node at a container's `hostPort` reaches the pod: from outside, from pods,
        from the node itself, also at 127.0.0.1. `hostIP` names one of the node's addresses;
        `0.0.0.0` and `::` are all of that family. Everybody keeps his address, and so the pod's
        policies know who it is, but for who comes from 127.0.0.1 and for the pod itself: they come
        with the node's address on the bridge. (Without a source of policies all who come by the
        bridge do.) For who sends to a host port, policies are about the node that has it.

        The node's kernel translates, by the nftables table `inet nsxdp-host-ports`, at which the
        agent looks every 30 s. The table stays when the agent ends. A port that another pod has
        is an error 11: the runtime tries again, until that pod is gone. Programs of the node that
        listen at such a port get nothing there any more. By UDP, who asks on and on from one port
        gets the pod that there is, and not the one that there was: that takes conntrack(8).

        A runtime tells of host ports if the plugin's configuration has the capability
        `portMappings`, as the installed one does.

        ## Bandwidth

        A pod's annotations `kubernetes.io/ingress-bandwidth` and `kubernetes.io/egress-bandwidth`
        say how many bits a second may come to it, and leave it. Both ends of its pair of devices
        send by a token bucket filter (tc-tbf(8)): so it works with both of Open vSwitch's
        datapaths, of which the userspace one reads packets before the kernel could police them.
        What is too much waits for a 40th of a second, then it is dropped. A runtime names a burst,
        too, in bits; one of 4294967295 means that nobody said one, and it becomes 64 KiB, or
        what goes in a hundredth of a second. Bandwidth is read when a pod comes. A container with
        CAP_NET_ADMIN can take the limit of what it sends away; a CHECK finds it out.

        Open vSwitch is told to leave the queues alone, by a row of QoS with the type `linux-noop`.

        A runtime tells of bandwidth if the plugin's configuration has the capability `bandwidth`,
        as the installed one does.

        ## Restarts

        What pods have is in the file `leases` of `--state-dir`, and in the database of Open vSwitch
        at their ports: who loses one of them has the other. At its start the agent compares both
        with the kernel's devices. A pod whose device is gone is gone, and its address is free; a
        port that is missing is made again, and one that is nobody's goes, also while the agent
        runs. What is right isn't touched. Where the disk is full, or the API server can't be
        reached yet, pods are deleted, and none is added.
        """)


_SAMPLE: Final = (
    as_line(
        FlowRecord(
            node="node-1",
            start=1767225600.0,
            end=1767225612.5,
            verdict="allow",
            reason="end",
            protocol="TCP",
            source="10.244.0.3",
            source_port=41034,
            source_pod="default/client",
            source_node="node-1",
            destination="10.244.1.7",
            destination_port=8080,
            destination_pod="default/web",
            destination_node="node-2",
            service="default/web:http/TCP IPv4",
            service_address="10.96.0.10",
            service_port=80,
            packets=6,
            bytes=512,
            reply_packets=5,
            reply_bytes=2210,
            egress_rule="NetworkPolicy default/client egress[0]",
        )
    )
    .decode()
    .replace(',"', ',\n "')
    .rstrip()
)


def _rest() -> Iterator[str]:
    yield textwrap.dedent("""\
        ## Asking a running agent

        `ovs-appctl -t nsx-node-agent COMMAND`, on the node:

        - `pods`: what each pod has, a JSON object a line
        - `policy/show [NAMESPACE/POD]`: what policies let a pod do, in words
        - `peers`: the other nodes, their addresses, and the networks of their pods
        - `policy/counters`: what each rule of policies has decided, a line each: first packets of
          connections, and their bytes
        - `ipam/show`: the networks, and how many addresses are free
        - `node`: the node, and the others, in JSON
        - `pod/find NAMESPACE/NAME|ADDRESS`: a pod of the cluster and its addresses, in JSON
        - `policy/rule COOKIE`: the rule that a flow is of, and what it does, in JSON
        - `version`, `exit`, `list-commands`

        In a container, the agent doesn't know the number of its process on the node, and there
        ovs-appctl takes its pidfile for one that was left. So ask in its pod, or by its socket:

            kubectl -n kube-system exec NSX-NODE-AGENT-POD -- ovs-appctl -t nsx-node-agent pods
            ovs-appctl -t /var/run/openvswitch/nsx-node-agent.1.ctl pods

        `nsxdp trace POD DESTINATION` asks this, and tells what becomes of a packet: which Service
        and endpoint, which rule of policies decides, to which node it goes, and out of which port.

        ## Records of connections

        With `--flow-records FILE` or `--ipfix-collector HOST:PORT` the agent tells who talked with
        whom: of each connection that was let through the bridge to or from a pod of this node when
        it ended, and every minute of one that goes on (`reason` is `end`, `active`, or `idle`, of
        what is just tracked no more); and of packets that policies denied, at most ten a second. A
        connection between two nodes is told of by both; `node` says by which.

        ```json
        """)
    yield _SAMPLE
    yield textwrap.dedent("""\
        ```

        - `source` is who began it, `destination` who answered: a Service's endpoint. `service`,
          `service_address` and `service_port` say by which Service it came there, if it did; the
          name is known where nsx-kube-proxy runs beside. Who has left the node is still named.
        - `source_node` and `destination_node` are those of pods that are named.
        - `start` is when it was first seen, at most `--flow-records-interval` late, and `end` when
          it was last seen, or seen closed.
        - `packets`, `bytes`, `reply_packets` and `reply_bytes` are those since the beginning. They
          are `null` where the datapath doesn't count: the kernel's counts with
          `sysctl net.netfilter.nf_conntrack_acct=1`, the userspace one doesn't.
        - `verdict` is `allow`, or `deny`; then `policy`, `rule` and `direction` say by whom.
        - `egress_rule` is a rule that let the connection out of its source, `ingress_rule` one that
          let it into its destination, each told by that pod's own node, from the policies that
          there are when the record is written. Empty: no rule has to, as no policy is for the pod,
          or it is the node that reaches it; or none would any more. Where a Service had to
          masquerade the client, `ingress_rule` isn't known.

        A file can be moved away at any time: the next record goes to a new one of that name. A
        collector gets IPFIX (RFC 7011) by UDP, the templates every minute, the answers' counts as
        RFC 5103 has them, and names, policies and their rules by the elements of Antrea's registry
        (enterprise 56506). Its own name is looked up every minute, too.

        Connection tracking is asked once in an interval, and tells of what ended for half a minute:
        with a longer interval, short connections may be missed. At most 100,000 connections are
        remembered; where some 250,000 are tracked, the answer is too long: nothing is told, and the
        log says why. An output that is slow has room for 10,000 records, and two seconds for them
        when the agent ends. What is lost is counted, by `nsx_node_agent_flow_records_lost_total`.
        Where the agent keeps no policies (`--pod-cidr`, `--forwarding nsx`), only connections to
        Services are tracked, and told of.

        ## Permissions

        On the API server, to list and watch:
        """)
    for want in WANTS:
        resource = want.resource
        yield f"- `{resource.plural}` of {resource.group or 'the core group'}"
    yield textwrap.dedent("""
        With `--forwarding nsx`, `pods` alone, of this node.

        Where it may not read `clusternetworkpolicies`, its log says so, and pods wait for 15
        seconds at its start. Then it goes on as if there were none, until it may read them.

        On the machine: root, in the node's network namespace, with CAP_NET_ADMIN and, to enter
        pods' namespaces, CAP_SYS_ADMIN. Only processes of root may ask on the socket. With
        CAP_SYS_NICE the agent has a real-time priority (sched(7)), the lowest one, and so has
        nsx-cni while it waits: where many pods start at once, all processors are busy, and who has
        next to nothing to do would wait in line for most of the time that an ADD takes. It ends
        where the agent works for longer than a few pods need: for a second it then gets processors
        as any other; and what it has the kernel do for more than 30 ms goes on as others' work
        does. With `--realtime-priority 0` the agent does without, nsx-cni doesn't. nsx-ovs gives
        the same to Open vSwitch's daemons (`NSX_OVS_REALTIME_PRIORITY`), but not while they work
        without a pause. In cgroups of version 1, a kernel made with CONFIG_RT_GROUP_SCHED gives
        containers none, until `sysctl kernel.sched_rt_runtime_us=-1`.

        ## Health

        `/livez` answers 200 as long as the agent lives. `/healthz` answers 200 while pods can be
        added, else 503 with the reason, which the CNI's STATUS tells too.

        ## Metrics

        `/metrics`, for Prometheus.
        """)
    for family in Metrics(lambda: (), lambda: 0, lambda: 0).registry.collect():
        if family.name.startswith("nsx_"):
            name = f"{family.name}_total" if family.type == "counter" else family.name
            yield item(f"`{name}` ({family.type})", f"{family.documentation}.")
    yield textwrap.dedent("""
        The switch is asked for what rules have done when somebody asks, at most every two seconds.
        The first thousand rules by name have samples of their own, the rest are `rule="others"`. A
        count begins again at 0 when the rule's flow is made anew.

        ## Completion

        Of options, with the Tab key; in one shell as long as it lasts:

        - bash: `eval "$(_NSX_NODE_AGENT_COMPLETE=source_bash nsx-node-agent)"`
        - zsh: `eval "$(_NSX_NODE_AGENT_COMPLETE=source_zsh nsx-node-agent)"`, after
          `autoload -U compinit; compinit`
        - fish: `_NSX_NODE_AGENT_COMPLETE=source_fish nsx-node-agent | source`

        ## Signals and exit status

        SIGTERM and SIGINT end the process, when what it is doing for a runtime is done. Pods keep
        what they have.

        0: ended by a signal. 1: it can't start, or the configuration was changed; standard error
        has one line that says why and what to do. 2: an option that it doesn't know.""")
