/* desired_group.c: the desired set's groups: canonical form, and what a delta
 * says of them. */

#include "desired.h"

/* Canonical form. */

void
nsx_canon_init(struct nsx_canon *canon)
{
    *canon = (struct nsx_canon) { .n_buckets = 0 };
}

void
nsx_canon_uninit(struct nsx_canon *canon)
{
    nsx_buf_uninit(&canon->buckets);
    nsx_buf_uninit(&canon->properties);
    nsx_buf_uninit(&canon->packed);
}

static void
put_property(struct nsx_buf *b, uint16_t type, uint32_t value)
{
    nsx_put16(b, type);
    nsx_put16(b, NSX_BUCKET_PROPERTY_LEN);
    nsx_put32(b, value);
}

/* Appends the bucket of 'view' as Open vSwitch would write it: actions, then
 * the weight if there can be one, then what it watches if it does.
 * 'position' is that of the group's message. */
static int
canon_add(struct nsx_canon *canon, const struct nsx_bucket_view *view,
          size_t position, struct nsx_error *error)
{
    const uint8_t *p = view->bucket;
    size_t actions_len = nsx_get16(p + 2);
    struct nsx_bucket_properties has;

    if (actions_len % 8 || actions_len > view->len - NSX_BUCKET_LEN) {
        return nsx_decode_error(error, NSX_NO_OFPERR, position,
                                "group %"PRIu32": bucket %"PRIu32" of %zu "
                                "bytes has %zu bytes of actions",
                                canon->group_id, view->bucket_id, view->len,
                                actions_len);
    }
    size_t properties = NSX_BUCKET_LEN + actions_len;
    int retval = nsx_bucket_properties_read(p + properties,
                                            view->len - properties, position,
                                            canon->type, &has, error);
    if (retval) {
        return retval;
    }

    struct nsx_buf *b = &canon->buckets;
    size_t start = b->size;
    nsx_put(b, p, NSX_BUCKET_LEN + actions_len);
    if (has.weight || canon->type == NSX_GROUP_TYPE_SELECT) {
        put_property(b, NSX_BUCKET_WEIGHT, (uint32_t) has.weight << 16);
    }
    if (has.watch_port != NSX_WATCH_ANY) {
        put_property(b, NSX_BUCKET_WATCH_PORT, has.watch_port);
    }
    if (has.watch_group != NSX_WATCH_ANY) {
        put_property(b, NSX_BUCKET_WATCH_GROUP, has.watch_group);
    }

    nsx_set16(b->data + start, (uint16_t) (b->size - start));
    canon->n_buckets++;
    return 0;
}

int
nsx_canon_continue(struct nsx_canon *canon, const struct nsx_group_view *view,
                   size_t position, struct nsx_error *error)
{
    size_t offset = 0;

    for (;;) {
        struct nsx_bucket_view bucket;
        int retval = nsx_bucket_next(view, &offset, &bucket, error);
        if (retval == ENOENT) {
            return 0;
        } else if (retval) {
            error->position += position;
            return retval;
        }
        retval = canon_add(canon, &bucket, position, error);
        if (retval) {
            return retval;
        }
    }
}

int
nsx_canon_start(struct nsx_canon *canon, const struct nsx_group_view *view,
                size_t position, struct nsx_error *error)
{
    canon->group_id = view->group_id;
    canon->type = view->type;
    canon->n_buckets = 0;
    canon->buckets.size = 0;
    canon->properties.size = 0;
    canon->packed.size = 0;
    nsx_put(&canon->properties, view->properties, view->properties_len);
    return nsx_canon_continue(canon, view, position, error);
}

/* One bucket of a canonical group, and the place of the next. */
struct place {
    const uint8_t *bucket;
    size_t len;
    uint32_t id;
};

/* Sets '*place' to the bucket at 'p'; false at the 'end'. */
static bool
place_at(struct place *place, const uint8_t *p, const uint8_t *end)
{
    if (p == end) {
        return false;
    }
    place->bucket = p;
    place->len = nsx_get16(p);
    place->id = nsx_get32(p + 4);
    return true;
}

static int
compare_places(const void *a_, const void *b_)
{
    const struct place *a = a_;
    const struct place *b = b_;
    return a->id < b->id ? -1 : a->id > b->id;
}

