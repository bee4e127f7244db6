/* ovsdb_value.c: from the JSON of a value (RFC 7047, 5.1, <value>) to a cell.
 *
 * A server sends sets and maps sorted as we keep them, so hardly ever is
 * anything to be sorted here. */

#include "ovsdb.h"

#include <stdio.h>

/* Where a set's or map's member is in 'atoms'. */
struct member {
    const uint8_t *p;           /* Its key's bytes; its value's follow. */
    size_t offset, size;
    enum nsx_atom_type type;    /* The key's. */
};

void
value_parser_init(struct value_parser *parser, struct datum_pool *pool,
                  const char *json, size_t len, struct nsx_error *error)
{
    *parser = (struct value_parser) { .pool = pool };
    nsx_json_init(&parser->json, json, len, error);
}

void
value_parser_uninit(struct value_parser *parser)
{
    nsx_buf_uninit(&parser->text);
    nsx_buf_uninit(&parser->atoms);
    nsx_buf_uninit(&parser->members);
    nsx_buf_uninit(&parser->sorted);
}

bool
nsx_uuid_parse(const char *text, size_t len, uint8_t uuid[16])
{
    size_t n = 0;

    if (len != NSX_UUID_LEN) {
        return false;
    }
    for (size_t i = 0; i < len; ) {
        if (i == 8 || i == 13 || i == 18 || i == 23) {
            if (text[i++] != '-') {
                return false;
            }
            continue;
        }
        int high = nsx_hex_digit(text[i]), low = nsx_hex_digit(text[i + 1]);
        if (high < 0 || low < 0) {
            return false;
        }
        uuid[n++] = (uint8_t) (high << 4 | low);
        i += 2;
    }
    return true;
}

void
nsx_uuid_format(const uint8_t uuid[16], char text[NSX_UUID_LEN])
{
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10) {
            *text++ = '-';
        }
        *text++ = digits[uuid[i] >> 4];
        *text++ = digits[uuid[i] & 15];
    }
}

/* Says that what begins at 'start' is no such thing. */
static int
is_no(const struct value_parser *parser, const char *start, const char *what)
{
    char shown[41];
    size_t n = 0;

    while (n < sizeof shown - 1 && start + n < parser->json.end) {
        char c = start[n];
        shown[n++] = c >= ' ' && c <= '~' ? c : '?';
    }
    shown[n] = '\0';
    return nsx_json_error(&parser->json, start, "no %s: %s", what, shown);
}

int
value_parse_uuid(struct value_parser *parser, uint8_t uuid[16])
{
    nsx_json_peek(&parser->json);

    const char *start = parser->json.p;
    parser->text.size = 0;
    int error = nsx_json_string(&parser->json, &parser->text);
    if (!error && !nsx_uuid_parse((const char *) parser->text.data,
                                  parser->text.size, uuid)) {
        return is_no(parser, start, "UUID");
    }
    return error;
}

/* Reads what an array begins with: a word, and a comma. */
static int
parse_tag(struct value_parser *parser)
{
    int error = nsx_json_expect(&parser->json, '[');

    parser->text.size = 0;
    if (!error) {
        error = nsx_json_string(&parser->json, &parser->text);
    }
    return error ? error : nsx_json_expect(&parser->json, ',');
}

/* Reads the rest of ["uuid", ...]. */
static int
parse_uuid_rest(struct value_parser *parser)
{
    uint8_t *uuid = nsx_put_uninit(&parser->atoms, 16);
    int error = value_parse_uuid(parser, uuid);

    return error ? error : nsx_json_expect(&parser->json, ']');
}

static const char *const type_names[] = {
    [NSX_ATOM_INTEGER] = "integer",
    [NSX_ATOM_REAL] = "real number",
    [NSX_ATOM_BOOLEAN] = "boolean",
    [NSX_ATOM_STRING] = "string",
    [NSX_ATOM_UUID] = "UUID",
};

/* Reads a string of which the length is put before it. */
static int
parse_string(struct value_parser *parser)
{
    uint32_t len = 0;
    size_t start = parser->atoms.size;

    nsx_put(&parser->atoms, &len, sizeof len);
    int error = nsx_json_string(&parser->json, &parser->atoms);
    size_t n = parser->atoms.size - start - sizeof len;
    if (!error && n > UINT32_MAX / 2) {
        error = nsx_json_error(&parser->json, parser->json.p,
                               "a string of %zu bytes", n);
    }
    len = (uint32_t) n;
    memcpy(parser->atoms.data + start, &len, sizeof len);
    return error;
}

static int
parse_number(struct value_parser *parser, bool integer)
{
    struct nsx_json_number number;
    int error = nsx_json_number(&parser->json, &number);

    if (!error && !integer) {
        nsx_put(&parser->atoms, &number.real, sizeof number.real);
    } else if (!error && number.is_integer) {
        nsx_put(&parser->atoms, &number.integer, sizeof number.integer);
    } else if (!error) {
        error = EPROTO;
    }
    return error;
}

