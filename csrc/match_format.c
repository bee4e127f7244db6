/* match_format.c: matches as text, in the order and the form in which
 * match_format() in Open vSwitch's lib/match.c prints them.  The other
 * direction: match_text.c. */

#include "match.h"
#include "protocols.h"

/* How a slot is printed. */
enum style {
    VALUE,                      /* As in actions. */
    DECIMAL,                    /* Its mask isn't shown. */
    HEX,                        /* Likewise. */
    DECIMAL_OR_HEX,             /* The latter, zero as "0x0", with a mask. */
    ALWAYS_HEX,                 /* Zero as "0x0". */
    TOS,                        /* As a DSCP in its byte. */
};

struct item {
    uint8_t slot;
    uint8_t style;
    uint8_t n_digits;           /* At least. */
    const char *name;
};

static void
format_item(struct nsx_buf *buf, const struct item *item,
            const uint8_t *value, const uint8_t *mask)
{
    const struct nsx_field *field = &nsx_fields[item->slot];
    size_t n = field->n_bytes;
    bool exact = nsx_is_all(mask, n, 0xff);
    uint32_t v = 0, m = 0;

    for (size_t i = 0; i < n && n <= 4; i++) {
        v = v << 8 | value[i];
        m = m << 8 | mask[i];
    }
    nsx_puts(buf, item->name);
    nsx_puts(buf, "=");
    switch ((enum style) item->style) {
    case VALUE:
        nsx_field_format_value(buf, field, value, mask);
        break;
    case TOS:
        nsx_put_decimal(buf, v << 2);
        break;
    case HEX:
        nsx_printf(buf, "%#x", v);
        break;
    case DECIMAL:
        nsx_put_decimal(buf, v);
        break;
    case DECIMAL_OR_HEX:
    case ALWAYS_HEX:
        if (exact && item->style == DECIMAL_OR_HEX) {
            nsx_put_decimal(buf, v);
            break;
        }
        nsx_put_hex(buf, v, item->n_digits);
        if (!exact) {
            nsx_puts(buf, "/");
            nsx_put_hex(buf, m, item->n_digits);
        }
        break;
    }
    nsx_puts(buf, ",");
}

static void
format_items(struct nsx_buf *buf, const struct nsx_match *match,
             const struct item *items, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        enum nsx_field_id slot = items[i].slot;

        if (nsx_match_has(match, slot)) {
            format_item(buf, &items[i], match->fields[slot].value,
                        match->fields[slot].mask);
        }
    }
}

#define FORMAT(BUF, MATCH, ITEMS)                                           \
    format_items(BUF, MATCH, ITEMS, NSX_ARRAY_SIZE(ITEMS))

static const struct item metadata[] = {
    { NSX_F_PKT_MARK, VALUE, 0, "pkt_mark" },
    { NSX_F_RECIRC_ID, HEX, 0, "recirc_id" },
    { NSX_F_DP_HASH, VALUE, 0, "dp_hash" },
    { NSX_F_CONJ_ID, DECIMAL, 0, "conj_id" },
    { NSX_F_ACTSET_OUTPUT, VALUE, 0, "actset_output" },
    { NSX_F_CT_STATE, VALUE, 0, "ct_state" },
    { NSX_F_CT_ZONE, DECIMAL_OR_HEX, 1, "ct_zone" },
    { NSX_F_CT_MARK, VALUE, 0, "ct_mark" },
    { NSX_F_CT_LABEL, VALUE, 0, "ct_label" },
    { NSX_F_CT_NW_SRC, VALUE, 0, "ct_nw_src" },
    { NSX_F_CT_IPV6_SRC, VALUE, 0, "ct_ipv6_src" },
    { NSX_F_CT_NW_DST, VALUE, 0, "ct_nw_dst" },
    { NSX_F_CT_IPV6_DST, VALUE, 0, "ct_ipv6_dst" },
};

