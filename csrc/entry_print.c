/* entry_print.c: packets, flows and groups. */
#include "message_print.h"

#include "action.h"
#include "field.h"
#include "flow.h"
#include "group.h"

#define OFPP_ANY 0xffffffff
#define OFPG_ANY 0xffffffff
#define OFPG_ALL 0xfffffffc
#define NO_BUFFER 0xffffffff

/* Packets. */

void
nsx_print_reason(struct nsx_buf *out, uint8_t reason)
{
    static const char *const reasons[] = {
        "no_match", "action", "invalid_ttl", "action_set", "group",
        "packet_out",
    };

    if (reason < NSX_ARRAY_SIZE(reasons)) {
        nsx_printf(out, " (via %s)", reasons[reason]);
    } else {
        nsx_printf(out, " (via %u)", reason);
    }
}

void
nsx_print_packet_source(struct nsx_print *p, uint8_t table, uint64_t cookie,
                        size_t total_len)
{
    if (table || (p->tables && p->tables[0])) {
        nsx_puts(p->out, " table_id=");
        nsx_format_table(p->out, p->tables, table);
    }
    if (cookie != UINT64_MAX) {
        nsx_printf(p->out, " cookie=0x%llx", (unsigned long long) cookie);
    }
    nsx_printf(p->out, " total_len=%zu ", total_len);
}

void
nsx_print_packet_sizes(struct nsx_buf *out, uint32_t buffer_id,
                       size_t total_len, size_t data_len, uint8_t reason)
{
    nsx_print_reason(out, reason);
    nsx_printf(out, " data_len=%zu", data_len);
    if (buffer_id == NO_BUFFER) {
        nsx_puts(out, " (unbuffered)");
        if (total_len != data_len) {
            nsx_puts(out, " (***total_len != data_len***)");
        }
    } else {
        nsx_printf(out, " buffer=0x%08x", buffer_id);
        if (total_len < data_len) {
            nsx_puts(out, " (***total_len < data_len***)");
        }
    }
    nsx_puts(out, "\n");
}

void
nsx_print_packet_data(struct nsx_print *p, uint32_t buffer_id,
                      size_t total_len, uint8_t reason)
{
    nsx_print_packet_sizes(p->out, buffer_id, total_len, p->n, reason);
    nsx_print_packet(p->out, p->p, p->n);
}

int
nsx_print_packet_in(struct nsx_print *p)
{
    const uint8_t *pi = nsx_print_pull(p, 16);
    int retval;

    nsx_print_packet_source(p, pi[7], nsx_get64(pi + 8), nsx_get16(pi + 4));
    retval = nsx_print_match(p, true, NSX_DEFAULT_PRIORITY);
    if (retval) {
        return retval;
    }
    if (p->n < 2) {
        return nsx_print_fail(p, NSX_OFPBRC_BAD_LEN, "packet-in is cut off "
                              "before the packet");
    }
    nsx_print_pull(p, 2);
    nsx_print_packet_data(p, nsx_get32(pi), nsx_get16(pi + 4), pi[6]);
    return 0;
}

int
nsx_print_packet_out(struct nsx_print *p)
{
    const uint8_t *po = nsx_print_pull(p, 8);
    uint32_t buffer_id = nsx_get32(po);
    size_t actions_len = nsx_get16(po + 4);
    int retval;

    const uint8_t *match = p->p;
    nsx_puts(p->out, " ");
    retval = nsx_print_match(p, true, NSX_DEFAULT_PRIORITY);
    if (!retval) {
        retval = nsx_packet_out_check(match + 4, nsx_get16(match + 2) - 4u,
                                      (size_t) (match + 4 - p->msg), p->error);
    }
    if (retval) {
        return retval;
    }
    if (actions_len > p->n || actions_len % 8) {
        return nsx_print_fail(p, NSX_OFPBRC_BAD_LEN,
                              "%zu bytes of actions where there are %zu",
                              actions_len, p->n);
    }
    retval = nsx_actions_check(p->p, actions_len, (size_t) (p->p - p->msg),
                               NSX_IN_PACKET_OUT, p->error);
    if (retval) {
        return retval;
    }
    nsx_puts(p->out, " actions=");
    nsx_actions_format(p->out, nsx_print_pull(p, actions_len), actions_len,
                       p->tables);
    if (buffer_id == NO_BUFFER) {
        nsx_printf(p->out, " data_len=%zu", p->n);
        if (p->n) {
            nsx_puts(p->out, "\n");
            nsx_print_packet(p->out, p->p, p->n);
        }
    } else {
        nsx_printf(p->out, " buffer=0x%08x", buffer_id);
    }
    return 0;
}

