/* nsxdp.h: the C API of nsxdp's core.
 *
 * OpenFlow 1.5 with Open vSwitch's extensions, between ovs-ofctl's syntax and
 * bytes; templates that stamp many messages from columns; the desired set;
 * OVSDB's tables.
 *
 * Conventions, for every function:
 *
 *    - 0 is success; any other value is a positive errno, and the
 *      'struct nsx_error' says what is wrong and where.
 *    - Output is appended to a 'struct nsx_buf'.  After a failure the buffer
 *      is as it was before the call.
 *    - No function keeps a pointer into its arguments after it returns, takes
 *      a lock, or has state outside of what it is handed: any number of
 *      threads may call with arguments of their own.
 *    - Input bytes are hostile: every length is checked. */
#ifndef NSXDP_H
#define NSXDP_H 1

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined __GNUC__
#define NSX_PRINTF(FMT, ARGS) __attribute__((format(printf, FMT, ARGS)))
#define NSX_API __attribute__((visibility("default")))
#else
#define NSX_PRINTF(FMT, ARGS)
#define NSX_API
#endif

/* Memory and errors. */

/* A growing byte buffer: one a batch, no allocation a message. */
struct nsx_buf {
    uint8_t *data;              /* 'size' bytes, or NULL. */
    size_t size;                /* Bytes in use. */
    size_t allocated;           /* Bytes at 'data'. */
};

/* An empty buffer, as a value. */
#define NSX_BUF_INITIALIZER { NULL, 0, 0 }

/* Makes a buffer empty; frees its memory. */
NSX_API void nsx_buf_init(struct nsx_buf *);
NSX_API void nsx_buf_uninit(struct nsx_buf *);

/* Appends 'n' bytes. */
NSX_API void nsx_buf_put(struct nsx_buf *, const void *, size_t n);

/* What is wrong, and where.  Written only where a function fails. */
#define NSX_ERROR_MAX 256
struct nsx_error {
    char message[NSX_ERROR_MAX];  /* One line, without a final newline. */
    size_t position;              /* Byte offset in the text or message. */
    const char *name;             /* Of the OpenFlow error that Open vSwitch
                                   * answers such a message with
                                   * ("OFPBRC_BAD_LEN"); NULL: none. */
};

/* Table names: 256 pointers, each a name or NULL.  Where a parameter of this
 * type is NULL, tables have only numbers. */
typedef const char *const *nsx_tables;


/* Flows. */

/* What a flow_mod does: OpenFlow's OFPFC_*. */
enum nsx_flow_command {
    NSX_FLOW_ADD = 0,
    NSX_FLOW_MODIFY = 1,
    NSX_FLOW_MODIFY_STRICT = 2,
    NSX_FLOW_DELETE = 3,
    NSX_FLOW_DELETE_STRICT = 4,
};

/* Parses one flow in ovs-ofctl's syntax ("table=1,priority=2,ip actions=drop")
 * and appends the OFPT_FLOW_MOD that 'command' makes of it, with xid 0.  The
 * bytes are those that ovs-ofctl -O OpenFlow15 sends. */
NSX_API int nsx_flow_parse(const char *text, size_t len,
                           enum nsx_flow_command, nsx_tables,
                           struct nsx_buf *, struct nsx_error *);

/* Likewise all the flows of a file: one a line, with comments from '#' on.  A
 * line may begin with a command's name ("delete_strict table=1"); others are
 * for 'command'. */
NSX_API int nsx_flows_parse(const char *text, size_t len,
                            enum nsx_flow_command, nsx_tables,
                            struct nsx_buf *, struct nsx_error *);

/* One flow of an OFPMP_FLOW_DESC reply, or of a flow_mod. Pointers point into
 * the message. */
struct nsx_flow_view {
    uint64_t cookie;
    uint64_t n_packets, n_bytes;        /* 0 in a flow_mod; UINT64_MAX where
                                         * the switch doesn't know. */
    int64_t idle_age;                   /* In seconds; -1: unknown. */
    uint32_t duration_sec, duration_nsec;
    uint16_t idle_timeout, hard_timeout, importance, flags, priority;
    uint8_t table_id;
    const uint8_t *match;               /* struct ofp_match, padded. */
    size_t match_len;
    const uint8_t *instructions;
    size_t instructions_len;
};

