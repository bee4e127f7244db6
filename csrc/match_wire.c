/* match_wire.c: matches as OpenFlow 1.5's struct ofp_match, its fields in the
 * order of nx_put_raw() in Open vSwitch's lib/nx-match.c. */

#include "match.h"

#define OFPMT_OXM 1

/* What is not there stays out, so one order serves all protocols. */
static const uint8_t wire_order[] = {
    NSX_F_CONJ_ID,
    NSX_F_IN_PORT_OXM,
    NSX_F_ACTSET_OUTPUT,
    NSX_F_ETH_SRC,
    NSX_F_ETH_DST,
    NSX_F_ETH_TYPE,
    NSX_F_VLAN_TCI,
    NSX_F_MPLS_TC,
    NSX_F_MPLS_BOS,
    NSX_F_MPLS_TTL,
    NSX_F_MPLS_LABEL,
    NSX_F_IPV4_SRC,
    NSX_F_IPV4_DST,
    NSX_F_IPV6_SRC,
    NSX_F_IPV6_DST,
    NSX_F_IP_FRAG,
    NSX_F_IP_DSCP,
    NSX_F_IP_ECN,
    NSX_F_IP_TTL,
    NSX_F_IPV6_LABEL,
    NSX_F_IP_PROTO,
    NSX_F_TCP_SRC,
    NSX_F_TCP_DST,
    NSX_F_TCP_FLAGS,
    NSX_F_UDP_SRC,
    NSX_F_UDP_DST,
    NSX_F_SCTP_SRC,
    NSX_F_SCTP_DST,
    NSX_F_ICMP_TYPE,
    NSX_F_ICMP_CODE,
    NSX_F_ICMPV6_TYPE,
    NSX_F_ICMPV6_CODE,
    NSX_F_ND_TARGET,
    NSX_F_ND_SLL,
    NSX_F_ND_TLL,
    NSX_F_ARP_OP,
    NSX_F_ARP_SPA,
    NSX_F_ARP_TPA,
    NSX_F_ARP_SHA,
    NSX_F_ARP_THA,
    NSX_F_TUN_ID,
    NSX_F_TUN_SRC,
    NSX_F_TUN_DST,
    NSX_F_TUN_IPV6_SRC,
    NSX_F_TUN_IPV6_DST,
    NSX_F_XREG0,
    NSX_F_XREG1,
    NSX_F_XREG2,
    NSX_F_XREG3,
    NSX_F_XREG4,
    NSX_F_XREG5,
    NSX_F_XREG6,
    NSX_F_XREG7,
    NSX_F_PKT_MARK,
    NSX_F_CT_STATE,
    NSX_F_CT_ZONE,
    NSX_F_CT_MARK,
    NSX_F_CT_LABEL,
    NSX_F_CT_NW_SRC,
    NSX_F_CT_IPV6_SRC,
    NSX_F_CT_NW_DST,
    NSX_F_CT_IPV6_DST,
    NSX_F_CT_NW_PROTO,
    NSX_F_CT_TP_SRC,
    NSX_F_CT_TP_DST,
    NSX_F_METADATA,
};

/* Appends one field and returns where its value starts. */
static size_t
put_oxm(struct nsx_buf *buf, enum nsx_field_id id, const uint8_t *value,
        const uint8_t *mask)
{
    const struct nsx_field *field = &nsx_fields[id];
    bool masked = !nsx_is_all(mask, field->n_bytes, 0xff);

    nsx_oxm_put_header(buf, field, masked);
    size_t offset = buf->size;
    nsx_put(buf, value, field->n_bytes);
    if (masked) {
        nsx_put(buf, mask, field->n_bytes);
    }
    return offset;
}

/* Notes the holes of field 'id', whose value is at 'offset'. */
static int
put_holes(const struct nsx_parser *parser, const struct nsx_match *match,
          enum nsx_field_id id, size_t offset)
{
    size_t width = nsx_fields[id].n_bytes;

