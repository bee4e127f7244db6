/* desired_diff.c: reconciliation: what a switch has, against what is
 * desired. */

#include "desired.h"

#define OFPMP_GROUP_DESC 7
#define GROUP_DESC_LEN 16               /* struct ofp15_group_desc_stats. */

/* A flow or group that the switch has. */
struct record {
    struct nsx_node node;               /* Must be first. */
    struct record *next;                /* Next that was shown. */
    bool matched;                       /* Somebody desires it. */
    bool is_group;

    /* A flow. */
    uint64_t cookie;
    uint8_t table_id;
    uint16_t priority;
    uint16_t match_len;

    /* A group. */
    uint32_t group_id;
    bool foreign;                       /* Has what nsxdp never writes. */

    uint64_t hash;                      /* Of its content. */
    uint8_t match[];
};

struct nsx_installed {
    bool verify;
    struct nsx_map flows, groups;
    struct record *first, **end;
    struct nsx_canon canon;             /* For the group being read. */
    size_t n_old;
    uint16_t old_prefixes[];
};

static int read_flows(struct nsx_desired *, const uint8_t *msg, size_t len,
                      struct nsx_error *);
static int read_groups(struct nsx_desired *, const uint8_t *msg, size_t len,
                       struct nsx_error *);

void
nsx_desired_begin(struct nsx_desired *d, bool verify,
                  const uint16_t *old_prefixes, size_t n_old)
{
    struct nsx_installed *in
        = nsx_xcalloc(1, sizeof *in + n_old * sizeof *old_prefixes);

    in->verify = verify;
    in->end = &in->first;
    in->n_old = n_old;
    if (n_old) {
        memcpy(in->old_prefixes, old_prefixes, n_old * sizeof *old_prefixes);
    }
    nsx_canon_init(&in->canon);
    nsx_installed_free(d->installed);
    d->installed = in;
}

void
nsx_installed_free(struct nsx_installed *in)
{
    if (!in) {
        return;
    }

    struct record *r = in->first;
    while (r) {
        struct record *next = r->next;
        free(r);
        r = next;
    }
    nsx_map_uninit(&in->flows);
    nsx_map_uninit(&in->groups);
    nsx_canon_uninit(&in->canon);
    free(in);
}

int
nsx_desired_installed(struct nsx_desired *d, const void *msg_, size_t len,
                      struct nsx_error *error)
{
    const uint8_t *msg = msg_;

    if (!d->installed) {
        nsx_decode_error(error, NSX_NO_OFPERR, 0, "what is installed can only "
                         "be shown between begin and diff");
        return EINVAL;
    }
    if (len < OFP_MULTIPART_LEN || nsx_get16(msg + 2) != len
        || msg[0] != OFP_VERSION || msg[1] != OFPT_MULTIPART_REPLY) {
        return nsx_decode_error(error, NSX_NO_OFPERR, 0, "%zu bytes that are "
                                "not one multipart reply", len);
    }
    switch (nsx_get16(msg + 8)) {
    case OFPMP_FLOW_DESC:
        return read_flows(d, msg, len, error);
    case OFPMP_GROUP_DESC:
        return read_groups(d, msg, len, error);
    default:
        return nsx_decode_error(error, NSX_NO_OFPERR, 8,
                                "a multipart reply of type %"PRIu16
                                " shows neither flows nor groups",
                                nsx_get16(msg + 8));
    }
}

/* What the switch has. */

static struct record *
add_record(struct nsx_installed *in, struct nsx_map *map, uint64_t hash,
           size_t match_len)
{
    struct record *r = nsx_xcalloc(1, sizeof *r + match_len);

    nsx_map_insert(map, &r->node, hash);
    *in->end = r;
    in->end = &r->next;
    return r;
}

static struct record *
find_flow(const struct nsx_map *map, uint64_t hash, uint8_t table_id,
          uint16_t priority, const uint8_t *match, size_t match_len)
{
    for (struct nsx_node *node = nsx_map_first(map, hash); node;
         node = nsx_map_next(node, hash)) {
        struct record *r = (struct record *) node;
        if (r->table_id == table_id && r->priority == priority
            && r->match_len == match_len
            && !memcmp(r->match, match, match_len)) {
            return r;
        }
    }
    return NULL;
}

static struct record *
find_group(const struct nsx_map *map, uint64_t hash, uint32_t group_id)
{
    for (struct nsx_node *node = nsx_map_first(map, hash); node;
         node = nsx_map_next(node, hash)) {
        struct record *r = (struct record *) node;
        if (r->group_id == group_id) {
            return r;
        }
    }
    return NULL;
}

/* Whether the flow with 'cookie' is the set's to change. */
static bool
owns_cookie(const struct nsx_desired *d, uint64_t cookie)
{
    uint16_t prefix = (uint16_t) (cookie >> 48);

    if (prefix == d->prefix) {
        return true;
    }
    for (size_t i = 0; i < d->installed->n_old; i++) {
        if (prefix == d->installed->old_prefixes[i]) {
            return true;
        }
    }
    return false;
}

