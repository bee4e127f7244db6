/* nicira_print.c: Open vSwitch's own messages, as ovs-ofctl prints them. */
#include "message_print.h"

#include <arpa/inet.h>

/* NXT_SET_PACKET_IN_FORMAT. */

int
nsx_print_packet_in_format(struct nsx_print *p)
{
    static const char *const formats[] = {
        "standard", "nxt_packet_in", "nxt_packet_in2",
    };
    uint32_t format = nsx_get32(p->p);

    if (format < NSX_ARRAY_SIZE(formats)) {
        nsx_printf(p->out, " format=%s", formats[format]);
        return 0;
    }
    return nsx_print_fail(p, NSX_OFPBRC_EPERM,
                          "there is no format %u of packet-ins", format);
}

/* NXT_PACKET_IN. */
int
nsx_print_nx_packet_in(struct nsx_print *p)
{
    const uint8_t *pi = nsx_print_pull(p, 24);
    size_t match_len = nsx_get16(pi + 16);
    size_t padded = NSX_ROUND_UP(match_len, 8) + 2;
    int retval;

    if (padded > p->n) {
        return nsx_print_fail(p, (padded - 2 > p->n ? NSX_OFPBMC_BAD_LEN
                                  : NSX_OFPBRC_BAD_LEN),
                              "packet-in is cut off before the packet");
    }
    nsx_print_packet_source(p, pi[7], nsx_get64(pi + 8), nsx_get16(pi + 4));
    retval = nsx_print_fields(p, p->p, match_len, true, NSX_DEFAULT_PRIORITY);
    if (!retval) {
        nsx_print_pull(p, padded);
        nsx_print_packet_data(p, nsx_get32(pi), nsx_get16(pi + 4), pi[6]);
    }
    return retval;
}

/* Options of the connection. */

int
nsx_print_flow_mod_table_id(struct nsx_print *p)
{
    nsx_puts(p->out, *p->p ? " enable" : " disable");
    return 0;
}

int
nsx_print_controller_id(struct nsx_print *p)
{
    nsx_printf(p->out, " id=%u", nsx_get16(p->p + 6));
    return 0;
}

/* NXT_TLV_TABLE_*: which tunnel options are which fields. */

enum { MAX_TLV_LEN = 124, N_TUN_METADATA = 64 };

/* Checks the mappings that are left, and adds up their lengths. */
static int
check_mappings(struct nsx_print *p, unsigned int n_fields,
               unsigned int *allocated)
{
    *allocated = 0;
    for (const uint8_t *m = p->p; m < p->p + p->n; m += 8) {
        if (m[3] % 4 || m[3] > MAX_TLV_LEN || nsx_get16(m + 4) >= n_fields) {
            p->p = m;
            return nsx_print_fail(p, (m[3] % 4 || m[3] > MAX_TLV_LEN
                                      ? NSX_NXTTMFC_BAD_OPT_LEN
                                      : NSX_NXTTMFC_BAD_FIELD_IDX),
                                  "tunnel option of %u bytes for "
                                  "tun_metadata%u", m[3], nsx_get16(m + 4));
        }
        *allocated += m[3];
    }
    return 0;
}

static void
print_mappings(struct nsx_print *p)
{
    nsx_puts(p->out, " mapping table:\n"
             "  class  type  length  match field\n"
             " ------  ----  ------  --------------");
    while (p->n) {
        const uint8_t *m = nsx_print_pull(p, 8);

        nsx_printf(p->out, "\n %#6x  %#4x  %6u  tun_metadata%u",
                   nsx_get16(m), m[2], m[3], nsx_get16(m + 4));
    }
}

int
nsx_print_tlv_table_mod(struct nsx_print *p)
{
    static const char *const commands[] = { "ADD", "DEL", "CLEAR" };
    enum { CLEAR = 2 };
    uint16_t command = nsx_get16(p->p);
    unsigned int allocated;
    int retval;

    if (command >= NSX_ARRAY_SIZE(commands)) {
        return nsx_print_fail(p, NSX_NXTTMFC_BAD_COMMAND, "unknown command %u",
                              command);
    }
    nsx_print_pull(p, 8);
    retval = check_mappings(p, N_TUN_METADATA, &allocated);
    if (retval) {
        return retval;
    }
    nsx_printf(p->out, "\n %s", commands[command]);
    if (command != CLEAR) {
        print_mappings(p);
    }
    return 0;
}

