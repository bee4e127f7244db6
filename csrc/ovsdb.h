/* ovsdb.h: what the files of the OVSDB tables share. */
#ifndef NSX_OVSDB_H
#define NSX_OVSDB_H 1

#include "hash.h"
#include "json.h"

/* Data (ovsdb_datum.c).  A datum is what doesn't fit a cell: a string, a UUID,
 * or the members of an optional value, a set or a map, each atom as its bytes
 * (a string after its length, four bytes), sorted by their keys.  A scalar's
 * datum has no length before its string.  Equal ones up to DATUM_SHARED bytes
 * are one. */

#define DATUM_SHARED 256

struct nsx_datum {
    struct nsx_node node;       /* In 'shared', where it is small. */
    uint32_t refs;
    uint32_t size;
    uint8_t bytes[];
};

struct datum_pool {
    struct nsx_map shared;
    uint64_t seed;
};

void datum_pool_uninit(struct datum_pool *);

/* A column, with its share in what it has where nothing is said. */
struct column {
    struct nsx_ovsdb_column type;
    size_t name_len;
    union nsx_ovsdb_cell initial;
    union nsx_ovsdb_cell *cells;    /* One a place. */
};

/* Whether a value is in the cell itself. */
static inline bool
column_is_inline(const struct nsx_ovsdb_column *type)
{
    return (!type->many && !type->optional && type->value == NSX_ATOM_NONE
            && type->key < NSX_ATOM_STRING);
}

static inline bool
column_is_scalar(const struct nsx_ovsdb_column *type)
{
    return !type->many && !type->optional && type->value == NSX_ATOM_NONE;
}

/* The value of 'n' bytes of atoms, sorted by their keys; of a scalar, of one
 * atom. */
union nsx_ovsdb_cell cell_make(struct datum_pool *,
                               const struct nsx_ovsdb_column *,
                               const uint8_t *bytes, size_t n);

/* Shares in a cell's datum, and their end. */
union nsx_ovsdb_cell cell_ref(const struct nsx_ovsdb_column *,
                              union nsx_ovsdb_cell);
void cell_unref(struct datum_pool *, const struct nsx_ovsdb_column *,
                union nsx_ovsdb_cell);
bool cell_equals(const struct nsx_ovsdb_column *, union nsx_ovsdb_cell,
                 union nsx_ovsdb_cell);

/* What a column has where nothing is said. */
union nsx_ovsdb_cell cell_initial(struct datum_pool *,
                                  const struct nsx_ovsdb_column *);

/* The set or map that a difference, <row-update2>'s "modify", makes of one:
 * the members that are in one of the two, and of a key that has another value
 * in the difference, that one. */
union nsx_ovsdb_cell cell_patch(struct datum_pool *,
                                const struct nsx_ovsdb_column *,
                                union nsx_ovsdb_cell,
                                union nsx_ovsdb_cell difference);

/* Appends an atom's bytes, as a datum has them. */
void atom_put(struct nsx_buf *, enum nsx_atom_type, const struct nsx_atom *);

/* As strcmp(), of two atoms' bytes. */
int atom_bytes_compare(enum nsx_atom_type, const uint8_t *, const uint8_t *);

/* As nsx_atoms_init(), of a column that needn't be a table's. */
void atoms_init(struct nsx_atoms *, const struct nsx_ovsdb_column *,
                union nsx_ovsdb_cell);

/* Values from JSON (ovsdb_value.c). */

struct value_parser {
    struct nsx_json json;
    struct datum_pool *pool;
    struct nsx_buf text;        /* Names and tags. */
    struct nsx_buf atoms;       /* A value's atoms as they come, */
    struct nsx_buf members;     /* where each 'struct member' of them is, */
    struct nsx_buf sorted;      /* and, where they must be, sorted. */
};

void value_parser_init(struct value_parser *, struct datum_pool *,
                       const char *json, size_t len, struct nsx_error *);
void value_parser_uninit(struct value_parser *);

/* Reads a <value>; the cell is the caller's. */
int value_parse(struct value_parser *, const struct nsx_ovsdb_column *,
                union nsx_ovsdb_cell *);

/* Reads a UUID in quotes. */
int value_parse_uuid(struct value_parser *, uint8_t uuid[16]);

/* Tables (ovsdb_table.c). */

struct nsx_ovsdb_table {
    struct nsx_ovsdb *db;
    char *name;
    bool retired;
    struct column *columns;
    size_t n_columns;

    size_t n_places, allocated;
    size_t n_rows;
    uint64_t version;
    uint8_t (*uuids)[16];       /* One a place. */
    uint8_t *used;              /* One a place: PLACE_*. */
    size_t *vacant;             /* The empty places. */
    size_t n_vacant;

    size_t *by_uuid;            /* Open addressing: a place plus 1, or 0. */
    size_t mask;

    struct index *indexes;
    size_t n_indexes;
};

enum { PLACE_EMPTY, PLACE_USED, PLACE_SEEN };

struct nsx_ovsdb {
    struct datum_pool pool;
    struct nsx_ovsdb_table **tables;
    size_t n_tables;
};

/* The table that updates of that name go to, or NULL. */
struct nsx_ovsdb_table *table_by_name(const struct nsx_ovsdb *,
                                      const struct nsx_buf *name);

/* A row of a table, of which every cell is what it has by default, or at a
 * place. */
struct nsx_ovsdb_row *row_initial(const struct nsx_ovsdb_table *);

/* Puts a row, of which the cells are the table's from now on, at its place,
 * and returns that. */
size_t table_put(struct nsx_ovsdb_table *, struct nsx_ovsdb_row *);
void table_remove(struct nsx_ovsdb_table *, size_t place);

/* Indexes (ovsdb_index.c). */

/* Makes room for as many places as the table has. */
void index_reserve(struct nsx_ovsdb_table *, size_t old_allocated);
void index_enter(struct nsx_ovsdb_table *, size_t place, size_t column);
void index_leave(struct nsx_ovsdb_table *, size_t place, size_t column);
void index_uninit(struct nsx_ovsdb_table *);

#endif /* ovsdb.h */
