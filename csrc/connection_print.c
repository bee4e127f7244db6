/* connection_print.c: messages about the connection, bundles and meters. */
#include "message_print.h"

/* Connection. */

/* Prints the versions that the hello offers.  Without a bitmap those are all
 * up to the header's. */
int
nsx_print_hello(struct nsx_print *p)
{
    uint64_t versions = (UINT64_C(2) << (p->header->version & 31)) - 2;
    const char *separator = " ";

    while (p->n >= 4) {
        uint16_t type = nsx_get16(p->p);
        size_t len = nsx_get16(p->p + 2);

        if (len < 4 || len > p->n) {
            return nsx_print_fail(p, "hello's element of %zu bytes", len);
        }
        if (type == 1 && len >= 8) {
            versions = nsx_get32(p->p + 4);
            break;
        }
        len = NSX_ROUND_UP(len, 8);
        nsx_print_pull(p, len < p->n ? len : p->n);
    }

    nsx_puts(p->out, "\n version bitmap:");
    for (unsigned int i = 0; i < 32; i++) {
        if (versions & UINT64_C(1) << i) {
            nsx_printf(p->out, "%s0x%02x", separator, i);
            separator = ", ";
        }
    }
    return 0;
}

int
nsx_print_error(struct nsx_print *p)
{
    uint16_t type = nsx_get16(p->p);
    uint16_t code = nsx_get16(p->p + 2);
    uint32_t experimenter = 0;
    const char *name;

    nsx_print_pull(p, 4);
    if (type == 0xffff) {
        if (p->n < 4) {
            return nsx_print_fail(p, "error without its experimenter");
        }
        experimenter = nsx_get32(nsx_print_pull(p, 4));
    }

    name = nsx_error_name(type, code, experimenter);
    if (name) {
        nsx_printf(p->out, " %s\n", name);
    } else if (experimenter) {
        nsx_printf(p->out, " experimenter 0x%x code %u\n", experimenter,
                   code);
    } else {
        nsx_printf(p->out, " type %u code %u\n", type, code);
    }

    /* A failed hello is explained with a text; anything else with the
     * message that failed. */
    if (type) {
        nsx_print_inner(p, p->p, p->n);
    } else {
        for (size_t i = 0; i < p->n; i++) {
            uint8_t c = p->p[i];

            nsx_printf(p->out, c >= 0x20 && c < 0x7f ? "%c" : "\\%03o", c);
        }
    }
    return 0;
}

int
nsx_print_echo(struct nsx_print *p)
{
    nsx_printf(p->out, " %zu bytes of payload", p->n);
    return 0;
}

int
nsx_print_features(struct nsx_print *p)
{
    static const char *const capabilities[] = {
        "FLOW_STATS", "TABLE_STATS", "PORT_STATS", "GROUP_STATS", NULL,
        "IP_REASM", "QUEUE_STATS", NULL, "PORT_BLOCKED", "BUNDLES",
        "FLOW_MONITORING",
    };
    const uint8_t *f = p->p;

    nsx_printf(p->out, " dpid:%016llx\nn_tables:%u, n_buffers:%u",
               (unsigned long long) nsx_get64(f), f[12], nsx_get32(f + 8));
    if (f[13]) {
        nsx_printf(p->out, ", auxiliary_id:%u", f[13]);
    }
    nsx_puts(p->out, "\ncapabilities: ");
    nsx_print_bits(p->out, nsx_get32(f + 16), capabilities,
               NSX_ARRAY_SIZE(capabilities));
    return 0;
}

int
nsx_print_config(struct nsx_print *p)
{
    static const char *const frags[] = {
        "normal", "drop", "reassemble", "nx-match",
    };

    nsx_printf(p->out, " frags=%s miss_send_len=%u",
               frags[nsx_get16(p->p) & 3], nsx_get16(p->p + 2));
    return 0;
}

/* Bundles. */

static void
print_bundle(struct nsx_print *p, const uint8_t *bundle, bool with_type)
{
    static const char *const types[] = {
        "OPEN_REQUEST", "OPEN_REPLY", "CLOSE_REQUEST", "CLOSE_REPLY",
        "COMMIT_REQUEST", "COMMIT_REPLY", "DISCARD_REQUEST", "DISCARD_REPLY",
    };
    static const char *const flags[] = { "atomic", "ordered" };
    uint16_t type = nsx_get16(bundle + 4);

    /* As "%#x", which has no prefix for 0. */
    nsx_printf(p->out, "\n bundle_id=%#x", nsx_get32(bundle));
    if (with_type) {
        nsx_printf(p->out, " type=%s",
                   type < NSX_ARRAY_SIZE(types) ? types[type] : "");
    }
    nsx_puts(p->out, " flags=");
    nsx_print_bits(p->out, nsx_get16(bundle + 6), flags,
                   NSX_ARRAY_SIZE(flags));
}

int
nsx_print_bundle_control(struct nsx_print *p)
{
    print_bundle(p, p->p, true);
    return 0;
}

int
nsx_print_bundle_add(struct nsx_print *p)
{
    print_bundle(p, nsx_print_pull(p, 8), false);
    nsx_puts(p->out, "\n");
    nsx_print_inner(p, p->p, p->n);
    return 0;
}
/* Meters. */

int
nsx_print_meter_mod(struct nsx_print *p)
{
    static const char *const commands[] = { "ADD", "MOD", "DEL" };
    static const char *const flags[] = { "kbps", "pktps", "burst", "stats" };
    const uint8_t *mm = nsx_print_pull(p, 8);
    uint16_t command = nsx_get16(mm);
    uint16_t bits = nsx_get16(mm + 2);
    uint32_t meter_id = nsx_get32(mm + 4);

    if (command < NSX_ARRAY_SIZE(commands)) {
        nsx_printf(p->out, " %s ", commands[command]);
    } else {
        nsx_printf(p->out, " cmd:%u ", command);
    }
    if (meter_id == 0xffffffff) {
        nsx_puts(p->out, "meter=all ");
    } else {
        nsx_printf(p->out, "meter=%u ", meter_id);
    }
    if (bits) {
        nsx_print_bits(p->out, bits, flags, NSX_ARRAY_SIZE(flags));
        nsx_puts(p->out, " ");
    }
    nsx_puts(p->out, "bands=");
    while (p->n) {
        const uint8_t *band = p->p;

        if (nsx_get16(band + 2) != 16) {
            return nsx_print_fail(p, "meter band of %u bytes",
                                   nsx_get16(band + 2));
        }
        nsx_print_pull(p, 16);
        if (nsx_get16(band) == 1) {
            nsx_puts(p->out, "\ntype=drop");
        } else {
            nsx_printf(p->out, "\ntype=%u", nsx_get16(band));
        }
        nsx_printf(p->out, " rate=%u", nsx_get32(band + 4));
        if (bits & 4) {
            nsx_printf(p->out, " burst_size=%u", nsx_get32(band + 8));
        }
    }
    return 0;
}
