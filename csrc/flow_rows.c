/* flow_rows.c: many flows as rows of numbers, for those who filter and sort
 * them without an object each. */
#include "flow.h"

/* Reads the statistics (OXS) of 'n' bytes at 'p' into '*row'. */
static bool
read_stats(const uint8_t *p, size_t n, struct nsx_flow_row *row)
{
    enum { OXS_DURATION = 0x80020008, OXS_IDLE_TIME = 0x80020208,
           OXS_PACKETS = 0x80020808, OXS_BYTES = 0x80020a08 };

    while (n) {
        size_t len = n < 4 ? 0 : 4 + (size_t) p[3];

        if (n < 4 || n < len) {
            return false;
        }
        switch (nsx_get32(p)) {
        case OXS_DURATION:
            row->duration_sec = nsx_get32(p + 4);
            row->duration_nsec = nsx_get32(p + 8);
            break;
        case OXS_IDLE_TIME:
            row->idle_age = (int32_t) (nsx_get32(p + 4) & INT32_MAX);
            break;
        case OXS_PACKETS:
            row->n_packets = nsx_get64(p + 4);
            break;
        case OXS_BYTES:
            row->n_bytes = nsx_get64(p + 4);
            break;
        }
        p += len;
        n -= len;
    }
    return true;
}

/* Reads the struct ofp15_flow_desc of 'n' bytes at 'p', 'origin' bytes from
 * the start of all replies.  That match and instructions are valid is not
 * checked: those who read them do. */
static bool
read_flow(const uint8_t *p, size_t n, uint64_t origin,
          struct nsx_flow_row *row)
{
    size_t match_len, stats_len, at;

    match_len = n < FD_LEN + 4 ? 0 : nsx_get16(p + FD_LEN + 2);
    at = FD_LEN + NSX_ROUND_UP(match_len, 8);
    if (match_len < 4 || at > n || n - at < 4) {
        return false;
    }
    stats_len = nsx_get16(p + at + 2);
    if (stats_len < 4 || NSX_ROUND_UP(stats_len, 8) > n - at) {
        return false;
    }
    *row = (struct nsx_flow_row) {
        .cookie = nsx_get64(p + FD_COOKIE),
        .n_packets = UINT64_MAX,
        .n_bytes = UINT64_MAX,
        .match = origin + FD_LEN,
        .match_len = (uint32_t) (at - FD_LEN),
        .idle_age = -1,
        .idle_timeout = nsx_get16(p + FD_IDLE_TIMEOUT),
        .hard_timeout = nsx_get16(p + FD_HARD_TIMEOUT),
        .importance = nsx_get16(p + FD_IMPORTANCE),
        .flags = nsx_get16(p + FD_FLAGS),
        .priority = nsx_get16(p + FD_PRIORITY),
        .table_id = p[FD_TABLE_ID],
    };
    if (!read_stats(p + at + 4, stats_len - 4, row)) {
        return false;
    }
    at += NSX_ROUND_UP(stats_len, 8);
    row->instructions = origin + at;
    row->instructions_len = (uint32_t) (n - at);
    return true;
}

int
nsx_flow_rows(const void *msg_, size_t len, uint64_t origin,
              struct nsx_buf *rows, struct nsx_error *error)
{
    const uint8_t *msg = msg_;
    size_t size = rows->size;

    if (len < OFP_MULTIPART_LEN || nsx_get16(msg + 2) != len
        || msg[0] != OFP_VERSION || msg[1] != OFPT_MULTIPART_REPLY
        || nsx_get16(msg + OFP_HEADER_LEN) != OFPMP_FLOW_DESC) {
        return nsx_decode_error(error, NSX_OFPBRC_BAD_LEN, 0, "%zu bytes that "
                                "are no OFPMP_FLOW_DESC reply", len);
    }
    for (size_t at = OFP_MULTIPART_LEN; at < len;) {
        size_t n = len - at < 2 ? 0 : nsx_get16(msg + at);
        struct nsx_flow_row row;

        if (n < FD_LEN || n > len - at
            || !read_flow(msg + at, n, origin + at, &row)) {
            rows->size = size;
            return nsx_decode_error(error, NSX_OFPBRC_BAD_LEN, at,
                                    "flow of %zu bytes that can't be", n);
        }
        nsx_put(rows, &row, sizeof row);
        at += n;
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
        return nsx_decode_error(error, NSX_OFPBRC_BAD_LEN, len,
                                "flow beyond its %zu bytes", len);
    }
    view.match = data + row->match;
    view.instructions = data + row->instructions;
    return nsx_flow_format(&view, tables, with_cookie, with_stats, buf,
                           error);
}
