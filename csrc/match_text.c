/* match_text.c: matches as text: as ovs-ofctl reads them, and in the order and
 * the form in which match_format() in Open vSwitch's lib/match.c prints
 * them. */

#include "match.h"

/* The words that stand for a protocol. */
static const struct {
    const char *name;
    uint16_t eth_type;
    uint8_t ip_proto;           /* 0: any. */
} protocols[] = {
    /* A match is printed with the first that fits. */
    { "ip", 0x0800, 0 },
    { "icmp", 0x0800, 1 },
    { "tcp", 0x0800, 6 },
    { "udp", 0x0800, 17 },
    { "sctp", 0x0800, 132 },
    { "ipv6", 0x86dd, 0 },
    { "icmp6", 0x86dd, 58 },
    { "tcp6", 0x86dd, 6 },
    { "udp6", 0x86dd, 17 },
    { "sctp6", 0x86dd, 132 },
    { "arp", 0x0806, 0 },
    { "rarp", 0x8035, 0 },
    { "mpls", 0x8847, 0 },
    { "mplsm", 0x8848, 0 },
    { "ipv4", 0x0800, 0 },
    { "ip4", 0x0800, 0 },
    { "ip6", 0x86dd, 0 },
};

/* Parsing. */

static int
store_problem(const struct nsx_parser *parser, struct nsx_slice at,
              const char *problem)
{
    return problem ? nsx_parse_error(parser, at, "%s", problem) : 0;
}

static int
parse_protocol(const struct nsx_parser *parser, struct nsx_match *match,
               struct nsx_slice key)
{
    uint8_t exact[2] = { 0xff, 0xff };

    for (size_t i = 0; i < NSX_ARRAY_SIZE(protocols); i++) {
        uint8_t type[2];

        if (!nsx_slice_equals(key, protocols[i].name)) {
            continue;
        }
        nsx_set16(type, protocols[i].eth_type);

        const char *problem = nsx_match_store(match, NSX_F_ETH_TYPE, type,
                                              exact, NULL);
        if (!problem && protocols[i].ip_proto) {
            problem = nsx_match_store(match, NSX_F_IP_PROTO,
                                      &protocols[i].ip_proto, exact, NULL);
        }
        return store_problem(parser, key, problem);
    }
    return ENOENT;
}

/* "reg0[0..7]=3". */
static int
parse_subfield(const struct nsx_parser *parser, struct nsx_match *match,
               struct nsx_slice key, struct nsx_slice text)
{
    struct nsx_subfield subfield;
    struct nsx_slice name;
    int error;

    error = nsx_subfield_parse(parser, key, &subfield);
    if (error) {
        return error;
    }

    const struct nsx_field *field = subfield.field;
    size_t n = field->n_bytes;
    bool whole = subfield.n_bits == field->n_bits;
    if (!whole && !field->maskable) {
        return nsx_parse_error(parser, key, "%s can't be masked",
                               field->name);
    } else if (nsx_is_hole(text, &name)) {
        return store_problem(parser, text,
                             (!parser->holes
                              ? "only a template can have a hole"
                              : nsx_match_store_hole(match, field->id,
                                                     subfield.offset,
                                                     subfield.n_bits, whole,
                                                     name)));
    }

    uint8_t number[NSX_FIELD_MAX];
    error = nsx_parse_integer(parser, field->name, text, n, subfield.n_bits,
                              number);
    if (error) {
        return error;
    }

    uint8_t value[NSX_FIELD_MAX] = { 0 };
    uint8_t mask[NSX_FIELD_MAX] = { 0 };
    for (size_t i = 0; i < subfield.n_bits; i++) {
        size_t to = subfield.offset + i;

        mask[n - 1 - to / 8] |= (uint8_t) (1u << to % 8);
        if (nsx_get_bit(number, n, i)) {
            value[n - 1 - to / 8] |= (uint8_t) (1u << to % 8);
        }
    }
    if (whole) {
        memset(mask, 0xff, n);
    }
    return store_problem(parser, key,
                         nsx_match_store(match, field->id, value, mask,
                                         whole ? NULL : mask));
}