/* Reads the OFPT_FLOW_MOD of 'len' bytes at 'msg'. */
NSX_API int nsx_flow_mod_decode(const void *msg, size_t len,
                                enum nsx_flow_command *,
                                struct nsx_flow_view *, struct nsx_error *);

/* Likewise one that this library made: nothing is checked. */
NSX_API void nsx_flow_mod_view(const void *msg, size_t len,
                               struct nsx_flow_view *);

/* Appends the OFPT_FLOW_MOD that does 'command' with the flow.  Fails where
 * that is too long for a message. */
NSX_API int nsx_flow_mod_encode(const struct nsx_flow_view *,
                                enum nsx_flow_command, uint32_t xid,
                                struct nsx_buf *, struct nsx_error *);

/* Reads the next flow of the OFPMP_FLOW_DESC reply of 'len' bytes at 'msg'.
 * '*offset' starts as 0 and is the caller's place in it.  Returns ENOENT, and
 * writes no error, at the end. */
NSX_API int nsx_flow_stats_next(const void *msg, size_t len, size_t *offset,
                                struct nsx_flow_view *, struct nsx_error *);

/* Appends the flow as ovs-ofctl dump-flows prints it, without statistics and
 * without the leading space; 'with_cookie' and 'with_stats' add those. */
NSX_API int nsx_flow_format(const struct nsx_flow_view *, nsx_tables,
                            bool with_cookie, bool with_stats,
                            struct nsx_buf *, struct nsx_error *);

/* Likewise the flow of the OFPT_FLOW_MOD of 'len' bytes at 'msg'. */
NSX_API int nsx_flow_mod_format(const void *msg, size_t len, nsx_tables,
                                bool with_cookie, struct nsx_buf *,
                                struct nsx_error *);

/* A flow as a row of numbers.  'match' and 'instructions' are where those of
 * their bytes start in what the caller keeps the replies in. */
struct nsx_flow_row {
    uint64_t cookie, n_packets, n_bytes;
    uint64_t match, instructions;
    uint32_t match_len, instructions_len;
    uint32_t duration_sec, duration_nsec;
    int32_t idle_age;                   /* In seconds; -1: unknown. */
    uint16_t idle_timeout, hard_timeout, importance, flags, priority;
    uint8_t table_id;
    uint8_t pad;
};

/* Appends a 'struct nsx_flow_row' for each flow of the OFPMP_FLOW_DESC reply
 * of 'len' bytes at 'msg', which the caller keeps 'origin' bytes from the
 * start of all replies.  Matches and instructions aren't looked into. */
NSX_API int nsx_flow_rows(const void *msg, size_t len, uint64_t origin,
                          struct nsx_buf *rows, struct nsx_error *);

/* As nsx_flow_format(), a row of the 'len' bytes of replies at 'data'. */
NSX_API int nsx_flow_row_format(const void *data, size_t len,
                                const struct nsx_flow_row *, nsx_tables,
                                bool with_cookie, bool with_stats,
                                struct nsx_buf *, struct nsx_error *);

/* Groups. */

/* What a group_mod does: OpenFlow 1.5's OFPGC15_*. */
enum nsx_group_command {
    NSX_GROUP_ADD = 0,
    NSX_GROUP_MODIFY = 1,
    NSX_GROUP_DELETE = 2,
    NSX_GROUP_INSERT_BUCKET = 3,
    NSX_GROUP_REMOVE_BUCKET = 5,
    NSX_GROUP_ADD_OR_MOD = 0x8000,      /* Open vSwitch's extension. */
};

/* Parses one group in ovs-ofctl's syntax ("group_id=1,type=select,bucket=...")
 * and appends the OFPT_GROUP_MOD that 'command' makes of it, with xid 0.  A
 * group too long for one message (64 KiB) becomes one followed by as many
 * NSX_GROUP_INSERT_BUCKETs as it needs. */
