/* action_field.c: actions that set fields.  In OpenFlow 1.5 they are all
 * set_field (with a mask where it is for a part) and copy_field. */

#include "action_verbs.h"

#include <arpa/inet.h>

#define VID_PRESENT 0x10        /* OFPVID_PRESENT, in the first byte. */

/* set_field: type 25, from 4 on an OXM with its value and maybe its mask. */

struct setting {
    const struct nsx_field *field;
    uint8_t value[NSX_FIELD_MAX], mask[NSX_FIELD_MAX];
    struct nsx_slice hole;              /* n == 0: none. */
    size_t hole_offset, hole_bits;      /* The bits of the field it fills. */
};

static bool
is_all_ones(const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (p[i] != 0xff) {
            return false;
        }
    }
    return true;
}

static bool
wild_setting(const struct setting *s)
{
    for (size_t i = 0; i < nsx_field_n_bytes(s->field); i++) {
        if (s->value[i] & ~s->mask[i]) {
            return true;
        }
    }
    return false;
}

static const char *
bad_setting(const struct setting *s)
{
    size_t n = nsx_field_n_bytes(s->field);

    if (wild_setting(s)) {
        return "the value has bits that the mask hasn't";
    }
    if (nsx_field_id(s->field) == NSX_F_VLAN_VID
        && (s->value[0] & s->mask[0] & 0xf0) != VID_PRESENT) {
        return "a vlan_vid has bit 0x1000, and none above";
    } else if (nsx_field_id(s->field) != NSX_F_VLAN_VID
               && !nsx_bits_fit(s->value, n, nsx_field_n_bits(s->field))) {
        return "the value has more bits than the field";
    }
    return NULL;
}

/* Notes the hole of a setting whose value is at 'offset' of the buffer.  A
 * part of a wide field is a hole in the 8 bytes that have it, if they are one
 * of its halves: a number fits there. */
static int
add_hole(const struct nsx_action_list *list, const struct setting *s,
         size_t offset)
{
    size_t width = nsx_field_n_bytes(s->field);
    size_t bit = s->hole_offset;

    if (width > 8 && s->hole_bits <= 64) {
        if (bit + s->hole_bits <= 64) {
            offset += width - 8;
            width = 8;
        } else if (bit >= width * 8 - 64) {
            bit -= width * 8 - 64;
            width = 8;
        }
    }
    return nsx_add_hole(list->parser, s->hole, offset, width, bit,
                        s->hole_bits);
}

static int
put_setting(struct nsx_action_list *list, const struct setting *s,
            struct nsx_slice at)
{
    size_t n = nsx_field_n_bytes(s->field);
    bool has_mask = !is_all_ones(s->mask, n);
    int error = nsx_check_destination(list, s->field, at);

    if (error) {
        return error;
    } else if (nsx_field_id(s->field) == NSX_F_VLAN_VID && !list->n_vlans
               && list->match) {
        return nsx_parse_error(list->parser, at, "the packet has no VLAN tag: "
                               "match on one, or push_vlan first");
    } else if (!nsx_field_has_header(s->field)) {
        return nsx_parse_error(list->parser, at,
                               "OpenFlow 1.5 has no such field");
    }

    size_t start = nsx_put_action(list->buf, 25, 4);
    size_t value = nsx_oxm_put(list->buf, s->field, s->value,
                               has_mask ? s->mask : NULL);
    nsx_finish_action(list->buf, start);

    if (nsx_field_id(s->field) == NSX_F_VLAN_TCI) {
        list->n_vlans = s->value[0] & VID_PRESENT ? 1 : 0;
    }
    return s->hole.n ? add_hole(list, s, value) : 0;
}

/* Parses 'text' as the value, with or without a mask, of all of 'field'. */
static int
parse_setting(struct nsx_action_list *list, const struct nsx_field *field,
              struct nsx_slice text, bool may_mask, struct nsx_slice at)
{
    struct setting s = {
        .field = field,
        .hole_bits = nsx_field_value_bits(field),
    };
    /* As Open vSwitch sends them: also bits that the mask hasn't. */
    int error = nsx_field_parse_value(list->parser, field, text, s.value,
                                      s.mask, &s.hole);

    if (error) {
        return error;
    } else if (!may_mask && !is_all_ones(s.mask, nsx_field_n_bytes(field))) {
        return nsx_parse_error(list->parser, text, "takes no mask");
    } else if (nsx_field_id(field) == NSX_F_VLAN_VID && s.value[0] & 0xe0) {
        return nsx_parse_error(list->parser, text,
                               "a vlan_vid has 13 bits at most");
    }
    return put_setting(list, &s, at);
}

int
nsx_parse_set_field(struct nsx_action_list *list,
                    struct nsx_slice word __attribute__((unused)),
                    struct nsx_slice arg)
{
    struct nsx_slice value, name;
    int error = nsx_split_arrow(list->parser, arg, &value, &name);

    if (error) {
        return error;
    }

