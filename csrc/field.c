/* field.c: the table of fields, their names and headers, and subfields. */

#include "table.h"
#include "words.h"

#define Y true
#define N false

/* Every use is another number that no header has, so that the headers of all
 * fields can be the cases of one switch. */
#define NSX_NONE (NSX_NO_HEADER + __COUNTER__)

const struct nsx_field nsx_fields[NSX_N_FIELDS] = {
#define NSX_FIELD(ID, NAME, ALIAS, OXM, OXM_NAME, NXM, NXM_NAME, BYTES, BITS, \
                  MASK, FORMAT, PREREQ, WRITABLE, SLOT)                       \
    [NSX_F_##ID] = {                                                          \
        .name = NAME,                                                         \
        .alias = ALIAS,                                                       \
        .oxm_name = OXM_NAME,                                                 \
        .nxm_name = NXM_NAME,                                                 \
        .oxm = OXM,                                                           \
        .nxm = NXM,                                                           \
        .id = NSX_F_##ID,                                                     \
        .slot = NSX_F_##SLOT,                                                 \
        .n_bytes = BYTES,                                                     \
        .n_bits = BITS,                                                       \
        .format = NSX_FMT_##FORMAT,                                           \
        .prereq = NSX_PRE_##PREREQ,                                           \
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

/* Names. */

NSX_WORDS(names, 2048);

static void
add_name(const char *name, enum nsx_field_id id)
{
    if (*name) {
        nsx_words_add(&names, name, id);
    }
}

__attribute__((constructor)) static void
add_names(void)
{
    for (size_t i = 0; i < NSX_N_FIELDS; i++) {
        const struct nsx_field *field = &nsx_fields[i];

        add_name(field->name, field->id);
        add_name(field->alias, field->id);
        add_name(field->oxm_name, field->id);
        add_name(field->nxm_name, field->id);
    }
    /* What OpenFlow 1.3 has instead of its successor's own. */
    add_name("ONFOXM_ET_TCP_FLAGS", NSX_F_TCP_FLAGS);
}

const struct nsx_field *
nsx_field_from_name(struct nsx_slice name)
{
    size_t id = nsx_words_find(&names, name);

    return id == NSX_NO_ROW ? NULL : &nsx_fields[id];
}

/* Headers. */

const struct nsx_field *
nsx_field_from_header(uint64_t header)
{
    switch (header) {
#define NSX_FIELD(ID, NAME, ALIAS, OXM, OXM_NAME, NXM, ...)                   \
    case OXM:                                                                 \
    case NXM:                                                                 \
        return &nsx_fields[NSX_F_##ID];
#include "fields.def"
#undef NSX_FIELD
    case NSX_NXOXM(0):
        return &nsx_fields[NSX_F_DP_HASH];
    case NSX_ONFOXM(42):
        return &nsx_fields[NSX_F_TCP_FLAGS];
    default:
        return NULL;
    }
}

/* Reads a header at 'p', of the lengths that there are.  Sets '*len' to the
 * bytes of its payload. */
static const struct nsx_field *
pull_header(const uint8_t *p, size_t n, bool *has_mask, size_t *header_len,
            size_t *len)
{
    *header_len = 4;
    *has_mask = false;
    if (n < 4) {
        return NULL;
    }

    uint32_t word = nsx_get32(p);
    uint64_t header = word >> 9;
    *has_mask = word >> 8 & 1;
    *len = word & 0xff;
    if (word >> 16 == NSX_OXM_EXPERIMENTER) {
        if (n < 8 || *len < 4) {
            return NULL;
        }
        header |= (uint64_t) nsx_get32(p + 4) << 32;
        *header_len = 8;
        *len -= 4;
    }
    return header & NSX_NO_HEADER ? NULL : nsx_field_from_header(header);
}

const struct nsx_field *
nsx_oxm_pull_header(const uint8_t *p, size_t n, bool *has_mask,
                    size_t *header_len)
{
    size_t len;
    const struct nsx_field *field = pull_header(p, n, has_mask, header_len,
                                                &len);

    return (field && len == (size_t) field->n_bytes << *has_mask
            && (field->maskable || !*has_mask)
            ? field : NULL);
}

const struct nsx_field *
nsx_oxm_pull(const uint8_t *p, size_t n, uint8_t *value, uint8_t *mask,
             bool *has_mask, size_t *len)
{
    size_t header_len;
    const struct nsx_field *field = pull_header(p, n, has_mask, &header_len,
                                                len);

    if (!field) {
        return NULL;
    }

    size_t width = *len >> *has_mask;
    size_t gap = field->n_bytes - width;
    *len += header_len;
    if (*len > n || (width << *has_mask) + header_len != *len
        || (nsx_is_tun_metadata(field->id)
            ? width > field->n_bytes : width != field->n_bytes)) {
        return NULL;
    }
    if (gap) {
        memset(value, 0, gap);
        memset(mask, *has_mask ? 0 : 0xff, gap);
    }
    memcpy(value + gap, p + header_len, width);
    if (*has_mask) {
        memcpy(mask + gap, p + header_len + width, width);
    } else {
        memset(mask + gap, 0xff, width);
    }
    return field;
}

enum nsx_ofperr
nsx_oxm_fault(const uint8_t *p, size_t n, enum nsx_ofperr unknown,
              enum nsx_ofperr bad_len)
{
    size_t header_len = n >= 4 && nsx_get16(p) == 0xffff ? 8 : 4;
    bool has_mask;

    if (n < header_len || p[3] < header_len - 4
        || n - header_len < p[3] - (header_len - 4)) {
        return NSX_OFPBMC_BAD_LEN;
    }

    const uint8_t *value = p + header_len;
    size_t width = (p[3] - (header_len - 4)) / 2;
    for (size_t i = 0; p[2] & 1 && i < width; i++) {
        if (value[i] & ~value[width + i]) {
            return NSX_OFPBMC_BAD_WILDCARDS;
        }
    }
    return (nsx_oxm_pull_header(p, n, &has_mask, &header_len)
            ? bad_len : unknown);
}

static void
put_header(struct nsx_buf *buf, uint64_t header, bool has_mask, size_t len)
{
    bool experimenter = header >> 7 << 48 == UINT64_MAX << 48;
    uint32_t payload_len = (uint32_t) (len << has_mask)
                           + (experimenter ? 4 : 0);

    nsx_put32(buf, ((uint32_t) header << 9 | (uint32_t) has_mask << 8
                    | payload_len));
    if (experimenter) {
        nsx_put32(buf, (uint32_t) (header >> 32));
    }
}

static uint64_t
oxm_or_nxm(const struct nsx_field *field)
{
    return field->oxm & NSX_NO_HEADER ? field->nxm : field->oxm;
}

static uint64_t
nxm_or_oxm(const struct nsx_field *field)
{
    return field->nxm & NSX_NO_HEADER ? field->oxm : field->nxm;
}

void
nsx_oxm_put_header(struct nsx_buf *buf, const struct nsx_field *field,
                   bool has_mask)
{
    put_header(buf, oxm_or_nxm(field), has_mask, field->n_bytes);
}

void
nsx_nxm_put_header(struct nsx_buf *buf, const struct nsx_field *field)
{
    put_header(buf, nxm_or_oxm(field), false, field->n_bytes);
}

size_t
nsx_field_wire_len(const struct nsx_field *field, const uint8_t *value,
                   const uint8_t *mask)
{
    size_t n = field->n_bytes;
    size_t i = 0;

    if (nsx_is_tun_metadata(field->id)) {
        while (i < n && !value[i] && !(mask && mask[i])) {
            i++;
        }
    }
    return n - i;
}

size_t
nsx_oxm_put_part(struct nsx_buf *buf, const struct nsx_field *field,
                 size_t len, const uint8_t *value, const uint8_t *mask)
{
    put_header(buf, oxm_or_nxm(field), mask != NULL, len);
    size_t offset = buf->size;
    nsx_put(buf, value, len);
    if (mask) {
        nsx_put(buf, mask, len);
    }
    return offset;
}

size_t
nsx_oxm_put(struct nsx_buf *buf, const struct nsx_field *field,
            const uint8_t *value, const uint8_t *mask)
{
    size_t len = nsx_field_wire_len(field, value, mask);
    size_t gap = field->n_bytes - len;

    return nsx_oxm_put_part(buf, field, len, value + gap,
                            mask ? mask + gap : NULL);
}

uint32_t
nsx_field_nxm_header(const struct nsx_field *field)
{
    uint64_t header = nxm_or_oxm(field);

    return (header & NSX_NO_HEADER || header >> 32
            ? 0 : (uint32_t) header << 9 | field->n_bytes);
}

bool
nsx_field_has_header(const struct nsx_field *field)
{
    return !(field->oxm & NSX_NO_HEADER) || !(field->nxm & NSX_NO_HEADER);
}

/* Subfields. */

/* True for a field's name that is its header's. */
static bool
is_header_name(struct nsx_slice name)
{
    return name.n > 0 && *name.s >= 'A' && *name.s <= 'Z';
}

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
    if (!field && name.n > 2 && !memcmp(name.s + name.n - 2, "_W", 2)) {
        /* Nicira's name of a header with a mask. */
        name.n -= 2;
        field = nsx_field_from_name(name);
        field = field && is_header_name(name) ? field : NULL;
        name.n += 2;
    }
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
