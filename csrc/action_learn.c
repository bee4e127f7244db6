/* action_learn.c: learn(...), which adds a flow. */

#include "action_verbs.h"

/* Subtype 16: idle_timeout at 10, hard_timeout at 12, priority at 14, cookie
 * at 16, flags at 24, table at 26, fin_idle_timeout at 28, fin_hard_timeout at
 * 30, from 32 on specs.
 *
 * Subtype 45, where there is a limit or a result: the limit at 32, the bit of
 * the result at 36, from 40 on the result's header, if any, and specs. */

#define LEARN2 45

#define F_SEND_FLOW_REM 1
#define F_DELETE_LEARNED 2
#define F_WRITE_RESULT 4

#define TABLE_NONE 255

/* A spec is 16 bits of these and the number of bits; the source (a header and
 * a bit offset, or a value of as many 16-bit words as it takes); and the
 * destination (a header and a bit offset), if it isn't a port. */
#define SRC_IMMEDIATE 0x2000
#define DST_MASK 0x1800
#define DST_MATCH 0x0000
#define DST_LOAD 0x0800
#define DST_OUTPUT 0x1000
#define N_BITS_MASK 0x07ff

struct spec {
    uint16_t kind;                      /* SRC_IMMEDIATE | DST_... */
    uint16_t n_bits;
    struct nsx_subfield src, dst;
    uint8_t value[NSX_FIELD_MAX];       /* As wide as the field 'dst' is in. */
    struct nsx_slice hole;
    enum nsx_ofperr wrong;              /* What a spec that is none has. */
};

static size_t
value_len(size_t n_bits)
{
    return (n_bits + 15) / 16 * 2;
}

/* Options. */

static const struct option {
    const char *name;
    uint16_t offset, width;             /* Of its number, 0: none. */
    uint16_t flag;
} options[] = {
    { "table", 0, 0, 0 },
    { "result_dst", 0, 0, F_WRITE_RESULT },
    { "send_flow_rem", 0, 0, F_SEND_FLOW_REM },
    { "delete_learned", 0, 0, F_DELETE_LEARNED },
    { "idle_timeout", 10, 2, 0 },
    { "hard_timeout", 12, 2, 0 },
    { "priority", 14, 2, 0 },
    { "cookie", 16, 8, 0 },
    { "fin_idle_timeout", 28, 2, 0 },
    { "fin_hard_timeout", 30, 2, 0 },
    { "limit", 32, 4, 0 },
};

static const struct option *
find_option(struct nsx_slice name)
{
    for (size_t i = 0; i < NSX_ARRAY_SIZE(options); i++) {
        if (nsx_slice_equals(name, options[i].name)) {
            return &options[i];
        }
    }
    return NULL;
}

static int
parse_learn_table(struct nsx_action_list *list, struct nsx_slice value,
                  uint8_t *table)
{
    int error = nsx_parse_table(list->parser, value, table);

    if (!error && *table == TABLE_NONE) {
        error = nsx_parse_error(list->parser, value,
                                "no flow can be learned there");
    }
    return error;
}

static int
parse_result(struct nsx_action_list *list, struct nsx_slice value,
             struct nsx_subfield *result)
{
    int error = nsx_subfield_parse(list->parser, value, result);

    if (error) {
        return error;
    } else if (!nsx_field_writable(result->field)
               || !nsx_field_has_header(result->field)) {
        return nsx_parse_error(list->parser, value, "%s is read-only",
                               nsx_field_name(result->field));
    } else if (result->n_bits != 1) {
        return nsx_parse_error(list->parser, value,
                               "result_dst is a single bit");
    }
    return 0;
}

static int
parse_option(struct nsx_action_list *list, const struct option *option,
             struct nsx_slice value, size_t start,
             struct nsx_subfield *result)
{
    if (option->width) {
        uint64_t max = UINT64_MAX >> (64 - 8 * option->width);
        bool decimal = option->width < 8 && (!value.n || *value.s != '{');
        uint64_t number;

        /* Open vSwitch reads all but the cookie with atoi(). */
        if (decimal && nsx_parse_decimal(list->parser, value, option->name,
                                         max, &number)) {
            return EINVAL;
        }
        while (decimal && value.n > 1 && *value.s == '0') {
            value.s++;
            value.n--;
        }
        return nsx_parse_number_or_hole(list->parser, value, option->name, max,
                                        list->buf, start + option->offset,
                                        option->width);
    } else if (option->flag) {
        list->buf->data[start + 25] |= (uint8_t) option->flag;
        return (option->flag == F_WRITE_RESULT
                ? parse_result(list, value, result) : 0);
    }

