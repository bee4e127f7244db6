/* text.c: scanning text, and the words that every part of it may have:
 * numbers, holes, tables and ports. */

#include "core.h"

#include <stdio.h>
#include <stdlib.h>

/* What bytes are to those who look for the end of a word. */
enum {
    BLANK = 1 << 0,
    COMMA = 1 << 1,
    DELIMITER = 1 << 2,         /* Between a key and its value. */
    OPENING = 1 << 3,
    CLOSING = 1 << 4,
    CLOSING_PAREN = 1 << 5,
    SEPARATOR = 1 << 6,         /* Chosen by the caller of nsx_next_word(). */
};

static const uint8_t kinds_of_bytes[UINT8_MAX + 1] = {
    [' '] = BLANK,
    ['\t'] = BLANK,
    ['\r'] = BLANK,
    ['\n'] = BLANK,
    [','] = COMMA,
    [':'] = DELIMITER,
    ['='] = DELIMITER,
    ['('] = DELIMITER | OPENING,
    ['['] = OPENING,
    ['{'] = OPENING,
    [')'] = CLOSING | CLOSING_PAREN,
    [']'] = CLOSING,
    ['}'] = CLOSING,
};

/* Errors. */

static void
write_error(struct nsx_error *error, size_t position, struct nsx_slice at,
            const char *format, va_list args)
{
    if (!error) {
        return;
    }
    error->position = position;
    error->name = NULL;

    int n = vsnprintf(error->message, sizeof error->message, format, args);
    size_t used = n < 0 ? 0 : (size_t) n;
    if (used >= sizeof error->message) {
        used = sizeof error->message - 1;
    }
    if (at.n && sizeof error->message - used > 8) {
        size_t room = sizeof error->message - used - 8;
        bool cut = at.n > room;

        snprintf(error->message + used, sizeof error->message - used,
                 ": \"%.*s%s\"", (int) (cut ? room : at.n), at.s,
                 cut ? "..." : "");
    }
    /* One line, whatever the text was. */
    for (char *p = error->message; *p; p++) {
        if ((unsigned char) *p < ' ') {
            *p = ' ';
        }
    }
}

int
nsx_parse_error(const struct nsx_parser *parser, struct nsx_slice at,
                const char *format, ...)
{
    va_list args;

    va_start(args, format);
    write_error(parser->error, (size_t) (at.s - parser->text), at, format,
                args);
    va_end(args);
    return EINVAL;
}

int
nsx_decode_error(struct nsx_error *error, enum nsx_ofperr ofperr,
                 size_t position, const char *format, ...)
{
    static const char *const names[] = {
#define NSX_ERROR(EXPERIMENTER, TYPE, CODE, NAME) [NSX_##NAME] = #NAME,
#include "errors.def"
#undef NSX_ERROR
    };
    va_list args;

    va_start(args, format);
    write_error(error, position, (struct nsx_slice) { "", 0 }, format, args);
    va_end(args);
    if (error) {
        error->name = names[ofperr];
    }
    return EPROTO;
}

/* Slices. */

/* The kinds of the first byte of 'slice'; 0 where it is empty. */
static uint8_t
first_kind(struct nsx_slice slice)
{
    return slice.n ? kinds_of_bytes[(uint8_t) *slice.s] : 0;
}

static struct nsx_slice
take(struct nsx_slice *rest, size_t n)
{
    struct nsx_slice front = { rest->s, n };

    if (n) {                    /* Of an empty text there may be no byte. */
        rest->s += n;
        rest->n -= n;
    }
    return front;
}

/* Splits the bytes of one of the kinds 'skipped' off the front of 'rest'. */
static void
skip(struct nsx_slice *rest, const uint8_t *kinds, uint8_t skipped)
{
    while (rest->n && kinds[(uint8_t) *rest->s] & skipped) {
        take(rest, 1);
    }
}

struct nsx_slice
nsx_slice_trim(struct nsx_slice slice)
{
    skip(&slice, kinds_of_bytes, BLANK);
    while (slice.n
           && kinds_of_bytes[(uint8_t) slice.s[slice.n - 1]] & BLANK) {
        slice.n--;
    }
    return slice;
}

