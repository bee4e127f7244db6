/* action_output.c: where packets go: ports, the controller, groups, meters,
 * other tables. */

#include "action_verbs.h"

#define PORT_MAX 0xff00u                /* No switch port is this, nor more. */
#define PORT_IN_PORT 0xfffffff8u
#define PORT_CONTROLLER 0xfffffffdu
#define PORT_LOCAL 0xfffffffeu

#define TABLE_NONE 255

/* output:PORT: type 16, with the port at 4 and max_len at 8. */

static bool
is_output_port(uint32_t port)
{
    return port < PORT_MAX || (port >= PORT_IN_PORT && port <= PORT_LOCAL);
}

static void
put_output(struct nsx_buf *buf, uint32_t port, uint16_t max_len)
{
    size_t start = nsx_put_action(buf, 0, 16);

    nsx_set32(buf->data + start + 4, port);
    nsx_set16(buf->data + start + 8, max_len);
}

int
nsx_parse_output_port(struct nsx_action_list *list, struct nsx_slice word,
                      uint32_t port)
{
    if (list->match && !is_output_port(port)) {
        return nsx_parse_error(list->parser, word, "not an output port");
    }
    put_output(list->buf, port, 0);
    return 0;
}

/* output(port=PORT,max_len=N): subtype 39, 16-bit port at 10, max_len at 12.
 */
static int
parse_output_trunc(struct nsx_action_list *list, struct nsx_slice arg)
{
    size_t start = nsx_put_nx_action(list->buf, 39, 16);
    struct nsx_slice key, value;
    char delimiter;

    while (nsx_next_key_value(&arg, &key, &value, &delimiter)) {
        uint8_t *a = list->buf->data + start;
        int error;

        if (nsx_slice_equals(key, "port")) {
            uint32_t port;

            error = nsx_parse_port(list->parser, value, &port);
            if (!error && port >= PORT_MAX && port != PORT_LOCAL
                && port != PORT_IN_PORT) {
                error = nsx_parse_error(list->parser, value,
                                        "cannot truncate to this port");
            }
            if (!error) {
                nsx_set16(a + 10, (uint16_t) port);
            }
        } else if (nsx_slice_equals(key, "max_len")) {
            uint64_t max_len;

            error = nsx_parse_number(list->parser, value, "max_len",
                                     UINT32_MAX, &max_len);
            if (!error && max_len < 14) {
                error = nsx_parse_error(list->parser, value,
                                        "max_len is less than an Ethernet "
                                        "header's 14 bytes");
            }
            if (!error) {
                nsx_set32(a + 12, (uint32_t) max_len);
            }
        } else {
            error = nsx_parse_error(list->parser, key,
                                    "output takes port and max_len");
        }
        if (error) {
            return error;
        }
    }
    return 0;
}

static bool
contains(struct nsx_slice text, const char *string)
{
    for (; text.n; text.s++, text.n--) {
        if (nsx_slice_starts_with(text, string)) {
            return true;
        }
    }
    return false;
}

/* output:SUBFIELD: subtype 15, with (offset << 6 | (n_bits - 1)) at 10, the
 * field's header at 12, and max_len at 16. */
static int
put_output_reg(struct nsx_action_list *list, struct nsx_slice arg,
               const struct nsx_subfield *sf)
{
    uint32_t header = nsx_field_nxm_header(sf->field);

    if (sf->n_bits > 64 || !nsx_field_has_header(sf->field)) {
        return nsx_parse_error(list->parser, arg, "output to unknown port");
    }

    size_t start = nsx_put_nx_action(list->buf, header ? 15 : 32, 24);
    uint8_t *a = list->buf->data + start;
    if (!header) {
        nsx_set16(a + 10, (uint16_t) (sf->offset << 6 | (sf->n_bits - 1)));
        nsx_set16(a + 12, UINT16_MAX);
        list->buf->size = start + 14;
        nsx_nxm_put_header(list->buf, sf->field);
        nsx_put_zeros(list->buf, start + 24 - list->buf->size);
        return nsx_check_source(list, sf->field, arg);
    }
    nsx_set16(a + 10, (uint16_t) (sf->offset << 6 | (sf->n_bits - 1)));
    nsx_set32(a + 12, header);
    nsx_set16(a + 16, UINT16_MAX);
    return nsx_check_source(list, sf->field, arg);
}

int
nsx_parse_output(struct nsx_action_list *list, struct nsx_slice word,
                 struct nsx_slice arg)
{
    struct nsx_parser quiet = *list->parser;
    struct nsx_subfield sf;
    struct nsx_slice hole;
    uint32_t port;

