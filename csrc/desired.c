/* desired.c: the desired set: owners, what they claim, and the delta between
 * what they needed and what they need now. */

#include "desired.h"

static void slots_init(struct nsx_slots *);
static void slots_free(struct nsx_slots *);
static void replace_owner(struct nsx_desired *, uint64_t owner_id,
                          struct nsx_claim *wanted, struct nsx_claims *dead);
static void put_delta(struct nsx_desired *, struct nsx_buf *delta,
                      struct nsx_changes *);
static void settle(struct nsx_desired *, struct nsx_slots *);

struct nsx_desired *
nsx_desired_new(uint16_t prefix, uint32_t first_group, uint32_t last_group)
{
    struct nsx_desired *d = nsx_xcalloc(1, sizeof *d);

    d->prefix = prefix;
    d->first_group = first_group;
    d->last_group = last_group;
    slots_init(&d->flows);
    slots_init(&d->groups);
    return d;
}

void
nsx_desired_free(struct nsx_desired *d)
{
    if (!d) {
        return;
    }

    for (size_t i = 0; d->owners.chains && i <= d->owners.mask; i++) {
        struct nsx_node *node = d->owners.chains[i];
        while (node) {
            struct nsx_owner *owner = (struct nsx_owner *) node;
            struct nsx_claims claims = { owner->claims, NULL };
            node = node->next;
            nsx_claims_free(&claims);
            free(owner);
        }
    }
    nsx_map_uninit(&d->owners);
    slots_free(&d->flows);
    slots_free(&d->groups);
    nsx_installed_free(d->installed);
    free(d);
}

int
nsx_desired_replace(struct nsx_desired *d, size_t n, const uint64_t *owners,
                    const void *msgs, size_t len, const uint64_t *ends,
                    struct nsx_buf *delta, struct nsx_changes *changes,
                    struct nsx_error *error)
{
    struct nsx_changes scratch;

    /* Everything is read before anything is changed: what is wrong leaves the
     * set as it was. */
    struct nsx_claim **wanted = nsx_xcalloc(n ? n : 1, sizeof *wanted);
    size_t start = 0;
    int retval = 0;
    for (size_t i = 0; i < n && !retval; i++) {
        struct nsx_claims claims;

        if (ends[i] < start || ends[i] > len) {
            retval = nsx_decode_error(error, NSX_NO_OFPERR, start,
                                      "piece %zu of %zu bytes of messages "
                                      "ends outside of them, or before it "
                                      "starts", i, len);
            break;
        }
        nsx_claims_init(&claims);
        retval = nsx_claims_read(d, msgs, start, ends[i], &claims, error);
        wanted[i] = claims.first;
        start = ends[i];
    }
    if (!retval && start != len) {
        retval = nsx_decode_error(error, NSX_NO_OFPERR, start,
                                  "the last piece ends here, but there are "
                                  "%zu bytes of messages", len);
    }
    if (retval) {
        for (size_t i = 0; i < n; i++) {
            struct nsx_claims claims = { wanted[i], NULL };
            nsx_claims_free(&claims);
        }
        free(wanted);
        return retval;
    }

    struct nsx_claims dead;
    nsx_claims_init(&dead);
    for (size_t i = 0; i < n; i++) {
        replace_owner(d, owners[i], wanted[i], &dead);
    }
    free(wanted);

    changes = changes ? changes : &scratch;
    memset(changes, 0, sizeof *changes);
    put_delta(d, delta, changes);
    settle(d, &d->flows);
    settle(d, &d->groups);
    nsx_claims_free(&dead);
    return 0;
}

void
nsx_desired_dump(const struct nsx_desired *d, struct nsx_buf *b)
{
    struct nsx_changes scratch = { .messages = 0 };

    for (const struct nsx_slot *s = d->groups.first; s; s = s->next) {
        nsx_group_put(s->claims, b, &scratch);
    }
    for (const struct nsx_slot *s = d->flows.first; s; s = s->next) {
        nsx_flow_put(s->claims, b, &scratch);
    }
}

void
nsx_desired_size(const struct nsx_desired *d, struct nsx_desired_size *size)
{
    const struct nsx_map *maps[] = { &d->owners, &d->flows.map,
                                     &d->groups.map };

    size->owners = d->owners.n;
    size->flows = d->flows.map.n;
    size->groups = d->groups.map.n;
    size->buckets = d->n_buckets;
    size->bytes = sizeof *d + d->n_bytes;
    for (size_t i = 0; i < NSX_ARRAY_SIZE(maps); i++) {
        if (maps[i]->chains) {
            size->bytes += (maps[i]->mask + 1) * sizeof *maps[i]->chains;
        }
    }
}

