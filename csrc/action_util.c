/* action_util.c: what several families of actions need. */

#include "action_verbs.h"

#include <stdlib.h>

/* Bytes. */

size_t
nsx_put_action(struct nsx_buf *buf, uint16_t type, size_t len)
{
    size_t start = buf->size;
    uint8_t *a = nsx_put_zeros(buf, len);

    nsx_set16(a, type);
    nsx_set16(a + 2, (uint16_t) len);
    return start;
}

size_t
nsx_put_nx_action(struct nsx_buf *buf, uint16_t subtype, size_t len)
{
    size_t start = nsx_put_action(buf, NSX_ACTION_EXPERIMENTER, len);

    nsx_set32(buf->data + start + 4, NSX_VENDOR_NX);
    nsx_set16(buf->data + start + 8, subtype);
    return start;
}

void
nsx_finish_action(struct nsx_buf *buf, size_t start)
{
    nsx_pad(buf, start, 8);
    nsx_set16(buf->data + start + 2, (uint16_t) (buf->size - start));
}

/* Fields. */

uint32_t
nsx_match_exact(const struct nsx_match *match, enum nsx_field_id id)
{
    size_t n = nsx_field_n_bytes(nsx_field_from_id(id));
    uint32_t value = 0;

    if (!nsx_match_has(match, id)) {
        return 0;
    }
    for (size_t i = 0; i < n; i++) {
        value = value << 8 | match->fields[id].value[i];
    }
    return value;
}

/* What a packet has by now. */

#define PT_NS_ETHERTYPE 1

uint32_t
nsx_action_list_eth_type(const struct nsx_action_list *list)
{
    return (!list->match ? 0
            : list->packet_type == 0
            ? nsx_match_exact(list->match, NSX_F_ETH_TYPE)
            : list->packet_type >> 16 == PT_NS_ETHERTYPE
              ? list->packet_type & UINT16_MAX : 0);
}

uint32_t
nsx_action_list_ip_proto(const struct nsx_action_list *list)
{
    return list->match ? nsx_match_exact(list->match, NSX_F_IP_PROTO) : 0;
}

bool
nsx_action_list_is_ip(const struct nsx_action_list *list)
{
    uint32_t type = nsx_action_list_eth_type(list);

    return type == 0x800 || type == 0x86dd;
}

static void
set_exact(struct nsx_match *match, enum nsx_field_id id, uint64_t value)
{
    size_t n = nsx_field_n_bytes(nsx_field_from_id(id));

    match->present[id / 64] |= UINT64_C(1) << id % 64;
    for (size_t i = n; i-- > 0; value >>= 8) {
        match->fields[id].value[i] = (uint8_t) value;
        match->fields[id].mask[i] = 0xff;
    }
}

/* Sets 'field' of what a packet has to 'value'. */
static void
change(struct nsx_action_list *list, enum nsx_field_id id, uint64_t value)
{
    if (!list->match) {
        return;
    } else if (!list->changed) {
        list->changed = nsx_xmalloc(sizeof *list->changed);
        *list->changed = *list->match;
        list->match = list->changed;
    }
    set_exact(list->changed, id, value);
}

void
nsx_action_list_set_packet_type(struct nsx_action_list *list, uint32_t type)
{
    list->packet_type = type;
    change(list, NSX_F_PACKET_TYPE, type);
}

void
nsx_action_list_set_eth_type(struct nsx_action_list *list, uint32_t type)
{
    change(list, NSX_F_ETH_TYPE, type);
}

void
nsx_action_list_forget_ip_proto(struct nsx_action_list *list)
{
    change(list, NSX_F_IP_PROTO, 0);
}

int
nsx_demand(const struct nsx_action_list *list, bool ok, struct nsx_slice word,
           const char *what)
{
    return (ok || !list->match ? 0
            : nsx_parse_error(list->parser, word, "needs a match on %s",
                              what));
}

