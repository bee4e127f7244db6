/* action_stack.c: fields on the stack, fields deleted, and the field that
 * keeps whether a packet is large. */

#include "action_verbs.h"

/* push and pop: subtypes 27 and 28, the first bit at 10, the header at 12,
 * then 16 bits with the number of bits. */

static int
parse_stack(struct nsx_action_list *list, struct nsx_slice arg,
            uint16_t subtype)
{
    struct nsx_subfield sf;
    int error = nsx_subfield_parse(list->parser, arg, &sf);

    if (!error && !nsx_field_has_header(sf.field)) {
        error = nsx_parse_error(list->parser, arg,
                                "OpenFlow 1.5 has no such field");
    } else if (!error) {
        error = nsx_check_source(list, sf.field, arg);
    }
    if (!error && subtype == 28 && list->match
        && !nsx_field_writable(sf.field)) {
        error = nsx_parse_error(list->parser, arg, "%s is read-only",
                                nsx_field_name(sf.field));
    }
    if (error) {
        return error;
    }

    size_t start = nsx_put_nx_action(list->buf, subtype, 12);
    nsx_set16(list->buf->data + start + 10, sf.offset);
    nsx_nxm_put_header(list->buf, sf.field);
    nsx_put16(list->buf, sf.n_bits);
    nsx_put_zeros(list->buf, start + 24 - list->buf->size);
    nsx_finish_action(list->buf, start);
    return 0;
}

int
nsx_parse_push(struct nsx_action_list *list,
               struct nsx_slice word __attribute__((unused)),
               struct nsx_slice arg)
{
    return parse_stack(list, arg, 27);
}

int
nsx_parse_pop(struct nsx_action_list *list,
              struct nsx_slice word __attribute__((unused)),
              struct nsx_slice arg)
{
    return parse_stack(list, arg, 28);
}

/* Reads the header of a field at 'at' of the 'n' bytes at 'a'.  Returns where
 * it ends, 0 for none. */
static size_t
pull_field(const uint8_t *a, size_t n, size_t at,
           const struct nsx_field **field)
{
    size_t header_len;
    bool has_mask;

    *field = nsx_oxm_pull_header(a + at, n - at, &has_mask, &header_len);
    *field = has_mask ? NULL : *field;
    return *field ? at + header_len : 0;
}

static size_t
pull_stack(const uint8_t *a, size_t n, struct nsx_subfield *sf)
{
    size_t used = pull_field(a, n, 12, &sf->field);

    sf->offset = sf->n_bits = 0;
    if (!used || used + 2 > n) {
        return 0;
    }
    sf->offset = nsx_get16(a + 10);
    sf->n_bits = nsx_get16(a + used);
    return (sf->n_bits
            && sf->offset + sf->n_bits <= (int) nsx_field_n_bits(sf->field)
            ? used + 2 : 0);
}

int
nsx_check_stack(const struct nsx_action_check *check, const uint8_t *a,
                size_t n, size_t position)
{
    struct nsx_subfield sf;
    size_t used = pull_stack(a, n, &sf);

    if (!used) {
        return nsx_check_subfield(check, &sf, NSX_OFPBMC_BAD_FIELD,
                                  position + 10);
    } else if (nsx_get16(a + 8) == 28 && !nsx_field_writable(sf.field)) {
        return nsx_decode_error(check->error, NSX_OFPBAC_BAD_SET_ARGUMENT,
                                position + 12, "%s is read-only",
                                nsx_field_name(sf.field));
    }
    return nsx_check_zeros(check, NSX_NXBRC_MUST_BE_ZERO, a + used, n - used,
                           position + used);
}

void
nsx_format_stack(struct nsx_buf *buf, const uint8_t *a, size_t n,
                 nsx_tables tables __attribute__((unused)))
{
    struct nsx_subfield sf;

    if (pull_stack(a, n, &sf)) {
        nsx_puts(buf, nsx_get16(a + 8) == 27 ? "push:" : "pop:");
        nsx_subfield_format(buf, &sf);
    }
}

/* delete_field:FIELD: subtype 50, the header at 10. */

int
nsx_parse_delete_field(struct nsx_action_list *list,
                       struct nsx_slice word __attribute__((unused)),
                       struct nsx_slice arg)
{
    const struct nsx_field *field = nsx_field_from_name(arg);