NSX_API int nsx_group_parse(const char *text, size_t len,
                            enum nsx_group_command, nsx_tables,
                            struct nsx_buf *, struct nsx_error *);

/* One group of an OFPMP_GROUP_DESC reply, or of a group_mod.  Pointers point
 * into the message. */
struct nsx_group_view {
    uint16_t command;                   /* Of a group_mod, else ADD. */
    uint8_t type;                       /* OFPGT_*. */
    uint32_t group_id;
    uint32_t command_bucket_id;         /* Of a group_mod. */
    const uint8_t *buckets;             /* struct ofp15_bucket[]. */
    size_t buckets_len;
    const uint8_t *properties;          /* Selection method and its fields. */
    size_t properties_len;
};

/* One bucket of a group.  Pointers point into the message. */
struct nsx_bucket_view {
    uint32_t bucket_id;
    const uint8_t *bucket;              /* The whole struct ofp15_bucket. */
    size_t len;
};

/* Reads the OFPT_GROUP_MOD of 'len' bytes at 'msg'; the next group of an
 * OFPMP_GROUP_DESC reply; the next bucket of a group.  '*offset' starts as 0
 * and is the caller's place.  The latter two return ENOENT, and write no
 * error, at the end. */
NSX_API int nsx_group_mod_decode(const void *msg, size_t len,
                                 struct nsx_group_view *, struct nsx_error *);

/* Likewise one that this library made: nothing is checked. */
NSX_API void nsx_group_mod_view(const void *msg, size_t len,
                                struct nsx_group_view *);

/* Appends the OFPT_GROUP_MOD of the view's command.  Fails where it is too
 * long for a message. */
NSX_API int nsx_group_mod_encode(const struct nsx_group_view *, uint32_t xid,
                                 struct nsx_buf *, struct nsx_error *);
NSX_API int nsx_group_desc_next(const void *msg, size_t len, size_t *offset,
                                struct nsx_group_view *, struct nsx_error *);
NSX_API int nsx_bucket_next(const struct nsx_group_view *, size_t *offset,
                            struct nsx_bucket_view *, struct nsx_error *);

/* Appends the group as ovs-ofctl dump-groups prints it. */
NSX_API int nsx_group_format(const struct nsx_group_view *, nsx_tables,
                             struct nsx_buf *, struct nsx_error *);

/* Likewise the group of the OFPT_GROUP_MOD of 'len' bytes at 'msg'. */
NSX_API int nsx_group_mod_format(const void *msg, size_t len, nsx_tables,
                                 struct nsx_buf *, struct nsx_error *);

/* Meters. */

/* What a meter_mod does: OpenFlow's OFPMC_*. */
enum nsx_meter_command {
    NSX_METER_ADD = 0,
    NSX_METER_MODIFY = 1,
    NSX_METER_DELETE = 2,
};

/* Parses one meter in ovs-ofctl's syntax
 * ("meter=1,pktps,burst,band=type=drop,rate=100,burst_size=10"; "meter=1" to
 * delete) and appends the OFPT_METER_MOD that 'command' makes of it, with xid
 * 0. */
NSX_API int nsx_meter_parse(const char *text, size_t len,
                            enum nsx_meter_command, struct nsx_buf *,
                            struct nsx_error *);

/* Appends the meter of the OFPT_METER_MOD of 'len' bytes at 'msg' as ovs-ofctl
 * dump-meters prints it: a line, and one for each band. */
NSX_API int nsx_meter_format(const void *msg, size_t len, struct nsx_buf *,
                             struct nsx_error *);

/* Packet-outs. */

/* Parses a packet-out in ovs-ofctl's syntax
 * ("in_port=1,packet=HEX,actions=output:2") and appends the OFPT_PACKET_OUT,
 * with xid 0. */
NSX_API int nsx_packet_out_parse(const char *text, size_t len, nsx_tables,
                                 struct nsx_buf *, struct nsx_error *);

/* Appends the OFPT_PACKET_OUT of 'len' bytes at 'msg' in that syntax. */
NSX_API int nsx_packet_out_format(const void *msg, size_t len, nsx_tables,
                                  struct nsx_buf *, struct nsx_error *);

