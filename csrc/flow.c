/* flow.c: flows in flow_mods and in OFPMP_FLOW_DESC replies.  As text:
 * flow_parse.c, flow_format.c. */

#include "flow.h"

#include "action.h"
#include "field.h"

const struct nsx_flow_flag nsx_flow_flags[] = {
    { "send_flow_rem", 1 << 0 },
    { "check_overlap", 1 << 1 },
    { "reset_counts", 1 << 2 },
    { "no_packet_counts", 1 << 3 },
    { "no_byte_counts", 1 << 4 },
    { NULL, 0 },
};

/* Flow_mods. */

/* Checks the message's first 'min' bytes: version, type and length. */
static int
check_header(const uint8_t *msg, size_t len, uint8_t type, size_t min,
             struct nsx_error *error)
{
    if (len < OFP_HEADER_LEN || nsx_get16(msg + 2) != len) {
        return nsx_decode_error(error, NSX_OFPBRC_BAD_LEN, len < 2 ? len : 2,
                                "message of %u bytes where there are %zu",
                                len < 4 ? 0 : nsx_get16(msg + 2), len);
    } else if (msg[0] != OFP_VERSION) {
        return nsx_decode_error(error, NSX_OFPBRC_BAD_VERSION, 0, "message of "
                                "OpenFlow version %u, not %u (1.5)", msg[0],
                                OFP_VERSION);
    } else if (msg[1] != type) {
        return nsx_decode_error(error, NSX_OFPBRC_BAD_TYPE, 1,
                                "message of type %u, not %u", msg[1], type);
    } else if (len < min) {
        return nsx_decode_error(error, NSX_OFPBRC_BAD_LEN, 2, "message of %zu "
                                "bytes, its type has at least %zu", len, min);
    }
    return 0;
}

static int
check_flags(uint16_t flags, size_t position, struct nsx_error *error)
{
    return (flags & ~NSX_ALL_FLOW_FLAGS
            ? nsx_decode_error(error, NSX_OFPFMFC_BAD_FLAGS, position,
                               "unknown flow flags 0x%x",
                               flags & ~NSX_ALL_FLOW_FLAGS)
            : 0);
}

/* Reads the match at 'position' of 'msg' into '*view' and '*match', and checks
 * it. */
static int
view_match(const uint8_t *msg, size_t position, size_t end,
           struct nsx_flow_view *view, struct nsx_match *match,
           struct nsx_error *error)
{
    view->match = msg + position;
    return nsx_match_decode(msg + position, end - position, position, match,
                            &view->match_len, error);
}

static int
view_instructions(const uint8_t *msg, size_t position, size_t end,
                  struct nsx_flow_view *view, struct nsx_error *error)
{
    view->instructions = msg + position;
    view->instructions_len = end - position;
    return nsx_instructions_check(msg + position, end - position, position,
                                  error);
}

/* Reads what comes before the match of a flow_mod. */
static void
view_flow_mod(const uint8_t *msg, struct nsx_flow_view *view)
{
    *view = (struct nsx_flow_view) {
        .cookie = nsx_get64(msg + FM_COOKIE),
        .idle_timeout = nsx_get16(msg + FM_IDLE_TIMEOUT),
        .hard_timeout = nsx_get16(msg + FM_HARD_TIMEOUT),
        .importance = (msg[FM_COMMAND] == NSX_FLOW_ADD
                       ? nsx_get16(msg + FM_IMPORTANCE) : 0),
        .flags = nsx_get16(msg + FM_FLAGS),
        .priority = nsx_get16(msg + FM_PRIORITY),
        .table_id = msg[FM_TABLE_ID],
        .idle_age = -1,
    };
}

void
nsx_flow_mod_view(const void *msg_, size_t len, struct nsx_flow_view *view)
{
    const uint8_t *msg = msg_;

    view_flow_mod(msg, view);
    view->match = msg + FM_LEN;
    view->match_len = NSX_ROUND_UP(nsx_get16(view->match + 2), 8);
    view->instructions = view->match + view->match_len;
    view->instructions_len = len - FM_LEN - view->match_len;
}

int
nsx_flow_mod_decode(const void *msg, size_t len,
                    enum nsx_flow_command *command,
                    struct nsx_flow_view *view, struct nsx_error *error)
{
    struct nsx_match match;