/* Brings the buckets into the order of their ids. */
static int
canon_sort(struct nsx_canon *canon, size_t position, struct nsx_error *error)
{
    struct nsx_buf *b = &canon->buckets;
    struct place place;

    if (!b->size) {
        return 0;
    }
    const uint8_t *end = b->data + b->size;

    /* Nearly all come in order. */
    bool ascending = true;
    uint64_t above = 0;
    for (const uint8_t *p = b->data; place_at(&place, p, end);
         p += place.len) {
        ascending = ascending && place.id >= above;
        above = (uint64_t) place.id + 1;
    }
    if (ascending) {
        return 0;
    }

    struct place *places = nsx_xmalloc(canon->n_buckets * sizeof *places);
    size_t n = 0;
    for (const uint8_t *p = b->data; place_at(&places[n], p, end);
         p += places[n++].len) {
        continue;
    }
    qsort(places, n, sizeof *places, compare_places);

    int retval = 0;
    for (size_t i = 1; i < n && !retval; i++) {
        if (places[i].id == places[i - 1].id) {
            retval = nsx_decode_error(error, NSX_NO_OFPERR, position,
                                      "group %"PRIu32" has two buckets "
                                      "%"PRIu32, canon->group_id,
                                      places[i].id);
        }
    }
    if (!retval && canon->type != NSX_GROUP_TYPE_FF) {
        struct nsx_buf sorted;

        nsx_buf_init(&sorted);
        nsx_buf_reserve(&sorted, b->size);
        for (size_t i = 0; i < n; i++) {
            nsx_put(&sorted, places[i].bucket, places[i].len);
        }
        nsx_buf_uninit(b);
        *b = sorted;
    }
    free(places);
    return retval;
}

int
nsx_canon_end(struct nsx_canon *canon, size_t position,
              struct nsx_error *error)
{
    size_t size = canon->buckets.size + canon->properties.size;

    if (size > NSX_GROUP_CONTENT_MAX) {
        return nsx_decode_error(error, NSX_NO_OFPERR, position,
                                "group %"PRIu32" has %zu buckets of %zu bytes "
                                "altogether: with more than %d, Open vSwitch "
                                "could not show it", canon->group_id,
                                canon->n_buckets, size,
                                NSX_GROUP_CONTENT_MAX);
    }
    int retval = canon_sort(canon, position, error);
    if (!retval) {
        nsx_buckets_pack(&canon->packed, canon->buckets.data,
                         canon->buckets.size);
    }
    return retval;
}

static uint64_t
group_hash(uint8_t type, const void *packed, size_t packed_len,
           const void *properties, size_t properties_len)
{
    uint64_t hash = nsx_hash_bytes(packed, packed_len, type);
    return nsx_hash_bytes(properties, properties_len, hash);
}

uint64_t
nsx_canon_hash(const struct nsx_canon *canon)
{
    return group_hash(canon->type, canon->packed.data, canon->packed.size,
                      canon->properties.data, canon->properties.size);
}

/* The two parts of a claim's data. */
static size_t
claim_packed_len(const struct nsx_claim *claim)
{
    return claim->len - claim->properties_len;
}

static const uint8_t *
claim_properties(const struct nsx_claim *claim)
{
    return claim->data + claim_packed_len(claim);
}

uint64_t
nsx_claim_group_hash(const struct nsx_claim *claim)
{
    return group_hash(claim->group_type, claim->data,
                      claim_packed_len(claim), claim_properties(claim),
                      claim->properties_len);
}

/* Deltas. */

/* Appends a group_mod without buckets and properties, and returns its
 * offset. */
static size_t
put_group_mod(struct nsx_buf *delta, enum nsx_group_command command,
              uint8_t type, uint32_t group_id, uint32_t command_bucket_id,
              struct nsx_changes *changes)
{
    uint8_t *p = nsx_put_zeros(delta, NSX_GROUP_MOD_LEN);

    p[0] = NSX_OFP_VERSION;
    p[1] = NSX_OFPT_GROUP_MOD;
    nsx_set16(p + 2, NSX_GROUP_MOD_LEN);
    nsx_set16(p + 8, (uint16_t) command);
    p[10] = type;
    nsx_set32(p + 12, group_id);
    nsx_set32(p + 20, command_bucket_id);
    changes->messages++;
    return delta->size - NSX_GROUP_MOD_LEN;
}

/* Sets the lengths of the group_mod at 'start', which was appended last, and
 * ends with 'properties_len' bytes of properties. */
static void
end_group_mod(struct nsx_buf *delta, size_t start, size_t properties_len)
{
    size_t len = delta->size - start;
    uint8_t *p = delta->data + start;

    nsx_set16(p + 2, (uint16_t) len);
    nsx_set16(p + 16, (uint16_t) (len - NSX_GROUP_MOD_LEN - properties_len));
}

void
nsx_group_put(const struct nsx_claim *claim, struct nsx_buf *delta,
              struct nsx_changes *changes)
{
    size_t start = put_group_mod(delta, NSX_GROUP_ADD_OR_MOD,
                                 claim->group_type, claim->group_id,
                                 NSX_BUCKET_ALL, changes);

    nsx_buckets_unpack(delta, claim->data, claim_packed_len(claim));
    nsx_put(delta, claim_properties(claim), claim->properties_len);
    end_group_mod(delta, start, claim->properties_len);
}

/* An empty buffer's data may be NULL, which no offset may be added to. */
static const uint8_t *
buf_end(const struct nsx_buf *b)
{
    return b->size ? b->data + b->size : b->data;
}