/* The parts of a flow: its match ("tcp,nw_dst=10.0.0.1": struct ofp_match,
 * padded), and its instructions, whose actions may be any packet's. */
NSX_API int nsx_match_text_parse(const char *text, size_t len,
                                 struct nsx_buf *, struct nsx_error *);
NSX_API int nsx_match_text_format(const void *match, size_t len,
                                  struct nsx_buf *, struct nsx_error *);
NSX_API int nsx_instructions_text_parse(const char *text, size_t len,
                                        nsx_tables, struct nsx_buf *,
                                        struct nsx_error *);
NSX_API int nsx_instructions_text_format(const void *instructions, size_t len,
                                         nsx_tables, struct nsx_buf *,
                                         struct nsx_error *);

/* Messages. */

/* Appends any OpenFlow 1.5 message as ovs-ofctl ofp-print does, on one line
 * where that is one line. */
NSX_API int nsx_message_format(const void *msg, size_t len, nsx_tables,
                               struct nsx_buf *, struct nsx_error *);

/* Likewise each of the messages that the 'len' bytes at 'msgs' are, with a
 * newline after it. */
NSX_API int nsx_messages_format(const void *msgs, size_t len, nsx_tables,
                                struct nsx_buf *, struct nsx_error *);

/* As nsx_message_format(), any bytes: what can't be read is shown with the
 * name of its error, and as bytes. */
NSX_API void nsx_message_print(const void *msg, size_t len, nsx_tables,
                               struct nsx_buf *);

/* Counts the whole messages at the front of the 'len' bytes at 'stream' and
 * sets '*used' to the bytes that they take.  Fails on a header that no message
 * can have. */
NSX_API int nsx_stream_split(const void *stream, size_t len, size_t *n,
                             size_t *used, struct nsx_error *);

/* Appends an OFPT_BUNDLE_ADD_MESSAGE for each of the messages that the 'len'
 * bytes at 'msgs' are; the xids of the i-th and of its envelope are
 * 'xid + i'. */
NSX_API int nsx_bundle_wrap(const void *msgs, size_t len, uint32_t bundle_id,
                            uint16_t flags, uint32_t xid, struct nsx_buf *,
                            struct nsx_error *);

/* Parses the actions of a packet-out ("output:1,resubmit(,2)") and appends
 * their bytes. */
NSX_API int nsx_packet_actions_parse(const char *text, size_t len, nsx_tables,
                                     struct nsx_buf *, struct nsx_error *);

/* The name ("OFPBFC_MSG_FAILED") of an error, or NULL. */
NSX_API const char *nsx_error_name(uint16_t type, uint16_t code,
                                   uint32_t experimenter);

/* Templates: one flow or group in ovs-ofctl's syntax, with '{name}' where a
 * column's values go. */

/* A template, made by nsx_template_new() and freed by nsx_template_free(). */
struct nsx_template;

/* A flow's template stamps OFPT_FLOW_MODs that add it.  A group's has exactly
 * one bucket, which is repeated for each bucket row: it stamps
 * NSX_GROUP_ADD_OR_MODs.  Which it is the text says: it is a group's if it
 * starts with "group_id=". */
NSX_API int nsx_template_new(const char *text, size_t len, nsx_tables,
                             struct nsx_template **, struct nsx_error *);
NSX_API void nsx_template_free(struct nsx_template *);

/* Whether it stamps groups, and how many holes it has. */
NSX_API bool nsx_template_is_group(const struct nsx_template *);
NSX_API size_t nsx_template_n_holes(const struct nsx_template *);

/* The i-th hole: its name, the number of bytes of the field, the bits that a
 * value may use, and whether its column has a row for each bucket, not for
 * each message.  A name used twice is one hole; one that is used in the bucket
 * and outside of it has a row for each group. */
NSX_API const char *nsx_template_hole(const struct nsx_template *, size_t i,
                                      size_t *n_bytes, size_t *n_bits,
                                      bool *in_bucket);