static const struct item ct_ports[] = {
    { NSX_F_CT_NW_PROTO, DECIMAL, 0, "ct_nw_proto" },
    { NSX_F_CT_TP_SRC, DECIMAL_OR_HEX, 1, "ct_tp_src" },
    { NSX_F_CT_TP_DST, DECIMAL_OR_HEX, 1, "ct_tp_dst" },
};

static const struct item tunnel[] = {
    { NSX_F_TUN_ID, VALUE, 0, "tun_id" },
    { NSX_F_TUN_SRC, VALUE, 0, "tun_src" },
    { NSX_F_TUN_DST, VALUE, 0, "tun_dst" },
    { NSX_F_TUN_IPV6_SRC, VALUE, 0, "tun_ipv6_src" },
    { NSX_F_TUN_IPV6_DST, VALUE, 0, "tun_ipv6_dst" },
    { NSX_F_TUN_GBP_ID, DECIMAL_OR_HEX, 1, "tun_gbp_id" },
    { NSX_F_TUN_GBP_FLAGS, HEX, 0, "tun_gbp_flags" },
    { NSX_F_TUN_ERSPAN_VER, DECIMAL, 0, "tun_erspan_ver" },
};

static const struct item erspan_1[] = {
    { NSX_F_TUN_ERSPAN_IDX, HEX, 0, "tun_erspan_idx" },
};

static const struct item erspan_2[] = {
    { NSX_F_TUN_ERSPAN_DIR, DECIMAL, 0, "tun_erspan_dir" },
    { NSX_F_TUN_ERSPAN_HWID, HEX, 0, "tun_erspan_hwid" },
};

/* ovs-ofctl doesn't know the names that it prints of the first two. */
static const struct item after_erspan[] = {
    { NSX_F_TUN_GTPU_FLAGS, HEX, 0, "gtpu_flags" },
    { NSX_F_TUN_GTPU_MSGTYPE, DECIMAL, 0, "gtpu_msgtype" },
};

static const struct item before_vlan[] = {
    { NSX_F_METADATA, VALUE, 0, "metadata" },
    { NSX_F_IN_PORT_OXM, VALUE, 0, "in_port" },
};

static const struct item addresses[] = {
    { NSX_F_ETH_SRC, VALUE, 0, "dl_src" },
    { NSX_F_ETH_DST, VALUE, 0, "dl_dst" },
};

static const struct item ipv6[] = {
    { NSX_F_IPV6_SRC, VALUE, 0, "ipv6_src" },
    { NSX_F_IPV6_DST, VALUE, 0, "ipv6_dst" },
    { NSX_F_IPV6_LABEL, ALWAYS_HEX, 5, "ipv6_label" },
};

static const struct item arp[] = {
    { NSX_F_IPV4_SRC, VALUE, 0, "arp_spa" },
    { NSX_F_IPV4_DST, VALUE, 0, "arp_tpa" },
};

static const struct item ipv4[] = {
    { NSX_F_IPV4_SRC, VALUE, 0, "nw_src" },
    { NSX_F_IPV4_DST, VALUE, 0, "nw_dst" },
};

static const struct item nsh[] = {
    { NSX_F_NSH_FLAGS, DECIMAL_OR_HEX, 2, "nsh_flags" },
    { NSX_F_NSH_TTL, DECIMAL_OR_HEX, 2, "nsh_ttl" },
    { NSX_F_NSH_MDTYPE, DECIMAL_OR_HEX, 2, "nsh_mdtype" },
    { NSX_F_NSH_NP, DECIMAL_OR_HEX, 2, "nsh_np" },
    { NSX_F_NSH_SPI, ALWAYS_HEX, 1, "nsh_spi" },
    { NSX_F_NSH_SI, DECIMAL_OR_HEX, 2, "nsh_si" },
};

static const struct item nsh_context[] = {
    { NSX_F_NSH_C1, ALWAYS_HEX, 1, "nsh_c1" },
    { NSX_F_NSH_C2, ALWAYS_HEX, 1, "nsh_c2" },
    { NSX_F_NSH_C3, ALWAYS_HEX, 1, "nsh_c3" },
    { NSX_F_NSH_C4, ALWAYS_HEX, 1, "nsh_c4" },
};

