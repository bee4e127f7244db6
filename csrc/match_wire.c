/* match_wire.c: matches as OpenFlow 1.5's struct ofp_match, its fields in the
 * order of nx_put_raw() in Open vSwitch's lib/nx-match.c. */

#include "match.h"
#include "protocols.h"

#define OFPMT_OXM 1

/* A match that is being written. */
struct writer {
    const struct nsx_parser *parser;
    const struct nsx_match *match;
    struct nsx_buf *buf;
    bool ethernet;              /* Has a field that only Ethernet has. */
    int error;
};

/* Notes the holes of 'slot', which is written as 'field' at 'offset'. */
static void
put_holes(struct writer *w, enum nsx_field_id slot,
          const struct nsx_field *field, size_t offset)
{
    const struct nsx_match *match = w->match;

    for (size_t i = 0; i < match->n_holes && !w->error; i++) {
        size_t bit_offset = match->holes[i].bit_offset;
        size_t n_bits = match->holes[i].n_bits;
        size_t at = offset;
        size_t n = field->n_bytes;

        if (match->holes[i].field != slot
            || (slot == NSX_F_VLAN_TCI
                && (bit_offset >= 13) != (field->id == NSX_F_VLAN_PCP))) {
            continue;
        }
        if (slot == NSX_F_VLAN_TCI) {
            bit_offset = 0;
        } else if (slot >= NSX_F_XREG0 && slot <= NSX_F_XREG15
                   && bit_offset / 32 == (bit_offset + n_bits - 1) / 32) {
            /* It is in one of the two registers. */
            at += bit_offset < 32 ? 4 : 0;
            bit_offset %= 32;
            n = 4;
        }
        w->error = nsx_add_hole(w->parser, match->holes[i].name, at, n,
                                bit_offset, n_bits);
    }
}

/* Appends 'slot' as the field 'id'. */
static void
put_as(struct writer *w, enum nsx_field_id slot, enum nsx_field_id id,
       const uint8_t *value, const uint8_t *mask)
{
    const struct nsx_field *field = &nsx_fields[id];
    bool exact = (nsx_is_all(mask, field->n_bytes, 0xff)
                  || !field->maskable);
    size_t offset = nsx_oxm_put(w->buf, field, value, exact ? NULL : mask);

    w->ethernet |= field->prereq != NSX_PRE_NONE;
    if (w->match->n_holes) {
        put_holes(w, slot, field, offset);
    }
}

/* Appends a slot that is a field, if the match has it. */
static void
put(struct writer *w, enum nsx_field_id id)
{
    if (nsx_match_has(w->match, id)) {
        put_as(w, id, id, w->match->fields[id].value,
               w->match->fields[id].mask);
    }
}

static void
put_all(struct writer *w, const uint8_t *ids, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        put(w, ids[i]);
    }
}

/* Appends 'slot' as the field 'id', which may be of another width. */
static void
put_slot(struct writer *w, enum nsx_field_id slot, enum nsx_field_id id)
{
    const uint8_t *value = w->match->fields[slot].value;
    const uint8_t *mask = w->match->fields[slot].mask;
    size_t n = nsx_fields[slot].n_bytes;
    uint8_t wide[2] = { 0, *value };

    if (!nsx_match_has(w->match, slot)) {
        return;
    } else if (nsx_fields[id].n_bytes > n) {
        put_as(w, slot, id, wide, mask);
    } else {
        size_t gap = n - nsx_fields[id].n_bytes;

        put_as(w, slot, id, value + gap, mask + gap);
    }
}