/* OpenFlow 1.0's dl_vlan=0xffff: no tag. */
static bool
is_no_vlan(const struct nsx_field *field, struct nsx_slice text)
{
    return (field->id == NSX_F_DL_VLAN
            && (nsx_slice_equals(text, "0xffff")
                || nsx_slice_equals(text, "65535")));
}

int
nsx_match_parse_field(const struct nsx_parser *parser,
                      struct nsx_match *match, struct nsx_slice key,
                      struct nsx_slice text, char delimiter)
{
    if (!delimiter) {
        int error = parse_protocol(parser, match, key);
        if (error != ENOENT) {
            return error;
        }
    }

    /* ovs-ofctl knows no NXM and OXM names here. */
    const struct nsx_field *field = nsx_field_from_name(key);
    if (field && (nsx_slice_starts_with(key, "NXM_")
                  || nsx_slice_starts_with(key, "OXM_"))) {
        return ENOENT;
    } else if (!field && memchr(key.s, '[', key.n)
        && (delimiter == '=' || delimiter == ':')) {
        return parse_subfield(parser, match, key, text);
    } else if (!field) {
        return ENOENT;
    } else if (delimiter != '=' && delimiter != ':') {
        return nsx_parse_error(parser, key, "%s has no value", field->name);
    }

    uint8_t value[NSX_FIELD_MAX];
    uint8_t mask[NSX_FIELD_MAX];
    struct nsx_slice hole;
    const char *problem;
    if (is_no_vlan(field, text)) {
        memset(value, 0, sizeof value);
        memset(mask, 0xff, sizeof mask);
        problem = nsx_match_store(match, NSX_F_VLAN_TCI, value, mask, NULL);
        return store_problem(parser, text, problem);
    }

    int error = nsx_field_parse_value(parser, field, text, value, mask,
                                      &hole);
    if (error) {
        return error;
    } else if (hole.n) {
        size_t n_bits = 0;

        while (n_bits < nsx_field_value_bits(field)
               && nsx_get_bit(mask, field->n_bytes, n_bits)) {
            n_bits++;
        }
        problem = nsx_match_store_hole(match, field->id, 0, n_bits,
                                       nsx_is_all(mask, field->n_bytes, 0xff),
                                       hole);
    } else {
        problem = nsx_match_store(match, field->id, value, mask, NULL);
    }
    return store_problem(parser, text, problem);
}

/* Formatting. */

/* How match_format() prints a field where nsx_field_format_value() would print
 * something else. */
enum style {
    VALUE,
    DECIMAL_OR_HEX,             /* The latter with a mask, zero as "0x0". */
    HEX4,                       /* Of at least 4 digits. */
    HEX5,
    DECIMAL,
    TOS,
};

struct item {
    uint8_t id;
    uint8_t style;
    const char *name;
};

static void
format_hex(struct nsx_buf *buf, const uint8_t *p, size_t n, int n_digits)
{
    uint32_t x = 0;

    for (size_t i = 0; i < n; i++) {
        x = x << 8 | p[i];
    }
    nsx_printf(buf, "0x%0*x", n_digits, (unsigned int) x);
}

static void
format_item(struct nsx_buf *buf, const struct item *item,
            const uint8_t *value, const uint8_t *mask)
{
    const struct nsx_field *field = &nsx_fields[item->id];
    size_t n = field->n_bytes;
    bool exact = nsx_is_all(mask, n, 0xff);
    int n_digits = 1;

    nsx_printf(buf, "%s=", item->name);
    switch ((enum style) item->style) {
    case VALUE:
        nsx_field_format_value(buf, field, value, mask);
        goto comma;
    case TOS:
        nsx_printf(buf, "%u", *value << 2);
        goto comma;
    case DECIMAL:
        nsx_printf(buf, "%u", nsx_get16(value));
        goto comma;
    case DECIMAL_OR_HEX:
        if (exact) {
            nsx_printf(buf, "%u", nsx_get16(value));
            goto comma;
        }
        break;
    case HEX4:
        n_digits = 4;
        break;
    case HEX5:
        n_digits = 5;
        break;
    }
    format_hex(buf, value, n, n_digits);
    if (!exact) {
        nsx_puts(buf, "/");
        format_hex(buf, mask, n, n_digits);
    }
comma:
    nsx_puts(buf, ",");
}