    for (size_t i = 0; i < match->n_holes; i++) {
        size_t bit_offset = match->holes[i].bit_offset;
        size_t n_bits = match->holes[i].n_bits;
        size_t at = offset;
        size_t n = width;

        if (match->holes[i].field != id) {
            continue;
        }
        if (id >= NSX_F_XREG0 && id <= NSX_F_XREG7
            && bit_offset / 32 == (bit_offset + n_bits - 1) / 32) {
            /* It is in one of the two registers. */
            at += bit_offset < 32 ? 4 : 0;
            bit_offset %= 32;
            n = 4;
        }

        int error = nsx_add_hole(parser, match->holes[i].name, at, n,
                                 bit_offset, n_bits);
        if (error) {
            return error;
        }
    }
    return 0;
}

/* vlan_tci as vlan_vid and vlan_pcp. */
static int
put_vlan(const struct nsx_parser *parser, const struct nsx_match *match,
         struct nsx_buf *buf)
{
    uint16_t tci = (uint16_t) nsx_match_number(match, NSX_F_VLAN_TCI);
    uint16_t tci_mask = (uint16_t) nsx_match_mask(match, NSX_F_VLAN_TCI);
    uint16_t vid_mask = tci_mask & (VLAN_VID | VLAN_CFI);
    uint8_t value[2], mask[2];
    size_t vid_at = 0;
    size_t pcp_at = 0;

    if (vid_mask) {
        nsx_set16(value, tci & vid_mask);
        nsx_set16(mask, (vid_mask == (VLAN_VID | VLAN_CFI)
                         ? UINT16_MAX : vid_mask));
        vid_at = put_oxm(buf, NSX_F_VLAN_VID, value, mask);
    }
    if (tci_mask & VLAN_PCP && tci & VLAN_CFI) {
        value[0] = (uint8_t) (tci >> 13);
        mask[0] = 0xff;
        pcp_at = put_oxm(buf, NSX_F_VLAN_PCP, value, mask);
    }

    for (size_t i = 0; i < match->n_holes; i++) {
        if (match->holes[i].field == NSX_F_VLAN_TCI) {
            bool pcp = match->holes[i].bit_offset >= 13;
            int error = nsx_add_hole(parser, match->holes[i].name,
                                     pcp ? pcp_at : vid_at, pcp ? 1 : 2, 0,
                                     match->holes[i].n_bits);
            if (error) {
                return error;
            }
        }
    }
    return 0;
}

int
nsx_match_encode(const struct nsx_parser *parser,
                 const struct nsx_match *match, struct nsx_buf *buf)
{
    size_t start = buf->size;

    nsx_put16(buf, OFPMT_OXM);
    nsx_put16(buf, 0);
    for (size_t i = 0; i < NSX_ARRAY_SIZE(wire_order); i++) {
        enum nsx_field_id id = wire_order[i];
        int error = 0;

        if (!nsx_match_has(match, id)) {
            continue;
        } else if (id == NSX_F_VLAN_TCI) {
            error = put_vlan(parser, match, buf);
        } else {
            size_t offset = put_oxm(buf, id, match->fields[id].value,
                                    match->fields[id].mask);
            if (match->n_holes) {
                error = put_holes(parser, match, id, offset);
            }
        }
        if (error) {
            return error;
        }
    }
    nsx_set16(buf->data + start + 2, (uint16_t) (buf->size - start));
    nsx_pad(buf, start, 8);
    return 0;
}

/* Decoding. */

/* Returns what is wrong with the 'value' of a field, or NULL. */
static const char *
check_value(const struct nsx_field *field, const uint8_t *value,
            const uint8_t *mask)
{
    size_t n = field->n_bytes;

    for (size_t i = 0; i < n; i++) {
        if (value[i] & ~mask[i]) {
            return "its value has bits that its mask hasn't";
        }
    }
    if (field->format == NSX_FMT_PORT && n == 4
        && !nsx_port_is_valid(nsx_get32(value))) {
        return "there is no such port";
    }

    size_t n_bits = (field->format == NSX_FMT_CT_STATE
                     ? 8 : nsx_field_value_bits(field));
    for (size_t i = n_bits; i < n * 8; i++) {
        if (nsx_get_bit(value, n, i)) {
            return "its value has too many bits";
        }
    }
    return NULL;
}

