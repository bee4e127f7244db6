/* match.c: matches: what a text or a message says about a packet, kept in one
 * form, and back.  Text: match_text.c. */

#include "match.h"

#define BIT(ID) (UINT64_C(1) << (ID) % 64)

enum { ETH_IPV4 = 0x0800, ETH_ARP = 0x0806, ETH_RARP = 0x8035,
       ETH_MPLS = 0x8847, ETH_MPLS_MCAST = 0x8848, ETH_IPV6 = 0x86dd };
enum { PROTO_ICMP = 1, PROTO_TCP = 6, PROTO_UDP = 17, PROTO_ICMPV6 = 58,
       PROTO_SCTP = 132 };
enum { ND_SOLICIT = 135, ND_ADVERT = 136 };

void
nsx_match_init(struct nsx_match *match)
{
    memset(match, 0, sizeof *match);
}

bool
nsx_match_has(const struct nsx_match *match, enum nsx_field_id id)
{
    return match->present[id / 64] & BIT(id);
}

uint32_t
nsx_match_number(const struct nsx_match *match, enum nsx_field_id id)
{
    uint32_t x = 0;

    for (size_t i = 0; i < nsx_fields[id].n_bytes; i++) {
        x = x << 8 | match->fields[id].value[i];
    }
    return x;
}

uint32_t
nsx_match_mask(const struct nsx_match *match, enum nsx_field_id id)
{
    uint32_t x = 0;

    for (size_t i = 0; i < nsx_fields[id].n_bytes; i++) {
        x = x << 8 | match->fields[id].mask[i];
    }
    return x;
}

/* Storing. */

/* True if the 'n' bytes of mask 'mask', which start at byte 'offset' of the
 * field, have a bit of the 'i'th hole. */
static bool
overlaps_hole(const struct nsx_match *match, size_t i, size_t offset,
              size_t n, const uint8_t *mask)
{
    size_t width = nsx_fields[match->holes[i].field].n_bytes;

    for (size_t bit = 0; bit < match->holes[i].n_bits; bit++) {
        size_t at = match->holes[i].bit_offset + bit;
        size_t byte = width - 1 - at / 8;

        if (byte >= offset && byte < offset + n
            && mask[byte - offset] >> at % 8 & 1) {
            return true;
        }
    }
    return false;
}

/* Sets the bits 'mask' of the 'n' bytes from byte 'offset' of field 'id'.
 * 'region' (NULL: all) has the bits that the text or message spoke of: what
 * the match already says about them has to be the same. */
static const char *
store(struct nsx_match *match, enum nsx_field_id id, size_t offset, size_t n,
      const uint8_t *value, const uint8_t *mask, const uint8_t *region)
{
    uint8_t *v = match->fields[id].value + offset;
    uint8_t *m = match->fields[id].mask + offset;

    for (size_t i = 0; i < match->n_holes; i++) {
        if (match->holes[i].field == id
            && overlaps_hole(match, i, offset, n, mask)) {
            return "this is matched twice";
        }
    }
    for (size_t i = 0; i < n; i++) {
        uint8_t r = region ? region[i] : 0xff;
        uint8_t old = m[i] & r;

        if (old && (old != (mask[i] & r)
                    || ((v[i] ^ value[i]) & old))) {
            return "this is matched twice, differently";
        }
    }

    bool any = false;
    for (size_t i = 0; i < n; i++) {
        v[i] |= value[i] & mask[i];
        m[i] |= mask[i];
        any |= mask[i] != 0;
    }
    if (any) {
        match->present[id / 64] |= BIT(id);
    }
    return NULL;
}

static const char *
store_tci(struct nsx_match *match, uint16_t value, uint16_t mask,
          uint16_t region)
{
    uint8_t v[2], m[2], r[2];

    nsx_set16(v, value);
    nsx_set16(m, mask);
    nsx_set16(r, region);
    return store(match, NSX_F_VLAN_TCI, 0, 2, v, m, r);
}