    uint8_t table;
    int error = parse_learn_table(list, value, &table);
    if (!error) {
        list->buf->data[start + 26] = table;
    }
    return error;
}

/* Specs. */

static bool
is_load_value(struct nsx_slice text)
{
    return text.n && (*text.s == '{' || (*text.s >= '0' && *text.s <= '9'));
}

/* Parses 'text' as a number for, or a hole in, the bits of 'spec->dst'. */
static int
parse_immediate(struct nsx_action_list *list, struct nsx_slice text,
                struct spec *spec)
{
    spec->kind |= SRC_IMMEDIATE;
    if (nsx_is_hole(text, &spec->hole)) {
        return 0;
    }
    spec->hole.n = 0;
    return nsx_parse_bits(list->parser, text, spec->dst.n_bits,
                          nsx_field_n_bytes(spec->dst.field), spec->value);
}

/* field=value, where 'value' is one for the whole field. */
static int
parse_field_value(struct nsx_action_list *list, struct nsx_slice text,
                  struct spec *spec)
{
    uint8_t mask[NSX_FIELD_MAX];
    int error = nsx_field_parse_value(list->parser, spec->dst.field, text,
                                      spec->value, mask, &spec->hole);

    spec->kind |= SRC_IMMEDIATE;
    for (size_t i = 0; !error && i < nsx_field_n_bytes(spec->dst.field); i++) {
        if (mask[i] != 0xff) {
            error = nsx_parse_error(list->parser, text, "takes no mask");
        }
    }
    return error;
}

static int
parse_match(struct nsx_action_list *list, struct nsx_slice value,
            struct spec *spec)
{
    struct nsx_parser quiet = *list->parser;
    const struct nsx_field *field = spec->dst.field;

    spec->kind = DST_MATCH;
    quiet.error = NULL;
    if (!value.n) {
        spec->src = spec->dst;
    } else if (nsx_subfield_parse(&quiet, value, &spec->src)) {
        return (spec->dst.n_bits == nsx_field_n_bits(field)
                ? parse_field_value(list, value, spec)
                : parse_immediate(list, value, spec));
    }
    return 0;
}

static int
parse_load(struct nsx_action_list *list, struct nsx_slice value,
           struct spec *spec)
{
    struct nsx_slice src, dst;
    int error = nsx_split_arrow(list->parser, value, &src, &dst);

    spec->kind = DST_LOAD;
    if (!error) {
        error = nsx_subfield_parse(list->parser, dst, &spec->dst);
    }
    if (!error) {
        error = (is_load_value(src)
                 ? parse_immediate(list, src, spec)
                 : nsx_subfield_parse(list->parser, src, &spec->src));
    }
    return error;
}

static int
parse_spec(struct nsx_action_list *list, struct nsx_slice key,
           struct nsx_slice value, struct spec *spec)
{
    struct nsx_parser quiet = *list->parser;

    *spec = (struct spec) { .kind = 0 };
    quiet.error = NULL;
    if (!nsx_subfield_parse(&quiet, key, &spec->dst)) {
        return parse_match(list, value, spec);
    } else if (nsx_slice_equals(key, "load")) {
        return parse_load(list, value, spec);
    } else if (nsx_slice_equals(key, "output")) {
        spec->kind = DST_OUTPUT;
        return nsx_subfield_parse(list->parser, value, &spec->src);
    }
    return nsx_parse_error(list->parser, key, "unknown word in learn");
}

/* Fails where the flow's match lacks what the source needs, or the learned
 * flow's, 'learned', what the destination needs. */