static const struct item arp_op[] = {
    { NSX_F_IP_PROTO, DECIMAL, 0, "arp_op" },
};

static const struct item nw_proto[] = {
    { NSX_F_IP_PROTO, DECIMAL, 0, "nw_proto" },
};

static const struct item arp_hardware[] = {
    { NSX_F_ARP_SHA, VALUE, 0, "arp_sha" },
    { NSX_F_ARP_THA, VALUE, 0, "arp_tha" },
};

static const struct item after_proto[] = {
    { NSX_F_IP_DSCP, TOS, 0, "nw_tos" },
    { NSX_F_IP_ECN, DECIMAL, 0, "nw_ecn" },
    { NSX_F_IP_TTL, DECIMAL, 0, "nw_ttl" },
    { NSX_F_MPLS_LABEL, DECIMAL, 0, "mpls_label" },
    { NSX_F_MPLS_TC, DECIMAL, 0, "mpls_tc" },
    { NSX_F_MPLS_TTL, DECIMAL, 0, "mpls_ttl" },
    { NSX_F_MPLS_BOS, DECIMAL, 0, "mpls_bos" },
    { NSX_F_IP_FRAG, VALUE, 0, "nw_frag" },
};

static const struct item icmp[] = {
    { NSX_F_TCP_SRC, DECIMAL_OR_HEX, 1, "icmp_type" },
    { NSX_F_TCP_DST, DECIMAL_OR_HEX, 1, "icmp_code" },
};

static const struct item nd[] = {
    { NSX_F_ND_TARGET, VALUE, 0, "nd_target" },
    { NSX_F_ARP_SHA, VALUE, 0, "nd_sll" },
    { NSX_F_ARP_THA, VALUE, 0, "nd_tll" },
    { NSX_F_ND_RESERVED, DECIMAL_OR_HEX, 8, "nd_reserved" },
    { NSX_F_TCP_FLAGS, DECIMAL_OR_HEX, 1, "nd_options_type" },
};

static const struct item ports[] = {
    { NSX_F_TCP_SRC, DECIMAL_OR_HEX, 1, "tp_src" },
    { NSX_F_TCP_DST, DECIMAL_OR_HEX, 1, "tp_dst" },
};

static const struct item tcp_flags[] = {
    { NSX_F_TCP_FLAGS, VALUE, 0, "tcp_flags" },
};

static const struct item eth_type[] = {
    { NSX_F_ETH_TYPE, ALWAYS_HEX, 4, "dl_type" },
};

/* The words for a protocol. */
static const struct {
    const char *name;
    uint16_t eth_type;
    uint8_t ip_proto;           /* 0: any, and what comes after the others. */
} protocols[] = {
    { "icmp", ETH_IPV4, PROTO_ICMP },
    { "tcp", ETH_IPV4, PROTO_TCP },
    { "udp", ETH_IPV4, PROTO_UDP },
    { "sctp", ETH_IPV4, PROTO_SCTP },
    { "ip", ETH_IPV4, 0 },
    { "icmp6", ETH_IPV6, PROTO_ICMPV6 },
    { "tcp6", ETH_IPV6, PROTO_TCP },
    { "udp6", ETH_IPV6, PROTO_UDP },
    { "sctp6", ETH_IPV6, PROTO_SCTP },
    { "ipv6", ETH_IPV6, 0 },
    { "arp", ETH_ARP, 0 },
    { "rarp", ETH_RARP, 0 },
    { "mpls", ETH_MPLS, 0 },
    { "mplsm", ETH_MPLS_MCAST, 0 },
};

/* Prints the word for the match's protocol, and sets '*type_done' and
 * '*proto_done' if that says it all. */