/* One hole's values: 'width' bytes a row, 'stride' bytes apart: 1, 2, 4 or 8
 * bytes are a number in the machine's byte order; any other width is bytes in
 * the network's order (MAC: 6, IPv6: 16).  stride 0: one value for all
 * rows. */
struct nsx_column {
    const void *data;
    size_t width;
    ptrdiff_t stride;
};

/* Stamps 'n' flows.  'columns' are in the order of the holes.  A value with
 * bits that its field hasn't is an error (ERANGE) that names hole and row,
 * whose number is the error's position.  Appends the messages, and to 'ends',
 * if it isn't NULL, writes 'n' sizes: where each ends in what was appended. */
NSX_API int nsx_template_stamp(const struct nsx_template *, size_t n,
                               const struct nsx_column *columns,
                               struct nsx_buf *, uint64_t *ends,
                               struct nsx_error *);

/* Stamps 'n' groups; the i-th has the bucket rows offsets[i]...offsets[i+1].
 * Buckets whose bucket_id is no hole are numbered from 0 in each group.  A
 * group too long for one message, if that is to be added to a bundle, is one
 * message followed by NSX_GROUP_INSERT_BUCKETs. */
NSX_API int nsx_template_stamp_groups(const struct nsx_template *, size_t n,
                                      const uint64_t *offsets,
                                      const struct nsx_column *columns,
                                      struct nsx_buf *, uint64_t *ends,
                                      struct nsx_error *);

/* A batch of stamped pieces, each of one of many owners. */
struct nsx_batch {
    const void *msgs;
    const uint64_t *ends;       /* 'n': where each piece ends in 'msgs'. */
    const uint64_t *owners;     /* 'n' numbers below 'n_owners'. */
    size_t n;
};

/* Appends the pieces of all the batches, ordered by owner, and for one owner
 * as they stand in the batches.  Writes 'n_owners' sizes to 'ends': where each
 * owner's pieces end in what was appended. */
NSX_API int nsx_gather(const struct nsx_batch *, size_t n_batches,
                       size_t n_owners, struct nsx_buf *, uint64_t *ends,
                       struct nsx_error *);

/* Writes a bucket's number for each of 'n' endpoints (see slots.c).  Group i
 * has those from offsets[i] to offsets[i + 1]. */
NSX_API int nsx_endpoint_slots(const uint8_t *addresses, size_t width,
                               const uint16_t *ports, size_t n,
                               const uint64_t *offsets, size_t n_groups,
                               uint32_t *slots, struct nsx_error *);

/* The desired set: what each owner needs on one switch. */

/* A set, made by nsx_desired_new() and freed by nsx_desired_free().  One
 * thread at a time may use it. */
struct nsx_desired;

/* What is in a delta.  A group that changes is counted once, and its buckets
 * where only they are sent. */
struct nsx_changes {
    uint64_t messages;
    uint64_t flows_added, flows_changed, flows_deleted;
    uint64_t groups_added, groups_changed, groups_deleted;
    uint64_t buckets_inserted, buckets_removed;
};

/* 'prefix' is the 16 most significant bits of every flow's cookie; the other
 * 48 are a hash of its content.  Groups have no cookie: those with ids of
 * 'first_group' to 'last_group' are the set's, and no others. */
NSX_API struct nsx_desired *nsx_desired_new(uint16_t prefix,
                                            uint32_t first_group,
                                            uint32_t last_group);
NSX_API void nsx_desired_free(struct nsx_desired *);

/* Makes 'owners[i]' (any number that the caller chose) need exactly the i-th
 * of the 'n' pieces of the 'len' bytes at 'msgs', which ends 'ends[i]' bytes
 * from its start: flow_mods (add) and group_mods (add or add_or_mod, with
 * insert_buckets following).  An empty piece: the owner needs nothing any
 * more.  Appends to 'delta' the messages, in an order that is valid at every
 * step, that turn what the owners needed into that; nothing else is touched.
 * 'struct nsx_changes *' may be NULL.
 *
 * New groups are sent in the order in which they are given, so that one whose
 * buckets use another can follow it, and deleted in the reverse.  The order of
 * a group's buckets is no content, except in a fast failover group's: buckets
 * are told apart by their ids.  A group that takes more than one message is
 * refused: Open vSwitch aborts when it is asked to show one.
 *
 * A flow (table, priority, match) or group that two owners want belongs to the
 * first until it lets go; then the next one's is installed.  So it is where
 * one owner's piece has it twice: the first counts. */