int
nsx_print_tlv_table_reply(struct nsx_print *p)
{
    const uint8_t *reply = nsx_print_pull(p, 16);
    unsigned int allocated;
    int retval = check_mappings(p, nsx_get16(reply + 4), &allocated);

    if (!retval) {
        nsx_printf(p->out, "\n max option space=%u max fields=%u\n"
                   " allocated option space=%u\n\n", nsx_get32(reply),
                   nsx_get16(reply + 4), allocated);
        print_mappings(p);
    }
    return retval;
}

/* NXT_CT_FLUSH and NXT_CT_FLUSH_ZONE. */

enum { CT_ORIG_TUPLE, CT_REPLY_TUPLE, CT_ZONE_ID, CT_MARK, CT_MARK_MASK,
       CT_LABELS, CT_LABELS_MASK };
enum {
    TUPLE_SRC, TUPLE_DST, TUPLE_SRC_PORT, TUPLE_DST_PORT, TUPLE_ICMP_ID,
    TUPLE_ICMP_TYPE, TUPLE_ICMP_CODE,
    TUPLE_N
};

struct tuple {
    uint8_t address[2][16];     /* Source, destination; IPv4 is mapped. */
    uint16_t number[TUPLE_N];   /* All that isn't an address. */
};

static bool
is_mapped(const uint8_t address[16])
{
    static const uint8_t prefix[12] = { [10] = 0xff, [11] = 0xff };

    return !memcmp(address, prefix, sizeof prefix);
}

int
nsx_print_ct_flush_zone(struct nsx_print *p)
{
    nsx_printf(p->out, " zone_id=%u", nsx_get16(p->p + 6));
    return 0;
}

/* The family of an address: 4, 6, or 0 where it is all zeros. */
static unsigned int
family(const uint8_t address[16])
{
    static const uint8_t zeros[16] = { 0 };

    return !memcmp(address, zeros, 16) ? 0 : is_mapped(address) ? 4 : 6;
}

/* Reads a property of the tuple.  '*ip' is the family of the address before
 * it, with which that of this has to agree. */
static int
pull_tuple_property(struct nsx_print *p, struct tuple *tuple, unsigned int *ip)
{
    static const uint8_t lengths[TUPLE_N] = { 16, 16, 2, 2, 2, 1, 1 };
    struct nsx_property property;
    int retval = nsx_print_property(p, &property);

    if (!retval && property.type < TUPLE_N) {
        retval = nsx_property_check(p, &property, lengths[property.type],
                                    true);
    }
    if (retval || property.type >= TUPLE_N) {
        return retval;
    } else if (property.type <= TUPLE_DST) {
        unsigned int other = family(property.value);

        memcpy(tuple->address[property.type], property.value, 16);
        if (*ip && other && *ip != other) {
            return nsx_property_fail(p, &property, NSX_OFPBPC_BAD_VALUE,
                                     "another IP version");
        }
        *ip = other;
    } else {
        tuple->number[property.type] = (lengths[property.type] == 2
                                        ? nsx_get16(property.value)
                                        : *property.value);
    }
    return 0;
}

/* Reads the properties in 'outer', which follow its header, padded. */
static int
pull_tuple(struct nsx_print *p, const struct nsx_property *outer,
           struct tuple *tuple, unsigned int *ip)
{
    struct nsx_print inner = *p;
    int retval = nsx_property_check(p, outer, 4, true);

    if (!retval) {
        inner.p = outer->value + 4;
        inner.n = outer->n - 4;
    }
    while (!retval && inner.n) {
        retval = pull_tuple_property(&inner, tuple, ip);
    }
    return retval;
}

static void
print_address(struct nsx_buf *out, const uint8_t address[16])
{
    char text[INET6_ADDRSTRLEN];

    if (is_mapped(address)) {
        inet_ntop(AF_INET, address + 12, text, sizeof text);
    } else {
        inet_ntop(AF_INET6, address, text, sizeof text);
    }
    nsx_puts(out, text);
}