int
nsx_require(const struct nsx_action_list *list, bool ok, struct nsx_slice word,
            const char *what)
{
    return nsx_demand(list, ok || list->lenient, word, what);
}

static bool
is_ethernet_field(const struct nsx_field *field)
{
    switch (nsx_field_id(field)) {
    case NSX_F_ETH_SRC:
    case NSX_F_ETH_DST:
    case NSX_F_VLAN_TCI:
    case NSX_F_VLAN_VID:
    case NSX_F_VLAN_PCP:
        return true;
    default:
        return false;
    }
}

int
nsx_check_source(const struct nsx_action_list *list,
                 const struct nsx_field *field, struct nsx_slice at)
{
    const struct nsx_parser *parser = list->parser;

    if (list->match && list->packet_type && is_ethernet_field(field)) {
        return nsx_parse_error(parser, at, "the packet isn't Ethernet's");
    }
    switch (nsx_field_id(field)) {
    case NSX_F_VLAN_TCI:
    case NSX_F_VLAN_VID:
        return 0;
    case NSX_F_VLAN_PCP:
        /* Tags come and go with the actions before. */
        if (list->match && !list->n_vlans) {
            return nsx_parse_error(parser, at, "the packet has no VLAN tag: "
                                   "match on one, or push_vlan first");
        }
        return 0;
    default:
        return (list->match
                ? nsx_match_check_field(parser, list->match, field, at) : 0);
    }
}

static bool
is_ct_field(const struct nsx_field *field)
{
    enum nsx_field_id id = nsx_field_id(field);

    return id == NSX_F_CT_MARK || id == NSX_F_CT_LABEL;
}

int
nsx_check_read_only(const struct nsx_action_list *list,
                    const struct nsx_field *field, struct nsx_slice at)
{
    return (nsx_field_writable(field) ? 0
            : nsx_parse_error(list->parser, at, "%s is read-only",
                              nsx_field_name(field)));
}

int
nsx_check_destination(const struct nsx_action_list *list,
                      const struct nsx_field *field, struct nsx_slice at)
{
    if (is_ct_field(field) && list->context != NSX_IN_CT_EXEC) {
        return nsx_parse_error(list->parser, at,
                               "only ct(commit,exec(...)) can set %s",
                               nsx_field_name(field));
    } else if (!is_ct_field(field) && list->context == NSX_IN_CT_EXEC) {
        return nsx_parse_error(list->parser, at,
                               "ct(exec(...)) can set ct_mark and ct_label "
                               "only");
    }
    return nsx_check_source(list, field, at);
}

int
nsx_check_writable(const struct nsx_action_check *check,
                   const struct nsx_field *field, size_t position)
{
    if (!nsx_field_writable(field)
        || nsx_field_id(field) == NSX_F_IN_PORT_OXM) {
        return nsx_decode_error(check->error, NSX_OFPBAC_BAD_SET_ARGUMENT,
                                position, "%s is read-only",
                                nsx_field_name(field));
    } else if (is_ct_field(field) != (check->context == NSX_IN_CT_EXEC)) {
        return nsx_decode_error(check->error, NSX_OFPBAC_BAD_ARGUMENT,
                                position, "%s is set %s ct(exec(...))",
                                nsx_field_name(field),
                                is_ct_field(field) ? "outside of" : "in");
    }
    return 0;
}

int
nsx_check_zeros(const struct nsx_action_check *check, enum nsx_ofperr ofperr,
                const uint8_t *p, size_t n, size_t position)
{
    for (size_t i = 0; i < n; i++) {
        if (p[i]) {
            return nsx_decode_error(check->error, ofperr, position + i,
                                    "padding that isn't zero");
        }
    }
    return 0;
}

