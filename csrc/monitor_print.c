/* monitor_print.c: what the switch tells of flows and groups unasked. */
#include "message_print.h"

#include "action.h"

#define OFPP_ANY 0xffffffff
#define OFPG_ANY 0xffffffff

static void
print_removal(struct nsx_buf *out, uint8_t reason)
{
    static const char *const reasons[] = {
        "idle", "hard", "delete", "group_delete", "meter_delete", "eviction",
    };

    if (reason < NSX_ARRAY_SIZE(reasons)) {
        nsx_printf(out, " reason=%s", reasons[reason]);
    } else {
        nsx_printf(out, " reason=%u", reason);
    }
}

/* Flows that are gone. */

struct removed {
    uint64_t cookie, n_packets, n_bytes;
    uint32_t duration_sec, duration_nsec;
    uint16_t idle_timeout, hard_timeout;
    uint8_t table_id;
};

static void
print_removed(struct nsx_print *p, const struct removed *r)
{
    if (r->table_id != 255) {
        nsx_puts(p->out, " table_id=");
        nsx_format_table(p->out, p->tables, r->table_id);
    }
    if (r->cookie) {
        nsx_printf(p->out, " cookie:0x%llx", (unsigned long long) r->cookie);
    }
    nsx_puts(p->out, " duration");
    nsx_print_duration(p->out, r->duration_sec, r->duration_nsec);
    nsx_printf(p->out, " idle%u", r->idle_timeout);
    if (r->hard_timeout) {
        nsx_printf(p->out, " hard%u", r->hard_timeout);
    }
    nsx_printf(p->out, " pkts%llu bytes%llu",
               (unsigned long long) r->n_packets,
               (unsigned long long) r->n_bytes);
}

int
nsx_print_flow_removed(struct nsx_print *p)
{
    const uint8_t *fr = nsx_print_pull(p, 16);
    struct nsx_oxs oxs;
    int retval;

    nsx_puts(p->out, " ");
    retval = nsx_print_match(p, false, nsx_get16(fr + 2));
    if (!retval) {
        print_removal(p->out, fr[1]);
        retval = nsx_print_oxs(p, &oxs);
    }
    if (!retval) {
        print_removed(p, &(struct removed) {
            .table_id = fr[0],
            .idle_timeout = nsx_get16(fr + 4),
            .hard_timeout = nsx_get16(fr + 6),
            .cookie = nsx_get64(fr + 8),
            .duration_sec = oxs.duration_sec,
            .duration_nsec = oxs.duration_nsec,
            .n_packets = oxs.n_packets,
            .n_bytes = oxs.n_bytes,
        });
    }
    return retval;
}

/* NXT_FLOW_REMOVED. */
int
nsx_print_nx_flow_removed(struct nsx_print *p)
{
    const uint8_t *fr = nsx_print_pull(p, 40);
    size_t match_len = nsx_get16(fr + 22);
    size_t padded = NSX_ROUND_UP(match_len, 8);
    int retval;

    if (padded > p->n) {
        return nsx_print_fail(p, NSX_OFPBMC_BAD_LEN,
                              "match of %zu bytes where there are %zu",
                              match_len, p->n);
    }
    nsx_puts(p->out, " ");
    retval = nsx_print_fields(p, p->p, match_len, false, nsx_get16(fr + 8));
    if (!retval && padded != p->n) {
        retval = nsx_print_fail(p, NSX_OFPBRC_BAD_LEN,
                                "%zu bytes after the match", p->n - padded);
    }
    if (!retval) {
        print_removal(p->out, fr[10]);
        print_removed(p, &(struct removed) {
            .cookie = nsx_get64(fr),
            .table_id = fr[11] ? (uint8_t) (fr[11] - 1) : 255,
            .duration_sec = nsx_get32(fr + 12),
            .duration_nsec = nsx_get32(fr + 16),
            .idle_timeout = nsx_get16(fr + 20),
            .n_packets = nsx_get64(fr + 24),
            .n_bytes = nsx_get64(fr + 32),
        });
    }
    return retval;
}

/* Flow monitors. */

enum { MONITOR_LEN = 16, MONITOR_DELETE = 2 };
enum { MONITOR_EVENTS = 0x0e, MONITOR_ALL_FLAGS = 0x5f };

int
nsx_print_monitor_request(struct nsx_print *p)
{
    static const char *const flags[] = {
        "initial", "add", "delete", "modify", "actions", "no-abbrev", "own",
    };

    while (p->n) {
        if (p->n < MONITOR_LEN) {
            return nsx_print_fail(p, NSX_OFPBRC_BAD_LEN,
                                  "flow monitor request is cut off");
        }

        const uint8_t *m = nsx_print_pull(p, MONITOR_LEN);
        uint16_t bits = nsx_get16(m + 12);
        bool delete = m[15] == MONITOR_DELETE;
        size_t start;
        int retval;

        nsx_printf(p->out, "\n id=%u", nsx_get32(m));
        if (delete) {
            nsx_puts(p->out, " command=delete");
        } else if (!(bits & MONITOR_EVENTS) || bits & ~MONITOR_ALL_FLAGS) {
            p->p = m + 12;
            return nsx_print_fail(p, NSX_OFPMOFC_BAD_FLAGS,
                                  "flow monitor's flags are 0x%x", bits);
        } else if (!nsx_port_is_valid(nsx_get32(m + 4))) {
            p->p = m + 4;
            return nsx_print_fail(p, NSX_OFPBAC_BAD_OUT_PORT,
                                  "there is no port 0x%x", nsx_get32(m + 4));
        } else {
            nsx_puts(p->out, " flags=");
            nsx_print_bits_by(p->out, bits, flags, NSX_ARRAY_SIZE(flags),
                              ',');
            if (nsx_get32(m + 4) != OFPP_ANY) {
                nsx_puts(p->out, " out_port=");
                nsx_format_port(p->out, nsx_get32(m + 4));
            }
            if (nsx_get32(m + 8) && nsx_get32(m + 8) != OFPG_ANY) {
                nsx_printf(p->out, " out_group=%d",
                           (int) nsx_get32(m + 8));
            }
            if (m[14] != 0xff) {
                nsx_puts(p->out, " table=");
                nsx_format_table(p->out, p->tables, m[14]);
            }
            nsx_puts(p->out, " ");
        }
        start = p->out->size;
        retval = nsx_print_match(p, false, NSX_DEFAULT_PRIORITY);
        if (retval) {
            return retval;
        }
        if (delete) {
            p->out->size = start;
        } else if (p->out->size == start) {
            p->out->size--;             /* No match, no space before it. */
        }
        nsx_print_keep(p);
    }
    return 0;
}