static void
tuple_print(struct nsx_buf *out, const struct tuple *tuple, uint8_t protocol,
            bool ipv4)
{
    nsx_puts(out, ipv4 ? "ct_nw_src=" : "ct_ipv6_src=");
    print_address(out, tuple->address[TUPLE_SRC]);
    nsx_puts(out, ipv4 ? ",ct_nw_dst=" : ",ct_ipv6_dst=");
    print_address(out, tuple->address[TUPLE_DST]);
    if (protocol == IPPROTO_ICMP || protocol == IPPROTO_ICMPV6) {
        nsx_printf(out, ",icmp_id=%u,icmp_type=%u,icmp_code=%u",
                   tuple->number[TUPLE_ICMP_ID],
                   tuple->number[TUPLE_ICMP_TYPE],
                   tuple->number[TUPLE_ICMP_CODE]);
    } else {
        nsx_printf(out, ",ct_tp_src=%u,ct_tp_dst=%u",
                   tuple->number[TUPLE_SRC_PORT],
                   tuple->number[TUPLE_DST_PORT]);
    }
}

/* Of a connection's mark or labels: the value and the bits of it that are
 * compared. */
struct masked {
    uint8_t value[16], mask[16];
    bool has_value, has_mask;
};

static int
pull_masked(struct nsx_print *p, const struct nsx_property *property,
            size_t n, bool mask, struct masked *masked)
{
    int retval = nsx_property_check(p, property, n, false);

    if (!retval && mask) {
        memcpy(masked->mask, property->value, n);
        masked->has_mask = true;
    } else if (!retval) {
        memcpy(masked->value, property->value, n);
        masked->has_value = true;
    }
    return retval;
}

static void
print_masked(struct nsx_buf *out, const char *name, struct masked *m, size_t n)
{
    bool any = false, all = true;

    if (m->has_value && !m->has_mask) {
        memset(m->mask, 0xff, n);
    }
    for (size_t i = 0; i < n; i++) {
        any |= m->mask[i] != 0;
        all &= m->mask[i] == 0xff;
    }
    if (any) {
        nsx_printf(out, "%s=", name);
        nsx_print_hex(out, m->value, n);
        if (!all) {
            nsx_puts(out, "/");
            nsx_print_hex(out, m->mask, n);
        }
        nsx_puts(out, " ");
    }
}

int
nsx_print_ct_flush(struct nsx_print *p)
{
    static const uint8_t zeros[7] = { 0 };
    const uint8_t *flush = nsx_print_pull(p, 8);
    struct masked mark = { .has_value = false };
    struct masked labels = { .has_value = false };
    struct tuple tuples[2] = { 0 };
    unsigned int ip = 0;
    uint16_t zone = 0;

    if (memcmp(flush + 1, zeros, sizeof zeros)) {
        return nsx_print_fail(p, NSX_NXBRC_MUST_BE_ZERO,
                              "padding that isn't zero");
    }
    while (p->n) {
        struct nsx_property property;
        int retval = nsx_print_property(p, &property);

        if (retval) {
            return retval;
        }
        switch (property.type) {
        case CT_ORIG_TUPLE:
        case CT_REPLY_TUPLE:
            retval = pull_tuple(p, &property, &tuples[property.type], &ip);
            break;
        case CT_ZONE_ID:
            retval = nsx_property_check(p, &property, 2, true);
            if (!retval) {
                zone = nsx_get16(property.value);
            }
            break;
        case CT_MARK:
        case CT_MARK_MASK:
            retval = pull_masked(p, &property, 4,
                                 property.type == CT_MARK_MASK, &mark);
            break;
        case CT_LABELS:
        case CT_LABELS_MASK:
            retval = pull_masked(p, &property, 16,
                                 property.type == CT_LABELS_MASK, &labels);
            break;
        default:
            break;
        }
        if (retval) {
            return retval;
        }
    }

    nsx_printf(p->out, " zone=%u ", zone);
    print_masked(p->out, "mark", &mark, 4);
    print_masked(p->out, "labels", &labels, 16);
    nsx_puts(p->out, "'");
    tuple_print(p->out, &tuples[0], *flush, ip == 4);
    nsx_printf(p->out, ",ct_nw_proto=%u' '", *flush);
    tuple_print(p->out, &tuples[1], *flush, ip == 4);
    nsx_puts(p->out, "'");
    return 0;
}