/* vlan_tci as vlan_vid and vlan_pcp. */
static void
put_vlan(struct writer *w)
{
    uint16_t tci = (uint16_t) nsx_match_number(w->match, NSX_F_VLAN_TCI);
    uint16_t tci_mask = (uint16_t) nsx_match_mask(w->match, NSX_F_VLAN_TCI);
    uint16_t vid_mask = tci_mask & (VLAN_VID | VLAN_CFI);
    uint16_t vid = tci & (VLAN_VID | VLAN_CFI);
    uint8_t value[2], mask[2];

    if (vid_mask) {
        nsx_set16(value, vid);
        nsx_set16(mask, (vid_mask == (VLAN_VID | VLAN_CFI)
                         ? UINT16_MAX : vid_mask));
        put_as(w, NSX_F_VLAN_TCI, NSX_F_VLAN_VID, value, mask);
    }
    if (tci_mask & VLAN_PCP && vid) {
        value[0] = (uint8_t) (tci >> 13);
        mask[0] = 0xff;
        put_as(w, NSX_F_VLAN_TCI, NSX_F_VLAN_PCP, value, mask);
    }
}

static void
put_ports(struct writer *w, enum nsx_field_id src, enum nsx_field_id dst)
{
    put_slot(w, NSX_F_TCP_SRC, src);
    put_slot(w, NSX_F_TCP_DST, dst);
}

static void
put_icmpv6(struct writer *w)
{
    uint32_t type = nsx_match_number(w->match, NSX_F_TCP_SRC);

    put_ports(w, NSX_F_ICMPV6_TYPE, NSX_F_ICMPV6_CODE);
    if ((type == ND_SOLICIT || type == ND_ADVERT)
        && !nsx_match_number(w->match, NSX_F_TCP_DST)) {
        put(w, NSX_F_ND_RESERVED);
        put(w, NSX_F_ND_TARGET);
        put_slot(w, NSX_F_TCP_FLAGS, NSX_F_ND_OPTIONS_TYPE);
        if (type == ND_SOLICIT) {
            put_slot(w, NSX_F_ARP_SHA, NSX_F_ND_SLL);
        } else {
            put_slot(w, NSX_F_ARP_THA, NSX_F_ND_TLL);
        }
    }
}

static void
put_ip(struct writer *w, uint16_t type)
{
    static const uint8_t both[] = {
        NSX_F_IP_FRAG, NSX_F_IP_DSCP, NSX_F_IP_ECN, NSX_F_IP_TTL,
        NSX_F_IPV6_LABEL, NSX_F_IP_PROTO,
    };

    put(w, type == ETH_IPV4 ? NSX_F_IPV4_SRC : NSX_F_IPV6_SRC);
    put(w, type == ETH_IPV4 ? NSX_F_IPV4_DST : NSX_F_IPV6_DST);
    put_all(w, both, sizeof both);
    if (!nsx_match_has(w->match, NSX_F_IP_PROTO)) {
        return;
    }
    switch (nsx_match_number(w->match, NSX_F_IP_PROTO)) {
    case PROTO_TCP:
        put_ports(w, NSX_F_TCP_SRC, NSX_F_TCP_DST);
        put(w, NSX_F_TCP_FLAGS);
        break;
    case PROTO_UDP:
        put_ports(w, NSX_F_UDP_SRC, NSX_F_UDP_DST);
        break;
    case PROTO_SCTP:
        put_ports(w, NSX_F_SCTP_SRC, NSX_F_SCTP_DST);
        break;
    case PROTO_ICMP:
        if (type == ETH_IPV4) {
            put_ports(w, NSX_F_ICMP_TYPE, NSX_F_ICMP_CODE);
        }
        break;
    case PROTO_ICMPV6:
        if (type == ETH_IPV6) {
            put_icmpv6(w);
        }
        break;
    }
}

static void
put_arp(struct writer *w)
{
    put_slot(w, NSX_F_IP_PROTO, NSX_F_ARP_OP);
    put_slot(w, NSX_F_IPV4_SRC, NSX_F_ARP_SPA);
    put_slot(w, NSX_F_IPV4_DST, NSX_F_ARP_TPA);
    put(w, NSX_F_ARP_SHA);
    put(w, NSX_F_ARP_THA);
}

