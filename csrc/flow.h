/* flow.h: where flow_mods have what, and reading and writing them, for those
 * who know more of them than the C API says. */
#ifndef NSX_FLOW_H
#define NSX_FLOW_H 1

#include "core.h"

/* struct ofp_header, struct ofp_flow_mod and struct ofp15_flow_desc of
 * OpenFlow 1.5: where their members are. */
enum {
    OFP_VERSION = 6,
    OFPT_FLOW_MOD = 14,
    OFPT_MULTIPART_REPLY = 19,
    OFPMP_FLOW_DESC = 1,

    OFP_HEADER_LEN = 8,
    OFP_MULTIPART_LEN = 16,

    FM_COOKIE = 8,
    FM_COOKIE_MASK = 16,
    FM_TABLE_ID = 24,
    FM_COMMAND = 25,
    FM_IDLE_TIMEOUT = 26,
    FM_HARD_TIMEOUT = 28,
    FM_PRIORITY = 30,
    FM_BUFFER_ID = 32,
    FM_OUT_PORT = 36,
    FM_OUT_GROUP = 40,
    FM_FLAGS = 44,
    FM_IMPORTANCE = 46,
    FM_LEN = 48,

    FD_TABLE_ID = 4,
    FD_PRIORITY = 6,
    FD_IDLE_TIMEOUT = 8,
    FD_HARD_TIMEOUT = 10,
    FD_FLAGS = 12,
    FD_IMPORTANCE = 14,
    FD_COOKIE = 16,
    FD_LEN = 24,

    ALL_TABLES = 0xff,
};

/* OFPFF_*, in the order in which they are printed; a NULL name ends them. */
struct nsx_flow_flag {
    const char *name;
    uint16_t flag;
};

extern const struct nsx_flow_flag nsx_flow_flags[];

#define NSX_ALL_FLOW_FLAGS 0x1f

static inline bool
nsx_flow_deletes(enum nsx_flow_command command)
{
    return command == NSX_FLOW_DELETE || command == NSX_FLOW_DELETE_STRICT;
}

/* As nsx_flow_parse(), with a parser of the caller's, whose 'origin' is
 * 'buf->size'; the holes are noted where there may be some. */
int nsx_flow_parse__(const struct nsx_parser *, struct nsx_slice text,
                     enum nsx_flow_command, struct nsx_buf *);

/* As nsx_flow_mod_decode(); keeps the match that it reads. */
int nsx_flow_mod_decode__(const uint8_t *msg, size_t len,
                          enum nsx_flow_command *, struct nsx_flow_view *,
                          struct nsx_match *, struct nsx_error *);

#endif /* flow.h */
