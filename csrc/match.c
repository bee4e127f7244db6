/* match.c: matches: what a text or a message says about a packet, kept in one
 * form.  What is stored where is Open vSwitch's mf_set(), in its
 * lib/meta-flow.c: also what that makes of values that don't fit.
 *
 * Prerequisites: match_prereq.c.  Text: match_text.c, match_format.c.  Bytes:
 * match_wire.c. */

#include "match.h"

#define BIT(ID) (UINT64_C(1) << (ID) % 64)

void
nsx_match_init(struct nsx_match *match)
{
    const size_t first = NSX_F_TUN_METADATA0;
    const size_t after = NSX_F_TUN_METADATA63 + 1;

    memset(match->present, 0, sizeof match->present);
    memset(match->fields, 0, first * sizeof *match->fields);
    memset(match->fields + after, 0,
           (NSX_N_FIELDS - after) * sizeof *match->fields);
    match->n_metadata = match->metadata_used = 0;
    match->n_holes = 0;
}

uint32_t
nsx_match_number(const struct nsx_match *match, enum nsx_field_id slot)
{
    uint32_t x = 0;

    for (size_t i = 0; i < nsx_fields[slot].n_bytes; i++) {
        x = x << 8 | match->fields[slot].value[i];
    }
    return x;
}

uint32_t
nsx_match_mask(const struct nsx_match *match, enum nsx_field_id slot)
{
    uint32_t x = 0;

    for (size_t i = 0; i < nsx_fields[slot].n_bytes; i++) {
        x = x << 8 | match->fields[slot].mask[i];
    }
    return x;
}

bool
nsx_match_has_hole(const struct nsx_match *match, enum nsx_field_id slot)
{
    for (size_t i = 0; i < match->n_holes; i++) {
        if (match->holes[i].field == slot) {
            return true;
        }
    }
    return false;
}

/* Storing. */

/* Notes whether there is anything in 'slot'. */
static void
update_present(struct nsx_match *match, enum nsx_field_id slot)
{
    if (nsx_is_all(match->fields[slot].mask, nsx_fields[slot].n_bytes, 0)) {
        match->present[slot / 64] &= ~BIT(slot);
    } else {
        match->present[slot / 64] |= BIT(slot);
    }
}

/* Sets the 'n' bytes from byte 'offset' of a slot. */
static void
store(struct nsx_match *match, enum nsx_field_id slot, size_t offset,
      size_t n, const uint8_t *value, const uint8_t *mask)
{
    for (size_t i = 0; i < n; i++) {
        match->fields[slot].value[offset + i] = value[i] & mask[i];
        match->fields[slot].mask[offset + i] = mask[i];
    }
    update_present(match, slot);
}

/* Sets a slot of at most 4 bytes. */
static void
store_number(struct nsx_match *match, enum nsx_field_id slot, uint32_t value,
             uint32_t mask)
{
    size_t n = nsx_fields[slot].n_bytes;

    for (size_t i = 0; i < n; i++) {
        unsigned int shift = (unsigned int) (n - 1 - i) * 8;

        match->fields[slot].value[i] = (uint8_t) ((value & mask) >> shift);
        match->fields[slot].mask[i] = (uint8_t) (mask >> shift);
    }
    update_present(match, slot);
}

/* Likewise: exactly 'value', or not at all where 'none'. */
static void
store_exact(struct nsx_match *match, enum nsx_field_id slot, uint32_t value,
            bool none)
{
    store_number(match, slot, value, none ? 0 : UINT32_MAX);
}

/* As match_set_dl_vlan() and its kin in Open vSwitch's lib/match.c. */
static void
set_vlan(struct nsx_match *match, enum nsx_field_id id, uint32_t value,
         uint32_t mask)
{
    uint32_t tci = nsx_match_number(match, NSX_F_VLAN_TCI);
    uint32_t tci_mask = nsx_match_mask(match, NSX_F_VLAN_TCI);

    if (id == NSX_F_VLAN_TCI) {
        tci = value;
        tci_mask = mask;
    } else if (!mask) {
        /* Any, also of packets without a tag unless the other part of it is
         * matched. */
        bool pcp = id == NSX_F_VLAN_PCP || id == NSX_F_DL_VLAN_PCP;
        uint32_t other = pcp ? VLAN_VID : VLAN_PCP;

        tci_mask &= tci_mask & other ? ~(uint32_t) (pcp ? VLAN_PCP
                                                    : VLAN_VID) : 0;
    } else if (id == NSX_F_VLAN_VID) {
        mask &= VLAN_VID | VLAN_CFI;
        tci = (tci & VLAN_PCP) | (value & mask);
        tci_mask = mask | (tci_mask & VLAN_PCP);
    } else if (id == NSX_F_DL_VLAN && value == UINT16_MAX) {
        tci = 0;                /* OpenFlow 1.0's way to say no tag. */
        tci_mask = UINT16_MAX;
    } else if (id == NSX_F_DL_VLAN) {
        tci = (tci & ~(uint32_t) VLAN_VID) | VLAN_CFI | (value & VLAN_VID);
        tci_mask |= VLAN_VID | VLAN_CFI;
    } else {
        tci = (tci & ~(uint32_t) VLAN_PCP) | VLAN_CFI | (value & 7) << 13;
        tci_mask |= VLAN_PCP | VLAN_CFI;
    }
    store_number(match, NSX_F_VLAN_TCI, tci, tci_mask);
}