/* Returns the number of bytes of 'slice', from the 'i'th on, before the first
 * of one of the kinds 'wanted'. */
static size_t
find_kind(struct nsx_slice slice, size_t i, const uint8_t *kinds,
          uint8_t wanted)
{
    const uint8_t *p = (const uint8_t *) slice.s;

    /* Four at once: all of a text goes through here, and what is nested
     * several times. */
    while (i + 4 <= slice.n
           && !((kinds[p[i]] | kinds[p[i + 1]] | kinds[p[i + 2]]
                 | kinds[p[i + 3]]) & wanted)) {
        i += 4;
    }
    while (i < slice.n && !(kinds[p[i]] & wanted)) {
        i++;
    }
    return i;
}

/* Returns the number of bytes of 'slice' before the first of one of the kinds
 * 'ending' that stands outside of parentheses, brackets and braces. */
static size_t
span_until(struct nsx_slice slice, const uint8_t *kinds, uint8_t ending)
{
    size_t depth = 0;
    size_t i = 0;

    for (;;) {
        i = find_kind(slice, i, kinds,
                      depth ? OPENING | CLOSING : OPENING | ending);
        if (i >= slice.n) {
            return i;
        }

        uint8_t kind = kinds[(uint8_t) slice.s[i]];
        if (!depth && kind & ending) {
            return i;
        } else if (kind & OPENING) {
            depth++;
        } else {
            depth--;
        }
        i++;
    }
}

bool
nsx_next_key_value(struct nsx_slice *rest, struct nsx_slice *key,
                   struct nsx_slice *value, char *delimiter)
{
    const uint8_t *kinds = kinds_of_bytes;

    skip(rest, kinds, BLANK | COMMA);
    if (!rest->n) {
        return false;
    }

    size_t n = 0;
    while (n < rest->n && !(kinds[(uint8_t) rest->s[n]]
                            & (DELIMITER | COMMA | BLANK))) {
        n++;
    }
    *key = take(rest, n);
    *delimiter = first_kind(*rest) & DELIMITER ? *rest->s : 0;
    if (!*delimiter) {
        *value = (struct nsx_slice) { rest->s, 0 };
        return true;
    }
    take(rest, 1);

    n = span_until(*rest, kinds, (*delimiter == '(' ? CLOSING_PAREN
                                  : BLANK | COMMA));
    if (*delimiter == '(' && rest->n - n > 2 && rest->s[n + 1] == '-'
        && rest->s[n + 2] == '>') {
        /* "set_field(x)->y" and the like: the value is "x)->y". */
        struct nsx_slice tail = { rest->s + n, rest->n - n };
        n += span_until(tail, kinds, BLANK | COMMA);
    }
    *value = take(rest, n);
    if (rest->n) {
        take(rest, 1);
    }
    return true;
}

bool
nsx_next_word(struct nsx_slice *rest, const char *separators,
              struct nsx_slice *word)
{
    uint8_t kinds[sizeof kinds_of_bytes];

    memcpy(kinds, kinds_of_bytes, sizeof kinds);
    for (; *separators; separators++) {
        kinds[(uint8_t) *separators] |= SEPARATOR;
    }
    skip(rest, kinds, SEPARATOR);
    if (!rest->n) {
        return false;
    }
    *word = take(rest, span_until(*rest, kinds, SEPARATOR));
    return true;
}

/* Numbers. */

/* Digits in 'base' from the 'i'th byte on. */
static int
parse_digits(const struct nsx_parser *parser, struct nsx_slice text, size_t i,
             unsigned int base, const char *what, uint64_t max,
             uint64_t *number)
{
    uint64_t x = 0;

    if (i >= text.n) {
        return nsx_parse_error(parser, text, "%s is not a number", what);
    }
    for (; i < text.n; i++) {
        unsigned int digit = nsx_digit_value(text.s[i]);

        if (digit >= base) {
            return nsx_parse_error(parser, text, "%s is not a number", what);
        } else if (!nsx_append_digit(&x, digit, base) || x > max) {
            return nsx_parse_error(parser, text, "%s is greater than %llu",
                                   what, (unsigned long long) max);
        }
    }
    *number = x;
    return 0;
}