static int
check_spec(struct nsx_action_list *list, struct nsx_slice at,
           const struct spec *spec, struct nsx_match *learned)
{
    const struct nsx_field *dst = spec->dst.field;
    int error = 0;

    if (!(spec->kind & SRC_IMMEDIATE)) {
        if (!nsx_field_nxm_header(spec->src.field)) {
            return nsx_parse_error(list->parser, at, "learn has no such "
                                   "field");
        } else if (dst && spec->src.n_bits != spec->dst.n_bits) {
            return nsx_parse_error(list->parser, at,
                                   "%u bits do not go into %u bits",
                                   spec->src.n_bits, spec->dst.n_bits);
        }
        error = nsx_check_source(list, spec->src.field, at);
    }
    if (error || !dst) {
        return error;
    }

    if (!nsx_field_nxm_header(dst)) {
        return nsx_parse_error(list->parser, at, "learn has no such field");
    } else if (list->match && (spec->kind & DST_MASK) == DST_LOAD
               && !nsx_field_writable(dst)) {
        return nsx_parse_error(list->parser, at, "%s is read-only",
                               nsx_field_name(dst));
    } else if (list->match) {
        error = nsx_match_check_field(list->parser, learned, dst, at);
    }

    if ((spec->kind & DST_MASK) == DST_MATCH && spec->kind & SRC_IMMEDIATE) {
        size_t n = nsx_field_n_bytes(dst);
        uint8_t value[NSX_FIELD_MAX], mask[NSX_FIELD_MAX];
        uint8_t ones[NSX_FIELD_MAX];

        nsx_match_get(learned, dst, value, mask);
        memset(ones, 0xff, sizeof ones);
        nsx_copy_bits(spec->value, value, n, spec->dst.offset,
                      spec->dst.n_bits);
        nsx_copy_bits(ones, mask, n, spec->dst.offset, spec->dst.n_bits);
        if (spec->dst.n_bits == nsx_field_n_bits(dst)) {
            memset(mask, 0xff, n);
        }
        nsx_match_set(learned, dst, value, mask);
    }
    return error;
}

static void
put_subfield(struct nsx_buf *buf, const struct nsx_subfield *sf)
{
    nsx_put32(buf, nsx_field_nxm_header(sf->field));
    nsx_put16(buf, sf->offset);
}

static int
put_spec(struct nsx_action_list *list, const struct spec *spec)
{
    uint16_t n_bits = spec->dst.field ? spec->dst.n_bits : spec->src.n_bits;
    int error = 0;

    nsx_put16(list->buf, (uint16_t) (spec->kind | n_bits));
    if (spec->kind & SRC_IMMEDIATE) {
        size_t width = nsx_field_n_bytes(spec->dst.field);
        size_t len = value_len(n_bits);
        size_t n = len < width ? len : width;
        size_t offset = list->buf->size;
        uint8_t *p = nsx_put_zeros(list->buf, len);

        memcpy(p + len - n, spec->value + width - n, n);
        if (spec->hole.n) {
            error = nsx_add_hole(list->parser, spec->hole, offset, len, 0,
                                 n_bits);
        }
    } else {
        put_subfield(list->buf, &spec->src);
    }
    if (spec->dst.field) {
        put_subfield(list->buf, &spec->dst);
    }
    return error;
}

/* Parses the specs among 'arg'. */
static int
parse_specs(struct nsx_action_list *list, struct nsx_slice arg)
{
    struct nsx_slice key, value;
    struct nsx_match learned;
    char delimiter;
    int error = 0;

    nsx_match_init(&learned);
    while (!error && nsx_next_key_value(&arg, &key, &value, &delimiter)) {
        if (!find_option(key)) {
            struct spec spec;

            error = parse_spec(list, key, value, &spec);
            if (!error) {
                error = check_spec(list, key, &spec, &learned);
            }
            if (!error) {
                error = put_spec(list, &spec);
            }
        }
    }
    return error;
}

int
nsx_parse_learn(struct nsx_action_list *list,
                struct nsx_slice word __attribute__((unused)),
                struct nsx_slice arg)
{
    const uint16_t default_priority = 32768;
    struct nsx_buf *buf = list->buf;
    size_t start = nsx_put_nx_action(buf, 16, 40);
    struct nsx_subfield result = { .field = NULL };
    struct nsx_slice rest = arg;
    struct nsx_slice key, value, hole;
    bool learn2 = false;
    char delimiter;
    int error = 0;

    nsx_set16(buf->data + start + 14, default_priority);
    buf->data[start + 26] = 1;
    while (!error && nsx_next_key_value(&rest, &key, &value, &delimiter)) {
        const struct option *option = find_option(key);

        if (option) {
            error = parse_option(list, option, value, start, &result);
            learn2 = learn2 || (option->offset == 32
                                && nsx_is_hole(value, &hole));
        }
    }
    if (error) {
        return error;
    }

    if (learn2 || result.field || nsx_get32(buf->data + start + 32)) {
        nsx_set16(buf->data + start + 8, LEARN2);
        if (result.field) {
            nsx_set16(buf->data + start + 36, result.offset);
            nsx_oxm_put_header(buf, result.field, false);
        }
    } else {
        buf->size -= 8;
    }
    error = parse_specs(list, arg);
    if (!error) {
        nsx_finish_action(buf, start);
    }
    return error;
}

