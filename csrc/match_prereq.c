/* match_prereq.c: what a field needs of the rest of a match.  As
 * mf_are_match_prereqs_ok() in Open vSwitch's lib/meta-flow.c. */

#include "match.h"
#include "protocols.h"

uint16_t
nsx_match_eth_type(const struct nsx_match *match)
{
    enum { NS_ETHERTYPE = 1, NO_TYPE = 0x5ff };
    uint32_t type = nsx_match_number(match, NSX_F_PACKET_TYPE);

    return (!type ? (uint16_t) nsx_match_number(match, NSX_F_ETH_TYPE)
            : type >> 16 == NS_ETHERTYPE ? (uint16_t) type : NO_TYPE);
}

static bool
is_ip_proto(const struct nsx_match *match, unsigned int proto)
{
    uint16_t type = nsx_match_eth_type(match);

    return ((type == ETH_IPV4 || type == ETH_IPV6)
            && nsx_match_number(match, NSX_F_IP_PROTO) == proto);
}

/* Later fragments have no ports. */
static bool
has_ports(const struct nsx_match *match, unsigned int proto)
{
    enum { FRAG_LATER = 2 };

    return (is_ip_proto(match, proto)
            && !(nsx_match_number(match, NSX_F_IP_FRAG) & FRAG_LATER));
}

static bool
is_nd(const struct nsx_match *match, uint32_t type)
{
    return (is_ip_proto(match, PROTO_ICMPV6)
            && nsx_match_eth_type(match) == ETH_IPV6
            && nsx_match_number(match, NSX_F_TCP_SRC) == type
            && nsx_match_number(match, NSX_F_TCP_DST) == 0
            && !nsx_match_has_hole(match, NSX_F_TCP_DST));
}

/* True if 'ct_state' says that there is a connection: it has a bit that only
 * those have, or +trk-inv. */
static bool
is_ct_valid(const struct nsx_match *match)
{
    enum { REVEALING = 0xcf, INV = 0x10, TRK = 0x20 };
    uint32_t state = nsx_match_number(match, NSX_F_CT_STATE);

    return (state & REVEALING
            || (state & TRK && !(state & INV)
                && nsx_match_mask(match, NSX_F_CT_STATE) & INV));
}

bool
nsx_match_allows(const struct nsx_match *match, const struct nsx_field *field)
{
    uint16_t type = nsx_match_eth_type(match);

    switch ((enum nsx_prereq) field->prereq) {
    case NSX_PRE_NONE:
        return true;
    case NSX_PRE_ETHERNET:
        return !nsx_match_number(match, NSX_F_PACKET_TYPE);
    case NSX_PRE_VLAN:
        return nsx_match_number(match, NSX_F_VLAN_TCI) & VLAN_CFI;
    case NSX_PRE_MPLS:
        return type == ETH_MPLS || type == ETH_MPLS_MCAST;
    case NSX_PRE_ARP:
        return type == ETH_ARP || type == ETH_RARP;
    case NSX_PRE_IPV4:
        return type == ETH_IPV4;
    case NSX_PRE_IPV6:
        return type == ETH_IPV6;
    case NSX_PRE_IP:
        return type == ETH_IPV4 || type == ETH_IPV6;
    case NSX_PRE_NSH:
        return type == ETH_NSH;
    case NSX_PRE_TCP:
        return has_ports(match, PROTO_TCP);
    case NSX_PRE_UDP:
        return has_ports(match, PROTO_UDP);
    case NSX_PRE_SCTP:
        return has_ports(match, PROTO_SCTP);
    case NSX_PRE_ICMP:
        return type == ETH_IPV4 && is_ip_proto(match, PROTO_ICMP);
    case NSX_PRE_ICMPV6:
        return type == ETH_IPV6 && is_ip_proto(match, PROTO_ICMPV6);
    case NSX_PRE_ND:
        return is_nd(match, ND_SOLICIT) || is_nd(match, ND_ADVERT);
    case NSX_PRE_ND_SOLICIT:
        return is_nd(match, ND_SOLICIT);
    case NSX_PRE_ND_ADVERT:
        return is_nd(match, ND_ADVERT);
    case NSX_PRE_CT:
        break;
    }
    return is_ct_valid(match);
}