    const struct nsx_field *field = nsx_field_from_name(name);
    if (!field) {
        return nsx_parse_error(list->parser, name, "unknown field");
    }
    error = nsx_check_read_only(list, field, arg);
    return error ? error : parse_setting(list, field, value, true, arg);
}

int
nsx_parse_load(struct nsx_action_list *list,
               struct nsx_slice word __attribute__((unused)),
               struct nsx_slice arg)
{
    struct nsx_slice value, dst_s;
    struct nsx_subfield dst;
    int error = nsx_split_arrow(list->parser, arg, &value, &dst_s);

    if (!error) {
        error = nsx_subfield_parse(list->parser, dst_s, &dst);
    }
    if (error) {
        return error;
    }

    struct setting s = {
        .field = dst.field,
        .hole_offset = dst.offset,
        .hole_bits = dst.n_bits,
    };
    size_t n = nsx_field_n_bytes(dst.field);
    uint8_t bits[NSX_FIELD_MAX];

    if (nsx_is_hole(value, &s.hole)) {
        if (n > NSX_MATCH_FIELD_MAX) {
            /* As much of it is written as the value needs. */
            return nsx_parse_error(list->parser, arg, "%s can't be a hole",
                                   nsx_field_name(dst.field));
        }
    } else {
        s.hole.n = 0;
        error = nsx_parse_bits(list->parser, value, dst.n_bits, n, bits);
        if (error) {
            return error;
        }
        nsx_copy_bits(bits, s.value, n, dst.offset, dst.n_bits);
    }

    uint8_t ones[NSX_FIELD_MAX];
    memset(ones, 0xff, sizeof ones);
    nsx_copy_bits(ones, s.mask, n, dst.offset, dst.n_bits);
    return put_setting(list, &s, arg);
}

/* These ask for less than set_field. */
static int
parse_mod(struct nsx_action_list *list, enum nsx_field_id id,
          struct nsx_slice word, struct nsx_slice arg)
{
    struct nsx_action_list any = *list;

    any.match = NULL;
    return parse_setting(&any, nsx_field_from_id(id), arg, false, word);
}

int
nsx_parse_mod_dl_src(struct nsx_action_list *list, struct nsx_slice word,
                     struct nsx_slice arg)
{
    return parse_mod(list, NSX_F_ETH_SRC, word, arg);
}

int
nsx_parse_mod_dl_dst(struct nsx_action_list *list, struct nsx_slice word,
                     struct nsx_slice arg)
{
    return parse_mod(list, NSX_F_ETH_DST, word, arg);
}

static int
parse_mod_nw(struct nsx_action_list *list, enum nsx_field_id id,
             struct nsx_slice word, struct nsx_slice arg)
{
    int error = nsx_require(list, nsx_action_list_eth_type(list) == 0x800,
                            word, "ip");
    char s[INET_ADDRSTRLEN] = "";
    struct in_addr address;
    struct nsx_slice name;

    /* ovs-ofctl is stricter with these than with matches' addresses. */
    memcpy(s, arg.s, arg.n < sizeof s ? arg.n : 0);
    return (error ? error
            : !nsx_is_hole(arg, &name) && inet_pton(AF_INET, s, &address) != 1
            ? nsx_parse_error(list->parser, arg, "not an IPv4 address")
            : parse_mod(list, id, word, arg));
}

int
nsx_parse_mod_nw_src(struct nsx_action_list *list, struct nsx_slice word,
                     struct nsx_slice arg)
{
    return parse_mod_nw(list, NSX_F_IPV4_SRC, word, arg);
}

int
nsx_parse_mod_nw_dst(struct nsx_action_list *list, struct nsx_slice word,
                     struct nsx_slice arg)
{
    return parse_mod_nw(list, NSX_F_IPV4_DST, word, arg);
}

/* Reads the setting of the 'n' bytes at 'a' and returns what it takes of them,
 * 0 if they are none. */
static size_t
pull_setting(const uint8_t *a, size_t n, struct setting *s)
{
    bool has_mask;
    size_t len;

    /* Fields of which a match cannot have a part can be set in part. */
    s->field = nsx_oxm_pull(a + 4, n - 4, s->value, s->mask, &has_mask, &len);
    return s->field ? 4 + len : 0;
}

int
nsx_check_set_field(const struct nsx_action_check *check, const uint8_t *a,
                    size_t n, size_t position)
{
    struct setting s;
    size_t used = pull_setting(a, n, &s);

    if (!used) {
        return nsx_decode_error(check->error,
                                nsx_oxm_fault(a + 4, n - 4,
                                              NSX_OFPBAC_BAD_SET_TYPE,
                                              NSX_OFPBAC_BAD_SET_LEN),
                                position + 4,
                                "bad field of set_field: header 0x%08x",
                                nsx_get32(a + 4));
    } else if (bad_setting(&s)) {
        return nsx_decode_error(check->error, (wild_setting(&s)
                                               ? NSX_OFPBMC_BAD_WILDCARDS
                                               : NSX_OFPBAC_BAD_SET_ARGUMENT),
                                position + 8, "%s: %s",
                                nsx_field_name(s.field), bad_setting(&s));
    }

    int error = nsx_check_writable(check, s.field, position + 4);
    return (error ? error
            : nsx_check_zeros(check, NSX_OFPBAC_BAD_SET_ARGUMENT, a + used,
                              n - used, position + used));
}

