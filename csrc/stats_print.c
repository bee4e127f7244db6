/* stats_print.c: what the switch and its groups are and have done. */
#include "message_print.h"

enum { GROUP_STATS_LEN = 40, BUCKET_STATS_LEN = 16, IPFIX_LEN = 88 };

int
nsx_print_desc_reply(struct nsx_print *p)
{
    static const struct {
        const char *title;
        size_t len;
    } texts[] = {
        { "\nManufacturer: ", 256 }, { "\nHardware: ", 256 },
        { "\nSoftware: ", 256 }, { "\nSerial Num: ", 32 },
        { "\nDP Description: ", 256 },
    };

    for (size_t i = 0; i < NSX_ARRAY_SIZE(texts); i++) {
        nsx_puts(p->out, texts[i].title);
        nsx_print_text(p->out, nsx_print_pull(p, texts[i].len),
                       texts[i].len);
    }
    return 0;
}

int
nsx_print_aggregate_reply(struct nsx_print *p)
{
    struct nsx_oxs oxs;
    int retval = nsx_print_oxs(p, &oxs);

    if (!retval) {
        nsx_printf(p->out, " packet_count=%llu byte_count=%llu flow_count=%u",
                   (unsigned long long) oxs.n_packets,
                   (unsigned long long) oxs.n_bytes, oxs.flow_count);
    }
    return retval;
}

/* Groups. */

/* What Open vSwitch prints after the statistics that it could read. */
static int
end_group_stats(struct nsx_print *p, int error)
{
    nsx_puts(p->out, " ***parse error***");
    nsx_print_keep(p);
    return error;
}

int
nsx_print_group_stats_reply(struct nsx_print *p)
{
    while (p->n) {
        struct nsx_print entry;
        int retval = nsx_print_entry(p, 0, GROUP_STATS_LEN, &entry);

        if (retval) {
            return end_group_stats(p, retval);
        }

        const uint8_t *g = nsx_print_pull(&entry, GROUP_STATS_LEN);
        nsx_printf(p->out, "\n group_id=%u,", nsx_get32(g + 4));
        if (nsx_get32(g + 32) != UINT32_MAX) {
            nsx_puts(p->out, "duration=");
            nsx_print_duration(p->out, nsx_get32(g + 32), nsx_get32(g + 36));
            nsx_puts(p->out, ",");
        }
        nsx_printf(p->out, "ref_count=%u,packet_count=%llu,byte_count=%llu",
                   nsx_get32(g + 8), (unsigned long long) nsx_get64(g + 16),
                   (unsigned long long) nsx_get64(g + 24));
        for (unsigned int i = 0; entry.n >= BUCKET_STATS_LEN; i++) {
            const uint8_t *b = nsx_print_pull(&entry, BUCKET_STATS_LEN);

            if (nsx_get64(b) != UINT64_MAX) {
                nsx_printf(p->out, ",bucket%u:packet_count=%llu,"
                           "byte_count=%llu", i,
                           (unsigned long long) nsx_get64(b),
                           (unsigned long long) nsx_get64(b + 8));
            }
        }
        if (entry.n) {
            retval = nsx_print_fail(&entry, NSX_OFPBRC_BAD_LEN,
                                    "group's statistics are cut off");
            return end_group_stats(p, retval);
        }
        nsx_print_keep(p);
    }
    return 0;
}

/* The actions of OpenFlow 1.2 and later, as bits, in the order in which Open
 * vSwitch names them. */
static const struct {
    uint8_t bit;
    const char *name;
} actions[] = {
    { 0, "output" }, { 22, "group" }, { 25, "set_field" },
    { 18, "strip_vlan" }, { 17, "push_vlan" }, { 23, "mod_nw_ttl" },
    { 24, "dec_ttl" }, { 15, "set_mpls_ttl" }, { 16, "dec_mpls_ttl" },
    { 19, "push_mpls" }, { 20, "pop_mpls" }, { 21, "set_queue" },
};

uint32_t
nsx_print_known_actions(uint32_t bits)
{
    uint32_t known = 0;

    for (size_t i = 0; i < NSX_ARRAY_SIZE(actions); i++) {
        known |= UINT32_C(1) << actions[i].bit;
    }
    return bits & known;
}

void
nsx_print_action_names(struct nsx_buf *out, uint32_t bits)
{
    const char *separator = "";

    for (size_t i = 0; i < NSX_ARRAY_SIZE(actions); i++) {
        if (bits & UINT32_C(1) << actions[i].bit) {
            nsx_printf(out, "%s%s", separator, actions[i].name);
            separator = " ";
        }
    }
    if (!*separator) {
        nsx_puts(out, "<none>");
    }
}

int
nsx_print_group_features(struct nsx_print *p)
{
    static const char *const types[] = {
        "all", "select", "indirect", "fast failover",
    };
    const uint8_t *f = p->p;

    nsx_printf(p->out, "\n Group table:\n    Types:  0x%x\n"
               "    Capabilities:  0x%x\n", nsx_get32(f), nsx_get32(f + 4));
    for (size_t i = 0; i < NSX_ARRAY_SIZE(types); i++) {
        if (nsx_get32(f) & UINT32_C(1) << i) {
            /* As "%#x", which has no prefix for 0. */
            nsx_printf(p->out, "    %s group:\n       max_groups=%#x\n"
                       "       actions: ", types[i],
                       nsx_get32(f + 8 + 4 * i));
            nsx_print_action_names(p->out, nsx_get32(f + 24 + 4 * i));
            nsx_puts(p->out, "\n");
        }
    }
    return 0;
}

/* IPFIX. */

static void
print_ipfix(struct nsx_buf *out, const uint8_t *stats, int indent)
{
    nsx_print_count(out, "flows=", nsx_get64(stats));
    nsx_print_count(out, ", current flows=", nsx_get64(stats + 8));
    nsx_print_count(out, ", sampled pkts=", nsx_get64(stats + 16));
    nsx_print_count(out, ", ipv4 ok=", nsx_get64(stats + 24));
    nsx_print_count(out, ", ipv6 ok=", nsx_get64(stats + 32));
    nsx_print_count(out, ", tx pkts=", nsx_get64(stats + 64));
    nsx_printf(out, "\n%*s", indent, "");
    nsx_print_count(out, "pkts errs=", nsx_get64(stats + 40));
    nsx_print_count(out, ", ipv4 errs=", nsx_get64(stats + 48));
    nsx_print_count(out, ", ipv6 errs=", nsx_get64(stats + 56));
    nsx_print_count(out, ", tx errs=", nsx_get64(stats + 72));
    nsx_puts(out, "\n");
}

int
nsx_print_ipfix_bridge_reply(struct nsx_print *p)
{
    nsx_puts(p->out, "\n  bridge ipfix: ");
    print_ipfix(p->out, p->p, 16);
    return 0;
}

int
nsx_print_ipfix_flow_reply(struct nsx_print *p)
{
    nsx_printf(p->out, " %zu ids\n", p->n / IPFIX_LEN);
    while (p->n) {
        const uint8_t *stats = nsx_print_pull(p, IPFIX_LEN);

        nsx_printf(p->out, "  id %3u: ", nsx_get32(stats + 80));
        print_ipfix(p->out, stats, 10);
    }
    return 0;
}
