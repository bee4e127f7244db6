/* flow_rows.c: many flows as rows of numbers, for those who filter and sort
 * them without an object each. */
#include "core.h"

int
nsx_flow_rows(const void *msg_, size_t len, uint64_t origin,
              struct nsx_buf *rows, struct nsx_error *error)
{
    const uint8_t *msg = msg_;
    size_t size = rows->size;
    struct nsx_flow_view view;
    size_t offset = 0;
    int retval;

    while (!(retval = nsx_flow_stats_next(msg, len, &offset, &view, error))) {
        struct nsx_flow_row row = {
            .cookie = view.cookie,
            .n_packets = view.n_packets,
            .n_bytes = view.n_bytes,
            .match = origin + (uint64_t) (view.match - msg),
            .instructions = origin + (uint64_t) (view.instructions - msg),
            .match_len = (uint32_t) view.match_len,
            .instructions_len = (uint32_t) view.instructions_len,
            .duration_sec = view.duration_sec,
            .duration_nsec = view.duration_nsec,
            .idle_age = (view.idle_age > INT32_MAX ? INT32_MAX
                         : (int32_t) view.idle_age),
            .idle_timeout = view.idle_timeout,
            .hard_timeout = view.hard_timeout,
            .importance = view.importance,
            .flags = view.flags,
            .priority = view.priority,
            .table_id = view.table_id,
        };

        nsx_put(rows, &row, sizeof row);
    }
    if (retval != ENOENT) {
        rows->size = size;
        return retval;
    }
    return 0;
}

int
nsx_flow_row_format(const void *data_, size_t len,
                    const struct nsx_flow_row *row, nsx_tables tables,
                    bool with_cookie, bool with_stats, struct nsx_buf *buf,
                    struct nsx_error *error)
{
    const uint8_t *data = data_;
    struct nsx_flow_view view = {
        .cookie = row->cookie,
        .n_packets = row->n_packets,
        .n_bytes = row->n_bytes,
        .idle_age = row->idle_age,
        .duration_sec = row->duration_sec,
        .duration_nsec = row->duration_nsec,
        .idle_timeout = row->idle_timeout,
        .hard_timeout = row->hard_timeout,
        .importance = row->importance,
        .flags = row->flags,
        .priority = row->priority,
        .table_id = row->table_id,
        .match_len = row->match_len,
        .instructions_len = row->instructions_len,
    };

    if (row->match > len || row->match_len > len - row->match
        || row->instructions > len
        || row->instructions_len > len - row->instructions) {
        return nsx_decode_error(error, len, "flow beyond its %zu bytes", len);
    }
    view.match = data + row->match;
    view.instructions = data + row->instructions;
    return nsx_flow_format(&view, tables, with_cookie, with_stats, buf,
                           error);
}