/* The lowest bit of vlan_tci that stands for the VLAN field 'id'. */
static unsigned int
tci_shift(enum nsx_field_id id)
{
    return id == NSX_F_VLAN_PCP || id == NSX_F_DL_VLAN_PCP ? 13 : 0;
}

static const char *
store_vlan(struct nsx_match *match, enum nsx_field_id id,
           const uint8_t *value, const uint8_t *mask)
{
    size_t n = nsx_fields[id].n_bytes;
    uint16_t v = n == 2 ? nsx_get16(value) : *value;
    uint16_t m = n == 2 ? nsx_get16(mask) : *mask;

    if (!m) {
        return NULL;
    }

    /* Whether there is a tag is said by several fields. */
    uint16_t cfi = id == NSX_F_VLAN_VID || id == NSX_F_VLAN_TCI ? v : VLAN_CFI;
    if ((id != NSX_F_VLAN_VID && id != NSX_F_VLAN_TCI) || m & VLAN_CFI) {
        uint32_t old = nsx_match_number(match, NSX_F_VLAN_TCI);

        if (nsx_match_mask(match, NSX_F_VLAN_TCI) & VLAN_CFI
            && (old ^ cfi) & VLAN_CFI) {
            return "a packet can't both have a VLAN tag and not";
        }
    }

    switch (id) {
    case NSX_F_DL_VLAN:
        return store_tci(match, v | VLAN_CFI, VLAN_VID | VLAN_CFI, VLAN_VID);
    case NSX_F_VLAN_VID:
        m &= VLAN_VID | VLAN_CFI;
        return store_tci(match, v, m, VLAN_VID);
    case NSX_F_DL_VLAN_PCP:
    case NSX_F_VLAN_PCP:
        return store_tci(match, (uint16_t) (v << 13 | VLAN_CFI),
                         VLAN_PCP | VLAN_CFI, VLAN_PCP);
    default:
        return store_tci(match, v, m, UINT16_MAX);
    }
}

/* The xreg that has the first byte of register field 'id', and where in it. */
static bool
find_register(enum nsx_field_id id, enum nsx_field_id *xreg, size_t *offset)
{
    size_t byte;

    if (id >= NSX_F_REG0 && id <= NSX_F_REG15) {
        byte = (id - NSX_F_REG0) * 4u;
    } else if (id >= NSX_F_XREG0 && id <= NSX_F_XREG7) {
        byte = (id - NSX_F_XREG0) * 8u;
    } else if (id >= NSX_F_XXREG0 && id <= NSX_F_XXREG3) {
        byte = (id - NSX_F_XXREG0) * 16u;
    } else {
        return false;
    }
    *xreg = (enum nsx_field_id) (NSX_F_XREG0 + byte / 8);
    *offset = byte % 8;
    return true;
}

static const char *
store_register(struct nsx_match *match, enum nsx_field_id id,
               const uint8_t *value, const uint8_t *mask,
               const uint8_t *region)
{
    size_t n = nsx_fields[id].n_bytes;
    enum nsx_field_id xreg;
    size_t offset;
    const char *problem = NULL;

    find_register(id, &xreg, &offset);
    for (size_t i = 0; i < n && !problem; i += 8) {
        problem = store(match, (enum nsx_field_id) (xreg + i / 8), offset,
                        n - i < 8 ? n - i : 8, value + i, mask + i,
                        region ? region + i : NULL);
    }
    return problem;
}