NSX_API int nsx_desired_replace(struct nsx_desired *, size_t n,
                                const uint64_t *owners, const void *msgs,
                                size_t len, const uint64_t *ends,
                                struct nsx_buf *delta, struct nsx_changes *,
                                struct nsx_error *);

/* Reconciliation: begin, show all the OFPMP_FLOW_DESC and OFPMP_GROUP_DESC
 * replies in any order, then diff.  The delta turns what was shown into what
 * is desired.  What nsx_desired_replace() gave in between is not needed: the
 * diff has it.
 *
 * Flows with another prefix are not touched, except those with one of the
 * 'n_old' 'old_prefixes', another version's, which are replaced or deleted.
 * The same cookie is taken as the same content; with 'verify', instructions
 * and timeouts are compared too. */
NSX_API void nsx_desired_begin(struct nsx_desired *, bool verify,
                               const uint16_t *old_prefixes, size_t n_old);
NSX_API int nsx_desired_installed(struct nsx_desired *, const void *msg,
                                  size_t len, struct nsx_error *);

/* How what was shown differs from what is desired.  'flows_old' are those of
 * those that were shown that have one of the old prefixes. */
struct nsx_diff {
    uint64_t flows_missing, flows_changed, flows_extra, flows_right;
    uint64_t groups_missing, groups_changed, groups_extra, groups_right;
    uint64_t flows_old;
};

/* Ends what nsx_desired_begin() began: appends the delta.  'struct nsx_diff *'
 * and 'struct nsx_changes *' may be NULL.
 *
 * With 'keep_old', another version's flows stay, and are not extra, in tables
 * in which nothing is desired: packets that are in connection tracking when a
 * bridge is taken over resume there. */
NSX_API int nsx_desired_diff(struct nsx_desired *, bool keep_old,
                             struct nsx_buf *delta, struct nsx_diff *,
                             struct nsx_changes *, struct nsx_error *);

/* Appends all that is desired, in an order that can be sent. */
NSX_API void nsx_desired_dump(const struct nsx_desired *, struct nsx_buf *);

/* Sets 'owners[i]' to who needs the flow at the table, the priority and the
 * match of 'rows[i]', which is of the 'len' bytes of replies at 'data'; to
 * UINT64_MAX where nobody does. */
NSX_API int nsx_desired_owners(const struct nsx_desired *, const void *data,
                               size_t len, const struct nsx_flow_row *rows,
                               size_t n, uint64_t *owners,
                               struct nsx_error *);

/* How much a set holds; 'bytes' of memory, without what the allocator adds. */
struct nsx_desired_size {
    uint64_t owners, flows, groups, buckets, bytes;
};
NSX_API void nsx_desired_size(const struct nsx_desired *,
                              struct nsx_desired_size *);

/* JSON in a stream: RFC 7047's messages don't say how long they are. */

/* What is known of the message that the stream is in; zeroed at the start. */
struct nsx_json_scan {
    size_t depth;               /* Braces that are open. */
    bool in_string, escaped;
};

/* Looks at the next 'n' bytes of the stream, once each.  Returns how many of
 * them belong to the first message; '*ended': it ends with them. */
NSX_API size_t nsx_json_scan(struct nsx_json_scan *, const void *data,
                             size_t n, bool *ended);

/* Appends a string of 'len' bytes of UTF-8 as JSON, with quotes. */
NSX_API void nsx_json_put_string(struct nsx_buf *, const char *, size_t len);

/* OVSDB (RFC 7047): tables of rows, as a server's updates make them.  A column
 * is an array of cells, one a row.  Strings, sets and maps are kept once,
 * however many cells have them. */