    quiet.error = NULL;
    if (contains(arg, "port") && contains(arg, "max_len")) {
        return parse_output_trunc(list, arg);
    } else if (nsx_is_hole(arg, &hole)) {
        put_output(list->buf, 0, 0);
        return nsx_add_hole(list->parser, hole, list->buf->size - 12, 4, 0,
                            32);
    } else if (!nsx_parse_port(&quiet, arg, &port)) {
        if (list->match && !is_output_port(port)) {
            return nsx_parse_error(list->parser, arg, "not an output port");
        }
        put_output(list->buf, port, port == PORT_CONTROLLER ? UINT16_MAX : 0);
        return 0;
    } else if (!nsx_subfield_parse(&quiet, arg, &sf)) {
        return put_output_reg(list, arg, &sf);
    }
    return nsx_parse_error(list->parser, arg.n ? arg : word,
                           "output to unknown port");
}

int
nsx_check_output(const struct nsx_action_check *check, const uint8_t *a,
                 size_t n __attribute__((unused)), size_t position)
{
    return (is_output_port(nsx_get32(a + 4)) ? 0
            : nsx_decode_error(check->error, NSX_OFPBAC_BAD_OUT_PORT,
                               position + 4, "bad output port 0x%x",
                               nsx_get32(a + 4)));
}

void
nsx_format_output(struct nsx_buf *buf, const uint8_t *a,
                  size_t n __attribute__((unused)),
                  nsx_tables tables __attribute__((unused)))
{
    uint32_t port = nsx_get32(a + 4);

    if (port < PORT_MAX) {
        nsx_puts(buf, "output:");
    }
    nsx_format_port(buf, port);
    if (port == PORT_CONTROLLER) {
        nsx_printf(buf, ":%u", nsx_get16(a + 8));
    }
}

/* enqueue:PORT:QUEUE is three actions: set_queue, output, pop_queue. */
int
nsx_parse_enqueue(struct nsx_action_list *list, struct nsx_slice word,
                  struct nsx_slice arg)
{
    struct nsx_slice rest = arg;
    struct nsx_slice port_s, queue;
    uint32_t port;

    if (!nsx_next_word(&rest, ":q,", &port_s) || rest.n < 2) {
        return nsx_parse_error(list->parser, arg.n ? arg : word,
                               "the syntax is enqueue:PORT:QUEUE");
    }
    queue = (struct nsx_slice) { rest.s + 1, rest.n - 1 };

    int error = nsx_parse_port(list->parser, port_s, &port);
    if (!error && list->match && port >= PORT_MAX && port != PORT_IN_PORT
        && port != PORT_LOCAL) {
        error = nsx_parse_error(list->parser, port_s, "no port with queues");
    }
    if (error) {
        return error;
    }

    size_t start = nsx_put_action(list->buf, 21, 8);
    error = nsx_parse_number_or_hole(list->parser, queue, "queue", UINT32_MAX,
                                     list->buf, start + 4, 4);
    put_output(list->buf, port, UINT16_MAX);
    nsx_put_nx_action(list->buf, 5, 16);
    return error;
}

static bool
output_reg_subfield(const uint8_t *a, struct nsx_subfield *sf)
{
    uint16_t bits = nsx_get16(a + 10);

    return nsx_subfield_from_header(nsx_get32(a + 12), bits >> 6,
                                    (bits & 63) + 1u, sf);
}

int
nsx_check_output_reg(const struct nsx_action_check *check, const uint8_t *a,
                     size_t n, size_t position)
{
    struct nsx_subfield sf;

    if (!output_reg_subfield(a, &sf)) {
        return nsx_check_subfield(check, &sf, NSX_OFPBAC_BAD_SET_TYPE,
                                  position + 10);
    }
    return nsx_check_zeros(check, NSX_OFPBAC_BAD_ARGUMENT, a + 18, n - 18,
                           position + 18);
}

void
nsx_format_output_reg(struct nsx_buf *buf, const uint8_t *a,
                      size_t n __attribute__((unused)),
                      nsx_tables tables __attribute__((unused)))
{
    struct nsx_subfield sf;

    if (output_reg_subfield(a, &sf)) {
        nsx_puts(buf, "output:");
        nsx_subfield_format(buf, &sf);
    }
}

/* Subtype 32, for fields that have an experimenter's header: max_len at 12,
 * the header at 14. */