/* What 'verify' compares: instructions and timeouts. */
static uint64_t
verify_hash(const struct nsx_flow_view *view)
{
    uint64_t timeouts = ((uint64_t) view->idle_timeout << 32
                         | (uint64_t) view->hard_timeout << 16
                         | view->importance);
    return nsx_hash_bytes(view->instructions, view->instructions_len,
                          timeouts);
}

/* Reads the struct ofp15_flow_desc at '*offset', and moves that behind it.
 * Unlike nsx_flow_stats_next(), it looks into neither match nor instructions:
 * a bridge may have others' flows, of a kind that nsxdp knows nothing of. */
static int
view_flow(const uint8_t *msg, size_t len, size_t *offset,
          struct nsx_flow_view *view, struct nsx_error *error)
{
    const uint8_t *p = msg + *offset;
    size_t left = len - *offset;
    size_t n = left < 2 ? 0 : nsx_get16(p);

    if (n < FD_LEN + 8 || n > left) {
        return nsx_decode_error(error, NSX_NO_OFPERR, *offset,
                                "flow of %zu bytes where there are %zu", n,
                                left);
    }
    size_t match_len = NSX_ROUND_UP(nsx_get16(p + FD_LEN + 2), 8);
    size_t stats = FD_LEN + match_len;
    if (match_len < 8 || stats + 4 > n) {
        return nsx_decode_error(error, NSX_NO_OFPERR, *offset + FD_LEN,
                                "match of %zu bytes in a flow of %zu",
                                match_len, n);
    }
    size_t instructions = stats + NSX_ROUND_UP(nsx_get16(p + stats + 2), 8);
    if (instructions > n) {
        return nsx_decode_error(error, NSX_NO_OFPERR, *offset + stats,
                                "statistics end at byte %zu of a flow of %zu",
                                instructions, n);
    }

    *view = (struct nsx_flow_view) {
        .cookie = nsx_get64(p + FD_COOKIE),
        .idle_timeout = nsx_get16(p + FD_IDLE_TIMEOUT),
        .hard_timeout = nsx_get16(p + FD_HARD_TIMEOUT),
        .importance = nsx_get16(p + FD_IMPORTANCE),
        .priority = nsx_get16(p + FD_PRIORITY),
        .table_id = p[FD_TABLE_ID],
        .match = p + FD_LEN,
        .match_len = match_len,
        .instructions = p + instructions,
        .instructions_len = n - instructions,
    };
    *offset += n;
    return 0;
}

static int
read_flows(struct nsx_desired *d, const uint8_t *msg, size_t len,
           struct nsx_error *error)
{
    struct nsx_installed *in = d->installed;
    struct nsx_flow_view view;
    size_t offset = OFP_MULTIPART_LEN;

    while (offset < len) {
        int retval = view_flow(msg, len, &offset, &view, error);
        if (retval) {
            return retval;
        }
        if (!owns_cookie(d, view.cookie)) {
            continue;
        }

        /* A dump of tables that change may show a flow twice: the later is
         * the truer one. */
        uint64_t hash = nsx_flow_key_hash(view.table_id, view.priority,
                                          view.match, view.match_len);
        struct record *r = find_flow(&in->flows, hash, view.table_id,
                                     view.priority, view.match,
                                     view.match_len);
        if (!r) {
            r = add_record(in, &in->flows, hash, view.match_len);
            r->table_id = view.table_id;
            r->priority = view.priority;
            r->match_len = (uint16_t) view.match_len;
            memcpy(r->match, view.match, view.match_len);
        }
        r->cookie = view.cookie;
        r->hash = in->verify ? verify_hash(&view) : 0;
    }
    return 0;
}

/* Likewise, for the struct ofp15_group_desc_stats at '*offset'. */
static int
view_group(const uint8_t *msg, size_t len, size_t *offset,
           struct nsx_group_view *view, struct nsx_error *error)
{
    const uint8_t *p = msg + *offset;
    size_t left = len - *offset;
    size_t n = left < 2 ? 0 : nsx_get16(p);

    if (n < GROUP_DESC_LEN || n > left) {
        return nsx_decode_error(error, NSX_NO_OFPERR, *offset, "group of %zu "
                                "bytes where there are %zu", n, left);
    }
    size_t buckets_len = nsx_get16(p + 8);
    if (buckets_len > n - GROUP_DESC_LEN) {
        return nsx_decode_error(error, NSX_NO_OFPERR, *offset + 8,
                                "buckets of %zu bytes in a group of %zu",
                                buckets_len, n);
    }

    *view = (struct nsx_group_view) {
        .type = p[2],
        .group_id = nsx_get32(p + 4),
        .buckets = p + GROUP_DESC_LEN,
        .buckets_len = buckets_len,
        .properties = p + GROUP_DESC_LEN + buckets_len,
        .properties_len = n - GROUP_DESC_LEN - buckets_len,
    };
    *offset += n;
    return 0;
}

static int
read_groups(struct nsx_desired *d, const uint8_t *msg, size_t len,
            struct nsx_error *error)
{
    struct nsx_installed *in = d->installed;
    struct nsx_canon *canon = &in->canon;
    struct nsx_group_view view;
    size_t offset = OFP_MULTIPART_LEN;

