/* ovsdb_table.c: tables as columns, rows by their UUIDs, rows as they were. */

#include "ovsdb.h"

struct nsx_ovsdb *
nsx_ovsdb_new(uint64_t seed)
{
    struct nsx_ovsdb *db = nsx_xcalloc(1, sizeof *db);

    db->pool.seed = seed;
    return db;
}

static void
table_free(struct nsx_ovsdb_table *table)
{
    struct datum_pool *pool = &table->db->pool;

    for (size_t i = 0; i < table->n_columns; i++) {
        struct column *column = &table->columns[i];
        for (size_t place = 0; place < table->n_places; place++) {
            cell_unref(pool, &column->type, column->cells[place]);
        }
        cell_unref(pool, &column->type, column->initial);
        free((char *) column->type.name);
        free(column->cells);
    }
    index_uninit(table);
    free(table->columns);
    free(table->name);
    free(table->uuids);
    free(table->used);
    free(table->vacant);
    free(table->by_uuid);
    free(table);
}

void
nsx_ovsdb_free(struct nsx_ovsdb *db)
{
    if (!db) {
        return;
    }
    for (size_t i = 0; i < db->n_tables; i++) {
        table_free(db->tables[i]);
    }
    free(db->tables);
    datum_pool_uninit(&db->pool);
    free(db);
}

static char *
copy_text(const char *text)
{
    size_t n = strlen(text) + 1;

    return memcpy(nsx_xmalloc(n), text, n);
}

struct nsx_ovsdb_table *
nsx_ovsdb_table_new(struct nsx_ovsdb *db, const char *name,
                    const struct nsx_ovsdb_column *columns, size_t n)
{
    struct nsx_ovsdb_table *table = nsx_xcalloc(1, sizeof *table);

    table->db = db;
    table->name = copy_text(name);
    table->n_columns = n;
    table->columns = nsx_xcalloc(n + 1, sizeof *table->columns);
    for (size_t i = 0; i < n; i++) {
        struct column *column = &table->columns[i];
        column->type = columns[i];
        column->type.name = copy_text(columns[i].name);
        column->name_len = strlen(column->type.name);
        column->initial = cell_initial(&db->pool, &column->type);
    }
    db->tables = nsx_xrealloc(db->tables, db->n_tables + 1,
                              sizeof *db->tables);
    db->tables[db->n_tables++] = table;
    return table;
}

void
nsx_ovsdb_table_retire(struct nsx_ovsdb_table *table)
{
    table->retired = true;
    for (size_t place = 0; place < table->n_places; place++) {
        if (table->used[place]) {
            table_remove(table, place);
        }
    }
}

struct nsx_ovsdb_table *
table_by_name(const struct nsx_ovsdb *db, const struct nsx_buf *name)
{
    for (size_t i = 0; i < db->n_tables; i++) {
        struct nsx_ovsdb_table *table = db->tables[i];
        if (!table->retired && buf_is(name, table->name)) {
            return table;
        }
    }
    return NULL;
}

/* Rows by UUID. */

static size_t
uuid_chain(const struct nsx_ovsdb_table *table, const uint8_t uuid[16])
{
    return nsx_map_hash(nsx_hash_bytes(uuid, 16, table->db->pool.seed))
           & table->mask;
}

/* Where in 'by_uuid' the row is or would be put. */
static size_t
uuid_slot(const struct nsx_ovsdb_table *table, const uint8_t uuid[16])
{
    size_t slot = uuid_chain(table, uuid);

    while (table->by_uuid[slot]
           && memcmp(table->uuids[table->by_uuid[slot] - 1], uuid, 16)) {
        slot = (slot + 1) & table->mask;
    }
    return slot;
}

size_t
nsx_ovsdb_table_find(const struct nsx_ovsdb_table *table,
                     const uint8_t uuid[16])
{
    size_t found = table->by_uuid ? table->by_uuid[uuid_slot(table, uuid)] : 0;

    return found ? found - 1 : NSX_OVSDB_NOWHERE;
}

