/* ovsdb.c: table updates, a line each, are taken by two databases: one that
 * tells what changed and one that isn't asked.  Both must have the same rows,
 * found by their UUIDs and by every index; what is wrong changes nothing. */
#include "fuzz.h"

#include "json.h"

#define N_COLUMNS 9
#define N_INDEXES 6

static const struct nsx_ovsdb_column columns[N_COLUMNS] = {
    { "name", NSX_ATOM_STRING, NSX_ATOM_NONE, false, false },
    { "integer", NSX_ATOM_INTEGER, NSX_ATOM_NONE, false, false },
    { "real", NSX_ATOM_REAL, NSX_ATOM_NONE, false, false },
    { "optional", NSX_ATOM_BOOLEAN, NSX_ATOM_NONE, true, false },
    { "strings", NSX_ATOM_STRING, NSX_ATOM_NONE, true, true },
    { "map", NSX_ATOM_STRING, NSX_ATOM_STRING, true, true },
    { "ref", NSX_ATOM_UUID, NSX_ATOM_NONE, true, false },
    { "refs", NSX_ATOM_UUID, NSX_ATOM_NONE, true, true },
    { "named", NSX_ATOM_INTEGER, NSX_ATOM_UUID, false, true },
};

struct database {
    struct nsx_ovsdb *db;
    struct nsx_ovsdb_table *table;
    size_t columns[N_INDEXES];
};

static struct database
make(uint64_t seed)
{
    static const struct nsx_atom key = { .string = "k", .string_len = 1 };
    struct database d = { nsx_ovsdb_new(seed), NULL, { 0, 1, 3, 4, 7, 5 } };

    d.table = nsx_ovsdb_table_new(d.db, "T", columns, N_COLUMNS);
    for (size_t i = 0; i < N_INDEXES; i++) {
        size_t number = nsx_ovsdb_index_add(d.table, d.columns[i],
                                            i == 5 ? &key : NULL);
        FUZZ_ASSERT(number == i);
    }
    return d;
}

static bool
has(const struct nsx_buf *places, size_t place)
{
    for (size_t i = 0; i < places->size / sizeof place; i++) {
        size_t found;
        memcpy(&found, places->data + i * sizeof found, sizeof found);
        if (found == place) {
            return true;
        }
    }
    return false;
}

static bool
is_k(const struct nsx_atom *atom)
{
    return atom->string_len == 1 && *atom->string == 'k';
}

/* Asserts that the indexes find a row by each atom of its column. */
static void
check_indexes(const struct database *d, size_t place)
{
    for (size_t i = 0; i < N_INDEXES; i++) {
        size_t column = d->columns[i];
        enum nsx_atom_type type;
        struct nsx_atom atom, value;
        struct nsx_atoms atoms;

        nsx_atoms_init(&atoms, d->table, column,
                       nsx_ovsdb_table_cell(d->table, place, column));
        while (nsx_atoms_next(&atoms, &type, &atom)) {
            struct nsx_buf places = NSX_BUF_INITIALIZER;
            bool wanted = true;
            if (columns[column].value != NSX_ATOM_NONE) {
                nsx_atoms_next(&atoms, &type, &value);
                wanted = is_k(&atom);
                atom = value;
            }
            nsx_ovsdb_index_find(d->table, i, &atom, &places);
            FUZZ_ASSERT(!wanted || has(&places, place));
            nsx_buf_uninit(&places);
        }
    }
}

static void
show_atom(struct nsx_buf *b, enum nsx_atom_type type,
          const struct nsx_atom *atom)
{
    char uuid[NSX_UUID_LEN];

    switch (type) {
    case NSX_ATOM_STRING:
        nsx_put(b, atom->string, atom->string_len);
        break;
    case NSX_ATOM_UUID:
        nsx_uuid_format(atom->uuid, uuid);
        nsx_put(b, uuid, sizeof uuid);
        break;
    case NSX_ATOM_REAL:
        nsx_printf(b, "%a", atom->real);
        break;
    case NSX_ATOM_BOOLEAN:
        nsx_printf(b, "%d", atom->boolean);
        break;
    default:
        nsx_printf(b, "%lld", (long long) atom->integer);
        break;
    }
    nsx_puts(b, ",");
}