static void
format_protocol(struct nsx_buf *buf, const struct nsx_match *match,
                uint16_t type, bool *type_done, bool *proto_done)
{
    uint32_t proto = nsx_match_number(match, NSX_F_IP_PROTO);

    *type_done = *proto_done = false;
    if (!nsx_match_has(match, NSX_F_ETH_TYPE)) {
        return;
    }
    for (size_t i = 0; i < NSX_ARRAY_SIZE(protocols); i++) {
        if (protocols[i].eth_type == type
            && (!protocols[i].ip_proto || protocols[i].ip_proto == proto)) {
            nsx_puts(buf, protocols[i].name);
            nsx_puts(buf, ",");
            *type_done = true;
            *proto_done = protocols[i].ip_proto != 0;
            return;
        }
    }
}

static void
format_registers(struct nsx_buf *buf, const struct nsx_match *match)
{
    for (size_t i = 0; i < 32; i++) {
        enum nsx_field_id xreg = (enum nsx_field_id) (NSX_F_XREG0 + i / 2);
        const uint8_t *value = match->fields[xreg].value + i % 2 * 4;
        const uint8_t *mask = match->fields[xreg].mask + i % 2 * 4;

        if (nsx_match_has(match, xreg) && nsx_get32(mask)) {
            struct item item = { NSX_F_REG0, VALUE, 0,
                                 nsx_fields[NSX_F_REG0 + i].name };
            format_item(buf, &item, value, mask);
        }
    }
}

static void
format_tunnel(struct nsx_buf *buf, const struct nsx_match *match)
{
    uint32_t erspan = nsx_match_number(match, NSX_F_TUN_ERSPAN_VER);

    FORMAT(buf, match, tunnel);
    if (erspan == 1) {
        FORMAT(buf, match, erspan_1);
    } else if (erspan == 2) {
        FORMAT(buf, match, erspan_2);
    }
    FORMAT(buf, match, after_erspan);
    if (nsx_match_has(match, NSX_F_TUN_FLAGS)) {
        bool set = nsx_match_number(match, NSX_F_TUN_FLAGS);
        nsx_printf(buf, "tun_flags=%coam,", set ? '+' : '-');
    }

    for (size_t i = 0;
         match->n_metadata && i < NSX_ARRAY_SIZE(match->metadata); i++) {
        const struct nsx_field *field = &nsx_fields[NSX_F_TUN_METADATA0 + i];
        size_t n = match->metadata[i].len;
        const uint8_t *value, *mask;

        if (!nsx_match_has(match, field->id)) {
            continue;
        }
        value = match->metadata_value + match->metadata[i].offset;
        mask = match->metadata_mask + match->metadata[i].offset;
        nsx_puts(buf, field->name);
        if (!match->metadata[i].masked || !nsx_is_all(mask, n, 0)) {
            nsx_puts(buf, "=");
            nsx_put_hex_bytes(buf, value, n);
            if (!nsx_is_all(mask, n, 0xff)) {
                nsx_puts(buf, "/");
                nsx_put_hex_bytes(buf, mask, n);
            }
        }
        nsx_puts(buf, ",");
    }
}

static void
format_vlan(struct nsx_buf *buf, const struct nsx_match *match)
{
    uint32_t tci = nsx_match_number(match, NSX_F_VLAN_TCI);
    uint32_t mask = nsx_match_mask(match, NSX_F_VLAN_TCI);
    uint32_t vid_mask = mask & VLAN_VID;
    uint32_t pcp_mask = mask & VLAN_PCP;

    if (!mask) {
        return;
    } else if (mask & tci & VLAN_CFI
               && (!vid_mask || vid_mask == VLAN_VID)
               && (!pcp_mask || pcp_mask == VLAN_PCP)
               && (vid_mask || pcp_mask)) {
        if (vid_mask) {
            nsx_printf(buf, "dl_vlan=%u,", tci & VLAN_VID);
        }
        if (pcp_mask) {
            nsx_printf(buf, "dl_vlan_pcp=%u,", tci >> 13);
        }
    } else if (mask == UINT16_MAX) {
        nsx_printf(buf, "vlan_tci=0x%04x,", tci);
    } else {
        nsx_printf(buf, "vlan_tci=0x%04x/0x%04x,", tci, mask);
    }
}

