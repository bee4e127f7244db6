/* action_packet.c: VLAN tags, the TTL, and the actions that are neither about
 * fields nor about ports. */

#include "action_verbs.h"

#define MAX_VLANS 2                     /* Tags that Open vSwitch keeps. */

/* push_vlan:ETHERTYPE: type 17. */

static bool
is_vlan_type(uint16_t type)
{
    return type == 0x8100 || type == 0x88a8;
}

int
nsx_parse_push_vlan(struct nsx_action_list *list,
                    struct nsx_slice word __attribute__((unused)),
                    struct nsx_slice arg)
{
    uint64_t type;
    int error = nsx_parse_number(list->parser, arg, "ethertype", UINT16_MAX,
                                 &type);

    if (!error && !is_vlan_type((uint16_t) type)) {
        error = nsx_parse_error(list->parser, arg,
                                "a VLAN's ethertype is 0x8100 or 0x88a8");
    }
    if (!error && list->match && list->n_vlans >= MAX_VLANS) {
        error = nsx_parse_error(list->parser, arg,
                                "the packet has %d VLAN tags already",
                                MAX_VLANS);
    }
    if (!error) {
        size_t start = nsx_put_action(list->buf, 17, 8);

        nsx_set16(list->buf->data + start + 4, (uint16_t) type);
        list->n_vlans++;
    }
    return error;
}

int
nsx_check_push_vlan(const struct nsx_action_check *check, const uint8_t *a,
                    size_t n __attribute__((unused)), size_t position)
{
    if (!is_vlan_type(nsx_get16(a + 4))) {
        return nsx_decode_error(check->error, NSX_OFPBAC_BAD_ARGUMENT,
                                position + 4, "bad ethertype 0x%x of a VLAN",
                                nsx_get16(a + 4));
    }
    return 0;
}

void
nsx_format_push_vlan(struct nsx_buf *buf, const uint8_t *a,
                     size_t n __attribute__((unused)),
                     nsx_tables tables __attribute__((unused)))
{
    nsx_printf(buf, "push_vlan:0x%x", nsx_get16(a + 4));
}

/* pop_vlan: type 18. */

int
nsx_parse_pop_vlan(struct nsx_action_list *list, struct nsx_slice word,
                   struct nsx_slice arg __attribute__((unused)))
{
    if (list->n_vlans) {
        list->n_vlans--;
    } else if (nsx_require(list, false, word, "a VLAN tag")) {
        return EINVAL;
    }
    nsx_put_action(list->buf, 18, 8);
    return 0;
}

int
nsx_check_pop_vlan(
    const struct nsx_action_check *check __attribute__((unused)),
    const uint8_t *a __attribute__((unused)),
    size_t n __attribute__((unused)),
    size_t position __attribute__((unused)))
{
    return 0;
}

void
nsx_format_pop_vlan(struct nsx_buf *buf,
                    const uint8_t *a __attribute__((unused)),
                    size_t n __attribute__((unused)),
                    nsx_tables tables __attribute__((unused)))
{
    nsx_puts(buf, "pop_vlan");
}

/* dec_ttl: type 24; with controller ids: subtype 21, their number at 10, they
 * from 16. */

int
nsx_parse_dec_ttl(struct nsx_action_list *list, struct nsx_slice word,
                  struct nsx_slice arg)
{
    struct nsx_slice id;

    if (nsx_require(list, nsx_action_list_is_ip(list), word, "ip or ipv6")) {
        return EINVAL;
    }
    if (!arg.n) {
        nsx_put_action(list->buf, 24, 8);
        return 0;
    }

    size_t start = nsx_put_nx_action(list->buf, 21, 16);
    size_t n = 0;
    while (nsx_next_word(&arg, ", ", &id)) {
        uint64_t number;
        int error = nsx_parse_decimal(list->parser, id, "controller id",
                                      UINT16_MAX, &number);
        if (error) {
            return error;
        } else if (n >= UINT16_MAX / 4) {
            return nsx_parse_error(list->parser, id, "too many ids");
        }
        nsx_put16(list->buf, (uint16_t) number);
        n++;
    }
    if (!n) {
        return nsx_parse_error(list->parser, word, "no controller id");
    }
    nsx_set16(list->buf->data + start + 10, (uint16_t) n);
    nsx_finish_action(list->buf, start);
    return 0;
}

int
nsx_check_dec_ttl(
    const struct nsx_action_check *check __attribute__((unused)),
    const uint8_t *a __attribute__((unused)),
    size_t n __attribute__((unused)),
    size_t position __attribute__((unused)))
{
    return 0;
}

void
nsx_format_dec_ttl(struct nsx_buf *buf,
                   const uint8_t *a __attribute__((unused)),
                   size_t n __attribute__((unused)),
                   nsx_tables tables __attribute__((unused)))
{
    nsx_puts(buf, "dec_ttl");
}

int
nsx_check_dec_ttl_ids(const struct nsx_action_check *check, const uint8_t *a,
                      size_t n, size_t position)
{
    size_t n_ids = nsx_get16(a + 10);

    if (n_ids * 2 > n - 16) {
        return nsx_decode_error(check->error, NSX_OFPBAC_BAD_LEN,
                                position + 10,
                                "dec_ttl has fewer controller ids");
    }
    return nsx_check_zeros(check, NSX_NXBRC_MUST_BE_ZERO, a + 12, 4,
                           position + 12);
}