/* Appends a row's text. */
static void
show_row(struct nsx_buf *b, const struct database *d, size_t place)
{
    const uint8_t *uuid = nsx_ovsdb_table_uuid(d->table, place);

    FUZZ_ASSERT(nsx_ovsdb_table_find(d->table, uuid) == place);
    nsx_put(b, uuid, 16);
    for (size_t i = 0; i < N_COLUMNS; i++) {
        enum nsx_atom_type type;
        struct nsx_atoms atoms;
        struct nsx_atom atom;
        size_t n = 0;

        nsx_atoms_init(&atoms, d->table, i,
                       nsx_ovsdb_table_cell(d->table, place, i));
        for (; nsx_atoms_next(&atoms, &type, &atom); n++) {
            show_atom(b, type, &atom);
        }
        FUZZ_ASSERT(n || columns[i].optional || columns[i].many);
        FUZZ_ASSERT(n < 2 || columns[i].many);
        nsx_puts(b, ";");
    }
}

/* All rows; both databases gave each the same place. */
static struct nsx_buf
show(const struct database *d)
{
    struct nsx_buf b = NSX_BUF_INITIALIZER;
    size_t n = 0;

    for (size_t i = 0; i < nsx_ovsdb_table_places(d->table); i++) {
        if (nsx_ovsdb_table_uuid(d->table, i)) {
            show_row(&b, d, i);
            check_indexes(d, i);
            n++;
        }
    }
    FUZZ_ASSERT(n == nsx_ovsdb_table_rows(d->table));
    return b;
}

/* What changed must be so now, and must not have been so before. */
static void
check_changes(const struct database *d, struct nsx_ovsdb_changes *changes)
{
    for (size_t i = 0; i < changes->n; i++) {
        struct nsx_ovsdb_change *change = &changes->list[i];
        FUZZ_ASSERT(change->table == d->table);
        FUZZ_ASSERT(change->before || change->after);
        FUZZ_ASSERT(!change->before || !change->after
                    || !nsx_ovsdb_row_equals(d->table, change->before,
                                             change->after));
    }
    nsx_ovsdb_changes_uninit(changes);
}

static void
take(struct database *observed, struct database *quiet, char verb,
     const char *json, size_t len)
{
    enum nsx_ovsdb_updates kind = verb & 1 ? NSX_OVSDB_UPDATE
                                  : NSX_OVSDB_UPDATE2;
    bool snapshot = verb & 2;
    struct nsx_ovsdb_changes changes = { NULL, 0, 0 };
    struct nsx_error error = fuzz_error(), again = fuzz_error();
    struct nsx_buf before = show(observed);

    int failed = nsx_ovsdb_apply(observed->db, kind, snapshot, json, len,
                                 &changes, &error);
    FUZZ_ASSERT(failed == nsx_ovsdb_apply(quiet->db, kind, snapshot, json,
                                          len, NULL, &again));
    struct nsx_buf after = show(observed), other = show(quiet);
    FUZZ_ASSERT(fuzz_same(&after, &other));
    if (failed) {
        fuzz_check_error(&error, len);
        FUZZ_ASSERT(!strcmp(error.message, again.message));
        FUZZ_ASSERT(fuzz_same(&before, &after));
        FUZZ_ASSERT(!changes.n);
    } else if (!changes.n) {
        FUZZ_ASSERT(fuzz_same(&before, &after));
    }
    check_changes(observed, &changes);
    nsx_buf_uninit(&before);
    nsx_buf_uninit(&after);
    nsx_buf_uninit(&other);
}

/* The stream says where an object ends just where a reader comes to its end,
 * however it is cut. */
static void
check_scan(const char *text, size_t len)
{
    struct nsx_json_scan scan = { 0, false, false };
    struct nsx_error error = fuzz_error();
    struct nsx_json json;
    bool ended = false;
    size_t n = 0;

    if (!len || *text != '{') {
        return;
    }
    for (size_t step = 1; n < len && !ended; step = step % 7 + 1) {
        size_t left = len - n < step ? len - n : step;
        n += nsx_json_scan(&scan, text + n, left, &ended);
    }
    nsx_json_init(&json, text, len, &error);
    if (!nsx_json_skip(&json)) {
        FUZZ_ASSERT(ended && json.p == text + n);
    } else {
        fuzz_check_error(&error, len);
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct database observed = make(1), quiet = make(1);
    const char *p = (const char *) data, *end = p + size;

    while (p < end) {
        const char *newline = memchr(p, '\n', (size_t) (end - p));
        const char *stop = newline ? newline : end;
        if (p < stop) {
            check_scan(p + 1, (size_t) (stop - p - 1));
            take(&observed, &quiet, *p, p + 1, (size_t) (stop - p - 1));
        }
        p = stop + 1;
    }
    nsx_ovsdb_free(observed.db);
    nsx_ovsdb_free(quiet.db);
    return 0;
}