const char *
nsx_match_store(struct nsx_match *match, enum nsx_field_id id,
                const uint8_t *value, const uint8_t *mask,
                const uint8_t *region)
{
    enum nsx_field_id xreg;
    size_t offset;
    uint8_t v[4], m[4];

    switch (id) {
    case NSX_F_VLAN_TCI:
    case NSX_F_VLAN_VID:
    case NSX_F_VLAN_PCP:
    case NSX_F_DL_VLAN:
    case NSX_F_DL_VLAN_PCP:
        return store_vlan(match, id, value, mask);

    case NSX_F_IN_PORT:
        nsx_set32(v, (nsx_get16(value) >= 0xff00
                      ? 0xffff0000u | nsx_get16(value) : nsx_get16(value)));
        memset(m, *mask, sizeof m);
        return store(match, NSX_F_IN_PORT_OXM, 0, 4, v, m, NULL);

    case NSX_F_IP_TOS:
        if (*value & 3) {
            return "the lowest 2 bits of nw_tos are nw_ecn's";
        }
        *v = *value >> 2;
        return store(match, NSX_F_IP_DSCP, 0, 1, v, mask, NULL);

    case NSX_F_CT_STATE:
        /* Open vSwitch has 8 bits of it. */
        nsx_set32(m, nsx_get32(mask) & 0xff);
        return store(match, id, 0, 4, value, m, region);

    case NSX_F_IP_FRAG:
        *m = *mask & 3;
        *m = *m == 3 ? 0xff : *m;
        return store(match, id, 0, 1, value, m, NULL);

    case NSX_F_IPV6_LABEL:
        if ((nsx_get32(mask) & 0xfffff) == 0xfffff) {
            memset(m, 0xff, sizeof m);
            mask = m;
        }
        return store(match, id, 0, 4, value, mask, region);

    default:
        return (find_register(id, &xreg, &offset)
                ? store_register(match, id, value, mask, region)
                : store(match, id, 0, nsx_fields[id].n_bytes, value, mask,
                        region));
    }
}

const char *
nsx_match_store_hole(struct nsx_match *match, enum nsx_field_id id,
                     size_t bit_offset, size_t n_bits, bool exact,
                     struct nsx_slice name)
{
    const char *problem;
    enum nsx_field_id xreg;
    size_t offset;

    if (match->n_holes >= NSX_MATCH_HOLES) {
        return "too many holes";
    }
    if (find_register(id, &xreg, &offset)) {
        /* From the most significant bit of the first xreg. */
        size_t width = nsx_fields[id].n_bytes * 8u;
        size_t first = offset * 8 + width - bit_offset - n_bits;

        if (first / 64 != (first + n_bits - 1) / 64) {
            return "a hole can't be wider than an xreg";
        }
        id = (enum nsx_field_id) (xreg + first / 64);
        bit_offset = 64 - first % 64 - n_bits;
        exact = false;
    } else if (id == NSX_F_VLAN_TCI || id == NSX_F_IP_TOS) {
        return "this can't be a hole (but dl_vlan, dl_vlan_pcp, ip_dscp can)";
    } else if (id == NSX_F_IN_PORT) {
        id = NSX_F_IN_PORT_OXM;
        n_bits = 32;
    } else if (id == NSX_F_DL_VLAN || id == NSX_F_DL_VLAN_PCP
               || id == NSX_F_VLAN_VID || id == NSX_F_VLAN_PCP) {
        bit_offset += tci_shift(id);
        if (id != NSX_F_VLAN_VID) {
            problem = store_tci(match, VLAN_CFI, VLAN_CFI, 0);
            if (problem) {
                return problem;
            }
        }
        id = NSX_F_VLAN_TCI;
        exact = false;
    }

    /* Its bits are matched, and nobody else may match them. */
    uint8_t zeros[NSX_FIELD_MAX] = { 0 };
    uint8_t mask[NSX_FIELD_MAX] = { 0 };
    size_t n = nsx_fields[id].n_bytes;
    for (size_t i = 0; i < n * 8; i++) {
        if (exact || (i >= bit_offset && i < bit_offset + n_bits)) {
            if (nsx_get_bit(match->fields[id].mask, n, i)) {
                return "this is matched twice";
            }
            mask[n - 1 - i / 8] |= (uint8_t) (1u << i % 8);
        }
    }
    problem = store(match, id, 0, n, zeros, mask, zeros);
    if (!problem) {
        match->holes[match->n_holes].name = name;
        match->holes[match->n_holes].field = (uint8_t) id;
        match->holes[match->n_holes].bit_offset = (uint8_t) bit_offset;
        match->holes[match->n_holes].n_bits = (uint8_t) n_bits;
        match->n_holes++;
    }
    return problem;
}