static void
put_metadata(struct writer *w)
{
    const struct nsx_match *match = w->match;

    if (!match->n_metadata) {
        return;
    }
    for (size_t i = 0; i < NSX_ARRAY_SIZE(match->metadata); i++) {
        size_t id = NSX_F_TUN_METADATA0 + i;

        if (nsx_match_has(match, (enum nsx_field_id) id)) {
            const uint8_t *value = (match->metadata_value
                                    + match->metadata[i].offset);
            const uint8_t *mask = (match->metadata_mask
                                   + match->metadata[i].offset);

            nsx_oxm_put_part(w->buf, &nsx_fields[id], match->metadata[i].len,
                             value, match->metadata[i].masked ? mask : NULL);
        }
    }
}

/* Appends the fields of no particular protocol that come before the others,
 * then those of the protocol, then the rest. */
static void
put_fields(struct writer *w)
{
    static const uint8_t before[] = {
        NSX_F_DP_HASH, NSX_F_RECIRC_ID, NSX_F_CONJ_ID, NSX_F_IN_PORT_OXM,
        NSX_F_ACTSET_OUTPUT, NSX_F_ETH_SRC, NSX_F_ETH_DST, NSX_F_ETH_TYPE,
    };
    static const uint8_t mpls[] = {
        NSX_F_MPLS_TC, NSX_F_MPLS_BOS, NSX_F_MPLS_TTL, NSX_F_MPLS_LABEL,
    };
    static const uint8_t tunnel[] = {
        NSX_F_TUN_ID, NSX_F_TUN_FLAGS, NSX_F_TUN_SRC, NSX_F_TUN_DST,
        NSX_F_TUN_IPV6_SRC, NSX_F_TUN_IPV6_DST, NSX_F_TUN_GBP_ID,
        NSX_F_TUN_GBP_FLAGS,
    };
    static const uint8_t more_tunnel[] = {
        NSX_F_TUN_ERSPAN_IDX, NSX_F_TUN_ERSPAN_VER, NSX_F_TUN_ERSPAN_DIR,
        NSX_F_TUN_ERSPAN_HWID, NSX_F_TUN_GTPU_FLAGS, NSX_F_TUN_GTPU_MSGTYPE,
    };
    static const uint8_t nsh[] = {
        NSX_F_NSH_FLAGS, NSX_F_NSH_TTL, NSX_F_NSH_MDTYPE, NSX_F_NSH_NP,
        NSX_F_NSH_SPI, NSX_F_NSH_SI, NSX_F_NSH_C1, NSX_F_NSH_C2,
        NSX_F_NSH_C3, NSX_F_NSH_C4,
    };
    static const uint8_t after[] = {
        NSX_F_XREG0, NSX_F_XREG1, NSX_F_XREG2, NSX_F_XREG3, NSX_F_XREG4,
        NSX_F_XREG5, NSX_F_XREG6, NSX_F_XREG7, NSX_F_XREG8, NSX_F_XREG9,
        NSX_F_XREG10, NSX_F_XREG11, NSX_F_XREG12, NSX_F_XREG13, NSX_F_XREG14,
        NSX_F_XREG15, NSX_F_PKT_MARK, NSX_F_CT_STATE, NSX_F_CT_ZONE,
        NSX_F_CT_MARK, NSX_F_CT_LABEL, NSX_F_CT_NW_SRC, NSX_F_CT_IPV6_SRC,
        NSX_F_CT_NW_DST, NSX_F_CT_IPV6_DST,
    };
    uint16_t type = nsx_match_eth_type(w->match);

    if (nsx_match_number(w->match, NSX_F_PACKET_TYPE)) {
        put(w, NSX_F_PACKET_TYPE);
    }
    put_all(w, before, sizeof before);
    put_vlan(w);
    if (type == ETH_MPLS || type == ETH_MPLS_MCAST) {
        put_all(w, mpls, sizeof mpls);
    } else if (type == ETH_IPV4 || type == ETH_IPV6) {
        put_ip(w, type);
    } else if (type == ETH_ARP || type == ETH_RARP) {
        put_arp(w);
    }
    put_all(w, tunnel, sizeof tunnel);
    put_metadata(w);
    put_all(w, more_tunnel, sizeof more_tunnel);
    put_all(w, nsh, sizeof nsh);
    put_all(w, after, sizeof after);
    if (nsx_match_number(w->match, NSX_F_CT_NW_PROTO)
        || nsx_match_has_hole(w->match, NSX_F_CT_NW_PROTO)) {
        put(w, NSX_F_CT_NW_PROTO);
        put(w, NSX_F_CT_TP_SRC);
        put(w, NSX_F_CT_TP_DST);
    }
    put(w, NSX_F_METADATA);
}

