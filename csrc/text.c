/* text.c: scanning text, and the words that every part of it may have:
 * numbers, holes, tables and ports. */

#include "core.h"

#include <stdio.h>
#include <stdlib.h>

static const char space_and_comma[] = ", \t\r\n";

/* Errors. */

static void
write_error(struct nsx_error *error, size_t position, struct nsx_slice at,
            const char *format, va_list args)
{
    if (!error) {
        return;
    }
    error->position = position;

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
nsx_decode_error(struct nsx_error *error, size_t position,
                 const char *format, ...)
{
    va_list args;

    va_start(args, format);
    write_error(error, position, (struct nsx_slice) { "", 0 }, format, args);
    va_end(args);
    return EPROTO;
}

/* Slices. */

bool
nsx_slice_equals(struct nsx_slice slice, const char *string)
{
    /* Not strncmp(): the slice may have null bytes. */
    for (size_t i = 0; i < slice.n; i++) {
        if (!string[i] || slice.s[i] != string[i]) {
            return false;
        }
    }
    return !string[slice.n];
}

bool
nsx_slice_starts_with(struct nsx_slice slice, const char *prefix)
{
    size_t n = strlen(prefix);
    return slice.n >= n && !memcmp(slice.s, prefix, n);
}

static bool
is_one_of(char c, const char *set)
{
    return c && strchr(set, c);
}

static struct nsx_slice
skip(struct nsx_slice slice, const char *set)
{
    while (slice.n && is_one_of(*slice.s, set)) {
        slice.s++;
        slice.n--;
    }
    return slice;
}

struct nsx_slice
nsx_slice_trim(struct nsx_slice slice)
{
    slice = skip(slice, " \t\r\n");
    while (slice.n && is_one_of(slice.s[slice.n - 1], " \t\r\n")) {
        slice.n--;
    }
    return slice;
}

/* Returns the number of bytes of 'slice' before the first of 'delimiters' that
 * stands outside of parentheses, brackets and braces. */
static size_t
span_until(struct nsx_slice slice, const char *delimiters)
{
    size_t depth = 0;
    size_t i;

    for (i = 0; i < slice.n; i++) {
        char c = slice.s[i];

        if (!depth && is_one_of(c, delimiters)) {
            break;
        } else if (c == '(' || c == '[' || c == '{') {
            depth++;
        } else if (depth && (c == ')' || c == ']' || c == '}')) {
            depth--;
        }
    }
    return i;
}

static struct nsx_slice
take(struct nsx_slice *rest, size_t n)
{
    struct nsx_slice front = { rest->s, n };

    rest->s += n;
    rest->n -= n;
    return front;
}

bool
nsx_next_key_value(struct nsx_slice *rest, struct nsx_slice *key,
                   struct nsx_slice *value, char *delimiter)
{
    *rest = skip(*rest, space_and_comma);
    if (!rest->n) {
        return false;
    }

    size_t n = 0;
    while (n < rest->n && !is_one_of(rest->s[n], ":=(, \t\r\n")) {
        n++;
    }
    *key = take(rest, n);
    *delimiter = rest->n && is_one_of(*rest->s, ":=(") ? *rest->s : 0;
    if (!*delimiter) {
        *value = (struct nsx_slice) { rest->s, 0 };
        return true;
    }
    take(rest, 1);

    n = span_until(*rest, *delimiter == '(' ? ")" : space_and_comma);
    if (*delimiter == '(' && rest->n - n > 2 && rest->s[n + 1] == '-'
        && rest->s[n + 2] == '>') {
        /* "set_field(x)->y" and the like: the value is "x)->y". */
        struct nsx_slice tail = { rest->s + n, rest->n - n };
        n += span_until(tail, space_and_comma);
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
    *rest = skip(*rest, separators);
    if (!rest->n) {
        return false;
    }
    *word = take(rest, span_until(*rest, separators));
    return true;
}

/* Numbers. */

static int
digit_value(char c)
{
    return (c >= '0' && c <= '9' ? c - '0'
            : c >= 'a' && c <= 'f' ? c - 'a' + 10
            : c >= 'A' && c <= 'F' ? c - 'A' + 10
            : 16);
}

/* Digits in 'base' from the 'i'th byte on. */
static int
parse_digits(const struct nsx_parser *parser, struct nsx_slice text, size_t i,
             int base, const char *what, uint64_t max, uint64_t *number)
{
    uint64_t x = 0;

    if (i >= text.n) {
        return nsx_parse_error(parser, text, "%s is not a number", what);
    }
    for (; i < text.n; i++) {
        int digit = digit_value(text.s[i]);

        if (digit >= base) {
            return nsx_parse_error(parser, text, "%s is not a number", what);
        }

        bool overflow = x > (UINT64_MAX - (uint64_t) digit) / (uint64_t) base;
        x = x * (uint64_t) base + (uint64_t) digit;
        if (overflow || x > max) {
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
    int base = hex ? 16 : octal ? 8 : 10;
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

        holes->list = realloc(holes->list, allocated * sizeof *holes->list);
        if (!holes->list) {
            abort();
        }
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
    if (!*name || (*name >= '0' && *name <= '9') || is_one_of(*name, "-.")) {
        return true;
    }
    for (; *name; name++) {
        char c = *name;

        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')
              || (c >= '0' && c <= '9') || is_one_of(c, "_-."))) {
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
        nsx_printf(buf, "%u", table);
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

static bool
equals_ignoring_case(struct nsx_slice slice, const char *upper)
{
    size_t i;

    for (i = 0; i < slice.n && upper[i]; i++) {
        char c = slice.s[i];

        if ((c >= 'a' && c <= 'z' ? c - 'a' + 'A' : c) != upper[i]) {
            return false;
        }
    }
    return i == slice.n && !upper[i];
}

int
nsx_parse_port(const struct nsx_parser *parser, struct nsx_slice text,
               uint32_t *port)
{
    if (!text.n || text.s[0] < '0' || text.s[0] > '9') {
        for (size_t i = 0; i < NSX_ARRAY_SIZE(named_ports); i++) {
            if (equals_ignoring_case(text, named_ports[i].name)) {
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
    nsx_printf(buf, "%u", port < PORT_MAX ? port : port & UINT16_MAX);
}