/* What is missing where nsx_match_allows() is false. */
static const char *const prereq_text[] = {
    [NSX_PRE_ETHERNET] = "Ethernet (not another packet_type)",
    [NSX_PRE_VLAN] = "a VLAN tag (dl_vlan or vlan_tci=0x1000/0x1000)",
    [NSX_PRE_MPLS] = "mpls or mplsm",
    [NSX_PRE_ARP] = "arp or rarp",
    [NSX_PRE_IPV4] = "ip",
    [NSX_PRE_IPV6] = "ipv6",
    [NSX_PRE_IP] = "ip or ipv6",
    [NSX_PRE_NSH] = "dl_type=0x894f",
    [NSX_PRE_TCP] = "tcp or tcp6, and not nw_frag=later",
    [NSX_PRE_UDP] = "udp or udp6, and not nw_frag=later",
    [NSX_PRE_SCTP] = "sctp or sctp6, and not nw_frag=later",
    [NSX_PRE_ICMP] = "icmp",
    [NSX_PRE_ICMPV6] = "icmp6",
    [NSX_PRE_ND] = "icmp6 with icmp_type 135 or 136 and icmp_code 0",
    [NSX_PRE_ND_SOLICIT] = "icmp6 with icmp_type 135 and icmp_code 0",
    [NSX_PRE_ND_ADVERT] = "icmp6 with icmp_type 136 and icmp_code 0",
    [NSX_PRE_CT] = "a ct_state that has a connection (+trk-inv)",
};

const char *
nsx_prereq_text(const struct nsx_field *field)
{
    return prereq_text[field->prereq];
}

int
nsx_match_check_field(const struct nsx_parser *parser,
                      const struct nsx_match *match,
                      const struct nsx_field *field, struct nsx_slice at)
{
    return (nsx_match_allows(match, field) ? 0
            : nsx_parse_error(parser, at, "%s needs %s", field->name,
                              nsx_prereq_text(field)));
}

/* The field that 'key' names, also one with bits in brackets. */
static const struct nsx_field *
find_named(struct nsx_slice key)
{
    const char *bracket = memchr(key.s, '[', key.n);

    if (bracket) {
        key.n = (size_t) (bracket - key.s);
    }
    return nsx_field_from_name(key);
}

/* True if what is in 'field''s place is one that 'match' may have. */
static bool
slot_allowed(const struct nsx_match *match, const struct nsx_field *field)
{
    if (nsx_match_allows(match, field)) {
        return true;
    }
    for (size_t i = 0; i < NSX_N_FIELDS; i++) {
        if (nsx_fields[i].slot == field->slot && field->slot != NSX_F_VLAN_TCI
            && nsx_match_allows(match, &nsx_fields[i])) {
            return true;
        }
    }
    return false;
}

int
nsx_match_resolve(const struct nsx_parser *parser, struct nsx_match *match,
                  struct nsx_slice text)
{
    struct nsx_slice rest = text;
    struct nsx_slice key, value;
    char delimiter;

    if (nsx_match_number(match, NSX_F_PACKET_TYPE) >> 16 == 1
        && nsx_match_has(match, NSX_F_ETH_TYPE)) {
        /* The packet type is the Ethernet type, whatever was said of it. */
        nsx_set16(match->fields[NSX_F_ETH_TYPE].value,
                  nsx_match_eth_type(match));
    }
    while (parser->holes
           && nsx_next_key_value(&rest, &key, &value, &delimiter)) {
        const struct nsx_field *field = find_named(key);

        key.n = (size_t) (value.s + value.n - key.s);
        if (field && !slot_allowed(match, field)) {
            return nsx_match_check_field(parser, match, field, key);
        } else if (field && field->slot == NSX_F_VLAN_TCI
                   && nsx_match_check_vlan(match)) {
            return nsx_parse_error(parser, key, "%s",
                                   nsx_match_check_vlan(match));
        }
    }
    return 0;
}
