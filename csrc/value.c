/* value.c: reading the text form of fields' values: numbers, addresses, ports
 * and flags.  As mf_parse() in Open vSwitch's lib/meta-flow.c, whatever that
 * takes; the other direction: value_format.c. */

#include "match.h"

#include <arpa/inet.h>

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

/* Scanning.  Each function splits what it reads off the front of '*rest', and
 * returns false, with '*rest' anywhere, where there is no such thing. */

static bool
take_char(struct nsx_slice *rest, char c)
{
    if (!rest->n || *rest->s != c) {
        return false;
    }
    rest->s++;
    rest->n--;
    return true;
}

static bool
is_hex(struct nsx_slice text)
{
    return (text.n >= 2 && text.s[0] == '0'
            && (text.s[1] == 'x' || text.s[1] == 'X'));
}

/* A number with a sign or none in 'base', 0 for that of its prefix.  Modulo
 * 2^64, and '*overflow' (NULL: nobody asks) if it is more. */
static bool
take_number(struct nsx_slice *rest, unsigned int base, uint64_t *number,
            bool *overflow)
{
    bool negative = rest->n && *rest->s == '-';
    uint64_t x = 0;

    if (negative || (rest->n && *rest->s == '+')) {
        rest->s++;
        rest->n--;
    }
    if ((!base || base == 16) && is_hex(*rest)
        && rest->n > 2 && nsx_digit_value(rest->s[2]) < 16) {
        base = 16;
        rest->s += 2;
        rest->n -= 2;
    } else if (!base) {
        base = rest->n && *rest->s == '0' ? 8 : 10;
    }

    const char *start = rest->s;
    bool too_large = false;
    while (rest->n && nsx_digit_value(*rest->s) < base) {
        unsigned int digit = nsx_digit_value(*rest->s);

        too_large |= !nsx_append_digit(&x, digit, base);
        rest->s++;
        rest->n--;
    }
    if (overflow) {
        *overflow = too_large;
    }
    *number = negative ? -x : x;
    return rest->s > start;
}

/* Hexadecimal digits after "0x", any number of them, for 'n' bytes. */
static bool
take_hex(struct nsx_slice *rest, uint8_t *p, size_t n, bool *too_large)
{
    size_t first = 2;
    size_t end;

    while (first < rest->n && rest->s[first] == '0') {
        first++;
    }
    for (end = first; end < rest->n && nsx_digit_value(rest->s[end]) < 16; ) {
        end++;
    }

    *too_large = end - first > n * 2;
    for (size_t i = 0; i < end - first && !*too_large; i++) {
        unsigned int digit = nsx_digit_value(rest->s[end - 1 - i]);

        p[n - 1 - i / 2] |= (uint8_t) (digit << i % 2 * 4);
    }
    rest->s += end;
    rest->n -= end;
    return true;
}

/* An integer of 'n' bytes, as parse_int_string() in Open vSwitch's lib/util.c
 * has it: hexadecimal of any length, or what strtoull() takes. */
static bool
take_integer(struct nsx_slice *rest, uint8_t *p, size_t n, bool *too_large)
{
    uint64_t number;

    memset(p, 0, n);
    if (is_hex(*rest)) {
        return take_hex(rest, p, n, too_large);
    } else if (!take_number(rest, 0, &number, too_large)) {
        return false;
    }
    for (size_t i = 0; i < n && i < 8; i++) {
        p[n - 1 - i] = (uint8_t) (number >> i * 8);
    }
    *too_large |= n < 8 && number >> n * 8;
    return true;
}

int
nsx_parse_integer(const struct nsx_parser *parser, const char *what,
                  struct nsx_slice text, size_t n, size_t n_bits, uint8_t *p)
{
    struct nsx_slice rest = text;
    bool too_large = false;