void
nsx_format_dec_ttl_ids(struct nsx_buf *buf, const uint8_t *a,
                       size_t n __attribute__((unused)),
                       nsx_tables tables __attribute__((unused)))
{
    nsx_puts(buf, "dec_ttl(");
    for (size_t i = 0; i < nsx_get16(a + 10); i++) {
        nsx_printf(buf, "%s%u", i ? "," : "", nsx_get16(a + 16 + 2 * i));
    }
    nsx_put8(buf, ')');
}

/* note:HEX: subtype 8, the bytes from 10. */

int
nsx_parse_note(struct nsx_action_list *list,
               struct nsx_slice word __attribute__((unused)),
               struct nsx_slice arg)
{
    size_t start = nsx_put_nx_action(list->buf, 8, 10);
    int error = nsx_parse_hex(list->parser, arg, list->buf);

    if (!error && list->buf->size - start > NSX_ACTION_LIST_MAX) {
        error = nsx_parse_error(list->parser, arg, "the note is too long");
    }
    if (!error) {
        nsx_finish_action(list->buf, start);
    }
    return error;
}

int
nsx_check_note(const struct nsx_action_check *check __attribute__((unused)),
               const uint8_t *a __attribute__((unused)),
               size_t n __attribute__((unused)),
               size_t position __attribute__((unused)))
{
    return 0;
}

void
nsx_format_note(struct nsx_buf *buf, const uint8_t *a, size_t n,
                nsx_tables tables __attribute__((unused)))
{
    nsx_puts(buf, "note:");
    nsx_format_hex(buf, a + 10, n - 10);
}

/* conjunction(ID,K/N): subtype 34, K - 1 at 10, N at 11, ID at 12. */

/* Takes 'c' and the blanks around it off the front of 'rest'. */
static bool
take_separator(struct nsx_slice *rest, char c)
{
    *rest = nsx_slice_trim(*rest);
    if (!rest->n || *rest->s != c) {
        return false;
    }
    *rest = nsx_slice_trim((struct nsx_slice) { rest->s + 1, rest->n - 1 });
    return true;
}

int
nsx_parse_conjunction(struct nsx_action_list *list, struct nsx_slice word,
                      struct nsx_slice arg)
{
    const struct nsx_parser *parser = list->parser;
    size_t start = nsx_put_nx_action(list->buf, 34, 16);
    struct nsx_slice rest = arg;
    struct nsx_slice id, k_s, n_s;
    uint64_t k, n;

    if (!nsx_next_word(&rest, ", ", &id) || !take_separator(&rest, ',')
        || !nsx_next_word(&rest, " /", &k_s) || !take_separator(&rest, '/')
        || !nsx_next_word(&rest, " ", &n_s) || nsx_slice_trim(rest).n) {
        return nsx_parse_error(parser, arg.n ? arg : word,
                               "the syntax is conjunction(id,k/n)");
    }

    int error = nsx_parse_number_or_hole(parser, id, "id", UINT32_MAX,
                                         list->buf, start + 12, 4);
    if (!error) {
        error = nsx_parse_number(parser, k_s, "clause", UINT8_MAX, &k);
    }
    if (!error) {
        error = nsx_parse_number(parser, n_s, "number of clauses", 64, &n);
    }
    if (error) {
        return error;
    } else if (n < 2) {
        return nsx_parse_error(parser, n_s, "fewer than two clauses");
    } else if (k < 1 || k > n) {
        return nsx_parse_error(parser, k_s, "no such clause of %u",
                               (unsigned int) n);
    }
    list->buf->data[start + 10] = (uint8_t) (k - 1);
    list->buf->data[start + 11] = (uint8_t) n;
    return 0;
}

int
nsx_check_conjunction(const struct nsx_action_check *check, const uint8_t *a,
                      size_t n __attribute__((unused)), size_t position)
{
    if (a[11] < 2 || a[11] > 64 || a[10] >= a[11]) {
        return nsx_decode_error(check->error, NSX_OFPBAC_BAD_ARGUMENT,
                                position + 10, "bad clause of a conjunction");
    }
    return 0;
}

void
nsx_format_conjunction(struct nsx_buf *buf, const uint8_t *a,
                       size_t n __attribute__((unused)),
                       nsx_tables tables __attribute__((unused)))
{
    nsx_printf(buf, "conjunction(%u,%u/%u)", nsx_get32(a + 12), a[10] + 1u,
               a[11]);
}

/* clone(ACTIONS): subtype 42, actions from 16. */

int
nsx_parse_clone(struct nsx_action_list *list,
                struct nsx_slice word __attribute__((unused)),
                struct nsx_slice arg)
{
    size_t start = nsx_put_nx_action(list->buf, 42, 16);
    int error = nsx_action_list_nested(list, NSX_IN_CLONE, arg);

    if (!error) {
        nsx_finish_action(list->buf, start);
    }
    return error;
}

int
nsx_check_clone(const struct nsx_action_check *check, const uint8_t *a,
                size_t n, size_t position)
{
    return nsx_actions_check_nested(check, NSX_IN_CLONE, a + 16, n - 16,
                                    position + 16);
}

void
nsx_format_clone(struct nsx_buf *buf, const uint8_t *a, size_t n,
                 nsx_tables tables)
{
    nsx_puts(buf, "clone(");
    nsx_actions_format(buf, a + 16, n - 16, tables);
    nsx_put8(buf, ')');
}
