/* action_ct.c: connection tracking: ct(...), with nat(...) and exec(...) in
 * it, and ct_clear. */

#include "action_verbs.h"

#include <arpa/inet.h>

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
    } else if (sf.n_bits != 16 || !nsx_field_nxm_header(sf.field)) {
        return nsx_parse_error(list->parser, text,
                               "a zone is 16 bits of a field");
    }

    uint8_t *a = list->buf->data + start;
    nsx_set32(a + 12, nsx_field_nxm_header(sf.field));
    nsx_set16(a + 16, (uint16_t) (sf.offset << 6 | (sf.n_bits - 1)));
    return nsx_check_source(list, sf.field, text);
}

static int
parse_alg(struct nsx_action_list *list, struct nsx_slice text, size_t start)
{
    const struct nsx_match *match = list->parser->match;
    bool ftp = nsx_slice_equals(text, "ftp");

    if (!ftp && !nsx_slice_equals(text, "tftp")) {
        return nsx_parse_error(list->parser, text, "alg is ftp or tftp");
    } else if (match
               && nsx_match_exact(match, NSX_F_IP_PROTO) != (ftp ? 6 : 17)) {
        return nsx_parse_error(list->parser, text, "needs a match on %s",
                               ftp ? "tcp" : "udp");
    }
    nsx_set16(list->buf->data + start + 22, ftp ? PORT_FTP : PORT_TFTP);
    return 0;
}

