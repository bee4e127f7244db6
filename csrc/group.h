/* group.h: group_mods, for those who make them.
 *
 * The message: NSX_GROUP_MOD_LEN bytes (the OpenFlow header; command, 16 bits
 * at 8; type, 8 at 10; group_id, 32 at 12; the buckets' length, 16 at 16;
 * command_bucket_id, 32 at 20), then the buckets, then the properties.
 *
 * A bucket: its length (16 bits), its actions' length (16), its id (32), its
 * actions, its properties.
 *
 * So the bucket of a group that has one is the nsx_get16(msg +
 * NSX_GROUP_MOD_LEN) bytes at msg + NSX_GROUP_MOD_LEN; and of the holes that
 * nsx_group_parse__() notes, those with an offset in there are the bucket's,
 * those before and after it the group's. */
#ifndef NSX_GROUP_H
#define NSX_GROUP_H 1

#include "core.h"

#define NSX_GROUP_MOD_LEN 24
#define NSX_BUCKET_LEN 8

/* Other than the ids of buckets: command_bucket_id. */
#define NSX_BUCKET_MAX 0xffffff00u
#define NSX_BUCKET_FIRST 0xfffffffdu
#define NSX_BUCKET_LAST 0xfffffffeu
#define NSX_BUCKET_ALL 0xffffffffu

#define NSX_GROUP_MAX 0xffffff00u       /* Of group ids. */
#define NSX_GROUP_ALL 0xfffffffcu
#define NSX_GROUP_ANY 0xffffffffu

enum nsx_group_type {
    NSX_GROUP_TYPE_ALL,
    NSX_GROUP_TYPE_SELECT,
    NSX_GROUP_TYPE_INDIRECT,
    NSX_GROUP_TYPE_FF,
    NSX_N_GROUP_TYPES
};

/* Properties of a bucket: type (16 bits), length (16), value. */
#define NSX_BUCKET_PROPERTY_LEN 8

enum nsx_bucket_property {
    NSX_BUCKET_WEIGHT,                  /* 16 bits and 16 of padding. */
    NSX_BUCKET_WATCH_PORT,              /* 32 bits. */
    NSX_BUCKET_WATCH_GROUP,             /* 32 bits. */
};

#define NSX_WATCH_ANY 0xffffffffu       /* OFPP_ANY, OFPG_ANY. */

struct nsx_bucket_properties {
    uint16_t weight;
    uint32_t watch_port, watch_group;
};

/* Reads the 'n' bytes of properties at 'p', 'position' bytes into a message,
 * of a bucket.  What isn't there has the value that Open vSwitch takes for it
 * in a group of 'type'. */
int nsx_bucket_properties_read(const uint8_t *p, size_t n, size_t position,
                               uint8_t type, struct nsx_bucket_properties *,
                               struct nsx_error *);

/* Likewise of a whole bucket, which is checked. */
void nsx_bucket_properties(const uint8_t *bucket, uint8_t type,
                           struct nsx_bucket_properties *);

/* The property of a group that has its selection method: 16 bits 0xffff, its
 * length, the experimenter, 1, 32 bits of zeros; the method's name, padded to
 * 16 bytes with zeros; its parameter, 64 bits; OXMs of the fields to hash,
 * with their masks for values. */
#define NSX_NTR_VENDOR 0x0000154du
#define NSX_NTR_COMPAT_VENDOR 0x00001540u       /* As some have sent it. */
#define NSX_SELECTION_LEN 40
#define NSX_SELECTION_METHOD 16         /* Offset of the name... */
#define NSX_SELECTION_METHOD_LEN 16     /* ...and its length. */
#define NSX_SELECTION_PARAM 32          /* Offset of the parameter. */

struct nsx_field;

/* Reads one field of a selection method at the front of the 'n' bytes at 'p'
 * and returns its length, 0 if it is wrong. */
size_t nsx_selection_field_pull(const uint8_t *p, size_t n,
                                const struct nsx_field **,
                                const uint8_t **mask);

/* Checks the parts of a group of 'msg', whose lengths and pointers the view
 * has. */
int nsx_group_check(const struct nsx_group_view *, const uint8_t *msg,
                    struct nsx_error *);

/* As nsx_group_parse(), with the parser's tables, holes, text (of which 'text'
 * is a part) and error.  A hole may be group_id, selection_method_param, a
 * bucket's bucket_id and weight, and where actions have them; a text with
 * holes makes a single message.  Their offsets are from the message's start;
 * parser->origin doesn't matter. */
int nsx_group_parse__(const struct nsx_parser *, struct nsx_slice text,
                      enum nsx_group_command, struct nsx_buf *);

/* What group_message.c does with the group_mod at offset 'start' of a buffer,
 * which ends with it; 'at' is blamed. */

#define NSX_MESSAGE_MAX 65535

/* Gives the buckets with the id NSX_BUCKET_ALL the least ids that no other
 * has. */
void nsx_group_number_buckets(struct nsx_buf *, size_t start);

/* True, with the id, if two of the 'len' bytes of checked buckets have the
 * same. */
bool nsx_group_repeats_id(const uint8_t *buckets, size_t len, uint32_t *id);

/* Sets the lengths of the group_mod, whose properties are at 'tail'; one that
 * is too long becomes one with its first buckets, and insertions of the
 * others. */
int nsx_group_finish(const struct nsx_parser *, struct nsx_slice at,
                     struct nsx_buf *, size_t start, size_t tail);

#endif /* group.h */