/* The xreg that has the first byte of register field 'id', and where in it. */
static bool
find_register(enum nsx_field_id id, enum nsx_field_id *xreg, size_t *offset)
{
    size_t byte;

    if (id >= NSX_F_REG0 && id <= NSX_F_REG31) {
        byte = (id - NSX_F_REG0) * 4u;
    } else if (id >= NSX_F_XREG0 && id <= NSX_F_XREG15) {
        byte = (id - NSX_F_XREG0) * 8u;
    } else if (id >= NSX_F_XXREG0 && id <= NSX_F_XXREG7) {
        byte = (id - NSX_F_XXREG0) * 16u;
    } else {
        return false;
    }
    *xreg = (enum nsx_field_id) (NSX_F_XREG0 + byte / 8);
    *offset = byte % 8;
    return true;
}

/* Geneve options are packed in the order in which they come: there is room for
 * 256 bytes of them. */
static const char *
set_metadata(struct nsx_match *match, const struct nsx_field *field,
             const uint8_t *value, const uint8_t *mask)
{
    size_t i = field->id - NSX_F_TUN_METADATA0;
    bool masked = !nsx_is_all(mask, field->n_bytes, 0xff);
    size_t n = nsx_field_wire_len(field, value, masked ? mask : NULL);
    size_t offset = match->metadata_used;

    if (offset + n > NSX_MATCH_METADATA) {
        return "tun_metadata have 256 bytes in all";
    } else if (nsx_match_has(match, field->id)) {
        return "this is matched twice";
    }
    match->present[field->id / 64] |= BIT(field->id);
    match->metadata[i].offset = (uint16_t) offset;
    match->metadata[i].len = (uint8_t) n;
    match->metadata[i].masked = masked;
    match->metadata_used += n;
    match->n_metadata++;
    for (size_t j = 0; j < n; j++) {
        size_t from = field->n_bytes - n + j;

        match->metadata_value[offset + j] = value[from] & mask[from];
        match->metadata_mask[offset + j] = mask[from];
    }
    return NULL;
}

/* The OpenFlow port 'port', or OFPP_NONE where there is none such. */
static uint32_t
valid_port(uint32_t port)
{
    return nsx_port_is_valid(port) ? port : UINT32_MAX;
}

static uint32_t
get_number(const uint8_t *p, size_t n)
{
    uint32_t x = 0;

    for (size_t i = 0; i < n; i++) {
        x = x << 8 | p[i];
    }
    return x;
}