/* Reads one field, 'left' bytes from the end of the match, and sets '*len'. */
static const char *
pull_field(const uint8_t *p, size_t left, struct nsx_match *match,
           const struct nsx_field **field, size_t *len)
{
    bool masked;
    size_t header_len;

    *field = nsx_oxm_pull_header(p, left, &masked, &header_len);
    if (!*field) {
        return "unknown field, or of a wrong length";
    }

    size_t n = (*field)->n_bytes;
    *len = header_len + (n << masked);
    if (*len > left) {
        return "its value is cut off";
    }

    uint8_t mask[NSX_FIELD_MAX];
    const uint8_t *value = p + header_len;
    if (masked) {
        memcpy(mask, value + n, n);
    } else {
        memset(mask, 0xff, n);
    }

    const char *problem = check_value(*field, value, mask);
    return (problem ? problem
            : nsx_match_store(match, (*field)->id, value, mask,
                              masked ? mask : NULL));
}

/* What OpenFlow allows and a match here has no room for. */
static const char *
check_vlan(const struct nsx_match *match)
{
    uint32_t pcp = nsx_match_mask(match, NSX_F_VLAN_TCI) & VLAN_PCP;
    uint32_t tci = nsx_match_number(match, NSX_F_VLAN_TCI);

    return (pcp && pcp != VLAN_PCP
            ? "OpenFlow 1.5 can't match some bits of the VLAN's priority"
            : pcp && !(tci & VLAN_CFI)
              && (tci || nsx_match_mask(match, NSX_F_VLAN_TCI) != UINT16_MAX)
            ? "OpenFlow 1.5 can't match a VLAN's priority without its tag"
            : NULL);
}

const char *
nsx_match_check_vlan(const struct nsx_match *match)
{
    return nsx_match_has(match, NSX_F_VLAN_TCI) ? check_vlan(match) : NULL;
}

int
nsx_match_decode(const uint8_t *p, size_t n, size_t position,
                 struct nsx_match *match, size_t *len,
                 struct nsx_error *error)
{
    nsx_match_init(match);
    if (n < 4) {
        return nsx_decode_error(error, position, "match is cut off");
    }

    size_t match_len = nsx_get16(p + 2);
    size_t padded = NSX_ROUND_UP(match_len, 8);
    if (nsx_get16(p) != OFPMT_OXM) {
        return nsx_decode_error(error, position, "match is of type %u",
                                nsx_get16(p));
    } else if (match_len < 4 || padded > n) {
        return nsx_decode_error(error, position + 2,
                                "match of %zu bytes where there are %zu",
                                match_len, n);
    }

    const struct nsx_field *field;
    size_t field_len;
    bool seen[NSX_N_FIELDS] = { false };
    for (size_t i = 4; i < match_len; i += field_len) {
        const char *problem = pull_field(p + i, match_len - i, match, &field,
                                         &field_len);
        if (!problem && seen[field->id]) {
            problem = "it is there twice";
        }
        if (problem) {
            return nsx_decode_error(error, position + i, "match: %s%s%s",
                                    field ? field->name : "",
                                    field ? ": " : "", problem);
        }
        seen[field->id] = true;
    }

    const char *needs = nsx_match_check_vlan(match);
    if (needs) {
        return nsx_decode_error(error, position, "match: %s", needs);
    }
    field = nsx_match_find_unmet(match, &needs);
    if (field) {
        return nsx_decode_error(error, position, "match: %s needs %s",
                                field->name, needs);
    }
    *len = padded;
    return 0;
}
