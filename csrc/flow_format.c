/* flow_format.c: flows as text, as ovs-ofctl dump-flows prints them.  The
 * other direction: flow_parse.c. */

#include "flow.h"

#include "action.h"
#include "field.h"

/* Nanoseconds as ovs-ofctl prints them: none, 3 digits, or what it takes. */
static void
format_duration(struct nsx_buf *buf, uint32_t sec, uint32_t nsec)
{
    nsx_put_decimal(buf, sec);
    if (nsec && nsec % 1000000 == 0) {
        nsx_printf(buf, ".%03u", nsec / 1000000);
    } else if (nsec) {
        nsx_printf(buf, ".%09u", nsec);
        while (buf->data[buf->size - 1] == '0') {
            buf->size--;
        }
    }
    nsx_puts(buf, "s, ");
}

static void
format_count(struct nsx_buf *buf, const char *name, uint64_t count)
{
    nsx_puts(buf, name);
    if (count == UINT64_MAX) {
        nsx_puts(buf, "=?");
    } else {
        nsx_puts(buf, "=");
        nsx_put_decimal(buf, count);
    }
    nsx_puts(buf, ", ");
}

static void
format_nonzero(struct nsx_buf *buf, const char *name, uint16_t x)
{
    if (x) {
        format_count(buf, name, x);
    }
}

static void
format_flags(struct nsx_buf *buf, uint16_t flags)
{
    for (size_t i = 0; nsx_flow_flags[i].name; i++) {
        if (flags & nsx_flow_flags[i].flag) {
            nsx_printf(buf, "%s ", nsx_flow_flags[i].name);
        }
    }
}

/* Appends a checked flow, whose match is 'match'. */
static void
format_flow(const struct nsx_flow_view *view, const struct nsx_match *match,
            nsx_tables tables, bool with_cookie, bool with_stats,
            struct nsx_buf *buf)
{
    if (with_cookie && (with_stats || view->cookie)) {
        nsx_puts(buf, "cookie=");
        nsx_put_hex(buf, view->cookie, 1);
        nsx_puts(buf, ", ");
    }
    if (with_stats) {
        nsx_puts(buf, "duration=");
        format_duration(buf, view->duration_sec, view->duration_nsec);
    }
    if (with_stats || view->table_id
        || (tables && tables[view->table_id])) {
        nsx_puts(buf, "table=");
        nsx_format_table(buf, tables, view->table_id);
        nsx_puts(buf, ", ");
    }
    if (with_stats) {
        format_count(buf, "n_packets", view->n_packets);
        format_count(buf, "n_bytes", view->n_bytes);
    }
    format_nonzero(buf, "idle_timeout", view->idle_timeout);
    format_nonzero(buf, "hard_timeout", view->hard_timeout);
    format_flags(buf, view->flags);
    format_nonzero(buf, "importance", view->importance);
    if (with_stats && view->idle_age >= 0) {
        nsx_printf(buf, "idle_age=%lld, ", (long long) view->idle_age);
    }

    size_t start = buf->size;
    nsx_match_format_priority(buf, match, view->priority);
    if (buf->size > start) {
        nsx_puts(buf, " ");
    }
    nsx_puts(buf, "actions=");
    nsx_instructions_format(buf, view->instructions, view->instructions_len,
                            tables);
}

int
nsx_flow_format(const struct nsx_flow_view *view, nsx_tables tables,
                bool with_cookie, bool with_stats, struct nsx_buf *buf,
                struct nsx_error *error)
{
    struct nsx_match match;
    size_t match_len;

    int retval = nsx_match_decode(view->match, view->match_len, 0, &match,
                                  &match_len, error);
    if (!retval) {
        retval = nsx_instructions_check(view->instructions,
                                        view->instructions_len, 0, error);
    }
    if (!retval) {
        format_flow(view, &match, tables, with_cookie, with_stats, buf);
    }
    return retval;
}

int
nsx_flow_mod_format(const void *msg, size_t len, nsx_tables tables,
                    bool with_cookie, struct nsx_buf *buf,
                    struct nsx_error *error)
{
    enum nsx_flow_command command;
    struct nsx_flow_view view;
    struct nsx_match match;
    int retval = nsx_flow_mod_decode__(msg, len, &command, &view, &match,
                                       error);

    if (!retval) {
        format_flow(&view, &match, tables, with_cookie, false, buf);
    }
    return retval;
}