const char *
nsx_match_set(struct nsx_match *match, const struct nsx_field *field,
              const uint8_t *value, const uint8_t *mask)
{
    enum nsx_field_id id = field->id;
    enum nsx_field_id slot = field->slot;
    size_t n = field->n_bytes;
    bool none = nsx_is_all(mask, n, 0);
    bool exact = nsx_is_all(mask, n, 0xff);

    if (nsx_is_tun_metadata(id)) {
        return set_metadata(match, field, value, mask);
    } else if (!none && !exact && !field->maskable) {
        return "this can't be masked";
    } else if (!none && !nsx_field_has_header(field)
               && slot != NSX_F_VLAN_TCI) {
        return "OpenFlow has no such field";
    }

    /* Of at most 4 bytes. */
    uint32_t v = get_number(value, n), m = get_number(mask, n);
    enum nsx_field_id xreg;
    size_t offset;

    switch (id) {
    case NSX_F_VLAN_TCI:
    case NSX_F_VLAN_VID:
    case NSX_F_VLAN_PCP:
    case NSX_F_DL_VLAN:
    case NSX_F_DL_VLAN_PCP:
        set_vlan(match, id, v, m);
        break;
    case NSX_F_IN_PORT:
        store_exact(match, slot, v >= 0xff00 ? 0xffff0000u | v : v, none);
        break;
    case NSX_F_IN_PORT_OXM:
    case NSX_F_ACTSET_OUTPUT:
        store_exact(match, slot, valid_port(v), none);
        break;
    case NSX_F_MPLS_LABEL:
        store_exact(match, slot, v & 0xfffff, none);
        break;
    case NSX_F_MPLS_TC:
        store_exact(match, slot, v & 7, none);
        break;
    case NSX_F_MPLS_BOS:
        store_exact(match, slot, v & 1, none);
        break;
    case NSX_F_IP_TOS:
        store_exact(match, slot, v >> 2, none);
        break;
    case NSX_F_IP_DSCP:
        store_exact(match, slot, v & 0x3f, none);
        break;
    case NSX_F_IP_ECN:
        store_exact(match, slot, v & 3, none);
        break;
    case NSX_F_NSH_SPI:
        store_exact(match, slot, v & 0xffffff, none);
        break;
    case NSX_F_ARP_OP:
    case NSX_F_ICMP_TYPE:
    case NSX_F_ICMP_CODE:
    case NSX_F_ICMPV6_TYPE:
    case NSX_F_ICMPV6_CODE:
    case NSX_F_ND_OPTIONS_TYPE:
        store_exact(match, slot, v, none);
        break;
    case NSX_F_IP_FRAG:
        m &= NSX_FRAG_MASK;
        store_number(match, slot, v & NSX_FRAG_MASK,
                     m == NSX_FRAG_MASK ? UINT32_MAX : m);
        break;
    case NSX_F_CT_STATE:
        store_number(match, slot, v, m & 0xff);
        break;
    case NSX_F_TUN_FLAGS:
        store_number(match, slot, v, m & 1);
        break;
    case NSX_F_IPV6_LABEL:
        store_number(match, slot, v,
                     (m & 0xfffff) == 0xfffff ? UINT32_MAX : m);
        break;
    case NSX_F_TUN_ERSPAN_VER:
    case NSX_F_TUN_ERSPAN_DIR:
    case NSX_F_TUN_ERSPAN_HWID:
    case NSX_F_TUN_GTPU_FLAGS:
    case NSX_F_TUN_GTPU_MSGTYPE:
        /* Open vSwitch, and so every switch that reads this, takes the value
         * for the mask (and 0 for none). */
        store_number(match, slot, v & m, none ? 0 : v);
        break;
    default:
        if (find_register(id, &xreg, &offset)) {
            for (size_t i = 0; i < n; i += 8) {
                store(match, (enum nsx_field_id) (xreg + i / 8), offset,
                      n - i < 8 ? n - i : 8, value + i, mask + i);
            }
        } else {
            store(match, slot, 0, n, value, mask);
        }
        break;
    }
    return NULL;
}

/* Copies the low bits of a slot's number out as those of a field. */
static void
get_slot(const uint8_t *slot, size_t slot_n, unsigned int shift, uint32_t bits,
         uint8_t *p, size_t n)
{
    uint32_t x = get_number(slot, slot_n) >> shift & bits;

    for (size_t i = 0; i < n; i++) {
        p[n - 1 - i] = (uint8_t) (x >> i * 8);
    }
}

void
nsx_match_get(const struct nsx_match *match, const struct nsx_field *field,
              uint8_t *value, uint8_t *mask)
{
    enum nsx_field_id id = field->id;
    enum nsx_field_id slot = field->slot;
    size_t n = field->n_bytes;
    size_t slot_n = nsx_fields[slot].n_bytes;
    enum nsx_field_id xreg;
    size_t offset;

    if (nsx_is_tun_metadata(id)) {
        /* Nobody asks for bits of one that is matched already. */
        memset(value, 0, n);
        memset(mask, 0, n);
    } else if (find_register(id, &xreg, &offset)) {
        for (size_t i = 0; i < n; i += 8) {
            size_t part = n - i < 8 ? n - i : 8;

            memcpy(value + i, match->fields[xreg + i / 8].value + offset,
                   part);
            memcpy(mask + i, match->fields[xreg + i / 8].mask + offset, part);
        }
    } else if (slot == id || n > 4) {
        memcpy(value, match->fields[slot].value, n);
        memcpy(mask, match->fields[slot].mask, n);
    } else {
        unsigned int shift = (id == NSX_F_VLAN_PCP || id == NSX_F_DL_VLAN_PCP
                              ? 13 : 0);
        uint32_t bits = (id == NSX_F_VLAN_VID ? VLAN_VID | VLAN_CFI
                         : id == NSX_F_DL_VLAN ? VLAN_VID : UINT32_MAX);
        const uint8_t *v = match->fields[slot].value;
        const uint8_t *m = match->fields[slot].mask;

        get_slot(v, slot_n, shift, bits, value, n);
        get_slot(m, slot_n, shift, bits, mask, n);
        if (id == NSX_F_IP_TOS) {
            *value = (uint8_t) (*value << 2);
            *mask = *mask ? 0xfc : 0;
        }
    }
    if (!field->maskable && field->n_bits < 8) {
        *mask &= (uint8_t) ((1u << field->n_bits) - 1);
    }
}

void
nsx_match_imply_ethernet(struct nsx_match *match)
{
    if (!nsx_match_has(match, NSX_F_PACKET_TYPE)) {
        store_exact(match, NSX_F_PACKET_TYPE, 0, false);
    }
}