/* Reading bytes. */

/* Returns where the specs of the learn of 'n' bytes at 'a' start, 0 if it is
 * none. */
static size_t
pull_head(const uint8_t *a, size_t n, struct nsx_subfield *result)
{
    bool learn2 = nsx_get16(a + 8) == LEARN2;
    uint16_t flags = nsx_get16(a + 24);
    size_t header_len;
    bool has_mask;

    result->field = NULL;
    if (!learn2 || !(flags & F_WRITE_RESULT)) {
        return learn2 && nsx_get16(a + 36) ? 0 : learn2 ? 40 : 32;
    }
    result->field = nsx_oxm_pull_header(a + 40, n - 40, &has_mask,
                                        &header_len);
    result->offset = nsx_get16(a + 36);
    result->n_bits = 1;
    return (result->field && !has_mask && nsx_field_writable(result->field)
            && result->offset < nsx_field_n_bits(result->field)
            ? 40 + header_len : 0);
}

static bool
pull_subfield(const uint8_t *p, uint16_t n_bits, struct nsx_subfield *sf)
{
    return nsx_subfield_from_header(nsx_get32(p), nsx_get16(p + 4), n_bits,
                                    sf);
}

static enum nsx_ofperr
subfield_wrong(const struct nsx_subfield *sf)
{
    return sf->field ? NSX_OFPBAC_BAD_SET_LEN : NSX_OFPBAC_BAD_SET_TYPE;
}

/* Reads the spec at 'p' and returns its length: 0 at the end of the specs,
 * more than 'n' if it is wrong. */
static size_t
pull_spec(const uint8_t *p, size_t n, struct spec *spec)
{
    if (n < 2 || !nsx_get16(p)) {
        return 0;
    }

    uint16_t header = nsx_get16(p);
    uint16_t dst = header & DST_MASK;
    size_t used = 2;

    *spec = (struct spec) {
        .kind = header & (SRC_IMMEDIATE | DST_MASK),
        .n_bits = header & N_BITS_MASK,
    };

    bool immediate = spec->kind & SRC_IMMEDIATE;
    size_t src_len = immediate ? value_len(spec->n_bits) : 6;
    spec->wrong = NSX_OFPBAC_BAD_ARGUMENT;
    if (header & 0xc000 || dst > DST_OUTPUT
        || (dst == DST_OUTPUT && immediate)) {
        return n + 1;
    }
    spec->wrong = NSX_OFPBAC_BAD_LEN;
    if (used + src_len + (dst == DST_OUTPUT ? 0 : 6) > n) {
        return n + 1;
    }

    const uint8_t *src = p + used;
    used += src_len;
    if (!immediate && !pull_subfield(src, spec->n_bits, &spec->src)) {
        spec->wrong = subfield_wrong(&spec->src);
        return n + 1;
    }
    if (dst != DST_OUTPUT) {
        if (!pull_subfield(p + used, spec->n_bits, &spec->dst)) {
            spec->wrong = subfield_wrong(&spec->dst);
            return n + 1;
        } else if (dst == DST_LOAD && !nsx_field_writable(spec->dst.field)) {
            spec->wrong = NSX_OFPBAC_BAD_SET_ARGUMENT;
            return n + 1;
        }
        used += 6;
    }
    if (immediate) {
        /* 'n_bits' are no more than the field's, and neither 'len' than 16. */
        size_t width = nsx_field_n_bytes(spec->dst.field);
        size_t len = src_len < width ? src_len : width;

        memcpy(spec->value + width - len, src + src_len - len, len);
    }
    return used;
}

int
nsx_check_learn(const struct nsx_action_check *check, const uint8_t *a,
                size_t n, size_t position)
{
    bool learn2 = nsx_get16(a + 8) == LEARN2;
    uint16_t flags = F_SEND_FLOW_REM | F_DELETE_LEARNED;
    struct nsx_subfield result;
    size_t i = pull_head(a, n, &result);
    struct spec spec;

    flags |= learn2 ? F_WRITE_RESULT : 0;
    if (nsx_get16(a + 24) & ~flags) {
        return nsx_decode_error(check->error, NSX_OFPBAC_BAD_ARGUMENT,
                                position + 24, "unknown flags of learn");
    } else if (learn2 && nsx_get16(a + 38)) {
        return nsx_decode_error(check->error, NSX_NXBAC_MUST_BE_ZERO,
                                position + 38, "padding that isn't zero");
    } else if (a[26] == TABLE_NONE || a[27]) {
        return nsx_decode_error(check->error, NSX_OFPBAC_BAD_ARGUMENT,
                                position + 26,
                                "bad table or padding of learn");
    } else if (!i) {
        return nsx_decode_error(check->error, NSX_OFPBAC_BAD_ARGUMENT,
                                position + 36, "bad result of learn");
    }
    for (;;) {
        size_t len = pull_spec(a + i, n - i, &spec);

        if (!len) {
            return nsx_check_zeros(check, NSX_OFPBAC_BAD_ARGUMENT, a + i,
                                   n - i, position + i);
        } else if (len > n - i) {
            return nsx_decode_error(check->error, spec.wrong, position + i,
                                    "bad spec of learn");
        }
        i += len;
    }
}