bool
nsx_match_has_hole(const struct nsx_match *match, enum nsx_field_id id)
{
    for (size_t i = 0; i < match->n_holes; i++) {
        if (match->holes[i].field == id) {
            return true;
        }
    }
    return false;
}

/* Prerequisites.  As mf_are_prereqs_ok() in Open vSwitch's lib/meta-flow.c. */

static bool
is_ip_proto(const struct nsx_match *match, unsigned int proto)
{
    uint32_t type = nsx_match_number(match, NSX_F_ETH_TYPE);

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
            && nsx_match_number(match, NSX_F_ETH_TYPE) == ETH_IPV6
            && nsx_match_number(match, NSX_F_ICMPV6_TYPE) == type
            && nsx_match_number(match, NSX_F_ICMPV6_CODE) == 0
            && !nsx_match_has_hole(match, NSX_F_ICMPV6_CODE));
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

static bool
is_satisfied(const struct nsx_match *match, enum nsx_prereq prereq)
{
    uint32_t type = nsx_match_number(match, NSX_F_ETH_TYPE);

    switch (prereq) {
    case NSX_PRE_NONE:
        return true;
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
        return is_ct_valid(match);
    case NSX_PRE_CT_IPV4:
        return type == ETH_IPV4 && is_ct_valid(match);
    case NSX_PRE_CT_IPV6:
        return type == ETH_IPV6 && is_ct_valid(match);
    case NSX_PRE_CT_PROTO:
        return (is_ct_valid(match)
                && nsx_match_number(match, NSX_F_CT_NW_PROTO));
    }
    return false;
}

/* What is missing where is_satisfied() is false. */
static const char *const prereq_text[] = {
    [NSX_PRE_VLAN] = "a VLAN tag (dl_vlan or vlan_tci=0x1000/0x1000)",
    [NSX_PRE_MPLS] = "mpls or mplsm",
    [NSX_PRE_ARP] = "arp or rarp",
    [NSX_PRE_IPV4] = "ip",
    [NSX_PRE_IPV6] = "ipv6",
    [NSX_PRE_IP] = "ip or ipv6",
    [NSX_PRE_TCP] = "tcp or tcp6, and not nw_frag=later",
    [NSX_PRE_UDP] = "udp or udp6, and not nw_frag=later",
    [NSX_PRE_SCTP] = "sctp or sctp6, and not nw_frag=later",
    [NSX_PRE_ICMP] = "icmp",
    [NSX_PRE_ICMPV6] = "icmp6",
    [NSX_PRE_ND] = "icmp6 with icmp_type 135 or 136 and icmp_code 0",
    [NSX_PRE_ND_SOLICIT] = "icmp6 with icmp_type 135 and icmp_code 0",
    [NSX_PRE_ND_ADVERT] = "icmp6 with icmp_type 136 and icmp_code 0",
    [NSX_PRE_CT] = "a ct_state that has a connection (+trk-inv)",
    [NSX_PRE_CT_IPV4] = "ip and a ct_state that has a connection (+trk-inv)",
    [NSX_PRE_CT_IPV6] = "ipv6 and a ct_state that has a connection "
                        "(+trk-inv)",
    [NSX_PRE_CT_PROTO] = "ct_nw_proto",
};

bool
nsx_match_allows(const struct nsx_match *match, const struct nsx_field *field)
{
    return is_satisfied(match, field->prereq);
}

