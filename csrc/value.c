/* value.c: the text form of fields' values: numbers, addresses, ports and
 * flags.  As mf_parse() and mf_format() in Open vSwitch's lib/meta-flow.c, but
 * a value that doesn't fit into its field is an error here. */

#include "match.h"

#include <arpa/inet.h>

#define FRAG_MASK 3             /* Bits of ip_frag. */
#define CT_STATE_MASK 0xff
#define TCP_FLAGS_MASK 0xfff

bool
nsx_is_all(const uint8_t *p, size_t n, uint8_t byte)
{
    for (size_t i = 0; i < n; i++) {
        if (p[i] != byte) {
            return false;
        }
    }
    return true;
}

/* Splits 'text' at its first '/'.  Returns false if it has none. */
static bool
split_mask(struct nsx_slice text, struct nsx_slice *value,
           struct nsx_slice *mask)
{
    const char *slash = memchr(text.s, '/', text.n);

    *value = text;
    *mask = (struct nsx_slice) { text.s + text.n, 0 };
    if (slash) {
        value->n = (size_t) (slash - text.s);
        mask->s = slash + 1;
        mask->n = text.n - value->n - 1;
    }
    return slash != NULL;
}

/* Sets the 'n_bits' most significant of the 'n' bytes at 'p'. */
static void
set_prefix(uint8_t *p, size_t n, size_t n_bits)
{
    memset(p, 0, n);
    memset(p, 0xff, n_bits / 8);
    if (n_bits % 8) {
        p[n_bits / 8] = (uint8_t) (0xff00 >> n_bits % 8);
    }
}

/* Returns the length of the prefix that 'mask' is, or -1. */
static int
prefix_len(const uint8_t *mask, size_t n)
{
    size_t n_bits = 0;

    while (n_bits < n * 8 && nsx_get_bit(mask, n, n * 8 - 1 - n_bits)) {
        n_bits++;
    }
    for (size_t i = n_bits; i < n * 8; i++) {
        if (nsx_get_bit(mask, n, n * 8 - 1 - i)) {
            return -1;
        }
    }
    return (int) n_bits;
}

/* Numbers. */

static int
hex_value(char c)
{
    return (c >= '0' && c <= '9' ? c - '0'
            : c >= 'a' && c <= 'f' ? c - 'a' + 10
            : c >= 'A' && c <= 'F' ? c - 'A' + 10
            : -1);
}

/* The bits that a value of 'field' may have: those that the name says, and for
 * vlan_vid also the one that says that there is a tag. */
size_t
nsx_field_value_bits(const struct nsx_field *field)
{
    return (field->id == NSX_F_VLAN_VID ? 13
            : field->id == NSX_F_ARP_OP ? 8
            : field->n_bits);
}

int
nsx_parse_integer(const struct nsx_parser *parser, const char *what,
                  struct nsx_slice text, size_t n, size_t n_bits, uint8_t *p)
{
    memset(p, 0, n);
    if (nsx_slice_starts_with(text, "0x")
        || nsx_slice_starts_with(text, "0X")) {
        size_t n_digits = 0;

        for (size_t i = text.n - 1; i >= 2; i--) {
            int digit = hex_value(text.s[i]);

            if (digit < 0) {
                n_digits = 0;
                break;
            } else if (digit && n_digits >= n * 2) {
                goto too_large;
            } else if (n_digits < n * 2) {
                p[n - 1 - n_digits / 2] |= (uint8_t) (digit
                                                      << n_digits % 2 * 4);
            }
            n_digits++;
        }
        if (!n_digits) {
            return nsx_parse_error(parser, text, "%s is not a number", what);
        }
    } else {
        uint64_t number;
        int error = nsx_parse_number(parser, text, what, UINT64_MAX, &number);
        if (error) {
            return error;
        }
        for (size_t i = 0; i < n; i++) {
            p[n - 1 - i] = i < 8 ? (uint8_t) (number >> i * 8) : 0;
        }
        if (n < 8 && number >> n * 8) {
            goto too_large;
        }
    }
    for (size_t i = n_bits; i < n * 8; i++) {
        if (nsx_get_bit(p, n, i)) {
            goto too_large;
        }
    }
    return 0;

too_large:
    return nsx_parse_error(parser, text, "%s has only %zu bits", what, n_bits);
}

