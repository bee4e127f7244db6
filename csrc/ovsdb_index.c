/* ovsdb_index.c: from an atom to the rows that have it.
 *
 * An atom is a key.  Its entries, one a row, are a list in the order in which
 * they came; the entries of one place are a list too, so that a row finds its
 * own without a search. */

#include "ovsdb.h"

#define NO_ENTRY SIZE_MAX

struct key {
    struct nsx_node node;       /* In 'keys'. */
    size_t first, last;         /* Entries. */
    size_t size;
    uint8_t bytes[];
};

struct entry {
    struct key *key;
    size_t place;
    size_t previous, next;      /* Of the same key. */
    size_t sibling;             /* Of the same place; or the next free one. */
};

struct index {
    size_t column;
    enum nsx_atom_type type;
    uint8_t *map_key;           /* Of a map, the key's bytes, or NULL. */
    size_t map_key_size;

    struct nsx_map keys;
    struct entry *entries;
    size_t n_entries, allocated;
    size_t free_entry;
    size_t *of_place;           /* One a place. */
};

static void
index_make_room(struct index *index, size_t old, size_t n)
{
    index->of_place = nsx_xrealloc(index->of_place, n,
                                   sizeof *index->of_place);
    for (size_t place = old; place < n; place++) {
        index->of_place[place] = NO_ENTRY;
    }
}

void
index_reserve(struct nsx_ovsdb_table *table, size_t old_allocated)
{
    for (size_t i = 0; i < table->n_indexes; i++) {
        index_make_room(&table->indexes[i], old_allocated, table->allocated);
    }
}

static struct key *
find_key(const struct index *index, const uint8_t *bytes, size_t n,
         uint64_t hash)
{
    for (struct nsx_node *node = nsx_map_first(&index->keys, hash); node;
         node = nsx_map_next(node, hash)) {
        struct key *key = (struct key *) node;
        if (key->size == n && !memcmp(key->bytes, bytes, n)) {
            return key;
        }
    }
    return NULL;
}

static struct key *
get_key(struct index *index, const uint8_t *bytes, size_t n, uint64_t hash)
{
    struct key *key = find_key(index, bytes, n, hash);

    if (!key) {
        key = nsx_xmalloc(sizeof *key + n);
        key->first = key->last = NO_ENTRY;
        key->size = n;
        memcpy(key->bytes, bytes, n);
        nsx_map_insert(&index->keys, &key->node, hash);
    }
    return key;
}

static size_t
entry_new(struct index *index)
{
    size_t number = index->free_entry;

    if (number != NO_ENTRY) {
        index->free_entry = index->entries[number].sibling;
        return number;
    }
    if (index->n_entries == index->allocated) {
        index->allocated = index->allocated ? index->allocated * 2 : 64;
        index->entries = nsx_xrealloc(index->entries, index->allocated,
                                      sizeof *index->entries);
    }
    return index->n_entries++;
}

static void
enter_atom(struct index *index, uint64_t seed, size_t place,
           const struct nsx_atom *atom, struct nsx_buf *bytes)
{
    bytes->size = 0;
    atom_put(bytes, index->type, atom);

    uint64_t hash = nsx_hash_bytes(bytes->data, bytes->size, seed);
    struct key *key = get_key(index, bytes->data, bytes->size, hash);
    size_t number = entry_new(index);
    index->entries[number] = (struct entry) {
        .key = key,
        .place = place,
        .previous = key->last,
        .next = NO_ENTRY,
        .sibling = index->of_place[place],
    };
    index->of_place[place] = number;
    if (key->last == NO_ENTRY) {
        key->first = number;
    } else {
        index->entries[key->last].next = number;
    }
    key->last = number;
}

static void
remove_entry(struct index *index, size_t number)
{
    struct entry *entry = &index->entries[number];
    struct key *key = entry->key;

    if (entry->previous == NO_ENTRY) {
        key->first = entry->next;
    } else {
        index->entries[entry->previous].next = entry->next;
    }
    if (entry->next == NO_ENTRY) {
        key->last = entry->previous;
    } else {
        index->entries[entry->next].previous = entry->previous;
    }
    if (key->first == NO_ENTRY) {
        nsx_map_remove(&index->keys, &key->node);
        free(key);
    }
    entry->sibling = index->free_entry;
    index->free_entry = number;
}

/* Whether the map's key that was just read is the one the index is about. */
static bool
is_map_key(const struct index *index, enum nsx_atom_type type,
           const struct nsx_atom *atom, struct nsx_buf *bytes)
{
    bytes->size = 0;
    atom_put(bytes, type, atom);
    return (bytes->size == index->map_key_size
            && !memcmp(bytes->data, index->map_key, bytes->size));
}