/* Runs the statement that follows for every field of MATCH; ID is its id. */
#define FOR_EACH_FIELD(ID, MATCH)                                           \
    for (size_t ID##_w = 0; ID##_w < NSX_ARRAY_SIZE((MATCH)->present);      \
         ID##_w++)                                                          \
        for (uint64_t ID##_bits = (MATCH)->present[ID##_w], ID;             \
             (ID##_bits                                                     \
              && (ID = ID##_w * 64                                          \
                       + (unsigned) __builtin_ctzll(ID##_bits), true));     \
             ID##_bits &= ID##_bits - 1)

const struct nsx_field *
nsx_match_find_unmet(const struct nsx_match *match, const char **needs)
{
    FOR_EACH_FIELD (id, match) {
        const struct nsx_field *field = &nsx_fields[id];

        if (!is_satisfied(match, field->prereq)) {
            *needs = prereq_text[field->prereq];
            return field;
        }
    }
    return NULL;
}

/* Returns the word of 'text' that set 'field', or 'text'. */
static struct nsx_slice
find_word(struct nsx_slice text, const struct nsx_field *field)
{
    struct nsx_slice rest = text;
    struct nsx_slice key, value;
    char delimiter;

    while (nsx_next_key_value(&rest, &key, &value, &delimiter)) {
        const struct nsx_field *named = nsx_field_from_name(key);

        if (named && (named == field || (named->family && named->family
                                         == field->family))) {
            key.n = (size_t) (value.s + value.n - key.s);
            return key;
        }
    }
    return text;
}

int
nsx_match_check(const struct nsx_parser *parser,
                const struct nsx_match *match, struct nsx_slice at)
{
    const char *needs;
    const struct nsx_field *field = nsx_match_find_unmet(match, &needs);

    return (field
            ? nsx_parse_error(parser, find_word(at, field), "%s needs %s",
                              field->name, needs)
            : 0);
}

/* Moves what 'match' has in 'from' to 'to', which may be wider or narrower. */
static const char *
move_field(struct nsx_match *match, const struct nsx_field *from,
           const struct nsx_field *to)
{
    uint8_t value[NSX_FIELD_MAX] = { 0 };
    uint8_t mask[NSX_FIELD_MAX];

    memset(mask, 0xff, sizeof mask);
    for (size_t i = 0; i < to->n_bytes && i < from->n_bytes; i++) {
        size_t src = from->n_bytes - 1u - i;
        size_t dst = to->n_bytes - 1u - i;

        value[dst] = match->fields[from->id].value[src];
        mask[dst] = match->fields[from->id].mask[src];
    }

    const char *problem = store(match, to->id, 0, to->n_bytes, value, mask,
                                NULL);
    if (!problem) {
        match->present[from->id / 64] &= ~BIT(from->id);
        memset(&match->fields[from->id], 0, sizeof match->fields[from->id]);
        for (size_t i = 0; i < match->n_holes; i++) {
            if (match->holes[i].field == from->id) {
                match->holes[i].field = to->id;
            }
        }
    }
    return problem;
}

static const struct nsx_field *
find_relative(const struct nsx_match *match, const struct nsx_field *field)
{
    for (size_t i = 0; i < NSX_N_FIELDS; i++) {
        if (nsx_fields[i].family == field->family
            && is_satisfied(match, nsx_fields[i].prereq)) {
            return &nsx_fields[i];
        }
    }
    return NULL;
}

int
nsx_match_resolve(const struct nsx_parser *parser, struct nsx_match *match,
                  struct nsx_slice at)
{
    FOR_EACH_FIELD (id, match) {
        const struct nsx_field *field = &nsx_fields[id];

        if (field->family && !is_satisfied(match, field->prereq)) {
            const struct nsx_field *to = find_relative(match, field);
            const char *problem = to ? move_field(match, field, to) : NULL;

            if (problem) {
                return nsx_parse_error(parser, at, "%s and %s: %s",
                                       field->name, to->name, problem);
            }
        }
    }

    const char *problem = nsx_match_check_vlan(match);
    return (problem
            ? nsx_parse_error(parser,
                              find_word(at, &nsx_fields[NSX_F_VLAN_TCI]),
                              "%s", problem)
            : nsx_match_check(parser, match, at));
}