static int
parse_integer_mask(const struct nsx_parser *parser,
                   const struct nsx_field *field, struct nsx_slice text,
                   uint8_t *mask)
{
    int error = nsx_parse_integer(parser, field->name, text, field->n_bytes,
                                  field->n_bytes * 8u, mask);
    if (error) {
        return error;
    }

    /* A mask of all of the field's bits is no mask; bits beyond them can't
     * matter. */
    size_t n = field->n_bytes;
    size_t n_bits = nsx_field_value_bits(field);
    bool full = true;
    for (size_t i = 0; i < n * 8; i++) {
        bool bit = nsx_get_bit(mask, n, i);

        if (i < n_bits && !bit) {
            full = false;
        } else if (i >= n_bits && bit) {
            mask[n - 1 - i / 8] &= (uint8_t) ~(1u << i % 8);
        }
    }
    if (full) {
        memset(mask, 0xff, n);
    }
    return 0;
}

static void
format_hex(struct nsx_buf *buf, const uint8_t *p, size_t n)
{
    bool started = false;

    for (size_t i = 0; i < n; i++) {
        if (started || p[i]) {
            nsx_printf(buf, started ? "%02x" : "0x%x", p[i]);
            started = true;
        }
    }
    if (!started) {
        nsx_puts(buf, "0");
    }
}

static uint64_t
get_number(const uint8_t *p, size_t n)
{
    uint64_t x = 0;

    for (size_t i = 0; i < n; i++) {
        x = x << 8 | p[i];
    }
    return x;
}

/* Addresses. */

static int
parse_mac(const struct nsx_parser *parser, struct nsx_slice text, uint8_t *p)
{
    size_t i = 0;

    for (size_t byte = 0; byte < 6; byte++) {
        int x = 0;
        size_t start = i;

        if (byte && (i >= text.n || text.s[i++] != ':')) {
            goto error;
        }
        start = i;
        while (i < text.n && i - start < 2 && hex_value(text.s[i]) >= 0) {
            x = x * 16 + hex_value(text.s[i++]);
        }
        if (i == start) {
            goto error;
        }
        p[byte] = (uint8_t) x;
    }
    if (i == text.n) {
        return 0;
    }

error:
    return nsx_parse_error(parser, text, "not an Ethernet address");
}

static int
parse_ip(const struct nsx_parser *parser, struct nsx_slice text, int family,
         uint8_t *p)
{
    char s[INET6_ADDRSTRLEN + 1];

    if (text.n < sizeof s) {
        memcpy(s, text.s, text.n);
        s[text.n] = '\0';
        if (inet_pton(family, s, p) == 1) {
            return 0;
        }
    }
    return nsx_parse_error(parser, text, "not an IPv%c address",
                           family == AF_INET ? '4' : '6');
}

static int
parse_ip_mask(const struct nsx_parser *parser, struct nsx_slice text,
              int family, uint8_t *p)
{
    if (memchr(text.s, family == AF_INET ? '.' : ':', text.n)) {
        return parse_ip(parser, text, family, p);
    }

    size_t n = family == AF_INET ? 4 : 16;
    uint64_t prefix;
    int error = nsx_parse_number(parser, text, "prefix length", n * 8,
                                 &prefix);
    if (!error) {
        set_prefix(p, n, prefix);
    }
    return error;
}

static void
format_ip(struct nsx_buf *buf, int family, const uint8_t *p)
{
    char s[INET6_ADDRSTRLEN];

    inet_ntop(family, p, s, sizeof s);
    nsx_puts(buf, s);
}

static void
format_ip_mask(struct nsx_buf *buf, int family, const uint8_t *p)
{
    int n = prefix_len(p, family == AF_INET ? 4 : 16);

    if (n >= 0) {
        nsx_printf(buf, "%d", n);
    } else {
        format_ip(buf, family, p);
    }
}

static void
format_mac(struct nsx_buf *buf, const uint8_t *p)
{
    nsx_printf(buf, "%02x:%02x:%02x:%02x:%02x:%02x",
               p[0], p[1], p[2], p[3], p[4], p[5]);
}

/* Flags and fragments. */

static const char *const ct_state_flags[] = {
    "new", "est", "rel", "rpl", "inv", "trk", "snat", "dnat", NULL,
};