/* Keys. */

size_t
nsx_flow_mod_match_len(const uint8_t *flow_mod)
{
    return NSX_ROUND_UP(nsx_get16(flow_mod + FM_LEN + 2), 8);
}

uint64_t
nsx_flow_key_hash(uint8_t table_id, uint16_t priority, const uint8_t *match,
                  size_t match_len)
{
    return nsx_hash_bytes(match, match_len,
                          (uint64_t) table_id << 16 | priority);
}

uint64_t
nsx_group_key_hash(uint32_t group_id)
{
    return nsx_hash_uint64(group_id);
}

struct nsx_slot *
nsx_flow_slot(const struct nsx_desired *d, uint64_t hash, uint8_t table_id,
              uint16_t priority, const uint8_t *match, size_t match_len)
{
    for (struct nsx_node *node = nsx_map_first(&d->flows.map, hash); node;
         node = nsx_map_next(node, hash)) {
        struct nsx_slot *slot = (struct nsx_slot *) node;
        const uint8_t *fm = slot->key->data;

        if (fm[FM_TABLE_ID] == table_id
            && nsx_get16(fm + FM_PRIORITY) == priority
            && nsx_flow_mod_match_len(fm) == match_len
            && !memcmp(fm + FM_LEN, match, match_len)) {
            return slot;
        }
    }
    return NULL;
}

struct nsx_slot *
nsx_group_slot(const struct nsx_desired *d, uint64_t hash, uint32_t group_id)
{
    for (struct nsx_node *node = nsx_map_first(&d->groups.map, hash); node;
         node = nsx_map_next(node, hash)) {
        struct nsx_slot *slot = (struct nsx_slot *) node;

        if (slot->key->group_id == group_id) {
            return slot;
        }
    }
    return NULL;
}

/* Slots. */

static void
slots_init(struct nsx_slots *slots)
{
    *slots = (struct nsx_slots) { .map = { NULL, 0, 0 } };
}

static void
slots_free(struct nsx_slots *slots)
{
    struct nsx_slot *slot = slots->first;

    while (slot) {
        struct nsx_slot *next = slot->next;
        free(slot);
        slot = next;
    }
    nsx_map_uninit(&slots->map);
}

static struct nsx_slots *
slots_of(struct nsx_desired *d, const struct nsx_claim *claim)
{
    return claim->is_group ? &d->groups : &d->flows;
}

/* Returns the slot that 'claim' is for: an old one, or a new, empty one. */
static struct nsx_slot *
slot_for(struct nsx_desired *d, const struct nsx_claim *claim)
{
    struct nsx_slots *slots = slots_of(d, claim);
    struct nsx_slot *slot;
    uint64_t hash;

    if (claim->is_group) {
        hash = nsx_group_key_hash(claim->group_id);
        slot = nsx_group_slot(d, hash, claim->group_id);
    } else {
        uint8_t table_id = claim->data[FM_TABLE_ID];
        uint16_t priority = nsx_get16(claim->data + FM_PRIORITY);
        const uint8_t *match = claim->data + FM_LEN;
        size_t match_len = nsx_flow_mod_match_len(claim->data);

        hash = nsx_flow_key_hash(table_id, priority, match, match_len);
        slot = nsx_flow_slot(d, hash, table_id, priority, match, match_len);
    }

    if (!slot) {
        slot = nsx_xcalloc(1, sizeof *slot);
        d->n_bytes += sizeof *slot;
        nsx_map_insert(&slots->map, &slot->node, hash);
        slot->prev = slots->last;
        *(slots->last ? &slots->last->next : &slots->first) = slot;
        slots->last = slot;
    }
    return slot;
}

static void
slot_free(struct nsx_desired *d, struct nsx_slots *slots,
          struct nsx_slot *slot)
{
    nsx_map_remove(&slots->map, &slot->node);
    *(slot->prev ? &slot->prev->next : &slots->first) = slot->next;
    *(slot->next ? &slot->next->prev : &slots->last) = slot->prev;
    d->n_bytes -= sizeof *slot;
    free(slot);
}

/* Makes 'claim' the first in the line of 'slot', or leaves it empty if that is
 * NULL, and notes that something is to be done about it. */