static size_t
pull_output_reg2(const uint8_t *a, size_t n, struct nsx_subfield *sf)
{
    uint16_t bits = nsx_get16(a + 10);
    size_t header_len;
    bool has_mask;

    sf->field = nsx_oxm_pull_header(a + 14, n - 14, &has_mask, &header_len);
    sf->field = has_mask ? NULL : sf->field;
    sf->offset = bits >> 6;
    sf->n_bits = (bits & 63) + 1u;
    return (sf->field
            && sf->offset + sf->n_bits <= (int) nsx_field_n_bits(sf->field)
            ? 14 + header_len : 0);
}

int
nsx_check_output_reg2(const struct nsx_action_check *check, const uint8_t *a,
                      size_t n, size_t position)
{
    struct nsx_subfield sf;
    size_t used = pull_output_reg2(a, n, &sf);

    return (used
            ? nsx_check_zeros(check, NSX_NXBRC_MUST_BE_ZERO, a + used,
                              n - used, position + used)
            : nsx_check_subfield(check, &sf, NSX_OFPBMC_BAD_FIELD,
                                 position + 10));
}

void
nsx_format_output_reg2(struct nsx_buf *buf, const uint8_t *a, size_t n,
                       nsx_tables tables __attribute__((unused)))
{
    struct nsx_subfield sf;

    if (pull_output_reg2(a, n, &sf)) {
        nsx_puts(buf, "output:");
        nsx_subfield_format(buf, &sf);
    }
}

int
nsx_check_output_trunc(const struct nsx_action_check *check, const uint8_t *a,
                       size_t n __attribute__((unused)), size_t position)
{
    if (!is_output_port(nsx_port_from_16(nsx_get16(a + 10)))) {
        return nsx_decode_error(check->error, NSX_OFPBAC_BAD_ARGUMENT,
                                position + 10, "bad output port");
    } else if (nsx_get32(a + 12) < 14) {
        return nsx_decode_error(check->error, NSX_OFPBAC_BAD_ARGUMENT,
                                position + 12, "bad max_len");
    }
    return 0;
}

void
nsx_format_output_trunc(struct nsx_buf *buf, const uint8_t *a,
                        size_t n __attribute__((unused)),
                        nsx_tables tables __attribute__((unused)))
{
    nsx_puts(buf, "output(port=");
    nsx_format_port(buf, nsx_port_from_16(nsx_get16(a + 10)));
    nsx_printf(buf, ",max_len=%u)", nsx_get32(a + 12));
}

/* group:ID: type 22. */

int
nsx_parse_group(struct nsx_action_list *list,
                struct nsx_slice word __attribute__((unused)),
                struct nsx_slice arg)
{
    size_t start = nsx_put_action(list->buf, 22, 8);

    return nsx_parse_number_or_hole(list->parser, arg, "group", UINT32_MAX,
                                    list->buf, start + 4, 4);
}

int
nsx_check_group(const struct nsx_action_check *check __attribute__((unused)),
                const uint8_t *a __attribute__((unused)),
                size_t n __attribute__((unused)),
                size_t position __attribute__((unused)))
{
    return 0;
}

void
nsx_format_group(struct nsx_buf *buf, const uint8_t *a,
                 size_t n __attribute__((unused)),
                 nsx_tables tables __attribute__((unused)))
{
    nsx_puts(buf, "group:");
    nsx_put_decimal(buf, nsx_get32(a + 4));
}

/* meter:ID: type 29. */

#define METER_MAX 0xffff0000u

static bool
is_meter(uint32_t meter)
{
    return meter && meter <= METER_MAX;
}

int
nsx_parse_meter(struct nsx_action_list *list,
                struct nsx_slice word __attribute__((unused)),
                struct nsx_slice arg)
{
    size_t start = nsx_put_action(list->buf, 29, 8);
    struct nsx_slice hole;
    int error = nsx_parse_number_or_hole(list->parser, arg, "meter",
                                         UINT32_MAX, list->buf, start + 4, 4);

    if (!error && list->match && !nsx_is_hole(arg, &hole)
        && !is_meter(nsx_get32(list->buf->data + start + 4))) {
        error = nsx_parse_error(list->parser, arg, "no meter has this id");
    }
    return error;
}

int
nsx_check_meter(const struct nsx_action_check *check, const uint8_t *a,
                size_t n __attribute__((unused)), size_t position)
{
    uint32_t meter = nsx_get32(a + 4);

    return (is_meter(meter) ? 0
            : nsx_decode_error(check->error, NSX_OFPMMFC_INVALID_METER,
                               position + 4, "bad meter %u", meter));
}

void
nsx_format_meter(struct nsx_buf *buf, const uint8_t *a,
                 size_t n __attribute__((unused)),
                 nsx_tables tables __attribute__((unused)))
{
    nsx_printf(buf, "meter:%u", nsx_get32(a + 4));
}