    if (!field) {
        return nsx_parse_error(list->parser, arg, "unknown field");
    } else if (!nsx_is_tun_metadata(nsx_field_id(field))) {
        return nsx_parse_error(list->parser, arg,
                               "only tun_metadata fields can be deleted");
    }

    size_t start = nsx_put_nx_action(list->buf, 50, 10);
    nsx_nxm_put_header(list->buf, field);
    nsx_put_zeros(list->buf, start + 24 - list->buf->size);
    nsx_finish_action(list->buf, start);
    return 0;
}

int
nsx_check_delete_field(const struct nsx_action_check *check, const uint8_t *a,
                       size_t n, size_t position)
{
    const struct nsx_field *field;

    return (pull_field(a, n, 10, &field)
            && nsx_is_tun_metadata(nsx_field_id(field)) ? 0
            : nsx_decode_error(check->error, NSX_OFPBAC_BAD_ARGUMENT,
                               position + 10, "bad field of delete_field"));
}

void
nsx_format_delete_field(struct nsx_buf *buf, const uint8_t *a, size_t n,
                        nsx_tables tables __attribute__((unused)))
{
    const struct nsx_field *field;

    if (pull_field(a, n, 10, &field)) {
        nsx_printf(buf, "delete_field:%s", nsx_field_name(field));
    }
}

/* check_pkt_larger(LEN)->BIT: subtype 49, the length at 10, the bit at 12, the
 * header of its field at 14. */

int
nsx_parse_check_pkt_larger(struct nsx_action_list *list,
                           struct nsx_slice word __attribute__((unused)),
                           struct nsx_slice arg)
{
    struct nsx_slice len_s, dst_s;
    struct nsx_subfield dst;
    uint64_t len;
    int error = nsx_split_arrow(list->parser, arg, &len_s, &dst_s);

    if (error) {
        return error;
    }
    if (len_s.n && len_s.s[len_s.n - 1] == ')') {
        len_s.n--;
    }
    error = nsx_subfield_parse(list->parser, dst_s, &dst);
    if (!error && dst.n_bits != 1) {
        error = nsx_parse_error(list->parser, dst_s,
                                "the result is a single bit");
    } else if (!error && !nsx_field_has_header(dst.field)) {
        error = nsx_parse_error(list->parser, dst_s,
                                "OpenFlow 1.5 has no such field");
    }
    if (!error) {
        error = nsx_parse_number(list->parser, len_s, "length", UINT16_MAX,
                                 &len);
    }
    if (error) {
        return error;
    }

    size_t start = nsx_put_nx_action(list->buf, 49, 14);
    nsx_set16(list->buf->data + start + 10, (uint16_t) len);
    nsx_set16(list->buf->data + start + 12, dst.offset);
    nsx_nxm_put_header(list->buf, dst.field);
    nsx_put_zeros(list->buf, start + 24 - list->buf->size);
    nsx_finish_action(list->buf, start);
    return 0;
}

static size_t
pull_check_pkt_larger(const uint8_t *a, size_t n, struct nsx_subfield *dst)
{
    size_t used = pull_field(a, n, 14, &dst->field);

    dst->offset = nsx_get16(a + 12);
    dst->n_bits = 1;
    return used && dst->offset < nsx_field_n_bits(dst->field) ? used : 0;
}

int
nsx_check_check_pkt_larger(const struct nsx_action_check *check,
                           const uint8_t *a, size_t n, size_t position)
{
    struct nsx_subfield dst;
    size_t used = pull_check_pkt_larger(a, n, &dst);

    if (!used) {
        return nsx_check_subfield(check, &dst, NSX_OFPBMC_BAD_FIELD,
                                  position + 12);
    } else if (!nsx_field_writable(dst.field)) {
        return nsx_decode_error(check->error, NSX_OFPBAC_BAD_SET_ARGUMENT,
                                position + 14, "%s is read-only",
                                nsx_field_name(dst.field));
    }
    return nsx_check_zeros(check, NSX_NXBRC_MUST_BE_ZERO, a + used, n - used,
                           position + used);
}

void
nsx_format_check_pkt_larger(struct nsx_buf *buf, const uint8_t *a, size_t n,
                            nsx_tables tables __attribute__((unused)))
{
    struct nsx_subfield dst;

    if (pull_check_pkt_larger(a, n, &dst)) {
        nsx_printf(buf, "check_pkt_larger(%u)->", nsx_get16(a + 10));
        nsx_subfield_format(buf, &dst);
    }
}