void
nsx_format_set_field(struct nsx_buf *buf, const uint8_t *a, size_t n,
                     nsx_tables tables __attribute__((unused)))
{
    struct setting s;

    if (pull_setting(a, n, &s)) {
        nsx_puts(buf, "set_field:");
        nsx_field_format_value(buf, s.field, s.value, s.mask);
        nsx_puts(buf, "->");
        nsx_puts(buf, nsx_field_name(s.field));
    }
}

/* move:SRC->DST: type 28, n_bits at 4, the offsets of SRC and DST at 6 and 8,
 * from 12 on their headers. */

int
nsx_parse_move(struct nsx_action_list *list,
               struct nsx_slice word __attribute__((unused)),
               struct nsx_slice arg)
{
    const struct nsx_parser *parser = list->parser;
    struct nsx_subfield src, dst;
    struct nsx_slice src_s, dst_s;
    int error = nsx_split_arrow(parser, arg, &src_s, &dst_s);

    if (!error) {
        error = nsx_subfield_parse(parser, src_s, &src);
    }
    if (!error) {
        error = nsx_subfield_parse(parser, dst_s, &dst);
    }
    if (!error && src.n_bits != dst.n_bits) {
        error = nsx_parse_error(parser, arg,
                                "%u bits do not go into %u bits", src.n_bits,
                                dst.n_bits);
    }
    if (!error && (!nsx_field_has_header(src.field)
                   || !nsx_field_has_header(dst.field))) {
        error = nsx_parse_error(parser, arg, "OpenFlow 1.5 has no such field");
    }
    if (!error) {
        error = nsx_check_source(list, src.field, src_s);
    }
    if (!error && list->match) {
        error = nsx_check_read_only(list, dst.field, dst_s);
    }
    if (!error) {
        error = nsx_check_destination(list, dst.field, dst_s);
    }
    if (error) {
        return error;
    }

    size_t start = nsx_put_action(list->buf, 28, 12);
    uint8_t *a = list->buf->data + start;
    nsx_set16(a + 4, src.n_bits);
    nsx_set16(a + 6, src.offset);
    nsx_set16(a + 8, dst.offset);
    nsx_oxm_put_header(list->buf, src.field, false);
    nsx_oxm_put_header(list->buf, dst.field, false);
    nsx_finish_action(list->buf, start);
    return 0;
}

/* Reads the subfield whose header is at 'at' of the 'n' bytes at 'a' and
 * returns where the header ends, 0 if it is none. */
static size_t
pull_subfield(const uint8_t *a, size_t n, size_t at, size_t offset,
              struct nsx_subfield *sf)
{
    size_t n_bits = nsx_get16(a + 4);
    size_t header_len;
    bool has_mask;

    sf->field = nsx_oxm_pull_header(a + at, n - at, &has_mask, &header_len);
    sf->field = has_mask ? NULL : sf->field;
    sf->offset = (uint16_t) offset;
    sf->n_bits = (uint16_t) n_bits;
    return (sf->field && n_bits
            && offset + n_bits <= nsx_field_n_bits(sf->field)
            ? at + header_len : 0);
}

static size_t
pull_move(const uint8_t *a, size_t n, struct nsx_subfield *src,
          struct nsx_subfield *dst)
{
    size_t at = pull_subfield(a, n, 12, nsx_get16(a + 6), src);

    *dst = *src;
    return at ? pull_subfield(a, n, at, nsx_get16(a + 8), dst) : 0;
}

int
nsx_check_move(const struct nsx_action_check *check, const uint8_t *a,
               size_t n, size_t position)
{
    struct nsx_subfield src, dst;
    size_t used = pull_move(a, n, &src, &dst);

    if (!used) {
        return nsx_check_subfield(check, &dst, NSX_OFPBMC_BAD_FIELD,
                                  position + 12);
    }

    int error = nsx_check_writable(check, dst.field, position + 12);
    return (error ? error
            : nsx_check_zeros(check, NSX_NXBRC_MUST_BE_ZERO, a + used,
                              n - used, position + used));
}

void
nsx_format_move(struct nsx_buf *buf, const uint8_t *a, size_t n,
                nsx_tables tables __attribute__((unused)))
{
    struct nsx_subfield src, dst;

    if (pull_move(a, n, &src, &dst)) {
        nsx_puts(buf, "move:");
        nsx_subfield_format(buf, &src);
        nsx_puts(buf, "->");
        nsx_subfield_format(buf, &dst);
    }
}