static void
format_items(struct nsx_buf *buf, const struct nsx_match *match,
             const struct item *items, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        enum nsx_field_id id = items[i].id;

        if (nsx_match_has(match, id)) {
            format_item(buf, &items[i], match->fields[id].value,
                        match->fields[id].mask);
        }
    }
}

static const struct item before_protocol[] = {
    { NSX_F_PKT_MARK, VALUE, "pkt_mark" },
    { NSX_F_CONJ_ID, VALUE, "conj_id" },
    { NSX_F_ACTSET_OUTPUT, VALUE, "actset_output" },
    { NSX_F_CT_STATE, VALUE, "ct_state" },
    { NSX_F_CT_ZONE, DECIMAL, "ct_zone" },
    { NSX_F_CT_MARK, VALUE, "ct_mark" },
    { NSX_F_CT_LABEL, VALUE, "ct_label" },
    { NSX_F_CT_NW_SRC, VALUE, "ct_nw_src" },
    { NSX_F_CT_IPV6_SRC, VALUE, "ct_ipv6_src" },
    { NSX_F_CT_NW_DST, VALUE, "ct_nw_dst" },
    { NSX_F_CT_IPV6_DST, VALUE, "ct_ipv6_dst" },
    { NSX_F_CT_NW_PROTO, VALUE, "ct_nw_proto" },
    { NSX_F_CT_TP_SRC, DECIMAL_OR_HEX, "ct_tp_src" },
    { NSX_F_CT_TP_DST, DECIMAL_OR_HEX, "ct_tp_dst" },
};

static const struct item before_vlan[] = {
    { NSX_F_TUN_ID, VALUE, "tun_id" },
    { NSX_F_TUN_SRC, VALUE, "tun_src" },
    { NSX_F_TUN_DST, VALUE, "tun_dst" },
    { NSX_F_TUN_IPV6_SRC, VALUE, "tun_ipv6_src" },
    { NSX_F_TUN_IPV6_DST, VALUE, "tun_ipv6_dst" },
    { NSX_F_METADATA, VALUE, "metadata" },
    { NSX_F_IN_PORT_OXM, VALUE, "in_port" },
};

static const struct item before_type[] = {
    { NSX_F_ETH_SRC, VALUE, "dl_src" },
    { NSX_F_ETH_DST, VALUE, "dl_dst" },
};

static const struct item eth_type = { NSX_F_ETH_TYPE, HEX4, "dl_type" };

static const struct item addresses[] = {
    { NSX_F_IPV6_SRC, VALUE, "ipv6_src" },
    { NSX_F_IPV6_DST, VALUE, "ipv6_dst" },
    { NSX_F_IPV6_LABEL, HEX5, "ipv6_label" },
    { NSX_F_ARP_SPA, VALUE, "arp_spa" },
    { NSX_F_ARP_TPA, VALUE, "arp_tpa" },
    { NSX_F_IPV4_SRC, VALUE, "nw_src" },
    { NSX_F_IPV4_DST, VALUE, "nw_dst" },
};

static const struct item ip_proto = { NSX_F_IP_PROTO, VALUE, "nw_proto" };