    return nsx_flow_mod_decode__(msg, len, command, view, &match, error);
}

int
nsx_flow_mod_decode__(const uint8_t *msg, size_t len,
                      enum nsx_flow_command *command,
                      struct nsx_flow_view *view, struct nsx_match *match,
                      struct nsx_error *error)
{
    uint32_t out_port;
    int retval;

    retval = check_header(msg, len, OFPT_FLOW_MOD, FM_LEN, error);
    if (retval) {
        return retval;
    }
    if (msg[FM_COMMAND] > NSX_FLOW_DELETE_STRICT) {
        return nsx_decode_error(error, NSX_OFPFMFC_BAD_COMMAND, FM_COMMAND,
                                "unknown flow command %u", msg[FM_COMMAND]);
    }
    *command = (enum nsx_flow_command) msg[FM_COMMAND];
    if (msg[FM_TABLE_ID] == ALL_TABLES && !nsx_flow_deletes(*command)) {
        return nsx_decode_error(error, NSX_OFPFMFC_BAD_TABLE_ID, FM_TABLE_ID,
                                "there is no table 255 to put a flow into");
    }
    out_port = nsx_get32(msg + FM_OUT_PORT);
    if (!nsx_port_is_valid(out_port)) {
        return nsx_decode_error(error, NSX_OFPBAC_BAD_OUT_PORT, FM_OUT_PORT,
                                "there is no port 0x%x",
                                (unsigned int) out_port);
    }
    view_flow_mod(msg, view);
    retval = check_flags(view->flags, FM_FLAGS, error);
    if (!retval) {
        retval = view_match(msg, FM_LEN, len, view, match, error);
    }
    if (!retval) {
        retval = view_instructions(msg, FM_LEN + view->match_len, len, view,
                                   error);
    }
    return retval;
}

int
nsx_flow_mod_encode(const struct nsx_flow_view *view,
                    enum nsx_flow_command command, uint32_t xid,
                    struct nsx_buf *buf, struct nsx_error *error)
{
    size_t len = FM_LEN + view->match_len + view->instructions_len;

    if (len > UINT16_MAX) {
        return nsx_decode_error(error, NSX_NO_OFPERR, 0,
                                "a flow_mod of %zu bytes: OpenFlow allows %d",
                                len, UINT16_MAX);
    }

    uint8_t *p = nsx_put_zeros(buf, FM_LEN);
    p[0] = OFP_VERSION;
    p[1] = OFPT_FLOW_MOD;
    nsx_set16(p + 2, (uint16_t) len);
    nsx_set32(p + 4, xid);
    nsx_set64(p + FM_COOKIE, view->cookie);
    p[FM_TABLE_ID] = view->table_id;
    p[FM_COMMAND] = (uint8_t) command;
    nsx_set16(p + FM_IDLE_TIMEOUT, view->idle_timeout);
    nsx_set16(p + FM_HARD_TIMEOUT, view->hard_timeout);
    nsx_set16(p + FM_PRIORITY, view->priority);
    memset(p + FM_BUFFER_ID, 0xff, FM_FLAGS - FM_BUFFER_ID);
    nsx_set16(p + FM_FLAGS, view->flags);
    nsx_set16(p + FM_IMPORTANCE, view->importance);
    nsx_put(buf, view->match, view->match_len);
    nsx_put(buf, view->instructions, view->instructions_len);
    return 0;
}

/* Flows of replies. */

/* Reads the 'n' bytes of OXS statistics fields at 'position' of 'msg'. */
static int
view_stats(const uint8_t *msg, size_t position, size_t n,
           struct nsx_flow_view *view, struct nsx_error *error)
{
    enum { OXS_BASIC = 0x8002, OXS_DURATION = 0, OXS_IDLE_TIME = 1,
           OXS_PACKET_COUNT = 4, OXS_BYTE_COUNT = 5 };
    const uint8_t *p = msg + position;