static void
enter_place(struct nsx_ovsdb_table *table, struct index *index, size_t place)
{
    const struct column *column = &table->columns[index->column];
    uint64_t seed = table->db->pool.seed;
    bool map = column->type.value != NSX_ATOM_NONE;
    struct nsx_buf bytes = NSX_BUF_INITIALIZER;
    struct nsx_atoms atoms;
    struct nsx_atom atom, value;
    enum nsx_atom_type type;

    atoms_init(&atoms, &column->type, column->cells[place]);
    while (nsx_atoms_next(&atoms, &type, &atom)) {
        enum nsx_atom_type value_type;
        if (map) {
            nsx_atoms_next(&atoms, &value_type, &value);
        }
        if (!index->map_key) {
            enter_atom(index, seed, place, &atom, &bytes);
        } else if (is_map_key(index, type, &atom, &bytes)) {
            enter_atom(index, seed, place, &value, &bytes);
        }
    }
    nsx_buf_uninit(&bytes);
}

void
index_enter(struct nsx_ovsdb_table *table, size_t place, size_t column)
{
    for (size_t i = 0; i < table->n_indexes; i++) {
        if (table->indexes[i].column == column) {
            enter_place(table, &table->indexes[i], place);
        }
    }
}

void
index_leave(struct nsx_ovsdb_table *table, size_t place, size_t column)
{
    for (size_t i = 0; i < table->n_indexes; i++) {
        struct index *index = &table->indexes[i];
        if (index->column != column) {
            continue;
        }
        size_t number = index->of_place[place];
        while (number != NO_ENTRY) {
            size_t sibling = index->entries[number].sibling;
            remove_entry(index, number);
            number = sibling;
        }
        index->of_place[place] = NO_ENTRY;
    }
}

void
index_uninit(struct nsx_ovsdb_table *table)
{
    for (size_t i = 0; i < table->n_indexes; i++) {
        struct index *index = &table->indexes[i];
        for (size_t chain = 0; index->keys.chains && chain <= index->keys.mask;
             chain++) {
            struct nsx_node *node = index->keys.chains[chain];
            while (node) {
                struct nsx_node *next = node->next;
                free(node);
                node = next;
            }
        }
        nsx_map_uninit(&index->keys);
        free(index->map_key);
        free(index->entries);
        free(index->of_place);
    }
    free(table->indexes);
}

size_t
nsx_ovsdb_index_add(struct nsx_ovsdb_table *table, size_t column,
                    const struct nsx_atom *key)
{
    const struct nsx_ovsdb_column *type = &table->columns[column].type;
    struct nsx_buf bytes = NSX_BUF_INITIALIZER;

    if (key) {
        atom_put(&bytes, type->key, key);
        nsx_buf_reserve(&bytes, 1);     /* An empty one is no NULL. */
    }
    table->indexes = nsx_xrealloc(table->indexes, table->n_indexes + 1,
                                  sizeof *table->indexes);

    struct index *index = &table->indexes[table->n_indexes];
    *index = (struct index) {
        .column = column,
        .type = key ? type->value : type->key,
        .map_key = bytes.data,
        .map_key_size = bytes.size,
        .free_entry = NO_ENTRY,
    };
    if (table->allocated) {
        index_make_room(index, 0, table->allocated);
    }
    for (size_t place = 0; place < table->n_places; place++) {
        if (table->used[place]) {
            enter_place(table, index, place);
        }
    }
    return table->n_indexes++;
}

enum nsx_atom_type
nsx_ovsdb_index_type(const struct nsx_ovsdb_table *table, size_t index)
{
    return table->indexes[index].type;
}

void
nsx_ovsdb_index_find(const struct nsx_ovsdb_table *table, size_t number,
                     const struct nsx_atom *atom, struct nsx_buf *places)
{
    const struct index *index = &table->indexes[number];
    struct nsx_buf bytes = NSX_BUF_INITIALIZER;

    atom_put(&bytes, index->type, atom);
    const struct key *key = find_key(index, bytes.data, bytes.size,
                                     nsx_hash_bytes(bytes.data, bytes.size,
                                                    table->db->pool.seed));
    for (size_t entry = key ? key->first : NO_ENTRY; entry != NO_ENTRY;
         entry = index->entries[entry].next) {
        nsx_put(places, &index->entries[entry].place, sizeof (size_t));
    }
    nsx_buf_uninit(&bytes);
}
