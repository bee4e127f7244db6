/* match_text.c: matches as text, as ovs-ofctl reads them: ofp_parse_field(),
 * ofp_parse_protocol() and parse_subfield() in Open vSwitch's lib/.  The other
 * direction: match_format.c. */

#include "match.h"
#include "protocols.h"
#include "words.h"

/* The words that stand for a protocol. */
static const struct {
    const char *name;
    uint16_t eth_type;
    uint8_t ip_proto;           /* 0: any. */
} protocols[] = {
    { "ip", ETH_IPV4, 0 },
    { "ipv4", ETH_IPV4, 0 },
    { "ip4", ETH_IPV4, 0 },
    { "tcp", ETH_IPV4, PROTO_TCP },
    { "udp", ETH_IPV4, PROTO_UDP },
    { "icmp", ETH_IPV4, PROTO_ICMP },
    { "sctp", ETH_IPV4, PROTO_SCTP },
    { "ipv6", ETH_IPV6, 0 },
    { "ip6", ETH_IPV6, 0 },
    { "tcp6", ETH_IPV6, PROTO_TCP },
    { "udp6", ETH_IPV6, PROTO_UDP },
    { "icmp6", ETH_IPV6, PROTO_ICMPV6 },
    { "sctp6", ETH_IPV6, PROTO_SCTP },
    { "arp", ETH_ARP, 0 },
    { "rarp", ETH_RARP, 0 },
    { "mpls", ETH_MPLS, 0 },
    { "mplsm", ETH_MPLS_MCAST, 0 },
};

NSX_WORDS(protocol_words, 64);

__attribute__((constructor)) static void
add_protocols(void)
{
    for (size_t i = 0; i < NSX_ARRAY_SIZE(protocols); i++) {
        nsx_words_add(&protocol_words, protocols[i].name, i);
    }
}

/* Sets a field, in a template only where that changes nothing else than the
 * bits 'named'. */
static int
set_field(const struct nsx_parser *parser, struct nsx_match *match,
          const struct nsx_field *field, const uint8_t *value,
          const uint8_t *mask, const uint8_t *named, struct nsx_slice at)
{
    const char *problem = (parser->holes
                           ? nsx_match_add(match, field, value, mask, named)
                           : nsx_match_set(match, field, value, mask));

    if (problem) {
        return nsx_parse_error(parser, at, "%s", problem);
    } else if (field->prereq != NSX_PRE_NONE) {
        nsx_match_imply_ethernet(match);
    }
    return 0;
}

static int
parse_protocol(const struct nsx_parser *parser, struct nsx_match *match,
               struct nsx_slice key)
{
    const uint8_t exact[4] = { 0xff, 0xff, 0xff, 0xff };
    const uint8_t zeros[4] = { 0 };

    if (nsx_slice_equals(key, "eth")) {
        return set_field(parser, match, &nsx_fields[NSX_F_PACKET_TYPE],
                         zeros, exact, exact, key);
    }

    size_t i = nsx_words_find(&protocol_words, key);
    if (i == NSX_NO_ROW) {
        return ENOENT;
    }

    uint8_t type[2];
    nsx_set16(type, protocols[i].eth_type);
    int error = set_field(parser, match, &nsx_fields[NSX_F_ETH_TYPE], type,
                          exact, exact, key);
    if (!error && protocols[i].ip_proto) {
        error = set_field(parser, match, &nsx_fields[NSX_F_IP_PROTO],
                          &protocols[i].ip_proto, exact, exact, key);
    }
    return error;
}