    while (offset < len) {
        int retval = view_group(msg, len, &offset, &view, error);
        if (retval) {
            return retval;
        }
        if (view.group_id < d->first_group || view.group_id > d->last_group) {
            continue;
        }

        uint64_t hash = nsx_group_key_hash(view.group_id);
        struct record *r = find_group(&in->groups, hash, view.group_id);
        if (!r) {
            r = add_record(in, &in->groups, hash, 0);
            r->is_group = true;
            r->group_id = view.group_id;
        }

        /* A group that has no canonical form is none that nsxdp made: it is
         * replaced or deleted as any other that differs. */
        struct nsx_error scratch;
        r->foreign = (nsx_canon_start(canon, &view, 0, &scratch)
                      || nsx_canon_end(canon, 0, &scratch));
        r->hash = nsx_canon_hash(canon);
    }
    return 0;
}

/* The difference. */

static void
diff_groups(struct nsx_desired *d, struct nsx_buf *delta,
            struct nsx_diff *diff, struct nsx_changes *changes)
{
    for (struct nsx_slot *slot = d->groups.first; slot; slot = slot->next) {
        const struct nsx_claim *claim = slot->claims;
        struct record *r = find_group(&d->installed->groups,
                                      nsx_group_key_hash(claim->group_id),
                                      claim->group_id);

        if (!r) {
            diff->groups_missing++;
            changes->groups_added++;
            nsx_group_put(claim, delta, changes);
            continue;
        }
        r->matched = true;
        if (!r->foreign && r->hash == nsx_claim_group_hash(claim)) {
            diff->groups_right++;
        } else {
            diff->groups_changed++;
            changes->groups_changed++;
            nsx_group_put(claim, delta, changes);
        }
    }
}

/* Whether the flow 'r' of the switch is the same as the one that 'claim'
 * wants, of which 'wanted' is the decoded form. */
static bool
flow_is_right(const struct nsx_desired *d, const struct record *r,
              const struct nsx_claim *claim)
{
    if (r->cookie != nsx_get64(claim->data + FM_COOKIE)) {
        return false;
    }
    if (!d->installed->verify) {
        return true;
    }

    struct nsx_flow_view wanted;
    nsx_flow_mod_view(claim->data, claim->len, &wanted);
    return r->hash == verify_hash(&wanted);
}

/* Likewise for flows; notes in 'used' which tables have any. */
static void
diff_flows(struct nsx_desired *d, struct nsx_buf *delta,
           struct nsx_diff *diff, struct nsx_changes *changes, bool used[])
{
    for (struct nsx_slot *slot = d->flows.first; slot; slot = slot->next) {
        const struct nsx_claim *claim = slot->claims;
        const uint8_t *fm = claim->data;
        const uint8_t *match = fm + FM_LEN;
        size_t match_len = nsx_flow_mod_match_len(fm);
        uint16_t priority = nsx_get16(fm + FM_PRIORITY);
        uint8_t table_id = fm[FM_TABLE_ID];
        used[table_id] = true;
        uint64_t hash = nsx_flow_key_hash(table_id, priority, match,
                                          match_len);
        struct record *r = find_flow(&d->installed->flows, hash, table_id,
                                     priority, match, match_len);

        if (!r) {
            diff->flows_missing++;
            changes->flows_added++;
            nsx_flow_put(claim, delta, changes);
            continue;
        }
        r->matched = true;
        if (flow_is_right(d, r, claim)) {
            diff->flows_right++;
        } else {
            diff->flows_changed++;
            changes->flows_changed++;
            nsx_flow_put(claim, delta, changes);
        }
    }
}

int
nsx_desired_diff(struct nsx_desired *d, bool keep_old, struct nsx_buf *delta,
                 struct nsx_diff *diff, struct nsx_changes *changes,
                 struct nsx_error *error)
{
    bool used[UINT8_MAX + 1] = { false };
    struct nsx_changes scratch_changes;
    struct nsx_diff scratch_diff;

    if (!d->installed) {
        nsx_decode_error(error, NSX_NO_OFPERR, 0,
                         "a diff needs a begin before it");
        return EINVAL;
    }
    diff = diff ? diff : &scratch_diff;
    memset(diff, 0, sizeof *diff);
    changes = changes ? changes : &scratch_changes;
    memset(changes, 0, sizeof *changes);

    diff_groups(d, delta, diff, changes);
    diff_flows(d, delta, diff, changes, used);
    for (const struct record *r = d->installed->first; r; r = r->next) {
        if (r->is_group) {
            continue;
        }
        bool old = r->cookie >> 48 != d->prefix;
        diff->flows_old += old;
        if (!r->matched && !(keep_old && old && !used[r->table_id])) {
            diff->flows_extra++;
            nsx_flow_put_delete(r->table_id, r->priority, r->match,
                                r->match_len, delta, changes);
        }
    }
    for (const struct record *r = d->installed->first; r; r = r->next) {
        if (!r->matched && r->is_group) {
            diff->groups_extra++;
            nsx_group_put_delete(r->group_id, delta, changes);
        }
    }

    nsx_installed_free(d->installed);
    d->installed = NULL;
    return 0;
}