static void
uuid_forget(struct nsx_ovsdb_table *table, const uint8_t uuid[16])
{
    size_t hole = uuid_slot(table, uuid), slot = hole;

    /* Whoever was put further on because of it moves up. */
    for (;;) {
        slot = (slot + 1) & table->mask;
        size_t entry = table->by_uuid[slot];
        if (!entry) {
            break;
        }
        size_t wanted = uuid_chain(table, table->uuids[entry - 1]);
        if (((slot - wanted) & table->mask) >= ((slot - hole) & table->mask)) {
            table->by_uuid[hole] = entry;
            hole = slot;
        }
    }
    table->by_uuid[hole] = 0;
}

/* Places. */

static void
table_grow(struct nsx_ovsdb_table *table)
{
    size_t old = table->allocated, n = old ? old + old / 2 : 16;

    for (size_t i = 0; i < table->n_columns; i++) {
        struct column *column = &table->columns[i];
        column->cells = nsx_xrealloc(column->cells, n,
                                     sizeof *column->cells);
    }
    table->uuids = nsx_xrealloc(table->uuids, n, sizeof *table->uuids);
    table->used = nsx_xrealloc(table->used, n, sizeof *table->used);
    table->vacant = nsx_xrealloc(table->vacant, n, sizeof *table->vacant);
    table->allocated = n;
    index_reserve(table, old);

    if (2 * n > table->mask) {
        free(table->by_uuid);
        while (table->mask < 2 * n) {
            table->mask = table->mask * 2 + 1;
        }
        table->by_uuid = nsx_xcalloc(table->mask + 1, sizeof *table->by_uuid);
        for (size_t place = 0; place < table->n_places; place++) {
            if (table->used[place]) {
                size_t slot = uuid_slot(table, table->uuids[place]);
                table->by_uuid[slot] = place + 1;
            }
        }
    }
}

static size_t
place_new(struct nsx_ovsdb_table *table, const uint8_t uuid[16])
{
    if (!table->n_vacant && table->n_places == table->allocated) {
        table_grow(table);
    }
    size_t place = (table->n_vacant ? table->vacant[--table->n_vacant]
                    : table->n_places++);

    memcpy(table->uuids[place], uuid, 16);
    table->by_uuid[uuid_slot(table, uuid)] = place + 1;
    table->n_rows++;
    table->version++;
    for (size_t i = 0; i < table->n_columns; i++) {
        table->columns[i].cells[place].integer = 0;
    }
    return place;
}

size_t
table_put(struct nsx_ovsdb_table *table, struct nsx_ovsdb_row *row)
{
    size_t place = nsx_ovsdb_table_find(table, row->uuid);
    bool new = place == NSX_OVSDB_NOWHERE;

    if (new) {
        place = place_new(table, row->uuid);
    }
    table->used[place] = PLACE_SEEN;
    for (size_t i = 0; i < table->n_columns; i++) {
        struct column *column = &table->columns[i];
        union nsx_ovsdb_cell old = column->cells[place];
        if (new || !cell_equals(&column->type, old, row->cells[i])) {
            if (!new) {
                index_leave(table, place, i);
            }
            column->cells[place] = row->cells[i];
            index_enter(table, place, i);
        } else {
            column->cells[place] = row->cells[i];
        }
        cell_unref(&table->db->pool, &column->type, old);
    }
    free(row);
    return place;
}

void
table_remove(struct nsx_ovsdb_table *table, size_t place)
{
    for (size_t i = 0; i < table->n_columns; i++) {
        struct column *column = &table->columns[i];
        index_leave(table, place, i);
        cell_unref(&table->db->pool, &column->type, column->cells[place]);
        column->cells[place].integer = 0;
    }
    uuid_forget(table, table->uuids[place]);
    table->used[place] = PLACE_EMPTY;
    table->vacant[table->n_vacant++] = place;
    table->n_rows--;
    table->version++;
}