int
nsx_check_subfield(const struct nsx_action_check *check,
                   const struct nsx_subfield *sf, enum nsx_ofperr unknown,
                   size_t position)
{
    if (!sf->field) {
        return nsx_decode_error(check->error, unknown, position,
                                "unknown field");
    }

    size_t width = nsx_field_n_bits(sf->field);
    if (!sf->n_bits || (size_t) sf->offset + sf->n_bits > width) {
        return nsx_decode_error(check->error, NSX_OFPBAC_BAD_SET_LEN, position,
                                "%u bits from %u on of %s, which has %zu",
                                sf->n_bits, sf->offset,
                                nsx_field_name(sf->field), width);
    }
    return 0;
}

bool
nsx_subfield_from_header(uint32_t header, size_t offset, size_t n_bits,
                         struct nsx_subfield *sf)
{
    uint8_t bytes[4];
    size_t header_len;
    bool has_mask;

    nsx_set32(bytes, header);
    sf->field = nsx_oxm_pull_header(bytes, sizeof bytes, &has_mask,
                                    &header_len);
    sf->field = has_mask ? NULL : sf->field;
    sf->offset = (uint16_t) offset;
    sf->n_bits = (uint16_t) n_bits;
    return (sf->field && n_bits
            && offset + n_bits <= nsx_field_n_bits(sf->field));
}

/* Bits. */

bool
nsx_bits_fit(const uint8_t *bytes, size_t n_bytes, size_t n_bits)
{
    for (size_t i = n_bits; i < n_bytes * 8; i++) {
        if (bytes[n_bytes - 1 - i / 8] >> i % 8 & 1) {
            return false;
        }
    }
    return true;
}

int
nsx_parse_bits(const struct nsx_parser *parser, struct nsx_slice text,
               size_t n_bits, size_t n_bytes, uint8_t *bytes)
{
    bool hex = (text.n > 2 && text.s[0] == '0'
                && (text.s[1] == 'x' || text.s[1] == 'X'));

    memset(bytes, 0, n_bytes);
    if (hex) {
        /* May be wider than any number of C. */
        for (size_t i = 0; i < text.n - 2; i++) {
            unsigned int digit = nsx_digit_value(text.s[text.n - 1 - i]);

            if (digit >= 16) {
                return nsx_parse_error(parser, text, "not a number");
            } else if (i / 2 < n_bytes) {
                bytes[n_bytes - 1 - i / 2] |= (uint8_t) (digit << i % 2 * 4);
            } else if (digit) {
                return nsx_parse_error(parser, text,
                                       "doesn't fit into %zu bits", n_bits);
            }
        }
    } else {
        uint64_t number;
        int error = nsx_parse_number(parser, text, "value", UINT64_MAX,
                                     &number);
        if (error) {
            return error;
        }
        for (size_t i = 0; i < 8 && number; i++) {
            if (i >= n_bytes) {
                return nsx_parse_error(parser, text,
                                       "doesn't fit into %zu bits", n_bits);
            }
            bytes[n_bytes - 1 - i] = (uint8_t) number;
            number >>= 8;
        }
    }
    return (nsx_bits_fit(bytes, n_bytes, n_bits) ? 0
            : nsx_parse_error(parser, text, "doesn't fit into %zu bits",
                              n_bits));
}

void
nsx_copy_bits(const uint8_t *src, uint8_t *dst, size_t n, size_t offset,
              size_t n_bits)
{
    if (!(offset % 8) && !(n_bits % 8)) {
        size_t len = n_bits / 8;
        memcpy(dst + n - offset / 8 - len, src + n - len, len);
        return;
    }
    for (size_t i = 0; i < n_bits; i++) {
        size_t to = i + offset;
        uint8_t bit = (uint8_t) (1 << to % 8);
        uint8_t *byte = &dst[n - 1 - to / 8];

        *byte = (uint8_t) (src[n - 1 - i / 8] >> i % 8 & 1
                           ? *byte | bit : *byte & ~bit);
    }
}

/* Wire forms that several actions have. */