/* True if 'match' is of Ethernet packets and no field says so. */
static bool
needs_packet_type(const struct writer *w)
{
    return (!w->ethernet && nsx_match_has(w->match, NSX_F_PACKET_TYPE)
            && !nsx_match_number(w->match, NSX_F_PACKET_TYPE));
}

int
nsx_match_encode(const struct nsx_parser *parser,
                 const struct nsx_match *match, struct nsx_buf *buf)
{
    struct writer w = { parser, match, buf, false, 0 };
    size_t start = buf->size;

    nsx_put16(buf, OFPMT_OXM);
    nsx_put16(buf, 0);
    put_fields(&w);
    if (!w.error && needs_packet_type(&w)) {
        /* It comes first; there is no hole whose place would change, but in
         * what no field implies Ethernet for. */
        size_t n = buf->size - start - 4;
        uint8_t *p = nsx_put_uninit(buf, 8) - n;

        memmove(p + 8, p, n);
        nsx_set32(p, UINT32_C(0x8000) << 16 | 44 << 9 | 4);
        nsx_set32(p + 4, 0);
        for (size_t i = 0; i < match->n_holes; i++) {
            struct nsx_holes *holes = parser->holes;
            holes->list[holes->n - 1 - i].offset += 8;
        }
    }
    nsx_set16(buf->data + start + 2, (uint16_t) (buf->size - start));
    nsx_pad(buf, start, 8);
    return w.error;
}

/* Decoding. */

/* Returns what is wrong with the 'value' of a field, or NULL, and then sets
 * '*ofperr'.  As mf_is_value_valid() and what is before it in
 * nx_pull_match_entry(). */
static const char *
check_value(const struct nsx_field *field, const uint8_t *value,
            const uint8_t *mask, enum nsx_ofperr *ofperr)
{
    enum nsx_field_id id = field->id;
    size_t n = field->n_bytes;
    size_t n_bits = (id == NSX_F_CT_STATE ? 8 : nsx_field_value_bits(field));

    for (size_t i = 0; i < n; i++) {
        if (value[i] & ~mask[i]) {
            *ofperr = NSX_OFPBMC_BAD_WILDCARDS;
            return "its value has bits that its mask hasn't";
        }
    }
    if (!field->maskable && !nsx_is_all(mask, n, 0xff)
        && !nsx_is_all(mask, n, 0)) {
        *ofperr = NSX_OFPBMC_BAD_MASK;
        return "it can't be masked";
    }
    *ofperr = NSX_OFPBMC_BAD_VALUE;
    if (field->format == NSX_FMT_PORT && n == 4
        && !nsx_port_is_valid(nsx_get32(value))) {
        return "there is no such port";
    } else if (id == NSX_F_NSH_MDTYPE && *value != 1 && *value != 2) {
        return "it is neither 1 nor 2";
    } else if ((id == NSX_F_NSH_TTL && *value > 63)
               || (id == NSX_F_IP_TOS && *value & 3)) {
        return "its value has too many bits";
    } else if (id >= NSX_F_TUN_ERSPAN_IDX && id <= NSX_F_TUN_ERSPAN_HWID) {
        return NULL;
    }
    for (size_t i = n_bits; i < n * 8; i++) {
        if (nsx_get_bit(value, n, i)) {
            return "its value has too many bits";
        }
    }
    return NULL;
}

/* Reads one field, 'left' bytes from the end of the match, and sets '*len'.
 * Sets '*needs' to what the match lacks for it. */