int
nsx_parse_number(const struct nsx_parser *parser, struct nsx_slice text,
                 const char *what, uint64_t max, uint64_t *number)
{
    bool hex = (text.n > 2 && text.s[0] == '0'
                && (text.s[1] == 'x' || text.s[1] == 'X'));
    /* A leading zero makes octal, as in C: ovs-ofctl takes it so. */
    bool octal = !hex && text.n > 1 && text.s[0] == '0';
    unsigned int base = hex ? 16 : octal ? 8 : 10;
    return parse_digits(parser, text, hex ? 2 : 0, base, what, max, number);
}

/* A number that is decimal also with zeros before it, and never
 * hexadecimal. */
static int
parse_decimal(const struct nsx_parser *parser, struct nsx_slice text,
              const char *what, uint64_t max, uint64_t *number)
{
    return parse_digits(parser, text, 0, 10, what, max, number);
}

static void
set_bytes(uint8_t *p, size_t width, uint64_t x)
{
    while (width--) {
        p[width] = (uint8_t) x;
        x >>= 8;
    }
}

int
nsx_parse_number_or_hole(const struct nsx_parser *parser,
                         struct nsx_slice text, const char *what,
                         uint64_t max, struct nsx_buf *buf, size_t offset,
                         size_t width)
{
    struct nsx_slice name;

    if (nsx_is_hole(text, &name)) {
        size_t n_bits = 0;

        while (n_bits < 64 && max >> n_bits) {
            n_bits++;
        }
        return nsx_add_hole(parser, name, offset, width, 0, n_bits);
    }

    uint64_t number;
    int error = nsx_parse_number(parser, text, what, max, &number);
    if (!error) {
        set_bytes(buf->data + offset, width, number);
    }
    return error;
}

/* Holes. */

bool
nsx_is_hole(struct nsx_slice text, struct nsx_slice *name)
{
    if (text.n < 2 || text.s[0] != '{' || text.s[text.n - 1] != '}') {
        return false;
    }
    *name = (struct nsx_slice) { text.s + 1, text.n - 2 };
    return true;
}

static bool
is_identifier(struct nsx_slice name)
{
    for (size_t i = 0; i < name.n; i++) {
        char c = name.s[i];

        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'
              || (i && c >= '0' && c <= '9'))) {
            return false;
        }
    }
    return name.n > 0;
}

static void
add_hole(struct nsx_holes *holes, const struct nsx_hole *hole)
{
    if (holes->n >= holes->allocated) {
        size_t allocated = holes->allocated ? holes->allocated * 2 : 8;

        holes->list = nsx_xrealloc(holes->list, allocated,
                                   sizeof *holes->list);
        holes->allocated = allocated;
    }
    holes->list[holes->n++] = *hole;
}

int
nsx_add_hole(const struct nsx_parser *parser, struct nsx_slice name,
             size_t offset, size_t width, size_t bit_offset, size_t n_bits)
{
    struct nsx_hole hole = {
        .offset = (uint32_t) (offset - parser->origin),
        .width = (uint16_t) width,
        .bit_offset = (uint16_t) bit_offset,
        .n_bits = (uint16_t) n_bits,
    };

    if (!parser->holes) {
        return nsx_parse_error(parser, name,
                               "only a template can have a hole");
    } else if (!is_identifier(name)) {
        return nsx_parse_error(parser, name,
                               "a hole's name is letters, digits and '_'");
    } else if (name.n >= sizeof hole.name) {
        return nsx_parse_error(parser, name,
                               "a hole's name has at most %zu bytes",
                               sizeof hole.name - 1);
    }
    memcpy(hole.name, name.s, name.n);
    add_hole(parser->holes, &hole);
    return 0;
}

/* Tables. */

