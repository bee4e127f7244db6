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
    } else {
        nsx_printf(p->out, " format=%u", format);
    }
    return 0;
}

/* NXT_PACKET_IN2. */

enum {
    PIN_PACKET, PIN_FULL_LEN, PIN_BUFFER_ID, PIN_TABLE_ID, PIN_COOKIE,
    PIN_REASON, PIN_METADATA, PIN_USERDATA,
    PIN_N
};

int
nsx_print_packet_in2(struct nsx_print *p)
{
    /* A 64-bit value is aligned: four zeros are before it. */
    static const uint8_t min_len[PIN_N] = {
        [PIN_FULL_LEN] = 4, [PIN_BUFFER_ID] = 4, [PIN_TABLE_ID] = 1,
        [PIN_COOKIE] = 12, [PIN_REASON] = 1,
    };
    const uint8_t *at[PIN_N] = { NULL };
    size_t n[PIN_N] = { 0 };
    struct nsx_property property;

    while (p->n) {
        const uint8_t *start = p->p;

        if (!nsx_property_pull(&p->p, &p->n, &property)) {
            return nsx_property_fail(p, start);
        }
        if (property.type < PIN_N) {
            if (property.n < min_len[property.type]) {
                return nsx_property_fail(p, start);
            }
            at[property.type] = property.value;
            n[property.type] = property.n;
        }
    }

    uint8_t table = at[PIN_TABLE_ID] ? *at[PIN_TABLE_ID] : 0;
    if (table || (p->tables && p->tables[0])) {
        nsx_puts(p->out, " table_id=");
        nsx_format_table(p->out, p->tables, table);
    }
    if (at[PIN_COOKIE]) {
        nsx_printf(p->out, " cookie=0x%llx",
                   (unsigned long long) nsx_get64(at[PIN_COOKIE] + 4));
    }
    nsx_printf(p->out, " total_len=%zu ",
               at[PIN_FULL_LEN] ? nsx_get32(at[PIN_FULL_LEN]) : n[PIN_PACKET]);
    if (at[PIN_METADATA]) {
        int retval = nsx_print_fields(p, at[PIN_METADATA], n[PIN_METADATA],
                                      true, NSX_DEFAULT_PRIORITY);

        if (retval) {
            return retval;
        }
    }
    nsx_print_reason(p->out, at[PIN_REASON] ? *at[PIN_REASON] : 0);
    nsx_printf(p->out, " data_len=%zu", n[PIN_PACKET]);
    if (at[PIN_BUFFER_ID]) {
        nsx_printf(p->out, " buffer=0x%08x", nsx_get32(at[PIN_BUFFER_ID]));
    } else {
        nsx_puts(p->out, " (unbuffered)");
    }
    nsx_puts(p->out, "\n");
    if (n[PIN_USERDATA]) {
        nsx_puts(p->out, " userdata=");
        for (size_t i = 0; i < n[PIN_USERDATA]; i++) {
            nsx_printf(p->out, i ? ".%02x" : "%02x", at[PIN_USERDATA][i]);
        }
        nsx_puts(p->out, "\n");
    }
    nsx_print_packet(p->out, at[PIN_PACKET], n[PIN_PACKET]);
    return 0;
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
        return nsx_print_fail(p, "packet-in is cut off before the packet");
    }
    nsx_print_packet_source(p, pi[7], nsx_get64(pi + 8), nsx_get16(pi + 4));
    retval = nsx_print_fields(p, p->p, match_len, true,
                              NSX_DEFAULT_PRIORITY);
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
            return nsx_print_fail(p, "tunnel option of %u bytes for "
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
        return nsx_print_fail(p, "unknown command %u", command);
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

enum { CT_ORIG_TUPLE, CT_REPLY_TUPLE, CT_ZONE_ID };
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

/* Reads the properties of 'outer', after its own header and padding. */
static bool
tuple_decode(const struct nsx_property *outer, struct tuple *tuple)
{
    static const uint8_t lengths[TUPLE_N] = { 16, 16, 2, 2, 2, 1, 1 };
    const uint8_t *p = outer->value + 4;
    struct nsx_property property;
    size_t n;

    if (outer->n < 4) {
        return false;
    }
    n = outer->n - 4;
    while (n) {
        if (!nsx_property_pull(&p, &n, &property)
            || (property.type < TUPLE_N
                && property.n < lengths[property.type])) {
            return false;
        }
        if (property.type >= TUPLE_N) {
            continue;
        } else if (property.type <= TUPLE_DST) {
            memcpy(tuple->address[property.type], property.value, 16);
        } else {
            tuple->number[property.type]
                = (lengths[property.type] == 2
                   ? nsx_get16(property.value) : *property.value);
        }
    }
    return true;
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

int
nsx_print_ct_flush(struct nsx_print *p)
{
    struct tuple tuples[2] = { 0 };
    uint8_t protocol = *nsx_print_pull(p, 8);
    uint16_t zone = 0;
    struct nsx_property property;

    while (p->n) {
        const uint8_t *start = p->p;

        if (!nsx_property_pull(&p->p, &p->n, &property)
            || (property.type <= CT_REPLY_TUPLE
                && !tuple_decode(&property, &tuples[property.type]))
            || (property.type == CT_ZONE_ID && property.n < 2)) {
            return nsx_property_fail(p, start);
        }
        if (property.type == CT_ZONE_ID) {
            zone = nsx_get16(property.value);
        }
    }

    bool ipv4 = false;
    for (size_t i = 0; i < 2; i++) {
        ipv4 |= (is_mapped(tuples[i].address[TUPLE_SRC])
                 || is_mapped(tuples[i].address[TUPLE_DST]));
    }
    nsx_printf(p->out, " zone=%u '", zone);
    tuple_print(p->out, &tuples[0], protocol, ipv4);
    nsx_printf(p->out, ",ct_nw_proto=%u' '", protocol);
    tuple_print(p->out, &tuples[1], protocol, ipv4);
    nsx_puts(p->out, "'");
    return 0;
}
