/* action_ct.c: connection tracking: ct(...) and ct_clear. */

#include "action_verbs.h"

#define NAT_TYPE ((uint64_t) NSX_VENDOR_NX << 16 | 36)

/* ct(...): subtype 35; flags at 10, the zone's field at 12 (0: none), its bits
 * or the zone itself at 16, table at 18, alg's port at 22, from 24 on actions.
 */

#define CT_COMMIT 1
#define CT_FORCE 2

#define TABLE_NONE 255

#define PORT_FTP 21
#define PORT_TFTP 69

static int
parse_zone(struct nsx_action_list *list, struct nsx_slice text, size_t start)
{
    struct nsx_parser quiet = *list->parser;
    struct nsx_subfield sf;

    quiet.error = NULL;
    if (nsx_subfield_parse(&quiet, text, &sf)) {
        return nsx_parse_number_or_hole(list->parser, text, "zone",
                                        UINT16_MAX, list->buf, start + 16, 2);
    }

    uint8_t *a = list->buf->data + start;
    int error = nsx_set_subfield(list->parser, text, &sf, a + 16, a + 12);
    return error ? error : nsx_check_source(list, sf.field, text);
}

static int
parse_alg(struct nsx_action_list *list, struct nsx_slice text, size_t start)
{
    const struct nsx_match *match = list->match;
    bool ftp = nsx_slice_equals(text, "ftp");

    if (!ftp && !nsx_slice_equals(text, "tftp")) {
        return nsx_parse_error(list->parser, text, "alg is ftp or tftp");
    } else if (match
               && nsx_action_list_ip_proto(list) != (ftp ? 6 : 17)) {
        return nsx_parse_error(list->parser, text, "needs a match on %s",
                               ftp ? "tcp" : "udp");
    }
    nsx_set16(list->buf->data + start + 22, ftp ? PORT_FTP : PORT_TFTP);
    return 0;
}

/* Open vSwitch doesn't look at what is in a ct(...) whose zone is a field. */
static bool
has_zone_field(struct nsx_slice arg)
{
    struct nsx_slice key, value;
    struct nsx_subfield sf;
    char delimiter;

    while (nsx_next_key_value(&arg, &key, &value, &delimiter)) {
        struct nsx_parser quiet = { .text = value.s };

        if (nsx_slice_equals(key, "zone")
            && !nsx_subfield_parse(&quiet, value, &sf)) {
            return true;
        }
    }
    return false;
}

static int
parse_ct_argument(struct nsx_action_list *list,
                  struct nsx_action_list *inner, struct nsx_slice key,
                  struct nsx_slice value, size_t start)
{
    uint8_t *flags = list->buf->data + start + 11;

    if (nsx_slice_equals(key, "commit")) {
        *flags |= CT_COMMIT;
    } else if (nsx_slice_equals(key, "force")) {
        *flags |= CT_FORCE;
    } else if (nsx_slice_equals(key, "table")) {
        uint8_t table;
        int error = nsx_parse_table(list->parser, value, &table);

        if (!error && table == TABLE_NONE) {
            error = nsx_parse_error(list->parser, value,
                                    "packets cannot go to this table");
        }
        if (!error) {
            list->buf->data[start + 18] = table;
        }
        return error;
    } else if (nsx_slice_equals(key, "zone")) {
        return parse_zone(list, value, start);
    } else if (nsx_slice_equals(key, "alg")) {
        return parse_alg(list, value, start);
    } else if (nsx_slice_equals(key, "nat")) {
        struct nsx_action_list nested = *inner;

        nested.context = NSX_IN_CT_EXEC;
        return nsx_parse_nat(&nested, key, value);
    } else if (nsx_slice_equals(key, "exec")) {
        return nsx_action_list_nested(inner, NSX_IN_CT_EXEC, value);
    } else {
        return nsx_parse_error(list->parser, key, "ct takes commit, force, "
                               "table, zone, nat, exec and alg");
    }
    return 0;
}

/* Without commit, all that can be done to a connection is its own NAT again.
 */
static bool
needs_commit(const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i += nsx_get16(p + i + 2)) {
        if (nsx_action_type(p + i) != NAT_TYPE
            || nsx_get16(p + i + 12) || nsx_get16(p + i + 14)) {
            return true;
        }
    }
    return false;
}

static const char *
bad_ct(const uint8_t *a, size_t n)
{
    uint16_t flags = nsx_get16(a + 10);

    if (flags & CT_FORCE && !(flags & CT_COMMIT)) {
        return "force needs commit";
    } else if (!(flags & CT_COMMIT) && needs_commit(a + 24, n - 24)) {
        return "exec, and nat with an argument, need commit";
    }
    return NULL;
}