static const char *
pull_field(const uint8_t *p, size_t left, struct nsx_match *match,
           const struct nsx_field **field, size_t *len, const char **needs,
           enum nsx_ofperr *ofperr)
{
    uint8_t value[NSX_FIELD_MAX], mask[NSX_FIELD_MAX];
    uint8_t old[NSX_FIELD_MAX], old_mask[NSX_FIELD_MAX];
    bool has_mask;

    *field = nsx_oxm_pull(p, left, value, mask, &has_mask, len);
    if (!*field) {
        *ofperr = nsx_oxm_fault(p, left, NSX_OFPBMC_BAD_FIELD,
                                NSX_OFPBMC_BAD_LEN);
        return "unknown field, or of a wrong length";
    }

    const char *problem = check_value(*field, value, mask, ofperr);
    if (problem) {
        return problem;
    } else if (!nsx_match_allows(match, *field)) {
        *ofperr = NSX_OFPBMC_BAD_PREREQ;
        *needs = nsx_prereq_text(*field);
        return "it needs ";
    }
    *ofperr = NSX_OFPBMC_DUP_FIELD;
    if (nsx_is_tun_metadata((*field)->id)) {
        if (nsx_match_has(match, (*field)->id)) {
            return "it is there twice";
        }
    } else {
        nsx_match_get(match, *field, old, old_mask);
        if (!nsx_is_all(old_mask, (*field)->n_bytes, 0)) {
            return "it is there twice";
        }
    }

    *ofperr = NSX_OFPBMC_BAD_MASK;
    problem = nsx_match_set(match, *field, value, mask);
    if (!problem && (*field)->prereq != NSX_PRE_NONE) {
        nsx_match_imply_ethernet(match);
    }
    return problem;
}

const char *
nsx_match_check_vlan(const struct nsx_match *match)
{
    uint32_t mask = nsx_match_mask(match, NSX_F_VLAN_TCI);
    uint32_t tci = nsx_match_number(match, NSX_F_VLAN_TCI);
    uint32_t pcp = mask & VLAN_PCP;

    return (pcp && pcp != VLAN_PCP
            ? "OpenFlow 1.5 can't match some bits of the VLAN's priority"
            : pcp && !(tci & VLAN_CFI) && (tci || mask != UINT16_MAX)
            ? "OpenFlow 1.5 can't match a VLAN's priority without its tag"
            : NULL);
}

int
nsx_match_decode(const uint8_t *p, size_t n, size_t position,
                 struct nsx_match *match, size_t *len,
                 struct nsx_error *error)
{
    nsx_match_init(match);
    if (n < 4) {
        return nsx_decode_error(error, NSX_OFPBMC_BAD_LEN, position,
                                "match is cut off");
    }

    size_t match_len = nsx_get16(p + 2);
    size_t padded = NSX_ROUND_UP(match_len, 8);
    if (nsx_get16(p) != OFPMT_OXM) {
        return nsx_decode_error(error, (nsx_get16(p)
                                        ? NSX_OFPBMC_BAD_TYPE
                                        : NSX_OFPBMC_BAD_LEN), position,
                                "match is of type %u", nsx_get16(p));
    } else if (match_len < 4 || padded > n) {
        return nsx_decode_error(error, NSX_OFPBMC_BAD_LEN, position + 2,
                                "match of %zu bytes where there are %zu",
                                match_len, n);
    }

    const struct nsx_field *field;
    size_t field_len;
    for (size_t i = 4; i < match_len; i += field_len) {
        enum nsx_ofperr ofperr;
        const char *needs = "";
        const char *problem = pull_field(p + i, match_len - i, match, &field,
                                         &field_len, &needs, &ofperr);
        if (problem) {
            return nsx_decode_error(error, ofperr, position + i,
                                    "match: %s%s%s%s",
                                    field ? field->name : "",
                                    field ? ": " : "", problem, needs);
        }
    }
    *len = padded;
    return 0;
}