/* Walks two canonical groups' buckets together. */
struct pair {
    const uint8_t *old, *old_end;
    const uint8_t *new, *new_end;
    struct place removed, inserted;     /* Where the bools say so. */
    bool is_removed, is_inserted;
};

static struct pair
pair_first(const struct nsx_buf *old, const struct nsx_buf *new)
{
    return (struct pair) {
        .old = old->data, .old_end = buf_end(old),
        .new = new->data, .new_end = buf_end(new),
    };
}

/* Goes on to the next bucket of which one group has another content than the
 * other.  Returns false at the end. */
static bool
pair_next(struct pair *pair)
{
    for (;;) {
        struct place *old = &pair->removed, *new = &pair->inserted;
        bool has_old = place_at(old, pair->old, pair->old_end);
        bool has_new = place_at(new, pair->new, pair->new_end);

        if (!has_old && !has_new) {
            return false;
        }
        pair->is_removed = has_old && (!has_new || old->id <= new->id);
        pair->is_inserted = has_new && (!has_old || new->id <= old->id);
        if (pair->is_removed) {
            pair->old += old->len;
        }
        if (pair->is_inserted) {
            pair->new += new->len;
        }
        if (!pair->is_removed || !pair->is_inserted || old->len != new->len
            || memcmp(old->bucket, new->bucket, old->len)) {
            return true;
        }
    }
}

/* Returns whether the group can get and lose single buckets.  One that selects
 * by dp_hash, which also is what Open vSwitch does unless told otherwise,
 * cannot: before version 3.6 the hash table that chooses the bucket knows of
 * the inserted buckets alone afterwards, or of none (0b686a29b in Open
 * vSwitch's repository). */
static bool
takes_buckets(const struct nsx_claim *claim)
{
    static const char hash[NSX_SELECTION_METHOD_LEN] = "hash";

    return (claim->group_type != NSX_GROUP_TYPE_SELECT
            || (claim->properties_len >= NSX_SELECTION_LEN
                && !memcmp(claim_properties(claim) + NSX_SELECTION_METHOD,
                           hash, sizeof hash)));
}

/* Appends what turns the group of 'claim' into it where it has the buckets
 * 'from' instead of 'to'. */
static void
put_bucket_changes(const struct nsx_buf *from, const struct nsx_buf *to,
                   const struct nsx_claim *claim, struct nsx_buf *delta,
                   struct nsx_changes *changes)
{
    size_t n_removed = 0, n_inserted = 0, n_bytes = 0;
    struct pair pair = pair_first(from, to);
    while (pair_next(&pair)) {
        n_removed += pair.is_removed;
        n_inserted += pair.is_inserted;
        n_bytes += pair.is_inserted ? pair.inserted.len : 0;
    }
    n_bytes += NSX_GROUP_MOD_LEN * (n_removed + (n_inserted > 0));
    if (n_bytes > NSX_GROUP_MOD_LEN + to->size + claim->properties_len) {
        nsx_group_put(claim, delta, changes);
        return;
    }

    pair = pair_first(from, to);
    while (pair_next(&pair)) {
        if (pair.is_removed) {
            put_group_mod(delta, NSX_GROUP_REMOVE_BUCKET, claim->group_type,
                          claim->group_id, pair.removed.id, changes);
        }
    }
    if (n_inserted) {
        size_t start = put_group_mod(delta, NSX_GROUP_INSERT_BUCKET,
                                     claim->group_type, claim->group_id,
                                     NSX_BUCKET_LAST, changes);
        pair = pair_first(from, to);
        while (pair_next(&pair)) {
            if (pair.is_inserted) {
                nsx_put(delta, pair.inserted.bucket, pair.inserted.len);
            }
        }
        end_group_mod(delta, start, 0);
    }
    changes->buckets_removed += n_removed;
    changes->buckets_inserted += n_inserted;
}

void
nsx_group_put_change(const struct nsx_claim *old, const struct nsx_claim *new,
                     struct nsx_buf *delta, struct nsx_changes *changes)
{
    if (old->group_type != new->group_type
        || old->properties_len != new->properties_len
        || memcmp(claim_properties(old), claim_properties(new),
                  old->properties_len)
        || new->group_type == NSX_GROUP_TYPE_FF
        || !takes_buckets(new)) {
        nsx_group_put(new, delta, changes);
        return;
    }

    struct nsx_buf from = NSX_BUF_INITIALIZER, to = NSX_BUF_INITIALIZER;
    nsx_buckets_unpack(&from, old->data, claim_packed_len(old));
    nsx_buckets_unpack(&to, new->data, claim_packed_len(new));
    put_bucket_changes(&from, &to, new, delta, changes);
    nsx_buf_uninit(&from);
    nsx_buf_uninit(&to);
}
void
nsx_group_put_delete(uint32_t group_id, struct nsx_buf *delta,
                     struct nsx_changes *changes)
{
    put_group_mod(delta, NSX_GROUP_DELETE, 0, group_id, NSX_BUCKET_ALL,
                  changes);
    changes->groups_deleted++;
}