int
nsx_parse_ct(struct nsx_action_list *list, struct nsx_slice word,
             struct nsx_slice arg)
{
    const struct nsx_match *match = list->match;
    const uint32_t inv = 0x10;

    if (nsx_demand(list, nsx_action_list_is_ip(list), word, "ip or ipv6")) {
        return EINVAL;
    }

    size_t start = nsx_put_nx_action(list->buf, 35, 24);
    struct nsx_action_list inner = *list;
    struct nsx_slice key, value;
    char delimiter;
    int error = 0;

    if (match && has_zone_field(arg)) {
        inner.match = NULL;
    }
    list->buf->data[start + 18] = TABLE_NONE;
    while (!error && nsx_next_key_value(&arg, &key, &value, &delimiter)) {
        error = parse_ct_argument(list, &inner, key, value, start);
    }
    if (error) {
        return error;
    }

    const uint8_t *a = list->buf->data + start;
    if (a[11] & CT_FORCE && !(a[11] & CT_COMMIT)) {
        return nsx_parse_error(list->parser, word, "force needs commit");
    } else if (match && a[11] & CT_COMMIT
               && nsx_get32(match->fields[NSX_F_CT_STATE].value) & inv) {
        return nsx_parse_error(list->parser, word, "an invalid connection "
                               "cannot be committed");
    }
    nsx_finish_action(list->buf, start);
    return 0;
}

static bool
ct_zone(const uint8_t *a, struct nsx_subfield *sf)
{
    return nsx_get_subfield(a + 16, a + 12, sf);
}

int
nsx_check_ct(const struct nsx_action_check *check, const uint8_t *a, size_t n,
             size_t position)
{
    struct nsx_subfield sf;

    if (nsx_get32(a + 12) && !ct_zone(a, &sf)) {
        return nsx_check_subfield(check, &sf, NSX_OFPBAC_BAD_SET_TYPE,
                                  position + 12);
    } else if (nsx_get32(a + 12) && sf.n_bits != 16) {
        return nsx_decode_error(check->error, NSX_OFPBAC_BAD_SET_LEN,
                                position + 16, "a zone of %u bits, not 16",
                                sf.n_bits);
    }

    int error = nsx_actions_check_nested(check, NSX_IN_CT_EXEC, a + 24, n - 24,
                                         position + 24);
    if (!error && bad_ct(a, n)) {
        error = nsx_decode_error(check->error, NSX_OFPBAC_BAD_ARGUMENT,
                                 position, "ct: %s", bad_ct(a, n));
    }
    return error;
}

void
nsx_format_ct(struct nsx_buf *buf, const uint8_t *a, size_t n,
              nsx_tables tables)
{
    const uint8_t *nested = a + 24;
    struct nsx_subfield sf;

    nsx_puts(buf, "ct(");
    size_t start = buf->size;
    if (a[11] & CT_COMMIT) {
        nsx_puts(buf, "commit,");
    }
    if (a[11] & CT_FORCE) {
        nsx_puts(buf, "force,");
    }
    if (a[18] != TABLE_NONE) {
        nsx_puts(buf, "table=");
        nsx_format_table(buf, tables, a[18]);
        nsx_put8(buf, ',');
    }
    if (nsx_get32(a + 12) && ct_zone(a, &sf)) {
        nsx_puts(buf, "zone=");
        nsx_subfield_format(buf, &sf);
        nsx_put8(buf, ',');
    } else if (nsx_get16(a + 16)) {
        nsx_puts(buf, "zone=");
        nsx_put_decimal(buf, nsx_get16(a + 16));
        nsx_put8(buf, ',');
    }

    n -= 24;
    if (n && nsx_action_type(nested) == NAT_TYPE) {
        size_t len = nsx_get16(nested + 2);

        nsx_format_nat(buf, nested, len, tables);
        nsx_put8(buf, ',');
        nested += len;
        n -= len;
    }
    if (n) {
        nsx_puts(buf, "exec(");
        nsx_actions_format(buf, nested, n, tables);
        nsx_puts(buf, "),");
    }

    switch (nsx_get16(a + 22)) {
    case 0:
        break;
    case PORT_FTP:
        nsx_puts(buf, "alg=ftp,");
        break;
    case PORT_TFTP:
        nsx_puts(buf, "alg=tftp,");
        break;
    default:
        nsx_printf(buf, "alg=%u,", nsx_get16(a + 22));
        break;
    }
    if (buf->size > start) {
        buf->size--;
    }
    nsx_put8(buf, ')');
}