static void
format_nsh(struct nsx_buf *buf, const struct nsx_match *match)
{
    FORMAT(buf, match, nsh);
    if (nsx_match_mask(match, NSX_F_NSH_MDTYPE) == UINT8_MAX
        && nsx_match_number(match, NSX_F_NSH_MDTYPE) == 1) {
        FORMAT(buf, match, nsh_context);
    }
}

static void
format_transport(struct nsx_buf *buf, const struct nsx_match *match,
                 uint16_t type)
{
    uint32_t proto = nsx_match_number(match, NSX_F_IP_PROTO);

    if (type == ETH_IPV4 && proto == PROTO_ICMP) {
        FORMAT(buf, match, icmp);
    } else if (type == ETH_IPV6 && proto == PROTO_ICMPV6) {
        FORMAT(buf, match, icmp);
        FORMAT(buf, match, nd);
    } else {
        FORMAT(buf, match, ports);
    }

    uint16_t any_type = nsx_match_eth_type(match);
    if ((any_type == ETH_IPV4 || any_type == ETH_IPV6)
        && proto == PROTO_TCP) {
        FORMAT(buf, match, tcp_flags);
    }
}

void
nsx_match_format(struct nsx_buf *buf, const struct nsx_match *match)
{
    uint32_t packet_type = nsx_match_number(match, NSX_F_PACKET_TYPE);
    uint16_t type = (packet_type >> 16 == 1 ? (uint16_t) packet_type
                     : (uint16_t) nsx_match_number(match, NSX_F_ETH_TYPE));
    bool is_arp = type == ETH_ARP || type == ETH_RARP;
    size_t start = buf->size;
    bool type_done, proto_done;

    FORMAT(buf, match, metadata);
    if (nsx_match_has(match, NSX_F_CT_NW_PROTO)) {
        FORMAT(buf, match, ct_ports);
    }
    if (packet_type) {
        nsx_field_format_value(buf, &nsx_fields[NSX_F_PACKET_TYPE],
                               match->fields[NSX_F_PACKET_TYPE].value, NULL);
        nsx_puts(buf, ",");
    }
    format_protocol(buf, match, type, &type_done, &proto_done);
    format_registers(buf, match);
    format_tunnel(buf, match);
    FORMAT(buf, match, before_vlan);
    format_vlan(buf, match);
    FORMAT(buf, match, addresses);
    if (!type_done) {
        FORMAT(buf, match, eth_type);
    }
    if (type == ETH_IPV6) {
        FORMAT(buf, match, ipv6);
    } else if (is_arp) {
        FORMAT(buf, match, arp);
    } else if (type == ETH_NSH) {
        format_nsh(buf, match);
    } else {
        FORMAT(buf, match, ipv4);
    }
    if (!proto_done && is_arp) {
        FORMAT(buf, match, arp_op);
    } else if (!proto_done) {
        FORMAT(buf, match, nw_proto);
    }
    if (is_arp) {
        FORMAT(buf, match, arp_hardware);
    }
    FORMAT(buf, match, after_proto);
    format_transport(buf, match, type);
    if (buf->size > start) {
        buf->size--;            /* The last comma. */
    }
}

void
nsx_match_format_priority(struct nsx_buf *buf, const struct nsx_match *match,
                          uint16_t priority)
{
    if (priority == NSX_DEFAULT_PRIORITY) {
        nsx_match_format(buf, match);
        return;
    }
    nsx_puts(buf, "priority=");
    nsx_put_decimal(buf, priority);
    nsx_puts(buf, ",");

    size_t start = buf->size;
    nsx_match_format(buf, match);
    if (buf->size == start) {
        buf->size--;            /* The comma. */
    }
}
