/* connection_print.c: messages about the connection, and bundles. */
#include "message_print.h"

/* Connection. */

/* Reads the versions that a hello offers into '*versions'.  Without a bitmap
 * those are all up to the header's.  Returns false if there is more in it. */
static bool
hello_versions(struct nsx_print *p, uint32_t *versions)
{
    uint8_t version = p->header->version;
    uint32_t all = ((version < 32 ? UINT32_C(1) << version : 0) - 1) << 1;
    bool understood = true;

    *versions = all;
    while (p->n) {
        size_t len = p->n < 4 ? 0 : nsx_get16(p->p + 2);
        size_t padded = NSX_ROUND_UP(len, 8);

        if (len < 4 || padded > p->n) {
            return false;
        }
        if (nsx_get16(p->p) == 1 && len > 4 && len % 4 == 0) {
            *versions = nsx_get32(p->p + 4) & ~UINT32_C(1);
            if (!*versions) {
                *versions = all;
                understood = false;
            }
        } else {
            understood = false;
        }
        nsx_print_pull(p, padded);
    }
    return understood;
}

int
nsx_print_hello(struct nsx_print *p)
{
    const char *separator = " ";
    uint32_t versions;
    bool understood = hello_versions(p, &versions);

    nsx_puts(p->out, "\n version bitmap:");
    for (unsigned int i = 0; i < 32; i++) {
        if (versions & UINT32_C(1) << i) {
            nsx_printf(p->out, "%s0x%02x", separator, i);
            separator = ", ";
        }
    }
    if (!understood) {
        nsx_puts(p->out, "\n unknown data in hello:\n");
        nsx_print_hex_dump(p->out, p->msg, p->header->length);
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
    if (!p->header->version || p->header->version > NSX_OFP_VERSION) {
        return nsx_print_fail(p, NSX_OFPBRC_BAD_LEN,
                              "error of OpenFlow version %u",
                              p->header->version);
    }
    if (type == 0xffff) {
        if (p->n < 4) {
            return nsx_print_fail(p, NSX_OFPBRC_BAD_LEN,
                                  "error without its experimenter");
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
    nsx_printf(p->out, " %zu bytes of payload\n", p->n);
    if (!p->quiet) {
        nsx_print_hex_dump(p->out, p->p, p->n);
    }
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
    nsx_print_bits(p->out, nsx_get32(f + 16) & 0x76f, capabilities,
               NSX_ARRAY_SIZE(capabilities));
    return 0;
}

int
nsx_print_config(struct nsx_print *p)
{
    static const char *const frags[] = {
        "normal", "drop", "reassemble", "nx-match",
    };
    uint16_t flags = nsx_get16(p->p);

    if (p->header->type == NSX_OFPT_SET_CONFIG
        && flags >= NSX_ARRAY_SIZE(frags)) {
        return nsx_print_fail(p, NSX_OFPSCFC_BAD_FLAGS,
                              "configuration with flags 0x%x", flags);
    }
    nsx_printf(p->out, " frags=%s miss_send_len=%u", frags[flags & 3],
               nsx_get16(p->p + 2));
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
    const uint8_t *bundle = nsx_print_pull(p, 8);
    const uint8_t *inner = p->p;
    size_t len = p->n < NSX_OFP_HEADER_LEN ? 0 : nsx_get16(inner + 2);

    if (p->n >= NSX_OFP_HEADER_LEN && *inner != NSX_OFP_VERSION) {
        return nsx_print_fail(p, NSX_OFPBFC_BAD_VERSION,
                              "message of version %u in a bundle", *inner);
    } else if (len < NSX_OFP_HEADER_LEN || len > p->n) {
        return nsx_print_fail(p, NSX_OFPBFC_MSG_BAD_LEN,
                              "message of %zu bytes in a bundle, of %zu", len,
                              p->n);
    } else if (nsx_get32(inner + 4) != p->header->xid) {
        return nsx_print_fail(p, NSX_OFPBFC_MSG_BAD_XID,
                              "message with xid 0x%x in a bundle",
                              nsx_get32(inner + 4));
    } else if (!nsx_print_is_bundlable(p, inner, len)) {
        return nsx_print_fail(p, NSX_OFPBFC_MSG_UNSUP,
                              "message of type %u in a bundle", inner[1]);
    }
    print_bundle(p, bundle, false);
    nsx_puts(p->out, "\n");
    nsx_print_inner(p, inner, len);
    return 0;
}