static void
set_first(struct nsx_desired *d, struct nsx_slot *slot,
          struct nsx_claim *claim)
{
    slot->claims = claim;
    if (claim) {
        slot->key = claim;
    }
    if (!slot->dirty) {
        struct nsx_slots *slots = slots_of(d, slot->key);

        slot->dirty = true;
        *(slots->last_dirty ? &slots->last_dirty->next_dirty
                            : &slots->first_dirty) = slot;
        slots->last_dirty = slot;
    }
}

/* Claims. */

static bool
claims_equal(const struct nsx_claim *a, const struct nsx_claim *b)
{
    return (a->len == b->len
            && a->group_type == b->group_type
            && a->properties_len == b->properties_len
            && !memcmp(a->data, b->data, a->len));
}

static void
claim_account(struct nsx_desired *d, const struct nsx_claim *claim, bool add)
{
    uint64_t sign = add ? 1 : -1;
    d->n_bytes += sign * (sizeof *claim + claim->len);
    d->n_buckets += sign * claim->n_buckets;
}

/* Puts 'claim' at the end of the line. */
static void
claim_link(struct nsx_desired *d, struct nsx_slot *slot,
           struct nsx_claim *claim)
{
    claim->slot = slot;
    if (slot->claims) {
        claim->next = slot->claims;
        claim->prev = slot->claims->prev;
        claim->prev->next = claim;
        claim->next->prev = claim;
    } else {
        claim->next = claim->prev = claim;
        set_first(d, slot, claim);
    }
    claim_account(d, claim, true);
}

static void
claim_unlink(struct nsx_desired *d, struct nsx_claim *claim)
{
    struct nsx_slot *slot = claim->slot;

    claim->prev->next = claim->next;
    claim->next->prev = claim->prev;
    if (slot->claims == claim) {
        set_first(d, slot, claim->next != claim ? claim->next : NULL);
    }
    claim_account(d, claim, false);
}

/* Puts 'new' where 'old' stands in the line. */
static void
claim_supersede(struct nsx_desired *d, struct nsx_claim *old,
                struct nsx_claim *new)
{
    struct nsx_slot *slot = old->slot;

    new->slot = slot;
    if (old->next == old) {
        new->next = new->prev = new;
    } else {
        new->next = old->next;
        new->prev = old->prev;
        new->next->prev = new;
        new->prev->next = new;
    }
    if (slot->claims == old) {
        set_first(d, slot, new);
    }
    claim_account(d, old, false);
    claim_account(d, new, true);
}

/* Returns the claim of 'owner' in the line of 'slot', or NULL.  What was just
 * added stands at the end; the rest of the line need be searched only if the
 * owner had claims before: thousands of new owners may share a slot. */
static struct nsx_claim *
find_claim(const struct nsx_slot *slot, const struct nsx_owner *owner)
{
    struct nsx_claim *first = slot->claims;

    if (!first) {
        return NULL;
    } else if (first->prev->owner == owner) {
        return first->prev;
    } else if (owner->claims) {
        for (struct nsx_claim *c = first; c != first->prev; c = c->next) {
            if (c->owner == owner) {
                return c;
            }
        }
    }
    return NULL;
}

/* Owners. */

static struct nsx_owner *
find_owner(const struct nsx_desired *d, uint64_t id)
{
    uint64_t hash = nsx_hash_uint64(id);

    for (struct nsx_node *node = nsx_map_first(&d->owners, hash); node;
         node = nsx_map_next(node, hash)) {
        struct nsx_owner *owner = (struct nsx_owner *) node;
        if (owner->id == id) {
            return owner;
        }
    }
    return NULL;
}

/* Makes the owner need exactly the claims in the list 'wanted', which it takes
 * over.  Appends the claims that are no longer in any line to 'dead': slots
 * may still point to them. */
static void
replace_owner(struct nsx_desired *d, uint64_t owner_id,
              struct nsx_claim *wanted, struct nsx_claims *dead)
{
    struct nsx_owner *owner = find_owner(d, owner_id);
    if (!owner) {
        if (!wanted) {
            return;
        }
        owner = nsx_xcalloc(1, sizeof *owner);
        owner->id = owner_id;
        nsx_map_insert(&d->owners, &owner->node, nsx_hash_uint64(owner_id));
        d->n_bytes += sizeof *owner;
    }

    for (struct nsx_claim *c = owner->claims; c; c = c->sibling) {
        c->state = NSX_CLAIM_STALE;
    }