/* Flows. */

int
nsx_print_flow_mod(struct nsx_print *p)
{
    static const char *const commands[] = {
        "ADD", "MOD", "MOD_STRICT", "DEL", "DEL_STRICT",
    };
    static const char *const flags[] = {
        "send_flow_rem", "check_overlap", "reset_counts", "no_packet_counts",
        "no_byte_counts",
    };
    const uint8_t *fm = p->msg;
    enum nsx_flow_command command;
    struct nsx_flow_view flow;
    struct nsx_match match;
    int retval;

    retval = nsx_flow_mod_decode__(fm, p->header->length, &command, &flow,
                                   &match, p->error);
    if (retval) {
        return retval;
    }

    nsx_puts(p->out, " ");
    nsx_puts(p->out, commands[command]);
    if (flow.table_id || (p->tables && p->tables[0])) {
        nsx_puts(p->out, " table:");
        nsx_format_table(p->out, p->tables, flow.table_id);
    }
    nsx_puts(p->out, " ");

    size_t start = p->out->size;
    nsx_match_format_priority(p->out, &match, flow.priority);
    if (p->out->size != start) {
        nsx_puts(p->out, " ");
    }

    /* What adds a flow gives it the cookie; anything else selects by it. */
    uint64_t cookie_mask = nsx_get64(fm + FM_COOKIE_MASK);
    if (command == NSX_FLOW_ADD && flow.cookie) {
        nsx_printf(p->out, "cookie:0x%llx ",
                   (unsigned long long) flow.cookie);
    } else if (command != NSX_FLOW_ADD && cookie_mask) {
        nsx_printf(p->out, "cookie:0x%llx/0x%llx ",
                   (unsigned long long) flow.cookie,
                   (unsigned long long) cookie_mask);
    }
    if (flow.idle_timeout) {
        nsx_printf(p->out, "idle:%u ", flow.idle_timeout);
    }
    if (flow.hard_timeout) {
        nsx_printf(p->out, "hard:%u ", flow.hard_timeout);
    }
    if (flow.importance) {
        nsx_printf(p->out, "importance:%u ", flow.importance);
    }
    if (nsx_get32(fm + FM_BUFFER_ID) != NO_BUFFER) {
        nsx_printf(p->out, "buf:0x%x ", nsx_get32(fm + FM_BUFFER_ID));
    }
    if (nsx_get32(fm + FM_OUT_PORT) != OFPP_ANY) {
        nsx_puts(p->out, "out_port:");
        nsx_format_port(p->out, nsx_get32(fm + FM_OUT_PORT));
        nsx_puts(p->out, " ");
    }
    if (flow.flags) {
        nsx_print_bits(p->out, flow.flags, flags, NSX_ARRAY_SIZE(flags));
        nsx_puts(p->out, " ");
    }

    nsx_puts(p->out, "actions=");
    nsx_instructions_format(p->out, flow.instructions, flow.instructions_len,
                            p->tables);
    return 0;
}