static int
add_hole(const struct nsx_parser *parser, struct nsx_match *match,
         const struct nsx_field *field, size_t bit_offset, size_t n_bits,
         const uint8_t *mask, struct nsx_slice name, struct nsx_slice at)
{
    const char *problem = nsx_match_add_hole(match, field->id, bit_offset,
                                             n_bits, mask, name);

    if (problem) {
        return nsx_parse_error(parser, at, "%s", problem);
    } else if (field->prereq != NSX_PRE_NONE) {
        nsx_match_imply_ethernet(match);
    }
    return 0;
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
    uint8_t value[NSX_FIELD_MAX], mask[NSX_FIELD_MAX];
    uint8_t named[NSX_FIELD_MAX] = { 0 };
    for (size_t i = 0; i < subfield.n_bits; i++) {
        size_t to = subfield.offset + i;
        named[n - 1 - to / 8] |= (uint8_t) (1u << to % 8);
    }
    if (nsx_is_hole(text, &name)) {
        return (!parser->holes || n > NSX_MATCH_FIELD_MAX
                ? nsx_parse_error(parser, text,
                                  "only a template can have a hole")
                : !whole && !field->maskable
                ? nsx_parse_error(parser, key, "%s can't be masked",
                                  field->name)
                : add_hole(parser, match, field, subfield.offset,
                           subfield.n_bits, whole ? NULL : named, name,
                           text));
    }

    uint8_t number[NSX_FIELD_MAX];
    error = nsx_parse_integer(parser, field->name, text, n, subfield.n_bits,
                              number);
    if (error) {
        return error;
    }
    nsx_match_get(match, field, value, mask);
    for (size_t i = 0; i < subfield.n_bits; i++) {
        size_t to = subfield.offset + i;
        uint8_t bit = (uint8_t) (1u << to % 8);
        uint8_t *p = &value[n - 1 - to / 8];

        *p = nsx_get_bit(number, n, i) ? *p | bit : *p & (uint8_t) ~bit;
    }
    for (size_t i = 0; i < n; i++) {
        mask[i] |= named[i];
    }
    if (whole && parser->holes) {
        memset(mask, 0xff, n);
    }
    return set_field(parser, match, field, value, mask, named, key);
}

/* A field without a value: it is there, whatever it is. */
static int
parse_presence(const struct nsx_parser *parser, struct nsx_match *match,
               const struct nsx_field *field, struct nsx_slice key)
{
    const uint8_t zeros[NSX_FIELD_MAX] = { 0 };
    bool number = (field->format == NSX_FMT_DECIMAL
                   || field->format == NSX_FMT_HEX
                   || nsx_field_flags(field));

    return (!number || parser->holes
            ? nsx_parse_error(parser, key, "%s has no value", field->name)
            : set_field(parser, match, field, zeros, zeros, zeros, key));
}

int
nsx_match_parse_field(const struct nsx_parser *parser,
                      struct nsx_match *match, struct nsx_slice key,
                      struct nsx_slice text, char delimiter)
{
    const struct nsx_field *field = nsx_field_from_name(key);
    if (!field) {
        return (memchr(key.s, '[', key.n)
                ? parse_subfield(parser, match, key, text)
                : delimiter && parser->holes
                ? ENOENT
                : parse_protocol(parser, match, key));
    } else if (*key.s >= 'A' && *key.s <= 'Z') {
        /* ovs-ofctl knows no NXM and OXM names here. */
        return ENOENT;
    } else if (!text.n) {
        return parse_presence(parser, match, field, key);
    }

    uint8_t value[NSX_FIELD_MAX];
    uint8_t mask[NSX_FIELD_MAX];
    struct nsx_slice hole;
    if (field->id == NSX_F_DL_VLAN && parser->holes
        && (nsx_slice_equals(text, "0xffff")
            || nsx_slice_equals(text, "65535"))) {
        /* OpenFlow 1.0's way to say no tag. */
        memset(value, 0xff, sizeof value);
        memset(mask, 0xff, sizeof mask);
        return set_field(parser, match, field, value, mask, mask, text);
    }

    int error = nsx_field_parse_value(parser, field, text, value, mask,
                                      &hole);
    if (!error && parser->holes && field->id == NSX_F_IP_TOS && *value & 3) {
        return nsx_parse_error(parser, text,
                               "the lowest 2 bits of nw_tos are nw_ecn's");
    }
    return (error ? error
            : hole.n ? add_hole(parser, match, field, 0,
                                nsx_field_hole_bits(field, mask), mask, hole,
                                text)
            : set_field(parser, match, field, value, mask, mask, text));
}