    struct nsx_claims now;
    nsx_claims_init(&now);
    while (wanted) {
        struct nsx_claim *claim = wanted;
        wanted = wanted->sibling;

        struct nsx_slot *slot = slot_for(d, claim);
        struct nsx_claim *old = find_claim(slot, owner);
        if (!old) {
            claim->owner = owner;
            claim_link(d, slot, claim);
            nsx_claims_append(&now, claim);
        } else if (old->state != NSX_CLAIM_STALE) {
            free(claim);
        } else if (claims_equal(old, claim)) {
            old->state = NSX_CLAIM_KEPT;
            free(claim);
        } else {
            claim->owner = owner;
            claim_supersede(d, old, claim);
            old->state = NSX_CLAIM_REPLACED;
            nsx_claims_append(&now, claim);
        }
    }

    struct nsx_claim *next;
    for (struct nsx_claim *c = owner->claims; c; c = next) {
        next = c->sibling;
        if (c->state == NSX_CLAIM_KEPT) {
            nsx_claims_append(&now, c);
        } else {
            if (c->state == NSX_CLAIM_STALE) {
                claim_unlink(d, c);
            }
            nsx_claims_append(dead, c);
        }
    }

    owner->claims = now.first;
    if (!owner->claims) {
        nsx_map_remove(&d->owners, &owner->node);
        d->n_bytes -= sizeof *owner;
        free(owner);
    }
}

/* Deltas. */

static void
put_group_deletes(const struct nsx_slot *first, struct nsx_buf *delta,
                  struct nsx_changes *changes)
{
    size_t n = 0;
    for (const struct nsx_slot *s = first; s; s = s->next_dirty) {
        n += s->installed && !s->claims;
    }
    if (!n) {
        return;
    }

    /* The reverse of the order in which they let go, which is that in which
     * they were given if one owner had them all. */
    uint32_t *ids = nsx_xmalloc(n * sizeof *ids);
    size_t i = 0;
    for (const struct nsx_slot *s = first; s; s = s->next_dirty) {
        if (s->installed && !s->claims) {
            ids[i++] = s->installed->group_id;
        }
    }
    while (i > 0) {
        nsx_group_put_delete(ids[--i], delta, changes);
    }
    free(ids);
}

/* Appends what is to be done about the slots that were touched.  No flow may
 * use a group that isn't there, and deleting a group deletes its flows: groups
 * come first and go last. */
static void
put_delta(struct nsx_desired *d, struct nsx_buf *delta,
          struct nsx_changes *changes)
{
    for (const struct nsx_slot *s = d->groups.first_dirty; s;
         s = s->next_dirty) {
        if (s->claims && !s->installed) {
            nsx_group_put(s->claims, delta, changes);
            changes->groups_added++;
        } else if (s->claims && !claims_equal(s->installed, s->claims)) {
            nsx_group_put_change(s->installed, s->claims, delta, changes);
            changes->groups_changed++;
        }
    }
    for (const struct nsx_slot *s = d->flows.first_dirty; s;
         s = s->next_dirty) {
        if (s->claims && !s->installed) {
            nsx_flow_put(s->claims, delta, changes);
            changes->flows_added++;
        } else if (s->claims && !claims_equal(s->installed, s->claims)) {
            nsx_flow_put(s->claims, delta, changes);
            changes->flows_changed++;
        }
    }
    for (const struct nsx_slot *s = d->flows.first_dirty; s;
         s = s->next_dirty) {
        if (s->installed && !s->claims) {
            const uint8_t *fm = s->installed->data;
            nsx_flow_put_delete(fm[FM_TABLE_ID], nsx_get16(fm + FM_PRIORITY),
                                fm + FM_LEN,
                                nsx_flow_mod_match_len(fm), delta, changes);
        }
    }
    put_group_deletes(d->groups.first_dirty, delta, changes);
}

/* Takes what was put into the delta as installed. */
static void
settle(struct nsx_desired *d, struct nsx_slots *slots)
{
    struct nsx_slot *next;

    for (struct nsx_slot *slot = slots->first_dirty; slot; slot = next) {
        next = slot->next_dirty;
        slot->next_dirty = NULL;
        slot->dirty = false;
        slot->installed = slot->claims;
        if (!slot->claims) {
            slot_free(d, slots, slot);
        }
    }
    slots->first_dirty = slots->last_dirty = NULL;
}