static int
parse_ct_argument(struct nsx_action_list *list, struct nsx_slice key,
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
        struct nsx_action_list nested = *list;

        nested.context = NSX_IN_CT_EXEC;
        return nsx_parse_nat(&nested, key, value);
    } else if (nsx_slice_equals(key, "exec")) {
        return nsx_action_list_nested(list, NSX_IN_CT_EXEC, value);
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
    const struct nsx_match *match = list->parser->match;
    const uint32_t inv = 0x10;

    if (match) {
        uint32_t type = nsx_match_exact(match, NSX_F_ETH_TYPE);

        if (type != 0x800 && type != 0x86dd) {
            return nsx_parse_error(list->parser, word,
                                   "needs a match on ip or ipv6");
        }
    }

    size_t start = nsx_put_nx_action(list->buf, 35, 24);
    struct nsx_slice key, value;
    char delimiter;
    int error = 0;

    list->buf->data[start + 18] = TABLE_NONE;
    while (!error && nsx_next_key_value(&arg, &key, &value, &delimiter)) {
        error = parse_ct_argument(list, key, value, start);
    }
    if (error) {
        return error;
    }

    const uint8_t *a = list->buf->data + start;
    const char *problem = bad_ct(a, list->buf->size - start);
    if (problem) {
        return nsx_parse_error(list->parser, word, "%s", problem);
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
    uint16_t bits = nsx_get16(a + 16);

    return nsx_subfield_from_header(nsx_get32(a + 12), bits >> 6,
                                    (bits & 63) + 1u, sf);
}

int
nsx_check_ct(const struct nsx_action_check *check, const uint8_t *a, size_t n,
             size_t position)
{
    struct nsx_subfield sf;

    if (nsx_get16(a + 10) & ~(CT_COMMIT | CT_FORCE)) {
        return nsx_decode_error(check->error, position + 10,
                                "unknown flags of ct");
    } else if (nsx_get32(a + 12) && (!ct_zone(a, &sf) || sf.n_bits != 16)) {
        return nsx_decode_error(check->error, position + 12,
                                "bad zone of ct");
    }

    int error = nsx_check_zeros(check, a + 19, 3, position + 19);
    if (!error) {
        error = nsx_actions_check_nested(check, NSX_IN_CT_EXEC, a + 24, n - 24,
                                         position + 24);
    }
    if (!error && bad_ct(a, n)) {
        error = nsx_decode_error(check->error, position, "ct: %s",
                                 bad_ct(a, n));
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
        nsx_printf(buf, "zone=%u,", nsx_get16(a + 16));
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

/* nat(...): subtype 36, flags at 12, what is there at 14, from 16 on it. */

#define NAT_SRC 0x01
#define NAT_DST 0x02
#define NAT_PERSISTENT 0x04
#define NAT_HASH 0x08
#define NAT_RANDOM 0x10

#define IPV4_MIN 0x01
#define IPV4_MAX 0x02
#define IPV6_MIN 0x04
#define IPV6_MAX 0x08
#define PROTO_MIN 0x10
#define PROTO_MAX 0x20

/* Takes one address, in brackets or not, off the front of 'rest'. */
static struct nsx_slice
take_address(struct nsx_slice *rest)
{
    bool bracket = rest->n && *rest->s == '[';
    bool brace = rest->n && *rest->s == '{';
    size_t n = 0;

    if (bracket || brace) {
        while (n < rest->n && rest->s[n] != (bracket ? ']' : '}')) {
            n++;
        }
        n += n < rest->n;
    } else {
        size_t dots = 0;

        /* "1.2.3.4:80" ends at the colon, "fe80::1" doesn't. */
        for (; n < rest->n && rest->s[n] != '-'; n++) {
            if (rest->s[n] == ':' && dots == 3) {
                break;
            }
            dots += rest->s[n] == '.';
        }
    }

    struct nsx_slice address = { rest->s, n };
    rest->s += n;
    rest->n -= n;
    return address;
}

/* Appends the address 'text', or the room for its hole, and sets '*af'. */
static int
put_address(struct nsx_action_list *list, struct nsx_slice text, int *af)
{
    char string[INET6_ADDRSTRLEN];
    uint8_t address[16];
    struct nsx_slice inner = text;
    struct nsx_slice hole;
    bool bracket = text.n > 2 && text.s[0] == '[' && text.s[text.n - 1] == ']';

    if (bracket) {
        inner = (struct nsx_slice) { text.s + 1, text.n - 2 };
    }
    if (nsx_is_hole(inner, &hole)) {
        size_t width = bracket ? 16 : 4;
        size_t offset = list->buf->size;

        *af = bracket ? AF_INET6 : AF_INET;
        nsx_put_zeros(list->buf, width);
        return nsx_add_hole(list->parser, hole, offset, width, 0, width * 8);
    } else if (inner.n < sizeof string) {
        memcpy(string, inner.s, inner.n);
        string[inner.n] = '\0';
        if (!bracket && inet_pton(AF_INET, string, address) == 1) {
            *af = AF_INET;
            if (nsx_get32(address)) {
                nsx_put(list->buf, address, 4);
                return 0;
            }
        } else if (inet_pton(AF_INET6, string, address) == 1) {
            *af = AF_INET6;
            if (nsx_get64(address) || nsx_get64(address + 8)) {
                nsx_put(list->buf, address, 16);
                return 0;
            }
        }
    }
    return nsx_parse_error(list->parser, text, "no address for NAT");
}

static int
put_port(struct nsx_action_list *list, struct nsx_slice text)
{
    size_t offset = list->buf->size;

    nsx_put_zeros(list->buf, 2);
    return nsx_parse_number_or_hole(list->parser, text, "port", UINT16_MAX,
                                    list->buf, offset, 2);
}

static bool
take_char(struct nsx_slice *rest, char c)
{
    if (!rest->n || *rest->s != c) {
        return false;
    }
    rest->s++;
    rest->n--;
    return true;
}

/* True if the second of the two 'n' byte numbers at 'p' is the smaller one,
 * and neither is a hole. */
static bool
is_descending(const uint8_t *p, size_t n, struct nsx_slice min,
              struct nsx_slice max)
{
    return (memcmp(p, p + n, n) > 0 && !memchr(min.s, '{', min.n)
            && !memchr(max.s, '{', max.n));
}

static int
put_address_range(struct nsx_action_list *list, struct nsx_slice *rest,
                  uint16_t *present)
{
    struct nsx_slice min = take_address(rest);
    struct nsx_slice max;
    int af = AF_INET, max_af = AF_INET;
    int error = put_address(list, min, &af);

    if (error) {
        return error;
    }
    *present |= af == AF_INET ? IPV4_MIN : IPV6_MIN;
    if (!take_char(rest, '-')) {
        return 0;
    }

    max = take_address(rest);
    error = put_address(list, max, &max_af);
    if (error) {
        return error;
    }
    *present |= af == AF_INET ? IPV4_MAX : IPV6_MAX;

    size_t n = af == AF_INET ? 4 : 16;
    if (max_af != af
        || is_descending(list->buf->data + list->buf->size - 2 * n, n, min,
                         max)) {
        return nsx_parse_error(list->parser, max,
                               "the range ends before it starts");
    }
    return 0;
}

static int
put_port_range(struct nsx_action_list *list, struct nsx_slice text,
               uint16_t *present)
{
    size_t start = list->buf->size;
    struct nsx_slice min, rest = text;
    struct nsx_slice hole;

    if (!nsx_next_word(&rest, "-", &min)) {
        return nsx_parse_error(list->parser, text, "missing port");
    }

    int error = put_port(list, min);
    if (error) {
        return error;
    }
    *present |= PROTO_MIN;
    if (!nsx_is_hole(min, &hole) && !nsx_get16(list->buf->data + start)) {
        if (!rest.n) {
            /* Port 0 is no port. */
            list->buf->size = start;
            *present &= (uint16_t) ~PROTO_MIN;
            return 0;
        }
        return nsx_parse_error(list->parser, min, "a range of ports starts "
                               "with 1 at least");
    }
    if (!take_char(&rest, '-')) {
        return 0;
    }

    error = put_port(list, rest);
    if (!error
        && is_descending(list->buf->data + start, 2, min, rest)) {
        error = nsx_parse_error(list->parser, rest,
                                "the range ends before it starts");
    }
    *present |= PROTO_MAX;
    return error;
}

static int
parse_nat_range(struct nsx_action_list *list, struct nsx_slice text,
                uint16_t *present)
{
    struct nsx_slice rest = text;

    if (!text.n) {
        return 0;
    } else if (*present) {
        return nsx_parse_error(list->parser, text, "a second range");
    }

    int error = put_address_range(list, &rest, present);
    if (!error && take_char(&rest, ':')) {
        return put_port_range(list, rest, present);
    } else if (!error && rest.n) {
        error = nsx_parse_error(list->parser, rest, "garbage after address");
    }
    return error;
}

static const char *
bad_nat_flags(uint16_t flags)
{
    const uint16_t both = NAT_SRC | NAT_DST;

    if ((flags & both) == both) {
        return "nat is either src or dst";
    } else if (flags && !(flags & both)) {
        return "flags of nat need src or dst";
    } else if (flags & NAT_HASH && flags & NAT_RANDOM) {
        return "nat is either hash or random";
    }
    return NULL;
}

int
nsx_parse_nat(struct nsx_action_list *list, struct nsx_slice word,
              struct nsx_slice arg)
{
    static const struct {
        const char *name;
        uint16_t flag;
    } names[] = {
        { "src", NAT_SRC },
        { "dst", NAT_DST },
        { "persistent", NAT_PERSISTENT },
        { "hash", NAT_HASH },
        { "random", NAT_RANDOM },
    };
    const struct nsx_match *match = list->parser->match;
    uint16_t flags = 0, present = 0;
    struct nsx_slice key, value;
    char delimiter;

    if (list->context != NSX_IN_CT_EXEC) {
        return nsx_parse_error(list->parser, word, "nat is part of ct");
    }

    size_t start = nsx_put_nx_action(list->buf, 36, 16);
    while (nsx_next_key_value(&arg, &key, &value, &delimiter)) {
        size_t i = 0;

        while (i < NSX_ARRAY_SIZE(names)
               && !nsx_slice_equals(key, names[i].name)) {
            i++;
        }
        if (i >= NSX_ARRAY_SIZE(names)) {
            return nsx_parse_error(list->parser, key, "nat takes src, dst, "
                                   "persistent, hash and random");
        }
        flags |= names[i].flag;
        if (names[i].flag & (NAT_SRC | NAT_DST)) {
            int error = parse_nat_range(list, value, &present);
            if (error) {
                return error;
            }
        }
    }
    if (bad_nat_flags(flags)) {
        return nsx_parse_error(list->parser, word, "%s",
                               bad_nat_flags(flags));
    } else if (match && present
               && nsx_match_exact(match, NSX_F_ETH_TYPE)
                  != (present & IPV4_MIN ? 0x800u : 0x86ddu)) {
        return nsx_parse_error(list->parser, word, "needs a match on %s",
                               present & IPV4_MIN ? "ip" : "ipv6");
    }
    nsx_set16(list->buf->data + start + 12, flags);
    nsx_set16(list->buf->data + start + 14, present);
    nsx_finish_action(list->buf, start);
    return 0;
}

/* What nat(...) holds; NULL for what isn't there. */
struct nat {
    uint16_t flags;
    int af;
    const uint8_t *min, *max, *min_port, *max_port;
    size_t used;                        /* Bytes of the action. */
};

static bool
pull_nat(const uint8_t *a, size_t n, struct nat *nat)
{
    uint16_t present = nsx_get16(a + 14);
    size_t width = present & (IPV4_MIN | IPV4_MAX) ? 4 : 16;
    size_t used = 16;

    *nat = (struct nat) {
        .flags = nsx_get16(a + 12),
        .af = (present & (IPV4_MIN | IPV4_MAX) ? AF_INET
               : present & (IPV6_MIN | IPV6_MAX) ? AF_INET6 : AF_UNSPEC),
    };
    if (present & (IPV4_MIN | IPV6_MIN)) {
        nat->min = a + used;
        used += width;
    }
    if (present & (IPV4_MAX | IPV6_MAX)) {
        nat->max = a + used;
        used += width;
    }
    if (present & PROTO_MIN) {
        nat->min_port = a + used;
        used += 2;
    }
    if (present & PROTO_MAX) {
        nat->max_port = a + used;
        used += 2;
    }
    nat->used = used;

    static const uint8_t zeros[16];
    return (!(present & ~0x3f)
            && !(present & (IPV4_MIN | IPV4_MAX)
                 && present & (IPV6_MIN | IPV6_MAX))
            && used <= n
            && (nat->min || (!nat->max && !nat->min_port))
            && (nat->min_port || !nat->max_port)
            && (!nat->min || memcmp(nat->min, zeros, width))
            && (!nat->max || memcmp(nat->min, nat->max, width) <= 0)
            && (!nat->min_port || nsx_get16(nat->min_port))
            && (!nat->max_port
                || nsx_get16(nat->min_port) <= nsx_get16(nat->max_port)));
}

int
nsx_check_nat(const struct nsx_action_check *check, const uint8_t *a, size_t n,
              size_t position)
{
    struct nat nat;

    if (check->context != NSX_IN_CT_EXEC) {
        return nsx_decode_error(check->error, position, "nat outside of ct");
    } else if (nsx_get16(a + 12) & ~0x1f) {
        return nsx_decode_error(check->error, position + 12,
                                "unknown flags of nat");
    } else if (bad_nat_flags(nsx_get16(a + 12))) {
        return nsx_decode_error(check->error, position + 12, "%s",
                                bad_nat_flags(nsx_get16(a + 12)));
    } else if (!pull_nat(a, n, &nat)) {
        return nsx_decode_error(check->error, position + 14,
                                "bad range of nat");
    }

    int error = nsx_check_zeros(check, a + 10, 2, position + 10);
    return (error ? error
            : nsx_check_zeros(check, a + nat.used, n - nat.used,
                              position + nat.used));
}

static void
format_address(struct nsx_buf *buf, const struct nat *nat, const uint8_t *p)
{
    bool bracket = nat->af == AF_INET6 && nat->min_port;
    char string[INET6_ADDRSTRLEN];

    inet_ntop(nat->af, p, string, sizeof string);
    nsx_printf(buf, bracket ? "[%s]" : "%s", string);
}

static void
format_nat_range(struct nsx_buf *buf, const struct nat *nat)
{
    size_t width = nat->af == AF_INET ? 4 : 16;

    nsx_put8(buf, '=');
    format_address(buf, nat, nat->min);
    if (nat->max && memcmp(nat->min, nat->max, width)) {
        nsx_put8(buf, '-');
        format_address(buf, nat, nat->max);
    }
    if (nat->min_port) {
        nsx_printf(buf, ":%u", nsx_get16(nat->min_port));
    }
    if (nat->max_port && memcmp(nat->min_port, nat->max_port, 2)) {
        nsx_printf(buf, "-%u", nsx_get16(nat->max_port));
    }
    if (nat->flags & NAT_PERSISTENT) {
        nsx_puts(buf, ",persistent");
    }
    if (nat->flags & NAT_HASH) {
        nsx_puts(buf, ",hash");
    }
    if (nat->flags & NAT_RANDOM) {
        nsx_puts(buf, ",random");
    }
}

void
nsx_format_nat(struct nsx_buf *buf, const uint8_t *a, size_t n,
               nsx_tables tables __attribute__((unused)))
{
    struct nat nat;

    nsx_puts(buf, "nat");
    if (pull_nat(a, n, &nat) && nat.flags & (NAT_SRC | NAT_DST)) {
        nsx_puts(buf, nat.flags & NAT_SRC ? "(src" : "(dst");
        if (nat.min) {
            format_nat_range(buf, &nat);
        }
        nsx_put8(buf, ')');
    }
}

/* ct_clear: subtype 43. */

int
nsx_parse_ct_clear(struct nsx_action_list *list,
                   struct nsx_slice word __attribute__((unused)),
                   struct nsx_slice arg __attribute__((unused)))
{
    nsx_put_nx_action(list->buf, 43, 16);
    return 0;
}

int
nsx_check_ct_clear(const struct nsx_action_check *check, const uint8_t *a,
                   size_t n, size_t position)
{
    return nsx_check_zeros(check, a + 10, n - 10, position + 10);
}

void
nsx_format_ct_clear(struct nsx_buf *buf,
                    const uint8_t *a __attribute__((unused)),
                    size_t n __attribute__((unused)),
                    nsx_tables tables __attribute__((unused)))
{
    nsx_puts(buf, "ct_clear");
}