/* resubmit(PORT,TABLE): subtype 14, 16-bit port at 10, table at 12; with ct:
 * subtype 44. */

/* Splits what stands before the next comma, maybe nothing, off 'rest'. */
static struct nsx_slice
next_argument(struct nsx_slice *rest)
{
    const char *comma = rest->n ? memchr(rest->s, ',', rest->n) : NULL;
    size_t n = comma ? (size_t) (comma - rest->s) : rest->n;
    struct nsx_slice argument = { rest->s, n };

    n += comma != NULL;
    rest->s += n;
    rest->n -= n;
    return nsx_slice_trim(argument);
}

/* "+trk-inv" is what a flow must match for 'ct' to have a meaning. */
static int
check_resubmit_ct(const struct nsx_action_list *list, struct nsx_slice at)
{
    const struct nsx_match *match = list->match;
    const uint32_t trk = 0x20, inv = 0x10;

    if (match
        && ((nsx_get32(match->fields[NSX_F_CT_STATE].mask) & (trk | inv))
            != (trk | inv)
            || (nsx_get32(match->fields[NSX_F_CT_STATE].value) & (trk | inv))
            != trk)) {
        return nsx_parse_error(list->parser, at,
                               "needs a match on ct_state=+trk-inv");
    }
    return 0;
}

int
nsx_parse_resubmit(struct nsx_action_list *list, struct nsx_slice word,
                   struct nsx_slice arg)
{
    struct nsx_slice rest = arg;
    struct nsx_slice port_s = next_argument(&rest);
    struct nsx_slice table_s = next_argument(&rest);
    struct nsx_slice ct = next_argument(&rest);
    uint32_t port = PORT_IN_PORT;
    uint8_t table = TABLE_NONE;
    int error = 0;

    if (port_s.n) {
        error = nsx_parse_port(list->parser, port_s, &port);
    }
    if (!error && table_s.n) {
        error = nsx_parse_table(list->parser, table_s, &table);
    }
    if (!error && ct.n) {
        error = (nsx_slice_equals(ct, "ct")
                 ? check_resubmit_ct(list, ct)
                 : nsx_parse_error(list->parser, ct,
                                   "resubmit takes port, table and ct"));
    }
    if (!error && port == PORT_IN_PORT && table == TABLE_NONE) {
        error = nsx_parse_error(list->parser, arg.n ? arg : word,
                                "resubmit needs a port or a table");
    }
    if (error) {
        return error;
    }

    size_t start = nsx_put_nx_action(list->buf, ct.n ? 44 : 14, 16);
    uint8_t *a = list->buf->data + start;
    nsx_set16(a + 10, (uint16_t) port);
    a[12] = table;
    return 0;
}

/* Subtype 1 has only the port. */

int
nsx_check_resubmit_port(
    const struct nsx_action_check *check __attribute__((unused)),
    const uint8_t *a __attribute__((unused)),
    size_t n __attribute__((unused)), size_t position __attribute__((unused)))
{
    return 0;
}

static void
format_resubmit_port(struct nsx_buf *buf, uint32_t port)
{
    if (port == PORT_IN_PORT) {
        nsx_puts(buf, "resubmit(,)");
    } else {
        nsx_puts(buf, "resubmit:");
        nsx_format_port(buf, port);
    }
}

void
nsx_format_resubmit_port(struct nsx_buf *buf, const uint8_t *a,
                         size_t n __attribute__((unused)),
                         nsx_tables tables __attribute__((unused)))
{
    format_resubmit_port(buf, nsx_port_from_16(nsx_get16(a + 10)));
}

int
nsx_check_resubmit(const struct nsx_action_check *check, const uint8_t *a,
                   size_t n, size_t position)
{
    return nsx_check_zeros(check, NSX_OFPBAC_BAD_ARGUMENT, a + 13, n - 13,
                           position + 13);
}

void
nsx_format_resubmit(struct nsx_buf *buf, const uint8_t *a,
                    size_t n __attribute__((unused)), nsx_tables tables)
{
    uint32_t port = nsx_port_from_16(nsx_get16(a + 10));
    uint8_t table = a[12];

    if (port != PORT_IN_PORT && table == TABLE_NONE) {
        format_resubmit_port(buf, port);
        return;
    }
    nsx_puts(buf, "resubmit(");
    if (port != PORT_IN_PORT) {
        nsx_format_port(buf, port);
    }
    nsx_put8(buf, ',');
    if (table != TABLE_NONE) {
        nsx_format_table(buf, tables, table);
    }
    nsx_puts(buf, nsx_get16(a + 8) == 44 ? ",ct)" : ")");
}