size_t
nsx_ovsdb_table_rows(const struct nsx_ovsdb_table *table)
{
    return table->n_rows;
}

size_t
nsx_ovsdb_table_places(const struct nsx_ovsdb_table *table)
{
    return table->n_places;
}

uint64_t
nsx_ovsdb_table_version(const struct nsx_ovsdb_table *table)
{
    return table->version;
}

const uint8_t *
nsx_ovsdb_table_uuid(const struct nsx_ovsdb_table *table, size_t place)
{
    return place < table->n_places && table->used[place]
           ? table->uuids[place] : NULL;
}

const union nsx_ovsdb_cell *
nsx_ovsdb_table_cell(const struct nsx_ovsdb_table *table, size_t place,
                     size_t column)
{
    return &table->columns[column].cells[place];
}

void
nsx_ovsdb_table_numbers(const struct nsx_ovsdb_table *table, size_t n,
                        const union nsx_ovsdb_cell *missing,
                        union nsx_ovsdb_cell *out)
{
    const struct column *column = &table->columns[n];

    for (size_t place = 0; place < table->n_places; place++) {
        enum nsx_atom_type type;
        struct nsx_atoms atoms;
        struct nsx_atom atom;

        if (!table->used[place]) {
            continue;
        }
        atoms_init(&atoms, &column->type, column->cells[place]);
        *out = *missing;
        if (nsx_atoms_next(&atoms, &type, &atom)) {
            if (type == NSX_ATOM_REAL) {
                out->real = atom.real;
            } else {
                out->integer = (type == NSX_ATOM_BOOLEAN
                                ? atom.boolean : atom.integer);
            }
        }
        out++;
    }
}

void
nsx_atoms_init(struct nsx_atoms *atoms, const struct nsx_ovsdb_table *table,
               size_t column, const union nsx_ovsdb_cell *cell)
{
    atoms_init(atoms, &table->columns[column].type, *cell);
}

/* Rows. */

static struct nsx_ovsdb_row *
row_new(const struct nsx_ovsdb_table *table)
{
    return nsx_xmalloc(sizeof (struct nsx_ovsdb_row)
                       + table->n_columns * sizeof (union nsx_ovsdb_cell));
}

struct nsx_ovsdb_row *
row_initial(const struct nsx_ovsdb_table *table)
{
    struct nsx_ovsdb_row *row = row_new(table);

    memset(row->uuid, 0, sizeof row->uuid);
    for (size_t i = 0; i < table->n_columns; i++) {
        const struct column *column = &table->columns[i];
        row->cells[i] = cell_ref(&column->type, column->initial);
    }
    return row;
}

struct nsx_ovsdb_row *
nsx_ovsdb_row_get(const struct nsx_ovsdb_table *table, size_t place)
{
    struct nsx_ovsdb_row *row = row_new(table);

    memcpy(row->uuid, table->uuids[place], sizeof row->uuid);
    for (size_t i = 0; i < table->n_columns; i++) {
        const struct column *column = &table->columns[i];
        row->cells[i] = cell_ref(&column->type, column->cells[place]);
    }
    return row;
}

void
nsx_ovsdb_row_free(struct nsx_ovsdb_table *table, struct nsx_ovsdb_row *row)
{
    if (!row) {
        return;
    }
    for (size_t i = 0; i < table->n_columns; i++) {
        cell_unref(&table->db->pool, &table->columns[i].type, row->cells[i]);
    }
    free(row);
}

bool
nsx_ovsdb_row_equals(const struct nsx_ovsdb_table *table,
                     const struct nsx_ovsdb_row *a,
                     const struct nsx_ovsdb_row *b)
{
    for (size_t i = 0; i < table->n_columns; i++) {
        if (!cell_equals(&table->columns[i].type, a->cells[i], b->cells[i])) {
            return false;
        }
    }
    return !memcmp(a->uuid, b->uuid, sizeof a->uuid);
}