static const struct item after_proto[] = {
    { NSX_F_ARP_OP, VALUE, "arp_op" },
    { NSX_F_ARP_SHA, VALUE, "arp_sha" },
    { NSX_F_ARP_THA, VALUE, "arp_tha" },
    { NSX_F_IP_DSCP, TOS, "nw_tos" },
    { NSX_F_IP_ECN, VALUE, "nw_ecn" },
    { NSX_F_IP_TTL, VALUE, "nw_ttl" },
    { NSX_F_MPLS_LABEL, VALUE, "mpls_label" },
    { NSX_F_MPLS_TC, VALUE, "mpls_tc" },
    { NSX_F_MPLS_TTL, VALUE, "mpls_ttl" },
    { NSX_F_MPLS_BOS, VALUE, "mpls_bos" },
    { NSX_F_IP_FRAG, VALUE, "nw_frag" },
    { NSX_F_ICMP_TYPE, VALUE, "icmp_type" },
    { NSX_F_ICMP_CODE, VALUE, "icmp_code" },
    { NSX_F_ICMPV6_TYPE, VALUE, "icmp_type" },
    { NSX_F_ICMPV6_CODE, VALUE, "icmp_code" },
    { NSX_F_ND_TARGET, VALUE, "nd_target" },
    { NSX_F_ND_SLL, VALUE, "nd_sll" },
    { NSX_F_ND_TLL, VALUE, "nd_tll" },
    { NSX_F_TCP_SRC, DECIMAL_OR_HEX, "tp_src" },
    { NSX_F_UDP_SRC, DECIMAL_OR_HEX, "tp_src" },
    { NSX_F_SCTP_SRC, DECIMAL_OR_HEX, "tp_src" },
    { NSX_F_TCP_DST, DECIMAL_OR_HEX, "tp_dst" },
    { NSX_F_UDP_DST, DECIMAL_OR_HEX, "tp_dst" },
    { NSX_F_SCTP_DST, DECIMAL_OR_HEX, "tp_dst" },
    { NSX_F_TCP_FLAGS, VALUE, "tcp_flags" },
};

/* Prints the word for the match's protocol, and sets '*type_done' and
 * '*proto_done' if that says it all. */
static void
format_protocol(struct nsx_buf *buf, const struct nsx_match *match,
                bool *type_done, bool *proto_done)
{
    uint32_t type = nsx_match_number(match, NSX_F_ETH_TYPE);
    uint32_t proto = nsx_match_number(match, NSX_F_IP_PROTO);
    const char *name = NULL;

    *type_done = *proto_done = false;
    for (size_t i = 0; i < NSX_ARRAY_SIZE(protocols); i++) {
        if (protocols[i].eth_type != type) {
            continue;
        } else if (!*type_done) {
            name = protocols[i].name;
            *type_done = true;
        } else if (proto && protocols[i].ip_proto == proto) {
            name = protocols[i].name;
            *proto_done = true;
            break;
        }
    }
    if (name) {
        nsx_printf(buf, "%s,", name);
    }
}

static void
format_registers(struct nsx_buf *buf, const struct nsx_match *match)
{
    for (size_t i = 0; i < 16; i++) {
        enum nsx_field_id xreg = (enum nsx_field_id) (NSX_F_XREG0 + i / 2);
        const uint8_t *value = match->fields[xreg].value + i % 2 * 4;
        const uint8_t *mask = match->fields[xreg].mask + i % 2 * 4;
        char name[8] = { 'r', 'e', 'g', (char) ('0' + i), '\0' };

        if (i >= 10) {
            name[3] = '1';
            name[4] = (char) ('0' + i - 10);
        }
        if (nsx_match_has(match, xreg) && nsx_get32(mask)) {
            struct item item = { NSX_F_REG0, VALUE, name };
            format_item(buf, &item, value, mask);
        }
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

void
nsx_match_format(struct nsx_buf *buf, const struct nsx_match *match)
{
    size_t start = buf->size;
    bool type_done, proto_done;

    format_items(buf, match, before_protocol,
                 NSX_ARRAY_SIZE(before_protocol));
    format_protocol(buf, match, &type_done, &proto_done);
    format_registers(buf, match);
    format_items(buf, match, before_vlan, NSX_ARRAY_SIZE(before_vlan));
    format_vlan(buf, match);
    format_items(buf, match, before_type, NSX_ARRAY_SIZE(before_type));
    if (!type_done) {
        format_items(buf, match, &eth_type, 1);
    }
    format_items(buf, match, addresses, NSX_ARRAY_SIZE(addresses));
    if (!proto_done) {
        format_items(buf, match, &ip_proto, 1);
    }
    format_items(buf, match, after_proto, NSX_ARRAY_SIZE(after_proto));
    if (buf->size > start) {
        buf->size--;            /* The last comma. */
    }
}
