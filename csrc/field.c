/* field.c: the table of fields, their names and headers, and subfields. */

#include "table.h"

#define Y true
#define N false

/* Every use is another number that no header has, so that the headers of all
 * fields can be the cases of one switch. */
#define NSX_NONE (NSX_NO_HEADER + __COUNTER__)

const struct nsx_field nsx_fields[NSX_N_FIELDS] = {
#define NSX_FIELD(ID, NAME, ALIAS, OXM, OXM_NAME, NXM, NXM_NAME, BYTES, BITS, \
                  MASK, FORMAT, PREREQ, WRITABLE, FAMILY)                     \
    [NSX_F_##ID] = {                                                          \
        .name = NAME,                                                         \
        .alias = ALIAS,                                                       \
        .oxm_name = OXM_NAME,                                                 \
        .nxm_name = NXM_NAME,                                                 \
        .oxm = OXM,                                                           \
        .nxm = NXM,                                                           \
        .id = NSX_F_##ID,                                                     \
        .n_bytes = BYTES,                                                     \
        .n_bits = BITS,                                                       \
        .format = NSX_FMT_##FORMAT,                                           \
        .prereq = NSX_PRE_##PREREQ,                                           \
        .family = NSX_FAM_##FAMILY,                                           \
        .maskable = MASK,                                                     \
        .writable = WRITABLE,                                                 \
    },
#include "fields.def"
#undef NSX_FIELD
};

enum nsx_field_id
nsx_field_id(const struct nsx_field *field)
{
    return field->id;
}

const char *
nsx_field_name(const struct nsx_field *field)
{
    return field->name;
}

size_t
nsx_field_n_bytes(const struct nsx_field *field)
{
    return field->n_bytes;
}

size_t
nsx_field_n_bits(const struct nsx_field *field)
{
    return field->n_bits;
}

bool
nsx_field_writable(const struct nsx_field *field)
{
    return field->writable;
}

bool
nsx_field_maskable(const struct nsx_field *field)
{
    return field->maskable;
}

const struct nsx_field *
nsx_field_from_id(enum nsx_field_id id)
{
    return &nsx_fields[id];
}

static bool
is_named(struct nsx_slice name, const char *string)
{
    return *name.s == *string && nsx_slice_equals(name, string);
}

const struct nsx_field *
nsx_field_from_name(struct nsx_slice name)
{
    bool is_xm = (nsx_slice_starts_with(name, "NXM_")
                  || nsx_slice_starts_with(name, "OXM_"));

    for (size_t i = 0; name.n && i < NSX_N_FIELDS; i++) {
        const struct nsx_field *field = &nsx_fields[i];

        if (is_xm
            ? (is_named(name, field->nxm_name)
               || is_named(name, field->oxm_name))
            : (is_named(name, field->name)
               || is_named(name, field->alias))) {
            return field;
        }
    }
    return NULL;
}

/* Headers. */

static const struct nsx_field *
field_from_header(uint32_t header)
{
    switch (header) {
#define NSX_FIELD(ID, NAME, ALIAS, OXM, OXM_NAME, NXM, ...)                   \
    case OXM:                                                                 \
    case NXM:                                                                 \
        return &nsx_fields[NSX_F_##ID];
#include "fields.def"
#undef NSX_FIELD
    default:
        return NULL;
    }
}

const struct nsx_field *
nsx_oxm_pull_header(const uint8_t *p, size_t n, bool *has_mask,
                    size_t *header_len)
{
    if (n < 4) {
        return NULL;
    }

    uint32_t header = nsx_get32(p);
    const struct nsx_field *field = field_from_header(header >> 9);

    *has_mask = header >> 8 & 1;
    *header_len = 4;
    return (field
            && (header >> 9) < NSX_NO_HEADER
            && (header & 0xff) == (size_t) field->n_bytes << *has_mask
            && (field->maskable || !*has_mask)
            ? field : NULL);
}

void
nsx_oxm_put_header(struct nsx_buf *buf, const struct nsx_field *field,
                   bool has_mask)
{
    uint32_t header = field->oxm < NSX_NO_HEADER ? field->oxm : field->nxm;

    nsx_put32(buf, (header << 9 | (uint32_t) has_mask << 8
                    | (uint32_t) field->n_bytes << has_mask));
}

uint32_t
nsx_field_nxm_header(const struct nsx_field *field)
{
    uint32_t header = field->nxm < NSX_NO_HEADER ? field->nxm : field->oxm;

    return header < NSX_NO_HEADER ? header << 9 | field->n_bytes : 0;
}

bool
nsx_field_has_header(const struct nsx_field *field)
{
    return field->oxm < NSX_NO_HEADER || field->nxm < NSX_NO_HEADER;
}

/* Subfields. */

/* Splits the decimal number at the front of '*rest' off. */
static bool
take_number(struct nsx_slice *rest, unsigned int *number)
{
    size_t i = 0;

    *number = 0;
    while (i < rest->n && i < 4 && rest->s[i] >= '0' && rest->s[i] <= '9') {
        *number = *number * 10 + (unsigned int) (rest->s[i++] - '0');
    }
    rest->s += i;
    rest->n -= i;
    return i > 0;
}

int
nsx_subfield_parse(const struct nsx_parser *parser, struct nsx_slice text,
                   struct nsx_subfield *subfield)
{
    struct nsx_slice name = text;
    const char *bracket = memchr(text.s, '[', text.n);

    if (bracket) {
        name.n = (size_t) (bracket - text.s);
    }

    const struct nsx_field *field = nsx_field_from_name(name);
    if (!field) {
        return nsx_parse_error(parser, name, "unknown field");
    }

    unsigned int start = 0;
    unsigned int end = field->n_bits - 1u;
    if (bracket) {
        struct nsx_slice bits = { bracket + 1, text.n - name.n - 1 };

        if (!bits.n || bits.s[bits.n - 1] != ']') {
            return nsx_parse_error(parser, text, "missing ]");
        }
        bits.n--;

        struct nsx_slice rest = bits;
        bool ok = true;
        if (rest.n) {
            ok = take_number(&rest, &start);
            end = start;
            if (nsx_slice_starts_with(rest, "..")) {
                rest.s += 2;
                rest.n -= 2;
                ok = ok && take_number(&rest, &end);
            }
        }
        if (!ok || rest.n) {
            return nsx_parse_error(parser, text,
                                   "bits are [], [BIT] or [FIRST..LAST]");
        } else if (start > end) {
            return nsx_parse_error(parser, text,
                                   "first bit %u is after last bit %u",
                                   start, end);
        } else if (end >= field->n_bits) {
            return nsx_parse_error(parser, text,
                                   "no bit %u: %s has %u bits", end,
                                   field->name, field->n_bits);
        }
    }
    subfield->field = field;
    subfield->offset = (uint16_t) start;
    subfield->n_bits = (uint16_t) (end - start + 1);
    return 0;
}

void
nsx_subfield_format(struct nsx_buf *buf, const struct nsx_subfield *subfield)
{
    const struct nsx_field *field = subfield->field;
    unsigned int end = subfield->offset + subfield->n_bits - 1u;

    nsx_puts(buf, (*field->nxm_name ? field->nxm_name
                   : *field->oxm_name ? field->oxm_name : field->name));
    if (!subfield->offset && subfield->n_bits == field->n_bits) {
        nsx_puts(buf, "[]");
    } else if (subfield->n_bits == 1) {
        nsx_printf(buf, "[%u]", subfield->offset);
    } else {
        nsx_printf(buf, "[%u..%u]", subfield->offset, end);
    }
}