int
nsx_print_flow_request(struct nsx_print *p)
{
    const uint8_t *request = nsx_print_pull(p, 32);

    if (!nsx_port_is_valid(nsx_get32(request + 4))) {
        p->p = request + 4;
        return nsx_print_fail(p, NSX_OFPBAC_BAD_OUT_PORT,
                              "there is no port 0x%x",
                              nsx_get32(request + 4));
    }
    if (request[0] != 0xff) {
        nsx_puts(p->out, " table=");
        nsx_format_table(p->out, p->tables, request[0]);
    }
    if (nsx_get32(request + 4) != OFPP_ANY) {
        nsx_puts(p->out, " out_port=");
        nsx_format_port(p->out, nsx_get32(request + 4));
    }
    nsx_puts(p->out, " ");
    return nsx_print_match(p, false, NSX_DEFAULT_PRIORITY);
}

int
nsx_print_flow_reply(struct nsx_print *p)
{
    struct nsx_flow_view flow;
    size_t offset = 0;
    int retval;

    do {
        retval = nsx_flow_stats_next(p->msg, p->header->length, &offset,
                                     &flow, p->error);
        if (!retval) {
            nsx_puts(p->out, "\n ");
            retval = nsx_flow_format(&flow, p->tables, true, true, p->out,
                                     p->error);
        }
        nsx_print_keep(p);
    } while (!retval);
    return retval == ENOENT ? 0 : retval;
}

/* Groups. */

static void
print_command_bucket(struct nsx_buf *out, uint32_t bucket_id)
{
    static const char *const names[] = { "first", "last", "all" };

    nsx_puts(out, "command_bucket_id:");
    if (bucket_id >= NSX_BUCKET_FIRST) {
        nsx_puts(out, names[bucket_id - NSX_BUCKET_FIRST]);
    } else {
        nsx_printf(out, "%u", bucket_id);
    }
    nsx_puts(out, ",");
}

int
nsx_print_group_mod(struct nsx_print *p)
{
    struct nsx_group_view group;
    int retval;

    retval = nsx_group_mod_decode(p->msg, p->header->length, &group,
                                  p->error);
    if (retval) {
        return retval;
    }
    nsx_puts(p->out, "\n ");
    switch ((enum nsx_group_command) group.command) {
    case NSX_GROUP_ADD:
        nsx_puts(p->out, "ADD ");
        break;
    case NSX_GROUP_MODIFY:
        nsx_puts(p->out, "MOD ");
        break;
    case NSX_GROUP_DELETE:
        nsx_puts(p->out, "DEL ");
        break;
    case NSX_GROUP_INSERT_BUCKET:
        nsx_puts(p->out, "INSERT_BUCKET ");
        print_command_bucket(p->out, group.command_bucket_id);
        break;
    case NSX_GROUP_REMOVE_BUCKET:
        nsx_puts(p->out, "REMOVE_BUCKET ");
        print_command_bucket(p->out, group.command_bucket_id);
        break;
    case NSX_GROUP_ADD_OR_MOD:
        nsx_puts(p->out, "ADD_OR_MOD ");
        break;
    }
    return nsx_group_format(&group, p->tables, p->out, p->error);
}

int
nsx_print_group_request(struct nsx_print *p)
{
    uint32_t group_id = nsx_get32(p->p);

    if (group_id == OFPG_ALL) {
        nsx_puts(p->out, " group_id=ALL");
    } else if (group_id == OFPG_ANY) {
        nsx_puts(p->out, " group_id=ANY");
    } else {
        nsx_printf(p->out, " group_id=%u", group_id);
    }
    return 0;
}

int
nsx_print_group_reply(struct nsx_print *p)
{
    struct nsx_group_view group;
    size_t offset = 0;
    int retval;

    do {
        retval = nsx_group_desc_next(p->msg, p->header->length, &offset,
                                     &group, p->error);
        if (!retval) {
            nsx_puts(p->out, "\n ");
            retval = nsx_group_format(&group, p->tables, p->out, p->error);
        }
        nsx_print_keep(p);
    } while (!retval);
    return retval == ENOENT ? 0 : retval;
}
