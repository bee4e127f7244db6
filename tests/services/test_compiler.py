"""What becomes of Services: Kubernetes objects in, groups and flows in ovs-ofctl's syntax out.

Each case of `CASES` is a part of the specification. Group and bucket ids are hashes; here they are
what they stand for: ``G(web:80/tcp)`` is the group of that Service port, ``B(10.244.0.5:8080)`` the
bucket of that endpoint.
"""

from __future__ import annotations

from typing import NamedTuple

import pytest
from planned import Planned, statements


class Case(NamedTuple):
    name: str
    manifests: str
    flows: str


CASES = (
    Case(
        "ClusterIP, TCP: one group, one bucket an endpoint, one flow",
        """
        kind: Service
        apiVersion: v1
        metadata: {name: web, namespace: default}
        spec: {clusterIP: 10.96.0.10, ports: [{port: 80, targetPort: 8080}]}
        ---
        kind: EndpointSlice
        apiVersion: discovery.k8s.io/v1
        metadata:
          {name: web-1, namespace: default, labels: {kubernetes.io/service-name: web}}
        addressType: IPv4
        ports: [{name: "", port: 8080}]
        endpoints:
          - {addresses: [10.244.0.5]}
          - {addresses: [10.244.0.6]}
        """,
        """
        group_id=G(web:80/tcp),type=select,selection_method=dp_hash,
            bucket=bucket_id:B(10.244.0.5:8080),weight:100,actions=ct(commit,table=ServiceSNAT,
              zone=65312,nat(dst=10.244.0.5:8080),exec(set_field:0x10/0x10->ct_mark)),
            bucket=bucket_id:B(10.244.0.6:8080),weight:100,actions=ct(commit,table=ServiceSNAT,
              zone=65312,nat(dst=10.244.0.6:8080),exec(set_field:0x10/0x10->ct_mark))
        table=ServiceLB, priority=200,tcp,nw_dst=10.96.0.10,tp_dst=80
            actions=group:G(web:80/tcp)
        table=ServiceLB, priority=150,ip,nw_dst=10.96.0.10 actions=meter:28161,CONTROLLER:256
        """,
    ),
    Case(
        "UDP over IPv6",
        """
        kind: Service
        apiVersion: v1
        metadata: {name: dns, namespace: kube-system}
        spec:
          clusterIP: "fd00:96::a"
          ipFamilies: [IPv6]
          ports: [{name: dns, protocol: UDP, port: 53}]
        ---
        kind: EndpointSlice
        apiVersion: discovery.k8s.io/v1
        metadata:
          {name: dns-1, namespace: kube-system, labels: {kubernetes.io/service-name: dns}}
        addressType: IPv6
        ports: [{name: dns, protocol: UDP, port: 53}]
        endpoints: [{addresses: ["fd00:244::5"]}]
        """,
        """
        group_id=G(dns:53/udp6),type=select,selection_method=dp_hash,
            bucket=bucket_id:B([fd00:244::5]:53),weight:100,actions=ct(commit,table=ServiceSNAT,
              zone=65312,nat(dst=[fd00:244::5]:53),exec(set_field:0x10/0x10->ct_mark))
        table=ServiceLB, priority=210,ipv6,reg0=0x20/0x20,ipv6_dst=fd00:96::a
            actions=group:G(dns:53/udp6)
        table=ServiceLB, priority=205,ct_state=+new+trk,ct_nw_proto=17,ct_tp_dst=53,udp6,
            ipv6_dst=fd00:96::a,nw_frag=first
            actions=set_field:0x20/0x20->reg0,resubmit(,ServiceLB)
        table=ServiceLB, priority=200,udp6,ipv6_dst=fd00:96::a,tp_dst=53
            actions=group:G(dns:53/udp6)
        table=ServiceLB, priority=150,ipv6,ipv6_dst=fd00:96::a actions=meter:28161,CONTROLLER:256
        """,
    ),
    Case(
        "KP-12: dual stack is a group and a flow in each family; each has its own endpoints",
        """
        kind: Service
        apiVersion: v1
        metadata: {name: web, namespace: default}
        spec:
          clusterIPs: [10.96.0.10, "fd00:96::10"]
          clusterIP: 10.96.0.10
          ipFamilies: [IPv4, IPv6]
          ports: [{port: 80}]
        ---
        kind: EndpointSlice
        apiVersion: discovery.k8s.io/v1
        metadata:
          {name: web-4, namespace: default, labels: {kubernetes.io/service-name: web}}
        addressType: IPv4
        ports: [{name: "", port: 8080}]
        endpoints: [{addresses: [10.244.0.5]}]
        ---
        kind: EndpointSlice
        apiVersion: discovery.k8s.io/v1
        metadata:
          {name: web-6, namespace: default, labels: {kubernetes.io/service-name: web}}
        addressType: IPv6
        ports: [{name: "", port: 8080}]
        endpoints: [{addresses: ["fd00:244::5"]}]
        """,
        """
        group_id=G(web:80/tcp),type=select,selection_method=dp_hash,
            bucket=bucket_id:B(10.244.0.5:8080),weight:100,actions=ct(commit,table=ServiceSNAT,
              zone=65312,nat(dst=10.244.0.5:8080),exec(set_field:0x10/0x10->ct_mark))
        group_id=G(web:80/tcp6),type=select,selection_method=dp_hash,
            bucket=bucket_id:B([fd00:244::5]:8080),weight:100,actions=ct(commit,table=ServiceSNAT,
              zone=65312,nat(dst=[fd00:244::5]:8080),exec(set_field:0x10/0x10->ct_mark))
        table=ServiceLB, priority=200,tcp,nw_dst=10.96.0.10,tp_dst=80
            actions=group:G(web:80/tcp)
        table=ServiceLB, priority=200,tcp6,ipv6_dst=fd00:96::10,tp_dst=80
            actions=group:G(web:80/tcp6)
        table=ServiceLB, priority=150,ip,nw_dst=10.96.0.10 actions=meter:28161,CONTROLLER:256
        table=ServiceLB, priority=150,ipv6,ipv6_dst=fd00:96::10 actions=meter:28161,CONTROLLER:256
        """,
    ),
    Case(
        "KP-43, KP-44: several ports; one number on two protocols is two Service ports; SCTP",
        """
        kind: Service
        apiVersion: v1
        metadata: {name: dns, namespace: kube-system}
        spec:
          clusterIP: 10.96.0.10
          ports:
            - {name: dns, protocol: UDP, port: 53}
            - {name: dns-tcp, protocol: TCP, port: 53}
            - {name: diameter, protocol: SCTP, port: 3868}
        ---
        kind: EndpointSlice
        apiVersion: discovery.k8s.io/v1
        metadata:
          {name: dns-1, namespace: kube-system, labels: {kubernetes.io/service-name: dns}}
        addressType: IPv4
        ports:
          - {name: dns, protocol: UDP, port: 1053}
          - {name: dns-tcp, protocol: TCP, port: 1054}
          - {name: diameter, protocol: SCTP, port: 3868}
        endpoints: [{addresses: [10.244.0.5]}]
        """,
        """
        group_id=G(dns:3868/sctp),type=select,selection_method=dp_hash,
            bucket=bucket_id:B(10.244.0.5:3868),weight:100,actions=ct(commit,table=ServiceSNAT,
              zone=65312,nat(dst=10.244.0.5:3868),exec(set_field:0x10/0x10->ct_mark))
        group_id=G(dns:53/tcp),type=select,selection_method=dp_hash,
            bucket=bucket_id:B(10.244.0.5:1054),weight:100,actions=ct(commit,table=ServiceSNAT,
              zone=65312,nat(dst=10.244.0.5:1054),exec(set_field:0x10/0x10->ct_mark))
        group_id=G(dns:53/udp),type=select,selection_method=dp_hash,
            bucket=bucket_id:B(10.244.0.5:1053),weight:100,actions=ct(commit,table=ServiceSNAT,
              zone=65312,nat(dst=10.244.0.5:1053),exec(set_field:0x10/0x10->ct_mark))
        table=ServiceLB, priority=210,ip,reg0=0x20/0x20,nw_dst=10.96.0.10
            actions=group:G(dns:53/udp)
        table=ServiceLB, priority=205,ct_state=+new+trk,ct_nw_proto=17,ct_tp_dst=53,udp,
            nw_dst=10.96.0.10,nw_frag=first
            actions=set_field:0x20/0x20->reg0,resubmit(,ServiceLB)
        table=ServiceLB, priority=200,sctp,nw_dst=10.96.0.10,tp_dst=3868
            actions=group:G(dns:3868/sctp)
        table=ServiceLB, priority=200,tcp,nw_dst=10.96.0.10,tp_dst=53
            actions=group:G(dns:53/tcp)
        table=ServiceLB, priority=200,udp,nw_dst=10.96.0.10,tp_dst=53
            actions=group:G(dns:53/udp)
        table=ServiceLB, priority=150,ip,nw_dst=10.96.0.10 actions=meter:28161,CONTROLLER:256
        """,
    ),
    Case(
        "of two UDP ports, a later fragment is for either: no flow is for fragments",
        """
        kind: Service
        apiVersion: v1
        metadata: {name: dns, namespace: kube-system}
        spec:
          clusterIP: 10.96.0.10
          ports:
            - {name: dns, protocol: UDP, port: 53}
            - {name: other, protocol: UDP, port: 54}
        ---
        kind: EndpointSlice
        apiVersion: discovery.k8s.io/v1
        metadata:
          {name: dns-1, namespace: kube-system, labels: {kubernetes.io/service-name: dns}}
        addressType: IPv4
        ports:
          - {name: dns, protocol: UDP, port: 1053}
          - {name: other, protocol: UDP, port: 1054}
        endpoints: [{addresses: [10.244.0.5]}]
        """,
        """
        group_id=G(dns:53/udp),type=select,selection_method=dp_hash,
            bucket=bucket_id:B(10.244.0.5:1053),weight:100,actions=ct(commit,table=ServiceSNAT,
              zone=65312,nat(dst=10.244.0.5:1053),exec(set_field:0x10/0x10->ct_mark))
        group_id=G(dns:54/udp),type=select,selection_method=dp_hash,
            bucket=bucket_id:B(10.244.0.5:1054),weight:100,actions=ct(commit,table=ServiceSNAT,
              zone=65312,nat(dst=10.244.0.5:1054),exec(set_field:0x10/0x10->ct_mark))
        table=ServiceLB, priority=200,udp,nw_dst=10.96.0.10,tp_dst=53
            actions=group:G(dns:53/udp)
        table=ServiceLB, priority=200,udp,nw_dst=10.96.0.10,tp_dst=54
            actions=group:G(dns:54/udp)
        table=ServiceLB, priority=150,ip,nw_dst=10.96.0.10 actions=meter:28161,CONTROLLER:256
        """,
    ),
    Case(
        "KP-25: no endpoints, and none that is ready: rejected by the agent, at a limited rate",
        """
        kind: Service
        apiVersion: v1
        metadata: {name: empty, namespace: default}
        spec: {clusterIP: 10.96.0.99, ports: [{port: 80}]}
        ---
        kind: Service
        apiVersion: v1
        metadata: {name: starting, namespace: default}
        spec: {clusterIP: "fd00:96::99", ipFamilies: [IPv6], ports: [{port: 53, protocol: UDP}]}
        ---
        kind: EndpointSlice
        apiVersion: discovery.k8s.io/v1
        metadata:
          {name: starting-1, namespace: default, labels: {kubernetes.io/service-name: starting}}
        addressType: IPv6
        ports: [{name: "", protocol: UDP, port: 53}]
        endpoints: [{addresses: ["fd00:244::5"], conditions: {ready: false}}]
        """,
        """
        table=ServiceLB, priority=200,tcp,nw_dst=10.96.0.99,tp_dst=80
            actions=meter:28161,CONTROLLER:256
        table=ServiceLB, priority=200,udp6,ipv6_dst=fd00:96::99,tp_dst=53
            actions=meter:28161,CONTROLLER:256
        table=ServiceLB, priority=150,ip,nw_dst=10.96.0.99 actions=meter:28161,CONTROLLER:256
        table=ServiceLB, priority=150,ipv6,ipv6_dst=fd00:96::99 actions=meter:28161,CONTROLLER:256
        """,
    ),
    Case(
        "KP-23: internalTrafficPolicy Local uses local endpoints alone; without any it drops",
        """
        kind: Service
        apiVersion: v1
        metadata: {name: both, namespace: default}
        spec: {clusterIP: 10.96.0.1, internalTrafficPolicy: Local, ports: [{port: 80}]}
        ---
        kind: EndpointSlice
        apiVersion: discovery.k8s.io/v1
        metadata:
          {name: both-1, namespace: default, labels: {kubernetes.io/service-name: both}}
        addressType: IPv4
        ports: [{name: "", port: 8080}]
        endpoints:
          - {addresses: [10.244.0.5], nodeName: here}
          - {addresses: [10.244.1.5], nodeName: there}
        ---
        kind: Service
        apiVersion: v1
        metadata: {name: elsewhere, namespace: default}
        spec: {clusterIP: 10.96.0.2, internalTrafficPolicy: Local, ports: [{port: 80}]}
        ---
        kind: EndpointSlice
        apiVersion: discovery.k8s.io/v1
        metadata:
          {name: elsewhere-1, namespace: default, labels: {kubernetes.io/service-name: elsewhere}}
        addressType: IPv4
        ports: [{name: "", port: 8080}]
        endpoints: [{addresses: [10.244.1.6], nodeName: there}]
        """,
        """
        group_id=L(both:80/tcp),type=select,selection_method=dp_hash,
            bucket=bucket_id:B(10.244.0.5:8080),weight:100,actions=ct(commit,table=ServiceSNAT,
              zone=65312,nat(dst=10.244.0.5:8080),exec(set_field:0x10/0x10->ct_mark))
        table=ServiceLB, priority=200,tcp,nw_dst=10.96.0.1,tp_dst=80
            actions=group:L(both:80/tcp)
        table=ServiceLB, priority=200,tcp,nw_dst=10.96.0.2,tp_dst=80
            actions=drop
        table=ServiceLB, priority=150,ip,nw_dst=10.96.0.1 actions=meter:28161,CONTROLLER:256
        table=ServiceLB, priority=150,ip,nw_dst=10.96.0.2 actions=meter:28161,CONTROLLER:256
        """,
    ),
    Case(
        "KP-20: endpoints that terminate but serve are used where no other is ready",
        """
        kind: Service
        apiVersion: v1
        metadata: {name: ending, namespace: default}
        spec: {clusterIP: 10.96.0.1, ports: [{port: 80}]}
        ---
        kind: EndpointSlice
        apiVersion: discovery.k8s.io/v1
        metadata:
          {name: ending-1, namespace: default, labels: {kubernetes.io/service-name: ending}}
        addressType: IPv4
        ports: [{name: "", port: 8080}]
        endpoints:
          - addresses: [10.244.0.5]
            conditions: {ready: false, serving: true, terminating: true}
          - addresses: [10.244.0.6]
            conditions: {ready: false, serving: false, terminating: true}
        ---
        kind: Service
        apiVersion: v1
        metadata: {name: rolling, namespace: default}
        spec: {clusterIP: 10.96.0.2, ports: [{port: 80}]}
        ---
        kind: EndpointSlice
        apiVersion: discovery.k8s.io/v1
        metadata:
          {name: rolling-1, namespace: default, labels: {kubernetes.io/service-name: rolling}}
        addressType: IPv4
        ports: [{name: "", port: 8080}]
        endpoints:
          - addresses: [10.244.0.7]
            conditions: {ready: false, serving: true, terminating: true}
          - addresses: [10.244.0.8]
        """,
        """
        group_id=G(ending:80/tcp),type=select,selection_method=dp_hash,
            bucket=bucket_id:B(10.244.0.5:8080),weight:100,actions=ct(commit,table=ServiceSNAT,
              zone=65312,nat(dst=10.244.0.5:8080),exec(set_field:0x10/0x10->ct_mark))
        group_id=G(rolling:80/tcp),type=select,selection_method=dp_hash,
            bucket=bucket_id:B(10.244.0.8:8080),weight:100,actions=ct(commit,table=ServiceSNAT,
              zone=65312,nat(dst=10.244.0.8:8080),exec(set_field:0x10/0x10->ct_mark))
        table=ServiceLB, priority=200,tcp,nw_dst=10.96.0.1,tp_dst=80
            actions=group:G(ending:80/tcp)
        table=ServiceLB, priority=200,tcp,nw_dst=10.96.0.2,tp_dst=80
            actions=group:G(rolling:80/tcp)
        table=ServiceLB, priority=150,ip,nw_dst=10.96.0.1 actions=meter:28161,CONTROLLER:256
        table=ServiceLB, priority=150,ip,nw_dst=10.96.0.2 actions=meter:28161,CONTROLLER:256
        """,
    ),
    Case(
        "KP-33, KP-34: session affinity is learned by client address and Service port",
        """
        kind: Service
        apiVersion: v1
        metadata: {name: cart, namespace: default}
        spec:
          clusterIP: 10.96.0.20
          sessionAffinity: ClientIP
          ports: [{port: 80}]
        ---
        kind: EndpointSlice
        apiVersion: discovery.k8s.io/v1
        metadata:
          {name: cart-1, namespace: default, labels: {kubernetes.io/service-name: cart}}
        addressType: IPv4
        ports: [{name: "", port: 8080}]
        endpoints: [{addresses: [10.244.0.5]}, {addresses: [10.244.0.6]}]
        """,
        """
        group_id=G(cart:80/tcp),type=select,selection_method=hash,fields=ip_src,
            bucket=bucket_id:B(10.244.0.5:8080),weight:100,
              actions=set_field:B(10.244.0.5:8080)->reg4,resubmit(,EndpointDNAT),
            bucket=bucket_id:B(10.244.0.6:8080),weight:100,
              actions=set_field:B(10.244.0.6:8080)->reg4,resubmit(,EndpointDNAT)
        table=ServiceLB, priority=200,tcp,nw_dst=10.96.0.20,tp_dst=80
            actions=set_field:G(cart:80/tcp)->reg7,set_field:G(cart:80/tcp)->reg8,
              resubmit(,ServiceAffinity),resubmit(,EndpointDNAT)
        table=ServiceLB, priority=150,ip,nw_dst=10.96.0.20 actions=meter:28161,CONTROLLER:256
        table=EndpointDNAT, priority=200,tcp,reg4=B(10.244.0.5:8080),reg8=G(cart:80/tcp)
            actions=learn(table=ServiceAffinity,idle_timeout=10800,priority=100,
              cookie=0x6eff000000000001,eth_type=0x800,nw_proto=6,NXM_NX_REG7[],NXM_OF_IP_SRC[],
              load:B(10.244.0.5:8080)->NXM_NX_REG4[]),ct(commit,table=ServiceSNAT,zone=65312,
              nat(dst=10.244.0.5:8080),exec(set_field:0x10/0x10->ct_mark))
        table=EndpointDNAT, priority=200,tcp,reg4=B(10.244.0.6:8080),reg8=G(cart:80/tcp)
            actions=learn(table=ServiceAffinity,idle_timeout=10800,priority=100,
              cookie=0x6eff000000000001,eth_type=0x800,nw_proto=6,NXM_NX_REG7[],NXM_OF_IP_SRC[],
              load:B(10.244.0.6:8080)->NXM_NX_REG4[]),ct(commit,table=ServiceSNAT,zone=65312,
              nat(dst=10.244.0.6:8080),exec(set_field:0x10/0x10->ct_mark))
        table=EndpointDNAT, priority=100,tcp,reg8=G(cart:80/tcp)
            actions=group:G(cart:80/tcp)
        """,
    ),
    Case(
        "KP-33: session affinity over IPv6 and UDP, with its own timeout",
        """
        kind: Service
        apiVersion: v1
        metadata: {name: cart, namespace: default}
        spec:
          clusterIP: "fd00:96::20"
          ipFamilies: [IPv6]
          sessionAffinity: ClientIP
          sessionAffinityConfig: {clientIP: {timeoutSeconds: 86400}}
          ports: [{port: 53, protocol: UDP}]
        ---
        kind: EndpointSlice
        apiVersion: discovery.k8s.io/v1
        metadata:
          {name: cart-1, namespace: default, labels: {kubernetes.io/service-name: cart}}
        addressType: IPv6
        ports: [{name: "", port: 53, protocol: UDP}]
        endpoints: [{addresses: ["fd00:244::5"]}]
        """,
        """
        group_id=G(cart:53/udp6),type=select,selection_method=hash,fields=ipv6_src,
            bucket=bucket_id:B([fd00:244::5]:53),weight:100,
              actions=set_field:B([fd00:244::5]:53)->reg4,resubmit(,EndpointDNAT)
        table=ServiceLB, priority=200,udp6,ipv6_dst=fd00:96::20,tp_dst=53
            actions=set_field:G(cart:53/udp6)->reg7,set_field:G(cart:53/udp6)->reg8,
              resubmit(,ServiceAffinity),resubmit(,EndpointDNAT)
        table=ServiceLB, priority=150,ipv6,ipv6_dst=fd00:96::20 actions=meter:28161,CONTROLLER:256
        table=EndpointDNAT, priority=200,udp6,reg4=B([fd00:244::5]:53),reg8=G(cart:53/udp6)
            actions=learn(table=ServiceAffinity,idle_timeout=65535,priority=100,
              cookie=0x6eff800151800001,eth_type=0x86dd,nw_proto=17,NXM_NX_REG7[],NXM_NX_IPV6_SRC[],
              load:B([fd00:244::5]:53)->NXM_NX_REG4[]),ct(commit,table=ServiceSNAT,zone=65312,
              nat(dst=[fd00:244::5]:53),exec(set_field:0x10/0x10->ct_mark))
        table=EndpointDNAT, priority=100,udp6,reg8=G(cart:53/udp6)
            actions=group:G(cart:53/udp6)
        """,
    ),
    Case(
        "KP-30, KP-36, KP-46: a node port and external addresses: the same group, masqueraded",
        """
        kind: Service
        apiVersion: v1
        metadata: {name: web, namespace: default}
        spec:
          clusterIP: 10.96.0.10
          ports: [{port: 80, nodePort: 30080}]
          type: LoadBalancer
          externalIPs: [192.0.2.7]
        status: {loadBalancer: {ingress: [{ip: 203.0.113.1}]}}
        ---
        kind: EndpointSlice
        apiVersion: discovery.k8s.io/v1
        metadata:
          {name: web-1, namespace: default, labels: {kubernetes.io/service-name: web}}
        addressType: IPv4
        ports: [{name: "", port: 8080}]
        endpoints:
          - {addresses: [10.244.0.5], nodeName: here}
          - {addresses: [10.244.1.6], nodeName: there}
        """,
        """
        group_id=G(web:80/tcp),type=select,selection_method=dp_hash,
            bucket=bucket_id:B(10.244.0.5:8080),weight:100,actions=ct(commit,table=ServiceSNAT,
              zone=65312,nat(dst=10.244.0.5:8080),exec(set_field:0x10/0x10->ct_mark)),
            bucket=bucket_id:B(10.244.1.6:8080),weight:100,actions=ct(commit,table=ServiceSNAT,
              zone=65312,nat(dst=10.244.1.6:8080),exec(set_field:0x10/0x10->ct_mark))
        table=ServiceLB, priority=200,tcp,nw_dst=10.96.0.10,tp_dst=80 actions=group:G(web:80/tcp)
        table=ServiceLB, priority=200,tcp,nw_dst=192.0.2.7,tp_dst=80
            actions=set_field:0x4/0x4->reg0,group:G(web:80/tcp)
        table=ServiceLB, priority=200,tcp,nw_dst=203.0.113.1,tp_dst=80
            actions=set_field:0x4/0x4->reg0,group:G(web:80/tcp)
        table=ServiceLB, priority=200,tcp,reg0=0x8/0x8,tp_dst=30080
            actions=set_field:0x4/0x4->reg0,group:G(web:80/tcp)
        table=ServiceLB, priority=150,ip,nw_dst=10.96.0.10 actions=meter:28161,CONTROLLER:256
        """,
    ),
    Case(
        "KP-31: externalTrafficPolicy Local: the outside goes to local endpoints, as it is",
        """
        kind: Service
        apiVersion: v1
        metadata: {name: web, namespace: default}
        spec:
          clusterIP: 10.96.0.10
          ports: [{port: 80, nodePort: 30080}]
          type: NodePort
          externalTrafficPolicy: Local
        ---
        kind: EndpointSlice
        apiVersion: discovery.k8s.io/v1
        metadata:
          {name: web-1, namespace: default, labels: {kubernetes.io/service-name: web}}
        addressType: IPv4
        ports: [{name: "", port: 8080}]
        endpoints:
          - {addresses: [10.244.0.5], nodeName: here}
          - {addresses: [10.244.1.6], nodeName: there}
        """,
        """
        group_id=G(web:80/tcp),type=select,selection_method=dp_hash,
            bucket=bucket_id:B(10.244.0.5:8080),weight:100,actions=ct(commit,table=ServiceSNAT,
              zone=65312,nat(dst=10.244.0.5:8080),exec(set_field:0x10/0x10->ct_mark)),
            bucket=bucket_id:B(10.244.1.6:8080),weight:100,actions=ct(commit,table=ServiceSNAT,
              zone=65312,nat(dst=10.244.1.6:8080),exec(set_field:0x10/0x10->ct_mark))
        group_id=L(web:80/tcp),type=select,selection_method=dp_hash,
            bucket=bucket_id:B(10.244.0.5:8080),weight:100,actions=ct(commit,table=ServiceSNAT,
              zone=65312,nat(dst=10.244.0.5:8080),exec(set_field:0x10/0x10->ct_mark))
        table=ServiceLB, priority=210,tcp,reg0=0x9/0x9,tp_dst=30080
            actions=set_field:0/0x4->reg0,group:L(web:80/tcp)
        table=ServiceLB, priority=200,tcp,nw_dst=10.96.0.10,tp_dst=80 actions=group:G(web:80/tcp)
        table=ServiceLB, priority=200,tcp,reg0=0x8/0x8,tp_dst=30080
            actions=move:NXM_NX_REG0[4]->NXM_NX_REG0[2],group:G(web:80/tcp)
        table=ServiceLB, priority=150,ip,nw_dst=10.96.0.10 actions=meter:28161,CONTROLLER:256
        """,
    ),
    Case(
        "KP-24: externalTrafficPolicy Local without a local endpoint: silence for the outside",
        """
        kind: Service
        apiVersion: v1
        metadata: {name: web, namespace: default}
        spec:
          clusterIP: 10.96.0.10
          ports: [{port: 80, nodePort: 30080}]
          type: NodePort
          externalTrafficPolicy: Local
        ---
        kind: EndpointSlice
        apiVersion: discovery.k8s.io/v1
        metadata:
          {name: web-1, namespace: default, labels: {kubernetes.io/service-name: web}}
        addressType: IPv4
        ports: [{name: "", port: 8080}]
        endpoints:
          - {addresses: [10.244.1.6], nodeName: there}
        """,
        """
        group_id=G(web:80/tcp),type=select,selection_method=dp_hash,
            bucket=bucket_id:B(10.244.1.6:8080),weight:100,actions=ct(commit,table=ServiceSNAT,
              zone=65312,nat(dst=10.244.1.6:8080),exec(set_field:0x10/0x10->ct_mark))
        table=ServiceLB, priority=210,tcp,reg0=0x9/0x9,tp_dst=30080 actions=drop
        table=ServiceLB, priority=200,tcp,nw_dst=10.96.0.10,tp_dst=80 actions=group:G(web:80/tcp)
        table=ServiceLB, priority=200,tcp,reg0=0x8/0x8,tp_dst=30080
            actions=move:NXM_NX_REG0[4]->NXM_NX_REG0[2],group:G(web:80/tcp)
        table=ServiceLB, priority=150,ip,nw_dst=10.96.0.10 actions=meter:28161,CONTROLLER:256
        """,
    ),
    Case(
        "KP-39: loadBalancerSourceRanges: who is in none of them gets no answer",
        """
        kind: Service
        apiVersion: v1
        metadata: {name: web, namespace: default}
        spec:
          clusterIP: 10.96.0.10
          ports: [{port: 80, nodePort: 30080}]
          type: LoadBalancer
          loadBalancerSourceRanges: [198.51.100.0/24, ' 10.0.0.0/8']
        status: {loadBalancer: {ingress: [{ip: 203.0.113.1}]}}
        ---
        kind: EndpointSlice
        apiVersion: discovery.k8s.io/v1
        metadata:
          {name: web-1, namespace: default, labels: {kubernetes.io/service-name: web}}
        addressType: IPv4
        ports: [{name: "", port: 8080}]
        endpoints:
          - {addresses: [10.244.1.6], nodeName: there}
        """,
        """
        group_id=G(web:80/tcp),type=select,selection_method=dp_hash,
            bucket=bucket_id:B(10.244.1.6:8080),weight:100,actions=ct(commit,table=ServiceSNAT,
              zone=65312,nat(dst=10.244.1.6:8080),exec(set_field:0x10/0x10->ct_mark))
        table=ServiceLB, priority=220,tcp,nw_src=10.0.0.0/8,nw_dst=203.0.113.1,tp_dst=80
            actions=set_field:0x4/0x4->reg0,group:G(web:80/tcp)
        table=ServiceLB, priority=220,tcp,nw_src=198.51.100.0/24,nw_dst=203.0.113.1,tp_dst=80
            actions=set_field:0x4/0x4->reg0,group:G(web:80/tcp)
        table=ServiceLB, priority=215,tcp,nw_dst=203.0.113.1,tp_dst=80 actions=drop
        table=ServiceLB, priority=200,tcp,nw_dst=10.96.0.10,tp_dst=80 actions=group:G(web:80/tcp)
        table=ServiceLB, priority=200,tcp,reg0=0x8/0x8,tp_dst=30080
            actions=set_field:0x4/0x4->reg0,group:G(web:80/tcp)
        table=ServiceLB, priority=150,ip,nw_dst=10.96.0.10 actions=meter:28161,CONTROLLER:256
        """,
    ),
    Case(
        "KP-25, KP-39: without endpoints every address rejects whoever may use it",
        """
        kind: Service
        apiVersion: v1
        metadata: {name: web, namespace: default}
        spec:
          clusterIP: 10.96.0.10
          ports: [{port: 80, nodePort: 30080}]
          type: LoadBalancer
          externalTrafficPolicy: Local
          loadBalancerSourceRanges: [10.0.0.0/8]
        status: {loadBalancer: {ingress: [{ip: 203.0.113.1}]}}
        ---
        kind: EndpointSlice
        apiVersion: discovery.k8s.io/v1
        metadata:
          {name: web-1, namespace: default, labels: {kubernetes.io/service-name: web}}
        addressType: IPv4
        ports: [{name: "", port: 8080}]
        endpoints: []
        """,
        """
        table=ServiceLB, priority=220,tcp,nw_src=10.0.0.0/8,nw_dst=203.0.113.1,tp_dst=80
            actions=meter:28161,CONTROLLER:256
        table=ServiceLB, priority=215,tcp,nw_dst=203.0.113.1,tp_dst=80 actions=drop
        table=ServiceLB, priority=200,tcp,nw_dst=10.96.0.10,tp_dst=80
            actions=meter:28161,CONTROLLER:256
        table=ServiceLB, priority=200,tcp,reg0=0x8/0x8,tp_dst=30080
            actions=meter:28161,CONTROLLER:256
        table=ServiceLB, priority=150,ip,nw_dst=10.96.0.10 actions=meter:28161,CONTROLLER:256
        """,
    ),
    Case(
        "KP-33: session affinity at every address of the Service is one affinity",
        """
        kind: Service
        apiVersion: v1
        metadata: {name: web, namespace: default}
        spec:
          clusterIP: 10.96.0.10
          ports: [{port: 80, nodePort: 30080}]
          type: NodePort
          sessionAffinity: ClientIP
        ---
        kind: EndpointSlice
        apiVersion: discovery.k8s.io/v1
        metadata:
          {name: web-1, namespace: default, labels: {kubernetes.io/service-name: web}}
        addressType: IPv4
        ports: [{name: "", port: 8080}]
        endpoints:
          - {addresses: [10.244.0.5], nodeName: here}
        """,
        """
        group_id=G(web:80/tcp),type=select,selection_method=hash,fields=ip_src,
            bucket=bucket_id:B(10.244.0.5:8080),weight:100,
              actions=set_field:B(10.244.0.5:8080)->reg4,resubmit(,EndpointDNAT)
        table=ServiceLB, priority=200,tcp,nw_dst=10.96.0.10,tp_dst=80
            actions=set_field:G(web:80/tcp)->reg7,set_field:G(web:80/tcp)->reg8,
              resubmit(,ServiceAffinity),resubmit(,EndpointDNAT)
        table=ServiceLB, priority=200,tcp,reg0=0x8/0x8,tp_dst=30080
            actions=set_field:0x4/0x4->reg0,set_field:G(web:80/tcp)->reg7,
              set_field:G(web:80/tcp)->reg8,resubmit(,ServiceAffinity),resubmit(,EndpointDNAT)
        table=ServiceLB, priority=150,ip,nw_dst=10.96.0.10 actions=meter:28161,CONTROLLER:256
        table=EndpointDNAT, priority=200,tcp,reg4=B(10.244.0.5:8080),reg8=G(web:80/tcp)
            actions=learn(table=ServiceAffinity,idle_timeout=10800,priority=100,
              cookie=0x6eff000000000001,eth_type=0x800,nw_proto=6,NXM_NX_REG7[],NXM_OF_IP_SRC[],
              load:B(10.244.0.5:8080)->NXM_NX_REG4[]),ct(commit,table=ServiceSNAT,zone=65312,
              nat(dst=10.244.0.5:8080),exec(set_field:0x10/0x10->ct_mark))
        table=EndpointDNAT, priority=100,tcp,reg8=G(web:80/tcp) actions=group:G(web:80/tcp)
        """,
    ),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_specification(case: Case) -> None:
    assert statements(Planned(case.manifests).text()) == statements(case.flows)
