/* print_util.c: the pieces of which printers of messages are made. */
#include "message_print.h"

enum { PROPERTY_LEN = 4, EXPERIMENTER_LEN = 8 };

int
nsx_print_property(struct nsx_print *p, struct nsx_property *property)
{
    size_t len = p->n < PROPERTY_LEN ? 0 : nsx_get16(p->p + 2);
    size_t padded = NSX_ROUND_UP(len, 8);

    if (len < PROPERTY_LEN || padded > p->n) {
        return nsx_print_fail(p, NSX_OFPBPC_BAD_LEN,
                              "property of %zu bytes where there are %zu",
                              len, p->n);
    }
    *property = (struct nsx_property) {
        nsx_get16(p->p), p->p + PROPERTY_LEN, len - PROPERTY_LEN,
    };
    if (property->type == NSX_EXPERIMENTER_PROPERTY) {
        if (property->n < EXPERIMENTER_LEN) {
            return nsx_property_fail(p, property, NSX_OFPBPC_BAD_LEN,
                                     "a wrong length");
        } else if (!nsx_get32(property->value)) {
            return nsx_property_fail(p, property, NSX_OFPBPC_BAD_EXPERIMENTER,
                                     "experimenter 0");
        }
    }
    nsx_print_pull(p, padded);
    return 0;
}

int
nsx_property_check(struct nsx_print *p, const struct nsx_property *property,
                   size_t n, bool or_more)
{
    return ((or_more ? property->n >= n : property->n == n) ? 0
            : nsx_property_fail(p, property, NSX_OFPBPC_BAD_LEN,
                                "a wrong length"));
}

int
nsx_property_fail(struct nsx_print *p, const struct nsx_property *property,
                  enum nsx_ofperr ofperr, const char *why)
{
    p->p = property->value - PROPERTY_LEN;
    return nsx_print_fail(p, ofperr, "property %u has %s", property->type,
                          why);
}

int
nsx_property_unknown(struct nsx_print *p, const struct nsx_property *property)
{
    bool experimenter = property->type == NSX_EXPERIMENTER_PROPERTY;

    return nsx_property_fail(p, property, (experimenter
                                           ? NSX_OFPBPC_BAD_EXP_TYPE
                                           : NSX_OFPBPC_BAD_TYPE),
                             "an unknown type");
}

int
nsx_print_entry(struct nsx_print *p, size_t length_at, size_t min,
                struct nsx_print *entry)
{
    size_t len = (p->n < length_at + 2 ? 0 : nsx_get16(p->p + length_at));

    if (len < min || len > p->n) {
        return nsx_print_fail(p, NSX_OFPBRC_BAD_LEN, "entry of %zu bytes "
                              "where there are %zu", len, p->n);
    }
    *entry = *p;
    entry->p = nsx_print_pull(p, len);
    entry->n = len;
    return 0;
}

void
nsx_print_bits_by(struct nsx_buf *out, uint32_t bits,
                  const char *const *names, size_t n_names, char separator)
{
    bool any = false;

    if (!bits) {
        nsx_puts(out, "0");
    }
    for (size_t i = 0; i < n_names; i++) {
        if (bits & UINT32_C(1) << i && names[i]) {
            if (any) {
                nsx_put8(out, (uint8_t) separator);
            }
            nsx_puts(out, names[i]);
            any = true;
            bits &= ~(UINT32_C(1) << i);
        }
    }
    if (bits) {
        if (any) {
            nsx_put8(out, (uint8_t) separator);
        }
        nsx_printf(out, "0x%x", bits);
    }
}

void
nsx_print_bits(struct nsx_buf *out, uint32_t bits, const char *const *names,
               size_t n_names)
{
    nsx_print_bits_by(out, bits, names, n_names, ' ');
}

void
nsx_print_duration(struct nsx_buf *out, uint32_t sec, uint32_t nsec)
{
    nsx_printf(out, "%u", sec);
    if (nsec && nsec % 1000000 == 0) {
        nsx_printf(out, ".%03u", nsec / 1000000);
    } else if (nsec) {
        nsx_printf(out, ".%09u", nsec);
        while (out->data[out->size - 1] == '0') {
            out->size--;
        }
    }
    nsx_puts(out, "s");
}