/* Appends an atom to 'atoms'. */
static int
parse_atom(struct value_parser *parser, enum nsx_atom_type type)
{
    char c = nsx_json_peek(&parser->json);
    const char *start = parser->json.p;
    bool boolean;
    int error;

    switch (type) {
    case NSX_ATOM_STRING:
        return c == '"' ? parse_string(parser) : is_no(parser, start,
                                                       "string");
    case NSX_ATOM_UUID:
        error = parse_tag(parser);
        return (error || !buf_is(&parser->text, "uuid")
                ? is_no(parser, start, "UUID") : parse_uuid_rest(parser));
    case NSX_ATOM_BOOLEAN:
        error = nsx_json_boolean(&parser->json, &boolean);
        nsx_put8(&parser->atoms, boolean);
        break;
    default:
        error = parse_number(parser, type == NSX_ATOM_INTEGER);
        break;
    }
    return error ? is_no(parser, start, type_names[type]) : 0;
}

static void
put_member(struct value_parser *parser, const struct nsx_ovsdb_column *type,
           size_t start)
{
    struct member member = {
        .offset = start,
        .size = parser->atoms.size - start,
        .type = type->key,
    };
    nsx_put(&parser->members, &member, sizeof member);
}

/* Reads a set's member, or a map's. */
static int
parse_member(struct value_parser *parser, const struct nsx_ovsdb_column *type)
{
    size_t start = parser->atoms.size;
    bool map = type->value != NSX_ATOM_NONE;
    int error = map ? nsx_json_expect(&parser->json, '[') : 0;

    if (!error) {
        error = parse_atom(parser, type->key);
    }
    if (!error && map) {
        error = nsx_json_expect(&parser->json, ',');
        if (!error) {
            error = parse_atom(parser, type->value);
        }
        if (!error) {
            error = nsx_json_expect(&parser->json, ']');
        }
    }
    if (!error) {
        put_member(parser, type, start);
    }
    return error;
}

/* Reads the rest of ["set", [...]] or ["map", [...]]. */
static int
parse_members_rest(struct value_parser *parser,
                   const struct nsx_ovsdb_column *type)
{
    int error = nsx_json_expect(&parser->json, '[');

    for (bool first = true, more; !error; first = false) {
        error = nsx_json_next(&parser->json, ']', first, &more);
        if (!error && !more) {
            return nsx_json_expect(&parser->json, ']');
        }
        if (!error) {
            error = parse_member(parser, type);
        }
    }
    return error;
}

/* Reads all members of a value into 'atoms' and 'members'. */
static int
parse_members(struct value_parser *parser, const struct nsx_ovsdb_column *type)
{
    bool map = type->value != NSX_ATOM_NONE;
    const char *what = map ? "map" : "set";

    parser->atoms.size = parser->members.size = 0;
    if (nsx_json_peek(&parser->json) != '[') {
        return (map ? is_no(parser, parser->json.p, what)
                : parse_member(parser, type));
    }

    const char *start = parser->json.p;
    int error = parse_tag(parser);
    if (!error && buf_is(&parser->text, what)) {
        return parse_members_rest(parser, type);
    }
    if (!error && type->key == NSX_ATOM_UUID && !map
        && buf_is(&parser->text, "uuid")) {
        error = parse_uuid_rest(parser);
        put_member(parser, type, 0);
        return error;
    }
    return is_no(parser, start, column_is_scalar(type)
                                ? type_names[type->key] : what);
}

static int
member_compare(const void *a_, const void *b_)
{
    const struct member *a = a_, *b = b_;

    return atom_bytes_compare(a->type, a->p, b->p);
}

/* Sorts the members, if they aren't, and returns the bytes of them all; NULL:
 * one is there twice. */
static const uint8_t *
sort_members(struct value_parser *parser)
{
    struct member *members = (struct member *) parser->members.data;
    size_t n = parser->members.size / sizeof *members;
    bool sorted = true;

    for (size_t i = 0; i < n; i++) {
        members[i].p = parser->atoms.data + members[i].offset;
        sorted &= !i || member_compare(&members[i - 1], &members[i]) < 0;
    }
    if (sorted) {
        return parser->atoms.data;
    }

    qsort(members, n, sizeof *members, member_compare);
    parser->sorted.size = 0;
    for (size_t i = 0; i < n; i++) {
        if (i && !member_compare(&members[i - 1], &members[i])) {
            return NULL;
        }
        nsx_put(&parser->sorted, members[i].p, members[i].size);
    }
    return parser->sorted.data;
}

int
value_parse(struct value_parser *parser, const struct nsx_ovsdb_column *type,
            union nsx_ovsdb_cell *cell)
{
    nsx_json_peek(&parser->json);

    const char *start = parser->json.p;
    int error = parse_members(parser, type);
    if (error) {
        return error;
    }

    size_t n = parser->members.size / sizeof (struct member);
    const uint8_t *bytes = parser->atoms.data;
    if (type->many) {
        bytes = n ? sort_members(parser) : bytes;
        if (n && !bytes) {
            return nsx_json_error(&parser->json, start,
                                  "a member that is there twice");
        }
    } else if (n != 1 && (n || !type->optional)) {
        return nsx_json_error(&parser->json, start, "%zu members, where there "
                              "can be only one", n);
    }
    *cell = cell_make(parser->pool, type, bytes, parser->atoms.size);
    return 0;
}