/* RFC 7047's <atomic-type>. */
enum nsx_atom_type {
    NSX_ATOM_INTEGER,
    NSX_ATOM_REAL,
    NSX_ATOM_BOOLEAN,
    NSX_ATOM_STRING,
    NSX_ATOM_UUID,
    NSX_ATOM_NONE,              /* For 'value' of a column that is no map. */
};

/* A column of a table, as its schema has it. */
struct nsx_ovsdb_column {
    const char *name;
    enum nsx_atom_type key, value;
    bool optional;              /* There may be none. */
    bool many;                  /* There may be more than one. */
};

/* One atom: which member is set is its type's business. */
struct nsx_atom {
    int64_t integer;
    double real;
    bool boolean;
    const char *string;         /* 'string_len' bytes of UTF-8. */
    size_t string_len;
    const uint8_t *uuid;        /* 16 bytes. */
};

/* A value: a number, or where what is longer than that is. */
union nsx_ovsdb_cell {
    int64_t integer;            /* Of a boolean, 0 or 1. */
    double real;
    struct nsx_datum *datum;    /* NULL: an empty string, set or map, or a UUID
                                 * of zeros. */
};

/* A database's tables, and one of them. */
struct nsx_ovsdb;
struct nsx_ovsdb_table;

/* A row as it was at one time.  It has its share in what its cells point to,
 * and must be given back before its database is freed. */
struct nsx_ovsdb_row {
    uint8_t uuid[16];
    union nsx_ovsdb_cell cells[];
};

/* A database's tables.  'seed', which nobody else may know, keeps those who
 * choose UUIDs and names from having them collide. */
NSX_API struct nsx_ovsdb *nsx_ovsdb_new(uint64_t seed);

/* Frees it with all tables; all rows must have been given back. */
NSX_API void nsx_ovsdb_free(struct nsx_ovsdb *);

/* Makes a table, to which updates of that name go from now on; a table that
 * had the name before must have been retired.  It is freed with the database.
 */
NSX_API struct nsx_ovsdb_table *
nsx_ovsdb_table_new(struct nsx_ovsdb *, const char *name,
                    const struct nsx_ovsdb_column *, size_t n);

/* Removes all rows, and has no update go to the table any more. */
NSX_API void nsx_ovsdb_table_retire(struct nsx_ovsdb_table *);

/* What happened to one row: 'before' is NULL where it came, 'after' where it
 * went. */
struct nsx_ovsdb_change {
    struct nsx_ovsdb_table *table;
    struct nsx_ovsdb_row *before, *after;
};

/* A growing list of them; empty where all of it is zero. */
struct nsx_ovsdb_changes {
    struct nsx_ovsdb_change *list;
    size_t n, allocated;
};

/* Frees it, and gives back the rows that are still in it. */
NSX_API void nsx_ovsdb_changes_uninit(struct nsx_ovsdb_changes *);

/* How updates of rows are written. */
enum nsx_ovsdb_updates {
    NSX_OVSDB_UPDATE,           /* RFC 7047, <table-updates>. */
    NSX_OVSDB_UPDATE2,          /* ovsdb-server(7), <table-updates2>. */
};

/* Takes table updates: all of them or, where something is wrong, none.  A
 * 'snapshot' has all the rows that there are.  The rows that changed are
 * appended to 'changes', where that isn't NULL. */
NSX_API int nsx_ovsdb_apply(struct nsx_ovsdb *, enum nsx_ovsdb_updates,
                            bool snapshot, const char *json, size_t len,
                            struct nsx_ovsdb_changes *, struct nsx_error *);

/* Reads one <row> (RFC 7047, 5.1), which needn't be in the table; columns that
 * it doesn't have get their defaults. */
NSX_API int nsx_ovsdb_row_parse(struct nsx_ovsdb_table *,
                                const uint8_t uuid[16], const char *json,
                                size_t len, struct nsx_ovsdb_row **,
                                struct nsx_error *);

/* Rows have places, which they keep.  Places are below
 * nsx_ovsdb_table_places(); some of them may be empty. */
