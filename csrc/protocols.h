/* protocols.h: the numbers of protocols that matches know. */
#ifndef NSX_PROTOCOLS_H
#define NSX_PROTOCOLS_H 1

enum { ETH_IPV4 = 0x0800, ETH_ARP = 0x0806, ETH_RARP = 0x8035,
       ETH_MPLS = 0x8847, ETH_MPLS_MCAST = 0x8848, ETH_NSH = 0x894f,
       ETH_IPV6 = 0x86dd };
enum { PROTO_ICMP = 1, PROTO_TCP = 6, PROTO_UDP = 17, PROTO_ICMPV6 = 58,
       PROTO_SCTP = 132 };
enum { ND_SOLICIT = 135, ND_ADVERT = 136 };

#endif /* protocols.h */