static const char *const tcp_flags[] = {
    "fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr", "ns",
    "[200]", "[400]", "[800]", NULL,
};

/* Returns the bit of the flag at the front of '*rest', and splits it off, or 0
 * for none. */
static uint32_t
take_flag(struct nsx_slice *rest, const char *const *names)
{
    size_t n = 0;

    while (n < rest->n && !strchr("+-|", rest->s[n])) {
        n++;
    }
    for (size_t i = 0; names[i]; i++) {
        if (nsx_slice_equals((struct nsx_slice) { rest->s, n }, names[i])) {
            rest->s += n;
            rest->n -= n;
            return 1u << i;
        }
    }
    return 0;
}

/* "+a-b", "a|b", "0x1", "0x1/0x3". */
static int
parse_flags(const struct nsx_parser *parser, const struct nsx_field *field,
            struct nsx_slice text, const char *const *names, uint32_t all,
            uint32_t *flags, uint32_t *mask)
{
    *flags = 0;
    *mask = UINT32_MAX;
    if (text.n && text.s[0] >= '0' && text.s[0] <= '9') {
        struct nsx_slice value_text, mask_text;
        bool masked = split_mask(text, &value_text, &mask_text);
        uint64_t number;

        int error = nsx_parse_number(parser, value_text, field->name, all,
                                     &number);
        *flags = (uint32_t) number;
        if (!error && masked) {
            error = nsx_parse_number(parser, mask_text, field->name, all,
                                     &number);
            *mask = (uint32_t) number;
        }
        return error;
    }

    struct nsx_slice rest = text;
    bool signs = text.n && (text.s[0] == '+' || text.s[0] == '-');
    if (signs) {
        *mask = 0;
    }
    while (rest.n) {
        bool set = *rest.s != '-';

        if (signs ? *rest.s != '+' && *rest.s != '-'
            : rest.s != text.s && *rest.s != '|') {
            return nsx_parse_error(parser, rest, "flags are +a-b or a|b");
        }
        if (signs || rest.s != text.s) {
            rest.s++;
            rest.n--;
        }

        struct nsx_slice at = rest;
        uint32_t bit = take_flag(&rest, names);
        if (!bit) {
            return nsx_parse_error(parser, at, "unknown %s flag",
                                   field->name);
        } else if (signs && *mask & bit) {
            return nsx_parse_error(parser, at, "%s flag given twice",
                                   field->name);
        }
        if (signs) {
            *mask |= bit;
        }
        if (set) {
            *flags |= bit;
        }
    }
    return text.n ? 0 : nsx_parse_error(parser, text, "%s has no value",
                                        field->name);
}

static void
format_flags(struct nsx_buf *buf, const char *const *names, uint32_t flags,
             uint32_t mask, uint32_t all)
{
    bool exact = (mask & all) == all;
    bool first = true;

    if (exact ? !(flags & all) : !(mask & all)) {
        nsx_puts(buf, exact ? "0" : "0/0");
        return;
    }
    for (size_t i = 0; names[i]; i++) {
        if (exact && flags >> i & 1) {
            nsx_printf(buf, "%s%s", first ? "" : "|", names[i]);
            first = false;
        } else if (!exact && mask >> i & 1) {
            nsx_printf(buf, "%c%s", flags >> i & 1 ? '+' : '-', names[i]);
        }
    }
}

static const struct {
    const char *name;
    uint8_t mask, value;
} frags[] = {
    { "no", 3, 0 },
    { "first", 3, 1 },
    { "later", 3, 3 },
    { "no", 1, 0 },
    { "yes", 1, 1 },
    { "not_later", 2, 0 },
    { "later", 2, 2 },
};

static int
parse_frag(const struct nsx_parser *parser, struct nsx_slice text,
           uint8_t *value, uint8_t *mask)
{
    for (size_t i = 0; i < NSX_ARRAY_SIZE(frags); i++) {
        if (nsx_slice_equals(text, frags[i].name)) {
            *value = frags[i].value;
            *mask = frags[i].mask == FRAG_MASK ? 0xff : frags[i].mask;
            return 0;
        }
    }
    return nsx_parse_error(parser, text, "ip_frag is one of no, yes, first, "
                           "later, not_later");
}

