/* action_nat.c: nat(...), which is part of ct(...). */

#include "action_verbs.h"

#include <arpa/inet.h>

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

/* Appends the address 'text', or the room for its hole, and sets '*af'.  No
 * address is 0: nothing stands for it. */
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
            }
            return 0;
        } else if (inet_pton(AF_INET6, string, address) == 1) {
            *af = AF_INET6;
            if (nsx_get64(address) || nsx_get64(address + 8)) {
                nsx_put(list->buf, address, 16);
            }
            return 0;
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
                  uint16_t *present, int *af)
{
    struct nsx_slice min = take_address(rest);
    struct nsx_slice max;
    size_t start = list->buf->size;
    int max_af = AF_INET;
    int error = put_address(list, min, af);

    if (error) {
        return error;
    }
    bool has_min = list->buf->size > start;
    if (has_min) {
        *present |= *af == AF_INET ? IPV4_MIN : IPV6_MIN;
    }
    if (!take_char(rest, '-')) {
        return 0;
    }
    start = list->buf->size;

    max = take_address(rest);
    error = put_address(list, max, &max_af);
    if (error) {
        return error;
    }
    bool has_max = list->buf->size > start;
    if (has_max) {
        *present |= *af == AF_INET ? IPV4_MAX : IPV6_MAX;
    }

    size_t n = *af == AF_INET ? 4 : 16;
    if (max_af != *af || (has_min && !has_max)
        || (has_min
            && is_descending(list->buf->data + list->buf->size - 2 * n, n,
                             min, max))) {
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

    /* Port 0 is no port. */
    bool has_min = (nsx_is_hole(min, &hole)
                    || nsx_get16(list->buf->data + start));
    if (has_min) {
        *present |= PROTO_MIN;
    } else {
        list->buf->size = start;
    }
    if (!take_char(&rest, '-')) {
        return 0;
    }

    size_t max = list->buf->size;
    error = put_port(list, rest);
    if (error) {
        return error;
    } else if (has_min
               && is_descending(list->buf->data + start, 2, min, rest)) {
        return nsx_parse_error(list->parser, rest,
                               "the range ends before it starts");
    } else if (!nsx_is_hole(rest, &hole)
               && !nsx_get16(list->buf->data + max)) {
        list->buf->size = max;
    } else {
        *present |= PROTO_MAX;
    }
    return 0;
}

static int
parse_nat_range(struct nsx_action_list *list, struct nsx_slice text,
                uint16_t *present, int *af)
{
    struct nsx_slice rest = text;

    if (!text.n) {
        return 0;
    } else if (*present) {
        return nsx_parse_error(list->parser, text, "a second range");
    }

    int error = put_address_range(list, &rest, present, af);
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
    uint16_t flags = 0, present = 0;
    int af = AF_UNSPEC;
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
            int error = parse_nat_range(list, value, &present, &af);
            if (error) {
                return error;
            }
        }
    }
    if (bad_nat_flags(flags)) {
        return nsx_parse_error(list->parser, word, "%s",
                               bad_nat_flags(flags));
    } else if (af != AF_UNSPEC
               && nsx_demand(list, (nsx_action_list_eth_type(list)
                                    == (af == AF_INET ? 0x800 : 0x86dd)),
                             word, af == AF_INET ? "ip" : "ipv6")) {
        return EINVAL;
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
        return nsx_decode_error(check->error, NSX_OFPBAC_BAD_ARGUMENT,
                                position, "nat outside of ct");
    } else if (nsx_get16(a + 12) & ~0x1f) {
        return nsx_decode_error(check->error, NSX_OFPBAC_BAD_ARGUMENT,
                                position + 12, "unknown flags of nat");
    } else if (bad_nat_flags(nsx_get16(a + 12))) {
        return nsx_decode_error(check->error, NSX_OFPBAC_BAD_ARGUMENT,
                                position + 12, "%s",
                                bad_nat_flags(nsx_get16(a + 12)));
    } else if (!pull_nat(a, n, &nat)) {
        return nsx_decode_error(check->error, NSX_OFPBAC_BAD_ARGUMENT,
                                position + 14, "bad range of nat");
    }

    return 0;
}

static void
format_address(struct nsx_buf *buf, const struct nat *nat, const uint8_t *p)
{
    bool bracket = nat->af == AF_INET6 && nat->min_port;
    char string[INET6_ADDRSTRLEN];

    inet_ntop(nat->af, p, string, sizeof string);
    nsx_puts(buf, bracket ? "[" : "");
    nsx_puts(buf, string);
    nsx_puts(buf, bracket ? "]" : "");
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
        nsx_put8(buf, ':');
        nsx_put_decimal(buf, nsx_get16(nat->min_port));
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