#define NSX_OVSDB_NOWHERE SIZE_MAX

/* How many rows there are, and how many places. */
NSX_API size_t nsx_ovsdb_table_rows(const struct nsx_ovsdb_table *);
NSX_API size_t nsx_ovsdb_table_places(const struct nsx_ovsdb_table *);

/* Changes whenever a row comes or goes. */
NSX_API uint64_t nsx_ovsdb_table_version(const struct nsx_ovsdb_table *);

/* The UUID of the row at a place; NULL where it is empty. */
NSX_API const uint8_t *nsx_ovsdb_table_uuid(const struct nsx_ovsdb_table *,
                                            size_t place);

/* The place of the row of that UUID; NSX_OVSDB_NOWHERE if there is none. */
NSX_API size_t nsx_ovsdb_table_find(const struct nsx_ovsdb_table *,
                                    const uint8_t uuid[16]);

/* What the row at a place has in a column. */
NSX_API const union nsx_ovsdb_cell *
nsx_ovsdb_table_cell(const struct nsx_ovsdb_table *, size_t place,
                     size_t column);

/* Writes the numbers of a column of one number, or of at most one, to 'out',
 * one a row in the order of their places: 'int64_t's, of booleans too, or
 * 'double's.  'missing' stands for what an optional column doesn't have. */
NSX_API void nsx_ovsdb_table_numbers(const struct nsx_ovsdb_table *,
                                     size_t column,
                                     const union nsx_ovsdb_cell *missing,
                                     union nsx_ovsdb_cell *out);

/* The row at a place, for the caller to give back; gives it back; whether two
 * are the same row with the same values. */
NSX_API struct nsx_ovsdb_row *
nsx_ovsdb_row_get(const struct nsx_ovsdb_table *, size_t place);
NSX_API void nsx_ovsdb_row_free(struct nsx_ovsdb_table *,
                                struct nsx_ovsdb_row *);
NSX_API bool nsx_ovsdb_row_equals(const struct nsx_ovsdb_table *,
                                  const struct nsx_ovsdb_row *,
                                  const struct nsx_ovsdb_row *);

/* The atoms of a column's value, one after the other; of a map, each key and
 * then its value.  The strings live as long as the row does. */
struct nsx_atoms {
    enum nsx_atom_type type[2];
    unsigned int turn;
    const uint8_t *p, *end;
    union nsx_ovsdb_cell cell;
    bool is_cell;               /* 'cell' itself is the atom. */
};

/* Begins with a value; gives its next atom, or false at the end. */
NSX_API void nsx_atoms_init(struct nsx_atoms *,
                            const struct nsx_ovsdb_table *, size_t column,
                            const union nsx_ovsdb_cell *);
NSX_API bool nsx_atoms_next(struct nsx_atoms *, enum nsx_atom_type *,
                            struct nsx_atom *);

/* Has the table find rows by a column from now on: by its atom, by each member
 * of a set, by each key of a map, or, where 'key' isn't NULL, by what a map
 * has under that key.  Returns the index's number. */
NSX_API size_t nsx_ovsdb_index_add(struct nsx_ovsdb_table *, size_t column,
                                   const struct nsx_atom *key);

/* Which type of atom an index finds rows by. */
NSX_API enum nsx_atom_type
nsx_ovsdb_index_type(const struct nsx_ovsdb_table *, size_t index);

/* Appends the places of the rows that the index has under an atom, as
 * 'size_t's, in the order in which they came to it. */
NSX_API void nsx_ovsdb_index_find(const struct nsx_ovsdb_table *,
                                  size_t index, const struct nsx_atom *,
                                  struct nsx_buf *places);

/* A UUID's text has so many bytes.  Whether 'text' is one, and then its bytes;
 * the text, which doesn't end with a null character. */
#define NSX_UUID_LEN 36
NSX_API bool nsx_uuid_parse(const char *text, size_t len, uint8_t uuid[16]);
NSX_API void nsx_uuid_format(const uint8_t uuid[16], char text[NSX_UUID_LEN]);

#ifdef __cplusplus
}
#endif

#endif /* nsxdp.h */