/* Holes. */

/* True if a bit of the 'i'th hole is among those that 'match' matches. */
static bool
has_hole_bit(const struct nsx_match *match, const struct nsx_match *holes,
             size_t i)
{
    enum nsx_field_id slot = holes->holes[i].field;

    for (size_t j = 0; j < holes->holes[i].n_bits; j++) {
        if (nsx_get_bit(match->fields[slot].mask, nsx_fields[slot].n_bytes,
                        holes->holes[i].bit_offset + j)) {
            return true;
        }
    }
    return false;
}

/* True if 'b' says all that 'a' says. */
static bool
keeps(const struct nsx_match *a, const struct nsx_match *b)
{
    for (size_t id = 0; id < NSX_N_FIELDS; id++) {
        if (!nsx_match_has(a, (enum nsx_field_id) id)
            || nsx_is_tun_metadata((enum nsx_field_id) id)) {
            continue;
        }
        for (size_t i = 0; i < nsx_fields[id].n_bytes; i++) {
            uint8_t mask = a->fields[id].mask[i];

            if (mask & ~b->fields[id].mask[i]
                || ((a->fields[id].value[i] ^ b->fields[id].value[i])
                    & mask)) {
                return false;
            }
        }
    }
    return true;
}

const char *
nsx_match_add(struct nsx_match *match, const struct nsx_field *field,
              const uint8_t *value, const uint8_t *mask, const uint8_t *named)
{
    struct nsx_match before = *match;
    const char *problem = nsx_match_set(match, field, value, mask);
    bool same = keeps(&before, match);

    if (!problem && match->n_holes) {
        /* A hole isn't the zeros that stand in for it. */
        struct nsx_match alone;

        nsx_match_init(&alone);
        nsx_match_set(&alone, field, value, named);
        for (size_t i = 0; i < match->n_holes; i++) {
            same &= !has_hole_bit(&alone, match, i);
        }
    }
    return problem || same ? problem : "this is matched twice, differently";
}

/* Sets the 'n_bits' bits from 'bit_offset' on of the 'n' bytes at 'p'. */
static void
set_bits(uint8_t *p, size_t n, size_t bit_offset, size_t n_bits)
{
    for (size_t i = bit_offset; i < bit_offset + n_bits; i++) {
        p[n - 1 - i / 8] |= (uint8_t) (1u << i % 8);
    }
}

const char *
nsx_match_add_hole(struct nsx_match *match, enum nsx_field_id id,
                   size_t bit_offset, size_t n_bits, const uint8_t *mask,
                   struct nsx_slice name)
{
    enum nsx_field_id slot = nsx_fields[id].slot;
    uint8_t slot_mask[NSX_MATCH_FIELD_MAX] = { 0 };
    size_t n = nsx_fields[slot].n_bytes;
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
        slot = (enum nsx_field_id) (xreg + first / 64);
        n = nsx_fields[slot].n_bytes;
        bit_offset = 64 - first % 64 - n_bits;
        set_bits(slot_mask, n, bit_offset, n_bits);
    } else if (id == NSX_F_VLAN_TCI || id == NSX_F_IP_TOS) {
        return "this can't be a hole (but dl_vlan, dl_vlan_pcp, ip_dscp can)";
    } else if (slot == NSX_F_VLAN_TCI) {
        bit_offset += (id == NSX_F_VLAN_PCP || id == NSX_F_DL_VLAN_PCP
                       ? 13 : 0);
        set_bits(slot_mask, n, bit_offset, n_bits);
    } else if (mask && !nsx_is_all(mask, nsx_fields[id].n_bytes, 0xff)) {
        memcpy(slot_mask, mask, n);
    } else {
        memset(slot_mask, 0xff, n);
        n_bits = id == NSX_F_IN_PORT ? 32 : n_bits;
    }

    /* Its bits are matched, and nobody else may match them. */
    for (size_t i = 0; i < n; i++) {
        if (match->fields[slot].mask[i] & slot_mask[i]) {
            return "this is matched twice";
        }
    }
    if (slot == NSX_F_VLAN_TCI && id != NSX_F_VLAN_VID) {
        set_bits(slot_mask, n, 12, 1);
        match->fields[slot].value[0] |= VLAN_CFI >> 8;
    }
    for (size_t i = 0; i < n; i++) {
        match->fields[slot].mask[i] |= slot_mask[i];
    }
    update_present(match, slot);
    match->holes[match->n_holes].name = name;
    match->holes[match->n_holes].field = (uint8_t) slot;
    match->holes[match->n_holes].bit_offset = (uint8_t) bit_offset;
    match->holes[match->n_holes].n_bits = (uint8_t) n_bits;
    match->n_holes++;
    return NULL;
}