int
nsx_parse_table(const struct nsx_parser *parser, struct nsx_slice text,
                uint8_t *table)
{
    struct nsx_slice name = text;
    uint64_t number;

    if (name.n >= 2 && name.s[0] == '"' && name.s[name.n - 1] == '"') {
        name.s++;
        name.n -= 2;
    } else if (name.n && name.s[0] >= '0' && name.s[0] <= '9') {
        int error = parse_decimal(parser, text, "table", UINT8_MAX, &number);
        if (!error) {
            *table = (uint8_t) number;
        }
        return error;
    }
    for (size_t i = 0; parser->tables && i <= UINT8_MAX; i++) {
        if (parser->tables[i] && nsx_slice_equals(name, parser->tables[i])) {
            *table = (uint8_t) i;
            return 0;
        }
    }
    return nsx_parse_error(parser, text, "unknown table");
}

/* Open vSwitch quotes what isn't letters, digits, '_', '-' and '.', and what a
 * digit starts. */
static bool
needs_quotes(const char *name)
{
    if (!*name || (*name >= '0' && *name <= '9') || strchr("-.", *name)) {
        return true;
    }
    for (; *name; name++) {
        char c = *name;

        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')
              || (c >= '0' && c <= '9') || strchr("_-.", c))) {
            return true;
        }
    }
    return false;
}

void
nsx_format_table(struct nsx_buf *buf, nsx_tables tables, uint8_t table)
{
    const char *name = tables ? tables[table] : NULL;

    if (!name) {
        nsx_put_decimal(buf, table);
    } else if (needs_quotes(name)) {
        nsx_printf(buf, "\"%s\"", name);
    } else {
        nsx_puts(buf, name);
    }
}

/* Ports.  As in Open vSwitch: 0...0xfeff, and 0xffffff00 and up; a port's 16
 * bit OpenFlow 1.0 number of a reserved port stands for the 32 bit one. */

#define PORT_MAX 0xff00
#define PORT_OFFSET 0xffff0000u

static const struct {
    const char *name;
    uint32_t port;
} named_ports[] = {
    { "IN_PORT", 0xfffffff8 },
    { "TABLE", 0xfffffff9 },
    { "NORMAL", 0xfffffffa },
    { "FLOOD", 0xfffffffb },
    { "ALL", 0xfffffffc },
    { "CONTROLLER", 0xfffffffd },
    { "LOCAL", 0xfffffffe },
    { "ANY", 0xffffffff },
    { "UNSET", 0xfffffff7 },
    { "NONE", 0xffffffff },     /* Read, never written. */
};

bool
nsx_port_is_valid(uint32_t port)
{
    return port < PORT_MAX || port >= PORT_OFFSET + PORT_MAX;
}

int
nsx_parse_port(const struct nsx_parser *parser, struct nsx_slice text,
               uint32_t *port)
{
    if (!text.n || text.s[0] < '0' || text.s[0] > '9') {
        for (size_t i = 0; i < NSX_ARRAY_SIZE(named_ports); i++) {
            if (nsx_is_word(text, named_ports[i].name)) {
                *port = named_ports[i].port;
                return 0;
            }
        }
        return nsx_parse_error(parser, text, "unknown port");
    }

    uint64_t number;
    int error = parse_decimal(parser, text, "port", UINT32_MAX, &number);
    if (error) {
        return error;
    }
    if (number >= PORT_MAX && number <= UINT16_MAX) {
        number += PORT_OFFSET;
    }
    if (!nsx_port_is_valid((uint32_t) number)) {
        return nsx_parse_error(parser, text,
                               "port is neither less than 65536 nor at "
                               "least 0xffffff00");
    }
    *port = (uint32_t) number;
    return 0;
}

void
nsx_format_port(struct nsx_buf *buf, uint32_t port)
{
    for (size_t i = 0; i < NSX_ARRAY_SIZE(named_ports); i++) {
        if (port == named_ports[i].port) {
            nsx_puts(buf, named_ports[i].name);
            return;
        }
    }
    /* Others of the reserved range are 16 bits to Open vSwitch. */
    nsx_put_decimal(buf, port < PORT_MAX ? port : port & UINT16_MAX);
}