static void
format_frag(struct nsx_buf *buf, uint8_t value, uint8_t mask)
{
    const char *name = "<error>";

    for (size_t i = NSX_ARRAY_SIZE(frags); i-- > 0; ) {
        if (frags[i].mask == (mask & FRAG_MASK)
            && frags[i].value == (value & mask & FRAG_MASK)) {
            name = frags[i].name;
        }
    }
    nsx_puts(buf, name);
}

/* All formats. */

static int
parse_plain(const struct nsx_parser *parser, const struct nsx_field *field,
            struct nsx_slice text, uint8_t *value)
{
    uint32_t port;
    int error;

    switch ((enum nsx_format) field->format) {
    case NSX_FMT_MAC:
        return parse_mac(parser, text, value);
    case NSX_FMT_IPV4:
        return parse_ip(parser, text, AF_INET, value);
    case NSX_FMT_IPV6:
        return parse_ip(parser, text, AF_INET6, value);
    case NSX_FMT_PORT:
        error = nsx_parse_port(parser, text, &port);
        if (!error && field->n_bytes == 2) {
            nsx_set16(value, (uint16_t) port);
        } else if (!error) {
            nsx_set32(value, port);
        }
        return error;
    default:
        return nsx_parse_integer(parser, field->name, text, field->n_bytes,
                                 nsx_field_value_bits(field), value);
    }
}

static int
parse_plain_mask(const struct nsx_parser *parser,
                 const struct nsx_field *field, struct nsx_slice text,
                 uint8_t *mask)
{
    switch ((enum nsx_format) field->format) {
    case NSX_FMT_MAC:
        return parse_mac(parser, text, mask);
    case NSX_FMT_IPV4:
        return parse_ip_mask(parser, text, AF_INET, mask);
    case NSX_FMT_IPV6:
        return parse_ip_mask(parser, text, AF_INET6, mask);
    default:
        return parse_integer_mask(parser, field, text, mask);
    }
}

/* A hole's value goes where the text's would: into the least significant bits,
 * so the mask has to be of these. */
static bool
is_low_mask(const uint8_t *mask, size_t n)
{
    size_t i = 0;

    while (i < n * 8 && nsx_get_bit(mask, n, i)) {
        i++;
    }
    for (size_t j = i; j < n * 8; j++) {
        if (nsx_get_bit(mask, n, j)) {
            return false;
        }
    }
    return i > 0;
}

static int
parse_flag_value(const struct nsx_parser *parser,
                 const struct nsx_field *field, struct nsx_slice text,
                 uint8_t *value, uint8_t *mask)
{
    uint32_t flags, flag_mask;
    int error;

    if (field->format == NSX_FMT_CT_STATE) {
        error = parse_flags(parser, field, text, ct_state_flags,
                            CT_STATE_MASK, &flags, &flag_mask);
        if (!error) {
            nsx_set32(value, flags & flag_mask);
            nsx_set32(mask, flag_mask & CT_STATE_MASK);
        }
    } else {
        error = parse_flags(parser, field, text, tcp_flags, TCP_FLAGS_MASK,
                            &flags, &flag_mask);
        if (!error) {
            nsx_set16(value, (uint16_t) (flags & flag_mask));
            nsx_set16(mask, (uint16_t) flag_mask);
        }
    }
    return error;
}

