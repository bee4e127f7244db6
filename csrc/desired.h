/* desired.h: what the files of the desired set share.
 *
 * An owner has claims.  A claim is one flow or group that it needs, with its
 * content.  A slot is a place for one on the switch: a (table, priority,
 * match) or a group id; its claims stand in line, and the first one's content
 * is what the switch should have. */
#ifndef NSX_DESIRED_H
#define NSX_DESIRED_H 1

#include <inttypes.h>

#include "core.h"
#include "flow.h"
#include "group.h"
#include "hash.h"
#include "message.h"

/* The longest message that fits into a bundle's. */
#define NSX_BUNDLED_MAX (UINT16_MAX - NSX_BUNDLE_ADD_LEN)

/* The most bytes that a flow_mod may have, and those that a group's buckets
 * and properties may have together.  What shows one flow or group must fit
 * into one message, too: where it doesn't, Open vSwitch 3.1 aborts
 * (ofpmp_postappend() in lib/ofp-msgs.c).  With statistics, a flow takes 48
 * bytes more there than in its flow_mod; a group takes 8 more than in its
 * group_mod, which a bundle's message has room for anyway. */
#define NSX_FLOW_MOD_MAX (UINT16_MAX - 48)
#define NSX_GROUP_CONTENT_MAX (NSX_BUNDLED_MAX - NSX_GROUP_MOD_LEN)

enum nsx_claim_state {
    NSX_CLAIM_NEW,              /* Came with this replacement. */
    NSX_CLAIM_KEPT,
    NSX_CLAIM_STALE,            /* Not, or not yet, found in what came. */
    NSX_CLAIM_REPLACED,         /* A new one has its place in the line. */
};

struct nsx_claim {
    struct nsx_claim *next, *prev;      /* The slot's line: a ring. */
    struct nsx_claim *sibling;          /* The owner's next one. */
    struct nsx_owner *owner;
    struct nsx_slot *slot;
    uint32_t len;                       /* Bytes at 'data'. */

    /* A group's. */
    uint32_t group_id;
    uint32_t n_buckets;
    uint16_t properties_len;            /* At the end of 'data'. */
    uint8_t group_type;

    bool is_group;
    uint8_t state;                      /* enum nsx_claim_state. */

    /* A flow: the whole flow_mod.  A group: canonical buckets, packed, then
     * its properties. */
    uint8_t data[];
};

struct nsx_slot {
    struct nsx_node node;               /* Must be first. */
    struct nsx_slot *next, *prev;       /* All of the kind, oldest first. */
    struct nsx_slot *next_dirty;
    struct nsx_claim *claims;           /* The first in line, or NULL. */
    struct nsx_claim *installed;        /* What the switch was told last. */
    struct nsx_claim *key;              /* Any that was the first in line. */
    bool dirty;
};

struct nsx_slots {
    struct nsx_map map;
    struct nsx_slot *first, *last;
    struct nsx_slot *first_dirty, *last_dirty;
};

struct nsx_owner {
    struct nsx_node node;               /* Must be first. */
    uint64_t id;
    struct nsx_claim *claims;
};

struct nsx_desired {
    uint16_t prefix;
    uint32_t first_group, last_group;
    struct nsx_slots flows, groups;
    struct nsx_map owners;
    uint64_t n_buckets;                 /* Of all claims. */
    uint64_t n_bytes;                   /* Of all claims, slots, owners. */
    struct nsx_installed *installed;    /* Between begin and diff. */
};

/* Keys (desired.c). */

/* The bytes that tell a flow_mod's flow from all others, but for table and
 * priority: its padded match. */
uint64_t nsx_flow_key_hash(uint8_t table_id, uint16_t priority,
                           const uint8_t *match, size_t match_len);
uint64_t nsx_group_key_hash(uint32_t group_id);

struct nsx_slot *nsx_flow_slot(const struct nsx_desired *, uint64_t hash,
                               uint8_t table_id, uint16_t priority,
                               const uint8_t *match, size_t match_len);
struct nsx_slot *nsx_group_slot(const struct nsx_desired *, uint64_t hash,
                                uint32_t group_id);

/* The padded length of the match of a checked flow_mod. */
size_t nsx_flow_mod_match_len(const uint8_t *flow_mod);

/* Reading what owners want (desired_read.c). */

/* A list of claims, linked by 'sibling'. */
struct nsx_claims {
    struct nsx_claim *first, **end;
};

void nsx_claims_init(struct nsx_claims *);
void nsx_claims_append(struct nsx_claims *, struct nsx_claim *);
void nsx_claims_free(struct nsx_claims *);

/* Reads the messages from 'msgs' + 'start' to 'msgs' + 'end' and appends the
 * claims that they are. */
int nsx_claims_read(const struct nsx_desired *, const uint8_t *msgs,
                    size_t start, size_t end, struct nsx_claims *,
                    struct nsx_error *);

/* Buckets in little room (desired_pack.c). */

/* Appends the 'len' bytes of whole buckets at 'buckets', packed. */
void nsx_buckets_pack(struct nsx_buf *, const void *buckets, size_t len);

/* Appends the buckets that were packed into 'len' bytes. */
void nsx_buckets_unpack(struct nsx_buf *, const void *packed, size_t len);

/* Groups (desired_group.c). */

/* A group in canonical form.  Open vSwitch keeps neither the order nor all of
 * the bytes of what it is sent: buckets are sorted by id (but those of a fast
 * failover group), and each has the properties that Open vSwitch would write,
 * in its order. */
struct nsx_canon {
    struct nsx_buf buckets;
    size_t n_buckets;
    uint32_t group_id;
    uint8_t type;
    struct nsx_buf properties;
    struct nsx_buf packed;              /* The buckets, from the end on. */
};

void nsx_canon_init(struct nsx_canon *);
void nsx_canon_uninit(struct nsx_canon *);

/* Starts over with the group of 'view', which is a group_mod or a group of a
 * description, goes on with the buckets of an insert_bucket, and ends.
 * 'position' is where the message is, for errors. */
int nsx_canon_start(struct nsx_canon *, const struct nsx_group_view *,
                    size_t position, struct nsx_error *);
int nsx_canon_continue(struct nsx_canon *, const struct nsx_group_view *,
                       size_t position, struct nsx_error *);
int nsx_canon_end(struct nsx_canon *, size_t position, struct nsx_error *);

/* The hash of a group's content. */
uint64_t nsx_canon_hash(const struct nsx_canon *);
uint64_t nsx_claim_group_hash(const struct nsx_claim *);

/* Append what makes the group, what turns it from 'old' into 'new', and what
 * deletes it. */
void nsx_group_put(const struct nsx_claim *, struct nsx_buf *delta,
                   struct nsx_changes *);
void nsx_group_put_change(const struct nsx_claim *old,
                          const struct nsx_claim *new, struct nsx_buf *delta,
                          struct nsx_changes *);
void nsx_group_put_delete(uint32_t group_id, struct nsx_buf *delta,
                          struct nsx_changes *);

/* Flows (desired_flow.c). */

/* The cookie of the 'len' bytes of a flow_mod: its content's hash. */
uint64_t nsx_flow_cookie(uint16_t prefix, const uint8_t *flow_mod, size_t len);

void nsx_flow_put(const struct nsx_claim *, struct nsx_buf *delta,
                  struct nsx_changes *);
void nsx_flow_put_delete(uint8_t table_id, uint16_t priority,
                         const uint8_t *match, size_t match_len,
                         struct nsx_buf *delta, struct nsx_changes *);

/* What the switch has (desired_diff.c). */
void nsx_installed_free(struct nsx_installed *);

#endif /* desired.h */
