/* value_format.c: the text form of fields' values, as mf_format() in Open
 * vSwitch's lib/meta-flow.c prints them.  The other direction: value.c. */

#include "match.h"

#include <arpa/inet.h>

/* Flags and fragments. */

static const struct nsx_flags ct_state_flags = {
    { "new", "est", "rel", "rpl", "inv", "trk", "snat", "dnat" },
    0xff,
};

static const struct nsx_flags tcp_flags = {
    { "fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr", "ns",
      "[200]", "[400]", "[800]" },
    0xfff,
};

static const struct nsx_flags tun_flags = {
    { "oam", "df", "csum", "key" },
    0x1,
};

const struct nsx_flags *
nsx_field_flags(const struct nsx_field *field)
{
    return (field->format == NSX_FMT_CT_STATE ? &ct_state_flags
            : field->format == NSX_FMT_TCP_FLAGS ? &tcp_flags
            : field->format == NSX_FMT_TUN_FLAGS ? &tun_flags
            : NULL);
}

static void
format_flags(struct nsx_buf *buf, const struct nsx_flags *known,
             uint32_t flags, uint32_t mask)
{
    bool exact = (mask & known->all) == known->all;
    bool first = true;

    if (exact ? !(flags & known->all) : !(mask & known->all)) {
        nsx_puts(buf, exact ? "0" : "0/0");
        return;
    }
    for (size_t i = 0; i < NSX_N_FLAGS; i++) {
        if (!(known->all >> i & 1)) {
            continue;
        } else if (exact && flags >> i & 1) {
            nsx_puts(buf, first ? "" : "|");
            nsx_puts(buf, known->names[i]);
            first = false;
        } else if (!exact && mask >> i & 1) {
            nsx_puts(buf, flags >> i & 1 ? "+" : "-");
            nsx_puts(buf, known->names[i]);
        }
    }
}

const struct nsx_frag nsx_frags[NSX_N_FRAGS] = {
    { "no", 3, 0 },
    { "first", 3, 1 },
    { "later", 3, 3 },
    { "no", 1, 0 },
    { "yes", 1, 1 },
    { "not_later", 2, 0 },
    { "later", 2, 2 },
};

static void
format_frag(struct nsx_buf *buf, uint8_t value, uint8_t mask)
{
    const char *name = "<error>";

    for (size_t i = NSX_N_FRAGS; i-- > 0; ) {
        if (nsx_frags[i].mask == (mask & NSX_FRAG_MASK)
            && nsx_frags[i].value == (value & mask & NSX_FRAG_MASK)) {
            name = nsx_frags[i].name;
        }
    }
    nsx_puts(buf, name);
}

/* Numbers. */

static uint64_t
get_number(const uint8_t *p, size_t n)
{
    uint64_t x = 0;

    for (size_t i = 0; i < n; i++) {
        x = x << 8 | p[i];
    }
    return x;
}

/* Addresses. */

/* Returns the length of the prefix that 'mask' is, or -1. */
static int
prefix_len(const uint8_t *mask, size_t n)
{
    size_t n_bits = 0;

    while (n_bits < n * 8 && nsx_get_bit(mask, n, n * 8 - 1 - n_bits)) {
        n_bits++;
    }
    for (size_t i = n_bits; i < n * 8; i++) {
        if (nsx_get_bit(mask, n, n * 8 - 1 - i)) {
            return -1;
        }
    }
    return (int) n_bits;
}

static void
format_ip(struct nsx_buf *buf, int family, const uint8_t *p)
{
    char s[INET6_ADDRSTRLEN];

    inet_ntop(family, p, s, sizeof s);
    nsx_puts(buf, s);
}

static void
format_ip_mask(struct nsx_buf *buf, int family, const uint8_t *p)
{
    int n = prefix_len(p, family == AF_INET ? 4 : 16);

    if (n >= 0) {
        nsx_put_decimal(buf, (uint64_t) n);
    } else {
        format_ip(buf, family, p);
    }
}

static void
format_mac(struct nsx_buf *buf, const uint8_t *p)
{
    nsx_printf(buf, "%02x:%02x:%02x:%02x:%02x:%02x",
               p[0], p[1], p[2], p[3], p[4], p[5]);
}

static void
format_packet_type(struct nsx_buf *buf, const uint8_t *p)
{
    nsx_puts(buf, "packet_type=(");
    for (size_t i = 0; i < 4; i += 2) {
        uint16_t x = nsx_get16(p + i);

        nsx_printf(buf, x > 9 ? "0x%x%c" : "%u%c", x, i ? ')' : ',');
    }
}

/* All formats. */

void
nsx_field_format_value(struct nsx_buf *buf, const struct nsx_field *field,
                       const uint8_t *value, const uint8_t *mask)
{
    size_t n = field->n_bytes;
    enum nsx_format format = field->format;
    const struct nsx_flags *flags = nsx_field_flags(field);

    if (mask && nsx_is_all(mask, n, 0)) {
        nsx_puts(buf, "ANY");
        return;
    } else if (mask && nsx_is_all(mask, n, 0xff)) {
        mask = NULL;
    }

    if (flags) {
        format_flags(buf, flags, (uint32_t) get_number(value, n),
                     mask ? (uint32_t) get_number(mask, n) : UINT32_MAX);
        return;
    }
    switch (format) {
    case NSX_FMT_MAC:
        format_mac(buf, value);
        break;
    case NSX_FMT_IPV4:
        format_ip(buf, AF_INET, value);
        break;
    case NSX_FMT_IPV6:
        format_ip(buf, AF_INET6, value);
        break;
    case NSX_FMT_PORT:
        nsx_format_port(buf, (n == 4 ? nsx_get32(value)
                              : nsx_get16(value) >= 0xff00
                              ? nsx_get16(value) | 0xffff0000u
                              : nsx_get16(value)));
        return;
    case NSX_FMT_PACKET_TYPE:
        if (nsx_get32(value)) {
            format_packet_type(buf, value);
        } else {
            nsx_puts(buf, "eth");
        }
        return;
    case NSX_FMT_FRAG:
        format_frag(buf, *value, mask ? *mask : 0xff);
        return;
    case NSX_FMT_HEX:
        nsx_put_hex_bytes(buf, value, n);
        break;
    default:
        nsx_put_decimal(buf, get_number(value, n));
        break;
    }

    if (mask) {
        nsx_puts(buf, "/");
        switch (format) {
        case NSX_FMT_MAC:
            format_mac(buf, mask);
            break;
        case NSX_FMT_IPV4:
            format_ip_mask(buf, AF_INET, mask);
            break;
        case NSX_FMT_IPV6:
            format_ip_mask(buf, AF_INET6, mask);
            break;
        default:
            nsx_put_hex_bytes(buf, mask, n);
            break;
        }
    }
}