int
nsx_field_parse_value(const struct nsx_parser *parser,
                      const struct nsx_field *field, struct nsx_slice text,
                      uint8_t *value, uint8_t *mask, struct nsx_slice *hole)
{
    struct nsx_slice value_text, mask_text;
    bool flags = (field->format == NSX_FMT_CT_STATE
                  || field->format == NSX_FMT_TCP_FLAGS
                  || field->format == NSX_FMT_FRAG);

    *hole = (struct nsx_slice) { text.s, 0 };
    memset(value, 0, field->n_bytes);
    memset(mask, 0xff, field->n_bytes);
    if (nsx_slice_equals(text, "*")) {
        memset(mask, 0, field->n_bytes);
        return 0;
    } else if (!text.n) {
        return nsx_parse_error(parser, text, "%s has no value", field->name);
    }

    bool masked = split_mask(text, &value_text, &mask_text);
    bool is_hole = nsx_is_hole(value_text, hole);
    if (is_hole && flags) {
        return nsx_parse_error(parser, text, "%s can't be a hole",
                               field->name);
    } else if (is_hole && !parser->holes) {
        return nsx_parse_error(parser, text,
                               "only a template can have a hole");
    } else if (is_hole && !hole->n) {
        return nsx_parse_error(parser, text, "a hole needs a name");
    } else if (field->format == NSX_FMT_FRAG) {
        return parse_frag(parser, text, value, mask);
    } else if (flags) {
        return parse_flag_value(parser, field, text, value, mask);
    }

    int error = 0;
    if (!is_hole) {
        error = parse_plain(parser, field, value_text, value);
    }
    if (!error && masked) {
        error = parse_plain_mask(parser, field, mask_text, mask);
    }
    if (error) {
        return error;
    }

    bool exact = nsx_is_all(mask, field->n_bytes, 0xff);
    if (masked && !field->maskable && !exact
        && !nsx_is_all(mask, field->n_bytes, 0)) {
        return nsx_parse_error(parser, text, "%s can't be masked",
                               field->name);
    }
    if (is_hole && !exact && !is_low_mask(mask, field->n_bytes)) {
        return nsx_parse_error(parser, text,
                               "a hole's mask has to be of the least "
                               "significant bits");
    }
    /* Bits that don't matter are zero, as Open vSwitch makes them. */
    for (size_t i = 0; i < field->n_bytes; i++) {
        value[i] &= mask[i];
    }
    return 0;
}

int
nsx_field_add_hole(const struct nsx_parser *parser,
                   const struct nsx_field *field, struct nsx_slice name,
                   const uint8_t *mask, size_t offset)
{
    size_t n_bits = 0;

    while (n_bits < nsx_field_value_bits(field)
           && nsx_get_bit(mask, field->n_bytes, n_bits)) {
        n_bits++;
    }
    return nsx_add_hole(parser, name, offset, field->n_bytes, 0, n_bits);
}

void
nsx_field_format_value(struct nsx_buf *buf, const struct nsx_field *field,
                       const uint8_t *value, const uint8_t *mask)
{
    size_t n = field->n_bytes;
    enum nsx_format format = field->format;

    if (mask && nsx_is_all(mask, n, 0)) {
        nsx_puts(buf, "ANY");
        return;
    } else if (mask && nsx_is_all(mask, n, 0xff)) {
        mask = NULL;
    }

    switch (format) {
    case NSX_FMT_MAC:
        format_mac(buf, value);
        break;
    case NSX_FMT_IPV4:
        format_ip(buf, AF_INET, value);
        break;
    case NSX_FMT_IPV6:
        format_ip(buf, AF_INET6, value);
        break;
    case NSX_FMT_PORT:
        nsx_format_port(buf, (n == 4 ? nsx_get32(value)
                              : nsx_get16(value) >= 0xff00
                              ? nsx_get16(value) | 0xffff0000u
                              : nsx_get16(value)));
        return;
    case NSX_FMT_FRAG:
        format_frag(buf, *value, mask ? *mask : 0xff);
        return;
    case NSX_FMT_CT_STATE:
        format_flags(buf, ct_state_flags, nsx_get32(value),
                     mask ? nsx_get32(mask) : UINT32_MAX, CT_STATE_MASK);
        return;
    case NSX_FMT_TCP_FLAGS:
        format_flags(buf, tcp_flags, nsx_get16(value),
                     mask ? nsx_get16(mask) : UINT16_MAX, TCP_FLAGS_MASK);
        return;
    case NSX_FMT_HEX:
        format_hex(buf, value, n);
        break;
    case NSX_FMT_DECIMAL:
        nsx_printf(buf, "%llu", (unsigned long long) get_number(value, n));
        break;
    }

    if (mask) {
        nsx_puts(buf, "/");
        switch (format) {
        case NSX_FMT_MAC:
            format_mac(buf, mask);
            break;
        case NSX_FMT_IPV4:
            format_ip_mask(buf, AF_INET, mask);
            break;
        case NSX_FMT_IPV6:
            format_ip_mask(buf, AF_INET6, mask);
            break;
        default:
            format_hex(buf, mask, n);
            break;
        }
    }
}