    view->n_packets = view->n_bytes = UINT64_MAX;
    view->idle_age = -1;
    while (n) {
        size_t payload_len = n < 4 ? 0 : p[3];
        uint64_t x;

        if (n < 4 + payload_len) {
            return nsx_decode_error(error, NSX_OFPBRC_BAD_LEN,
                                    (size_t) (p - msg),
                                    "statistics are cut off");
        }
        if (nsx_get16(p) == OXS_BASIC && payload_len == 8) {
            x = nsx_get64(p + 4);
            switch (p[2] >> 1) {
            case OXS_DURATION:
                view->duration_sec = (uint32_t) (x >> 32);
                view->duration_nsec = (uint32_t) x;
                break;
            case OXS_IDLE_TIME:
                view->idle_age = (int64_t) (x >> 32);
                break;
            case OXS_PACKET_COUNT:
                view->n_packets = x;
                break;
            case OXS_BYTE_COUNT:
                view->n_bytes = x;
                break;
            }
        }
        p += 4 + payload_len;
        n -= 4 + payload_len;
    }
    return 0;
}

/* The error of a flow_desc of which there are only 'n' bytes: that of the
 * instructions where these have begun. */
static enum nsx_ofperr
cut_flow_desc(const uint8_t *p, size_t n)
{
    size_t match_len = n < FD_LEN + 4 ? n : nsx_get16(p + FD_LEN + 2);
    size_t stats = FD_LEN + NSX_ROUND_UP(match_len, 8);

    return (stats + 4 <= n
            && stats + nsx_get16(p + stats + 2) <= n
            ? NSX_OFPBIC_BAD_LEN : NSX_OFPBRC_BAD_LEN);
}

/* Reads the struct ofp15_flow_desc at '*offset', and moves that behind it. */
static int
view_flow_desc(const uint8_t *msg, size_t len, size_t *offset,
               struct nsx_flow_view *view, struct nsx_error *error)
{
    const uint8_t *p = msg + *offset;
    struct nsx_match match;
    size_t n = len - *offset < 2 ? 0 : nsx_get16(p);
    size_t end = *offset + n;
    int retval;

    if (n < FD_LEN || n > len - *offset) {
        return nsx_decode_error(error, cut_flow_desc(p, len - *offset),
                                *offset, "flow of %zu bytes where there are "
                                "%zu", n, len - *offset);
    }
    *view = (struct nsx_flow_view) {
        .cookie = nsx_get64(p + FD_COOKIE),
        .idle_timeout = nsx_get16(p + FD_IDLE_TIMEOUT),
        .hard_timeout = nsx_get16(p + FD_HARD_TIMEOUT),
        .importance = nsx_get16(p + FD_IMPORTANCE),
        .flags = nsx_get16(p + FD_FLAGS),
        .priority = nsx_get16(p + FD_PRIORITY),
        .table_id = p[FD_TABLE_ID],
    };

    retval = check_flags(view->flags, *offset + FD_FLAGS, error);
    if (!retval) {
        retval = view_match(msg, *offset + FD_LEN, end, view, &match, error);
    }
    if (retval) {
        return retval;
    }

    size_t at = *offset + FD_LEN + view->match_len;
    size_t stats_len = end - at < 4 ? 0 : nsx_get16(msg + at + 2);
    size_t padded = NSX_ROUND_UP(stats_len, 8);
    if (stats_len < 4 || padded > end - at) {
        return nsx_decode_error(error, NSX_OFPBRC_BAD_LEN, at, "statistics of "
                                "%zu bytes where there are %zu", stats_len,
                                end - at);
    }
    retval = view_stats(msg, at + 4, stats_len - 4, view, error);
    if (!retval) {
        retval = view_instructions(msg, at + padded, end, view, error);
    }
    if (!retval) {
        *offset = end;
    }
    return retval;
}

int
nsx_flow_stats_next(const void *msg_, size_t len, size_t *offset,
                    struct nsx_flow_view *view, struct nsx_error *error)
{
    const uint8_t *msg = msg_;

    if (!*offset) {
        int retval = check_header(msg, len, OFPT_MULTIPART_REPLY,
                                  OFP_MULTIPART_LEN, error);
        if (retval) {
            return retval;
        } else if (nsx_get16(msg + OFP_HEADER_LEN) != OFPMP_FLOW_DESC) {
            return nsx_decode_error(error, NSX_OFPBRC_BAD_LEN, OFP_HEADER_LEN,
                                    "multipart reply of type %u, not %u",
                                    nsx_get16(msg + OFP_HEADER_LEN),
                                    OFPMP_FLOW_DESC);
        }
        *offset = OFP_MULTIPART_LEN;
    }
    return (*offset >= len ? ENOENT
            : view_flow_desc(msg, len, offset, view, error));
}