void
nsx_put_set_field(struct nsx_buf *buf, enum nsx_field_id id, uint64_t value)
{
    const struct nsx_field *field = nsx_field_from_id(id);
    size_t start = nsx_put_action(buf, 25, 4);

    nsx_oxm_put_header(buf, field, false);
    for (size_t i = nsx_field_n_bytes(field); i-- > 0; ) {
        nsx_put8(buf, i < 8 ? (uint8_t) (value >> 8 * i) : 0);
    }
    nsx_finish_action(buf, start);
}

int
nsx_set_subfield(const struct nsx_parser *parser, struct nsx_slice at,
                 const struct nsx_subfield *sf, uint8_t *ofs_nbits,
                 uint8_t *header)
{
    if (!nsx_field_nxm_header(sf->field) || sf->n_bits > 64) {
        return nsx_parse_error(parser, at, "at most 64 bits of a field with a "
                               "standard header");
    }
    nsx_set16(ofs_nbits, (uint16_t) (sf->offset << 6 | (sf->n_bits - 1)));
    nsx_set32(header, nsx_field_nxm_header(sf->field));
    return 0;
}

bool
nsx_get_subfield(const uint8_t *ofs_nbits, const uint8_t *header,
                 struct nsx_subfield *sf)
{
    uint16_t bits = nsx_get16(ofs_nbits);

    return nsx_subfield_from_header(nsx_get32(header), bits >> 6,
                                    (bits & 63) + 1u, sf);
}

uint32_t
nsx_port_from_16(uint16_t port)
{
    return port < 0xff00 ? port : port | 0xffff0000u;
}

int
nsx_parse_port16(const struct nsx_parser *parser, struct nsx_slice text,
                 uint16_t *port16)
{
    uint32_t port;
    int error = nsx_parse_port(parser, text, &port);

    if (!error) {
        *port16 = (uint16_t) port;
    }
    return error;
}

/* Text. */

int
nsx_parse_decimal(const struct nsx_parser *parser, struct nsx_slice text,
                  const char *what, uint64_t max, uint64_t *number)
{
    struct nsx_slice rest = text;

    while (rest.n > 1 && *rest.s == '0' && rest.s[1] >= '0'
           && rest.s[1] <= '9') {
        rest.s++;
        rest.n--;
    }
    for (size_t i = 0; i < rest.n; i++) {
        if (rest.s[i] < '0' || rest.s[i] > '9') {
            return nsx_parse_error(parser, text, "%s is not a decimal number",
                                   what);
        }
    }
    return nsx_parse_number(parser, rest, what, max, number);
}

int
nsx_split_arrow(const struct nsx_parser *parser, struct nsx_slice text,
                struct nsx_slice *a, struct nsx_slice *b)
{
    for (size_t i = 0; i + 2 <= text.n; i++) {
        if (text.s[i] == '-' && text.s[i + 1] == '>') {
            *a = (struct nsx_slice) { text.s, i };
            *b = (struct nsx_slice) { text.s + i + 2, text.n - i - 2 };
            return 0;
        }
    }
    return nsx_parse_error(parser, text, "missing ->");
}

int
nsx_parse_hex(const struct nsx_parser *parser, struct nsx_slice text,
              struct nsx_buf *buf)
{
    for (size_t i = 0; i < text.n; ) {
        if (strchr(" .\t\r\n", text.s[i]) && text.s[i]) {
            i++;
            continue;
        }

        unsigned int high = nsx_digit_value(text.s[i]);
        unsigned int low = (i + 1 < text.n
                            ? nsx_digit_value(text.s[i + 1]) : 16);
        if (high >= 16 || low >= 16) {
            return nsx_parse_error(parser, text, "not hexadecimal bytes");
        }
        nsx_put8(buf, (uint8_t) (high << 4 | low));
        i += 2;
    }
    return 0;
}

void
nsx_format_hex(struct nsx_buf *buf, const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        nsx_printf(buf, "%s%02x", i ? "." : "", p[i]);
    }
}