    if (!take_integer(&rest, p, n, &too_large) || rest.n) {
        return nsx_parse_error(parser, text, "%s is not a number", what);
    }
    for (size_t i = n_bits; i < n * 8 && !too_large; i++) {
        too_large = nsx_get_bit(p, n, i);
    }
    return (too_large
            ? nsx_parse_error(parser, text, "%s has only %zu bits", what,
                              n_bits)
            : 0);
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

/* Addresses. */

/* Numbers with 'separator' between them.  (ovs-ofctl takes the least
 * significant bits of one that doesn't fit into its byte: nobody means
 * 10.0.1.0 by 10.0.1.256.) */
static bool
take_bytes(struct nsx_slice *rest, uint8_t *p, size_t n, unsigned int base,
           char separator)
{
    for (size_t i = 0; i < n; i++) {
        uint64_t number;

        if ((i && !take_char(rest, separator))
            || !take_number(rest, base, &number, NULL)
            || number > UINT8_MAX) {
            return false;
        }
        p[i] = (uint8_t) number;
    }
    return true;
}

static int
parse_mac(const struct nsx_parser *parser, struct nsx_slice text, uint8_t *p)
{
    struct nsx_slice rest = text;

    return (take_bytes(&rest, p, 6, 16, ':') && !rest.n ? 0
            : nsx_parse_error(parser, text, "not an Ethernet address"));
}

static int
parse_ip(const struct nsx_parser *parser, struct nsx_slice text, int family,
         uint8_t *p)
{
    char s[INET6_ADDRSTRLEN + 1];
    struct nsx_slice rest = text;

    if (family == AF_INET) {
        if (take_bytes(&rest, p, 4, 10, '.') && !rest.n) {
            return 0;
        }
    } else if (text.n < sizeof s) {
        memcpy(s, text.s, text.n);
        s[text.n] = '\0';
        if (strlen(s) == text.n && inet_pton(family, s, p) == 1) {
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
    size_t n_bits = family == AF_INET ? 32 : 128;
    struct nsx_slice rest = text;
    uint64_t prefix;

    if (!take_number(&rest, 10, &prefix, NULL)
        || (family == AF_INET && rest.n)) {
        return parse_ip(parser, text, family, p);
    } else if (rest.n) {
        /* A mask that starts with a decimal digit is a prefix for
         * ovs-ofctl. */
        return nsx_parse_error(parser, text, "not a prefix length");
    } else if ((uint32_t) prefix > n_bits) {
        return nsx_parse_error(parser, text, "prefix length is greater than "
                               "%zu", n_bits);
    }
    set_prefix(p, n_bits / 8, (uint32_t) prefix);
    return 0;
}

/* "(NS,NS_TYPE)".  Nobody looks at what follows. */
static int
parse_packet_type(const struct nsx_parser *parser, struct nsx_slice text,
                  uint8_t *p)
{
    struct nsx_slice rest = text;
    bool large_ns = false, large_type = false;

    return (take_char(&rest, '(') && take_integer(&rest, p, 2, &large_ns)
            && take_char(&rest, ',')
            && take_integer(&rest, p + 2, 2, &large_type)
            && take_char(&rest, ')') && !large_ns && !large_type ? 0
            : nsx_parse_error(parser, text, "not a (namespace,type)"));
}

/* Flags and fragments. */

/* Returns the bit of the flag at the front of '*rest' that one of
 * 'separators', or the end, follows, and splits it off, or 0 for none. */
static uint32_t
take_flag(struct nsx_slice *rest, const char *const *names,
          const char *separators)
{
    for (size_t i = 0; i < NSX_N_FLAGS; i++) {
        size_t n = names[i] ? strlen(names[i]) : SIZE_MAX;

        if (n <= rest->n && !memcmp(rest->s, names[i], n)
            && (n == rest->n || (rest->s[n]
                                 && strchr(separators, rest->s[n])))) {
            rest->s += n;
            rest->n -= n;
            return 1u << i;
        }
    }
    return 0;
}

/* "+a-b". */
static int
parse_signed_flags(const struct nsx_parser *parser,
                   const struct nsx_field *field, struct nsx_slice text,
                   const struct nsx_flags *known, uint32_t *flags,
                   uint32_t *mask)
{
    struct nsx_slice rest = text;

    *mask = 0;
    while (rest.n) {
        bool set = *rest.s == '+';

        if (!set && *rest.s != '-') {
            return nsx_parse_error(parser, rest, "flags are +a-b or a|b");
        }
        rest.s++;
        rest.n--;

        struct nsx_slice at = rest;
        uint32_t bit = take_flag(&rest, known->names, "+-");
        if (!(bit & known->all)) {
            return nsx_parse_error(parser, at, "unknown %s flag",
                                   field->name);
        } else if (*mask & bit) {
            return nsx_parse_error(parser, at, "%s flag given twice",
                                   field->name);
        }
        *mask |= bit;
        *flags |= set ? bit : 0;
    }
    return 0;
}

/* "a|b", where numbers are flags too. */
static int
parse_plain_flags(const struct nsx_parser *parser,
                  const struct nsx_field *field, struct nsx_slice text,
                  const struct nsx_flags *known, uint32_t *flags)
{
    struct nsx_slice rest = text;

    while (rest.n) {
        struct nsx_slice at = rest;
        uint64_t number;

        if (!take_number(&rest, 0, &number, NULL)) {
            rest = at;
            number = take_flag(&rest, known->names, "|");
            if (!number) {
                number = UINT64_MAX;
            }
        }
        if (number & ~(uint64_t) known->all) {
            return nsx_parse_error(parser, at, "unknown %s flag",
                                   field->name);
        }
        *flags |= (uint32_t) number;
        take_char(&rest, '|');
    }
    return 0;
}

/* "+a-b", "a|b", "0x1", "0x1/0x3". */
static int
parse_flags(const struct nsx_parser *parser, const struct nsx_field *field,
            struct nsx_slice text, uint32_t *flags, uint32_t *mask)
{
    const struct nsx_flags *known = nsx_field_flags(field);
    struct nsx_slice rest = text;
    uint64_t value_bits, mask_bits;

    *flags = 0;
    *mask = UINT32_MAX;
    if (take_number(&rest, 0, &value_bits, NULL) && take_char(&rest, '/')
        && take_number(&rest, 0, &mask_bits, NULL)) {
        if ((uint32_t) (value_bits | mask_bits) & ~known->all) {
            return nsx_parse_error(parser, text, "unknown %s flag",
                                   field->name);
        }
        *flags = (uint32_t) value_bits;
        *mask = (uint32_t) mask_bits;
        return 0;
    }
    return (text.n && (*text.s == '+' || *text.s == '-')
            ? parse_signed_flags(parser, field, text, known, flags, mask)
            : parse_plain_flags(parser, field, text, known, flags));
}

static int
parse_frag(const struct nsx_parser *parser, struct nsx_slice text,
           uint8_t *value, uint8_t *mask)
{
    for (size_t i = 0; i < NSX_N_FRAGS; i++) {
        if (nsx_is_word(text, nsx_frags[i].name)) {
            *value = nsx_frags[i].value;
            *mask = nsx_frags[i].mask | (uint8_t) ~NSX_FRAG_MASK;
            return 0;
        }
    }
    return nsx_parse_error(parser, text, "ip_frag is one of no, yes, first, "
                           "later, not_later");
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
                                 (parser->holes ? nsx_field_value_bits(field)
                                  : field->n_bytes * 8u), value);
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
        return nsx_parse_integer(parser, field->name, text, field->n_bytes,
                                 field->n_bytes * 8u, mask);
    }
}

/* A hole's value goes where the text's would: into the least significant bits,
 * so the mask has to be of these, or a prefix of an address, which is whole
 * also in a column. */
static bool
takes_hole(const struct nsx_field *field, const uint8_t *mask)
{
    size_t n = field->n_bytes;
    size_t n_bits = n * 8;
    size_t i = 0;

    if (field->format == NSX_FMT_IPV4 || field->format == NSX_FMT_IPV6) {
        while (i < n_bits && nsx_get_bit(mask, n, n_bits - 1 - i)) {
            i++;
        }
        for (size_t j = i; j < n_bits && i; j++) {
            i = nsx_get_bit(mask, n, n_bits - 1 - j) ? 0 : i;
        }
        if (i) {
            return true;
        }
    }
    while (i < n_bits && nsx_get_bit(mask, n, i)) {
        i++;
    }
    for (size_t j = i; j < n_bits; j++) {
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
    int error = parse_flags(parser, field, text, &flags, &flag_mask);

    if (error) {
        return error;
    } else if (field->n_bytes == 4) {
        nsx_set32(value, flags);
        nsx_set32(mask, flag_mask);
    } else {
        nsx_set16(value, (uint16_t) flags);
        nsx_set16(mask, (uint16_t) flag_mask);
    }
    return 0;
}

/* A template's mask of all of the field's bits is no mask; bits beyond them
 * can't matter. */
static void
clean_mask(const struct nsx_field *field, uint8_t *mask)
{
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
}

int
nsx_field_parse_value(const struct nsx_parser *parser,
                      const struct nsx_field *field, struct nsx_slice text,
                      uint8_t *value, uint8_t *mask, struct nsx_slice *hole)
{
    struct nsx_slice value_text, mask_text;
    size_t n = field->n_bytes;
    bool flags = nsx_field_flags(field) || field->format == NSX_FMT_FRAG;

    *hole = (struct nsx_slice) { text.s, 0 };
    memset(value, 0, n);
    memset(mask, 0xff, n);
    if (nsx_slice_equals(text, "*")) {
        memset(mask, 0, n);
        return 0;
    } else if (!text.n) {
        return nsx_parse_error(parser, text, "%s has no value", field->name);
    }

    bool masked = split_mask(text, &value_text, &mask_text);
    bool is_hole = nsx_is_hole(value_text, hole);
    if (is_hole && (flags || n > NSX_MATCH_FIELD_MAX
                    || field->format == NSX_FMT_PACKET_TYPE)) {
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
    } else if (field->format == NSX_FMT_PACKET_TYPE) {
        return parse_packet_type(parser, text, value);
    }

    if (masked && field->format == NSX_FMT_PORT) {
        return nsx_parse_error(parser, text, "%s can't be masked",
                               field->name);
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
    if (masked && parser->holes) {
        clean_mask(field, mask);
    }

    bool exact = nsx_is_all(mask, n, 0xff);
    if (masked && !field->maskable && !exact && !nsx_is_all(mask, n, 0)) {
        return nsx_parse_error(parser, text, "%s can't be masked",
                               field->name);
    }
    if (is_hole && !exact && !takes_hole(field, mask)) {
        return nsx_parse_error(parser, text,
                               "a hole's mask has to be of the least "
                               "significant bits");
    }
    return 0;
}

size_t
nsx_field_hole_bits(const struct nsx_field *field, const uint8_t *mask)
{
    size_t width = nsx_field_value_bits(field);
    size_t n_bits = 0;

    while (n_bits < width && nsx_get_bit(mask, field->n_bytes, n_bits)) {
        n_bits++;
    }
    return n_bits ? n_bits : width;
}