enum { EVENT_INITIAL, EVENT_ADDED, EVENT_REMOVED, EVENT_MODIFIED,
       EVENT_ABBREV, EVENT_PAUSED, EVENT_RESUMED, N_EVENTS };

/* A whole update, of a flow. */
static int
print_update(struct nsx_print *entry, uint16_t event)
{
    const uint8_t *u = nsx_print_pull(entry, 24);
    struct nsx_buf *out = entry->out;
    int retval;

    if (event == EVENT_REMOVED) {
        print_removal(out, u[5]);
    }
    nsx_puts(out, " table=");
    nsx_format_table(out, entry->tables, u[4]);
    if (nsx_get16(u + 6)) {
        nsx_printf(out, " idle_timeout=%u", nsx_get16(u + 6));
    }
    if (nsx_get16(u + 8)) {
        nsx_printf(out, " hard_timeout=%u", nsx_get16(u + 8));
    }
    /* As "%#x", which has no prefix for 0. */
    nsx_printf(out, " cookie=%#llx ", (unsigned long long) nsx_get64(u + 16));

    retval = nsx_print_match(entry, false, NSX_DEFAULT_PRIORITY);
    if (!retval) {
        retval = nsx_instructions_check(entry->p, entry->n,
                                        (size_t) (entry->p - entry->msg),
                                        entry->error);
    }
    if (!retval && entry->n) {
        if (out->data[out->size - 1] != ' ') {
            nsx_puts(out, " ");
        }
        nsx_puts(out, "actions=");
        nsx_instructions_format(out, entry->p, entry->n, entry->tables);
    }
    return retval;
}

int
nsx_print_monitor_reply(struct nsx_print *p)
{
    static const char *const events[] = {
        "INITIAL", "ADDED", "DELETED", "MODIFIED", "ABBREV", "PAUSED",
        "RESUMED",
    };

    while (p->n) {
        size_t len = p->n < 4 ? SIZE_MAX : nsx_get16(p->p);
        struct nsx_print entry = *p;
        uint16_t event;
        int retval = 0;

        if (len > p->n || len % 8) {
            return nsx_print_fail(p, NSX_OFPBRC_BAD_LEN,
                                  "flow update of %zu bytes", p->n);
        }
        entry.n = len;
        event = nsx_get16(nsx_print_pull(p, len) + 2);
        if (event >= N_EVENTS) {
            return nsx_print_fail(&entry, NSX_NXBRC_FM_BAD_EVENT,
                                  "flow update of event %u", event);
        } else if (event <= EVENT_MODIFIED ? entry.n < 24 : entry.n != 8) {
            return nsx_print_fail(&entry, NSX_OFPBRC_BAD_LEN,
                                  "flow update of event %u and %zu bytes",
                                  event, entry.n);
        }
        nsx_printf(p->out, "\n event=%s", events[event]);
        if (event == EVENT_ABBREV) {
            nsx_printf(p->out, " xid=0x%x", nsx_get32(entry.p + 4));
        } else if (event <= EVENT_MODIFIED) {
            retval = print_update(&entry, event);
        }
        if (retval) {
            return retval;
        }
        nsx_print_keep(p);
    }
    return 0;
}

/* What another controller has asked for. */
int
nsx_print_requestforward(struct nsx_print *p)
{
    struct nsx_header header;
    struct nsx_print inner = *p;
    bool group;
    int retval;

    retval = nsx_header_decode(p->p, p->n, &header, p->error);
    if (retval || header.length > p->n) {
        return nsx_print_fail(p, NSX_OFPBFC_MSG_BAD_LEN,
                              "forwarded message is cut off");
    } else if (header.version != NSX_OFP_VERSION) {
        return nsx_print_fail(p, NSX_OFPBRC_BAD_VERSION,
                              "forwarded message of version %u",
                              header.version);
    }
    group = header.type == NSX_OFPT_GROUP_MOD;
    if (!group && header.type != NSX_OFPT_METER_MOD) {
        return nsx_print_fail(p, NSX_OFPBFC_MSG_UNSUP,
                              "forwarded message of type %u", header.type);
    } else if (header.length < (group ? 24 : 16)
               || (group && header.length % 8)) {
        return nsx_print_fail(p, NSX_OFPBRC_BAD_LEN,
                              "forwarded message of %u bytes",
                              header.length);
    }
    inner.header = &header;
    inner.msg = p->p;
    inner.p = p->p + NSX_OFP_HEADER_LEN;
    inner.n = header.length - NSX_OFP_HEADER_LEN;
    nsx_printf(p->out, " reason=%s", group ? "group_mod" : "meter_mod");
    retval = (group ? nsx_print_group_mod(&inner)
              : nsx_print_meter_mod(&inner));
    if (retval) {
        p->error->position += (size_t) (p->p - p->msg);
    }
    return retval;
}