void
nsx_print_count(struct nsx_buf *out, const char *name, uint64_t count)
{
    nsx_puts(out, name);
    if (count == UINT64_MAX) {
        nsx_puts(out, "?");
    } else {
        nsx_printf(out, "%llu", (unsigned long long) count);
    }
}

void
nsx_print_mac(struct nsx_buf *out, const uint8_t *mac)
{
    for (size_t i = 0; i < 6; i++) {
        nsx_printf(out, i ? ":%02x" : "%02x", mac[i]);
    }
}

void
nsx_print_text(struct nsx_buf *out, const uint8_t *p, size_t n)
{
    const uint8_t *end = memchr(p, '\0', n);

    nsx_put(out, p, end ? (size_t) (end - p) : n);
}

void
nsx_print_hex(struct nsx_buf *out, const uint8_t *p, size_t n)
{
    while (n > 1 && !*p) {
        p++;
        n--;
    }
    for (size_t i = 0; i < n; i++) {
        nsx_printf(out, i ? "%02x" : "0x%x", p[i]);
    }
}

void
nsx_print_dotted(struct nsx_buf *out, const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        nsx_printf(out, i ? ".%02x" : "%02x", p[i]);
    }
}

void
nsx_print_hex_dump(struct nsx_buf *out, const uint8_t *p, size_t n)
{
    enum { PER_LINE = 16 };

    for (size_t start = 0; start < n; start += PER_LINE) {
        size_t end = n - start < PER_LINE ? n - start : PER_LINE;

        nsx_printf(out, "%08zx  ", start);
        for (size_t i = 0; i < PER_LINE; i++) {
            if (i < end) {
                nsx_printf(out, "%02x%c", p[start + i],
                           i == PER_LINE / 2 - 1 ? '-' : ' ');
            } else {
                nsx_puts(out, "   ");
            }
        }
        nsx_puts(out, "|");
        for (size_t i = 0; i < PER_LINE; i++) {
            uint8_t c = i < end ? p[start + i] : ' ';

            nsx_put8(out, c >= 0x20 && c < 0x7f ? c : '.');
        }
        nsx_puts(out, "|\n");
    }
}

/* Statistics fields (OXS). */

int
nsx_print_oxs(struct nsx_print *p, struct nsx_oxs *oxs)
{
    enum { BASIC = 0x8002, DURATION = 0, IDLE = 1, FLOWS = 3, PACKETS = 4,
           BYTES = 5 };
    size_t len = p->n < 4 ? 0 : nsx_get16(p->p + 2);
    size_t padded = NSX_ROUND_UP(len, 8);

    if (len < 4 || padded > p->n) {
        return nsx_print_fail(p, NSX_OFPBMC_BAD_LEN,
                              "statistics of %zu bytes where there are %zu",
                              len, p->n);
    }

    const uint8_t *field = p->p + 4;
    const uint8_t *end = p->p + len;
    *oxs = (struct nsx_oxs) {
        .duration_sec = UINT32_MAX, .duration_nsec = UINT32_MAX,
        .flow_count = UINT32_MAX, .n_packets = UINT64_MAX,
        .n_bytes = UINT64_MAX,
    };
    while (field < end) {
        size_t left = (size_t) (end - field);
        size_t n = left < 4 ? left : field[3];

        if (left < 4 + n) {
            p->p = field;
            return nsx_print_fail(p, NSX_OFPBMC_BAD_LEN,
                                  "statistics are cut off");
        }

        uint8_t number = field[2] >> 1;
        if (nsx_get16(field) == BASIC && n == (number == FLOWS ? 4 : 8)) {
            if (number == DURATION) {
                oxs->duration_sec = nsx_get32(field + 4);
                oxs->duration_nsec = nsx_get32(field + 8);
            } else if (number == FLOWS) {
                oxs->flow_count = nsx_get32(field + 4);
            } else if (number == PACKETS) {
                oxs->n_packets = nsx_get64(field + 4);
            } else if (number == BYTES) {
                oxs->n_bytes = nsx_get64(field + 4);
            }
        }
        field += 4 + n;
    }
    nsx_print_pull(p, padded);
    return 0;
}