static void
format_head(struct nsx_buf *buf, const uint8_t *a, nsx_tables tables)
{
    static const struct {
        const char *name;
        size_t offset;
        uint16_t no_value;
    } numbers[] = {
        { "idle_timeout", 10, 0 },
        { "hard_timeout", 12, 0 },
        { "fin_idle_timeout", 28, 0 },
        { "fin_hard_timeout", 30, 0 },
        { "priority", 14, 32768 },
    };
    uint16_t flags = nsx_get16(a + 24);

    nsx_puts(buf, "learn(table=");
    nsx_format_table(buf, tables, a[26]);
    for (size_t i = 0; i < NSX_ARRAY_SIZE(numbers); i++) {
        uint16_t number = nsx_get16(a + numbers[i].offset);

        if (number != numbers[i].no_value) {
            nsx_put8(buf, ',');
            nsx_puts(buf, numbers[i].name);
            nsx_put8(buf, '=');
            nsx_put_decimal(buf, number);
        }
    }
    if (flags & F_SEND_FLOW_REM) {
        nsx_puts(buf, ",send_flow_rem");
    }
    if (flags & F_DELETE_LEARNED) {
        nsx_puts(buf, ",delete_learned");
    }
    if (nsx_get64(a + 16)) {
        nsx_puts(buf, ",cookie=");
        nsx_put_hex(buf, nsx_get64(a + 16), 1);
    }
}

static void
format_spec(struct nsx_buf *buf, const struct spec *spec)
{
    bool immediate = spec->kind & SRC_IMMEDIATE;
    const struct nsx_field *field = spec->dst.field;
    size_t width = field ? nsx_field_n_bytes(field) : 0;

    nsx_put8(buf, ',');
    switch (spec->kind & DST_MASK) {
    case DST_OUTPUT:
        nsx_puts(buf, "output:");
        nsx_subfield_format(buf, &spec->src);
        break;

    case DST_LOAD:
        nsx_puts(buf, "load:");
        if (immediate) {
            nsx_put_hex_bytes(buf, spec->value, width);
        } else {
            nsx_subfield_format(buf, &spec->src);
        }
        nsx_puts(buf, "->");
        nsx_subfield_format(buf, &spec->dst);
        break;

    default:
        if (immediate && spec->dst.n_bits == nsx_field_n_bits(field)) {
            nsx_puts(buf, nsx_field_name(field));
            nsx_put8(buf, '=');
            nsx_field_format_value(buf, field, spec->value, NULL);
            break;
        }
        nsx_subfield_format(buf, &spec->dst);
        if (immediate) {
            nsx_put8(buf, '=');
            nsx_put_hex_bytes(buf, spec->value, width);
        } else if (spec->src.field != field
                   || spec->src.offset != spec->dst.offset) {
            nsx_put8(buf, '=');
            nsx_subfield_format(buf, &spec->src);
        }
        break;
    }
}

void
nsx_format_learn(struct nsx_buf *buf, const uint8_t *a, size_t n,
                 nsx_tables tables)
{
    struct nsx_subfield result;
    size_t i = pull_head(a, n, &result);
    struct spec spec;

    format_head(buf, a, tables);
    if (nsx_get16(a + 8) == LEARN2 && nsx_get32(a + 32)) {
        nsx_printf(buf, ",limit=%u", nsx_get32(a + 32));
    }
    if (result.field) {
        nsx_puts(buf, ",result_dst=");
        nsx_subfield_format(buf, &result);
    }
    for (;;) {
        size_t len = pull_spec(a + i, n - i, &spec);

        if (!len || len > n - i) {
            break;
        }
        format_spec(buf, &spec);
        i += len;
    }
    nsx_put8(buf, ')');
}
