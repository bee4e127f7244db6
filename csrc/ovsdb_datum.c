/* ovsdb_datum.c: values of cells: shared, compared, patched, taken apart. */

#include "ovsdb.h"

static bool
is_shared(const struct nsx_datum *datum)
{
    return datum->size <= DATUM_SHARED;
}

/* The datum of these bytes, with a share for the caller. */
static struct nsx_datum *
datum_get(struct datum_pool *pool, const void *bytes, size_t n)
{
    uint64_t hash = 0;

    if (n > UINT32_MAX) {
        abort();
    }
    if (n <= DATUM_SHARED) {
        hash = nsx_hash_bytes(bytes, n, pool->seed);
        for (struct nsx_node *node = nsx_map_first(&pool->shared, hash); node;
             node = nsx_map_next(node, hash)) {
            struct nsx_datum *datum = (struct nsx_datum *) node;
            if (datum->size == n && !memcmp(datum->bytes, bytes, n)) {
                datum->refs++;
                return datum;
            }
        }
    }

    struct nsx_datum *datum = nsx_xmalloc(sizeof *datum + n);
    datum->refs = 1;
    datum->size = (uint32_t) n;
    if (n) {
        memcpy(datum->bytes, bytes, n);
    }
    if (is_shared(datum)) {
        nsx_map_insert(&pool->shared, &datum->node, hash);
    }
    return datum;
}

void
datum_pool_uninit(struct datum_pool *pool)
{
    nsx_map_uninit(&pool->shared);
}

union nsx_ovsdb_cell
cell_ref(const struct nsx_ovsdb_column *type, union nsx_ovsdb_cell cell)
{
    if (!column_is_inline(type) && cell.datum) {
        cell.datum->refs++;
    }
    return cell;
}

void
cell_unref(struct datum_pool *pool, const struct nsx_ovsdb_column *type,
           union nsx_ovsdb_cell cell)
{
    if (column_is_inline(type) || !cell.datum || --cell.datum->refs) {
        return;
    }
    if (is_shared(cell.datum)) {
        nsx_map_remove(&pool->shared, &cell.datum->node);
    }
    free(cell.datum);
}

bool
cell_equals(const struct nsx_ovsdb_column *type, union nsx_ovsdb_cell a,
            union nsx_ovsdb_cell b)
{
    if (column_is_inline(type) || a.datum == b.datum) {
        return a.integer == b.integer;
    }
    return (a.datum && b.datum && !is_shared(a.datum)
            && a.datum->size == b.datum->size
            && !memcmp(a.datum->bytes, b.datum->bytes, a.datum->size));
}

void
atom_put(struct nsx_buf *b, enum nsx_atom_type type,
         const struct nsx_atom *atom)
{
    uint32_t len;

    switch (type) {
    case NSX_ATOM_INTEGER:
        nsx_put(b, &atom->integer, sizeof atom->integer);
        break;
    case NSX_ATOM_REAL:
        nsx_put(b, &atom->real, sizeof atom->real);
        break;
    case NSX_ATOM_BOOLEAN:
        nsx_put8(b, atom->boolean);
        break;
    case NSX_ATOM_STRING:
        len = (uint32_t) atom->string_len;
        nsx_put(b, &len, sizeof len);
        nsx_put(b, atom->string, len);
        break;
    case NSX_ATOM_UUID:
        nsx_put(b, atom->uuid, 16);
        break;
    case NSX_ATOM_NONE:
        break;
    }
}

/* Reads the atom at 'p' and returns its end. */
static const uint8_t *
atom_get(const uint8_t *p, enum nsx_atom_type type, struct nsx_atom *atom)
{
    uint32_t len;

    switch (type) {
    case NSX_ATOM_INTEGER:
        memcpy(&atom->integer, p, sizeof atom->integer);
        return p + sizeof atom->integer;
    case NSX_ATOM_REAL:
        memcpy(&atom->real, p, sizeof atom->real);
        return p + sizeof atom->real;
    case NSX_ATOM_BOOLEAN:
        atom->boolean = *p;
        return p + 1;
    case NSX_ATOM_STRING:
        memcpy(&len, p, sizeof len);
        atom->string = (const char *) p + sizeof len;
        atom->string_len = len;
        return p + sizeof len + len;
    case NSX_ATOM_UUID:
        atom->uuid = p;
        return p + 16;
    default:
        return p;
    }
}

/* As strcmp(), of two atoms. */
static int
atom_compare(enum nsx_atom_type type, const struct nsx_atom *a,
             const struct nsx_atom *b)
{
    size_t n;
    int order;

    switch (type) {
    case NSX_ATOM_INTEGER:
        return (a->integer > b->integer) - (a->integer < b->integer);
    case NSX_ATOM_REAL:
        return (a->real > b->real) - (a->real < b->real);
    case NSX_ATOM_BOOLEAN:
        return a->boolean - b->boolean;
    case NSX_ATOM_STRING:
        n = a->string_len < b->string_len ? a->string_len : b->string_len;
        order = n ? memcmp(a->string, b->string, n) : 0;
        return (order ? order
                : (a->string_len > b->string_len)
                  - (a->string_len < b->string_len));
    case NSX_ATOM_UUID:
        return memcmp(a->uuid, b->uuid, 16);
    default:
        return 0;
    }
}

static const uint8_t zeros[16];

void
atoms_init(struct nsx_atoms *atoms, const struct nsx_ovsdb_column *type,
           union nsx_ovsdb_cell cell)
{
    *atoms = (struct nsx_atoms) {
        .type = { type->key, type->value },
        .cell = cell,
        .is_cell = column_is_scalar(type),
    };
    if (!atoms->is_cell && cell.datum) {
        atoms->p = cell.datum->bytes;
        atoms->end = cell.datum->bytes + cell.datum->size;
    }
}

/* Reads the only atom of a scalar. */
static void
scalar_get(const struct nsx_atoms *atoms, struct nsx_atom *atom)
{
    const struct nsx_datum *datum = atoms->cell.datum;

    switch (atoms->type[0]) {
    case NSX_ATOM_STRING:
        atom->string = datum ? (const char *) datum->bytes : "";
        atom->string_len = datum ? datum->size : 0;
        break;
    case NSX_ATOM_UUID:
        atom->uuid = datum ? datum->bytes : zeros;
        break;
    default:
        atom->integer = atoms->cell.integer;
        atom->real = atoms->cell.real;
        atom->boolean = atoms->cell.integer != 0;
        break;
    }
}

bool
nsx_atoms_next(struct nsx_atoms *atoms, enum nsx_atom_type *type,
               struct nsx_atom *atom)
{
    *type = atoms->type[atoms->turn];
    if (atoms->is_cell) {
        scalar_get(atoms, atom);
        atoms->is_cell = false;
        return true;
    }
    if (atoms->p == atoms->end) {
        return false;
    }
    atoms->p = atom_get(atoms->p, *type, atom);
    atoms->turn ^= atoms->type[1] != NSX_ATOM_NONE;
    return true;
}

union nsx_ovsdb_cell
cell_make(struct datum_pool *pool, const struct nsx_ovsdb_column *type,
          const uint8_t *bytes, size_t n)
{
    union nsx_ovsdb_cell cell = { 0 };
    struct nsx_atom atom = { .uuid = zeros };

    if (!column_is_scalar(type)) {
        cell.datum = n ? datum_get(pool, bytes, n) : NULL;
        return cell;
    }
    atom_get(bytes, type->key, &atom);
    switch (type->key) {
    case NSX_ATOM_INTEGER:
        cell.integer = atom.integer;
        break;
    case NSX_ATOM_REAL:
        cell.real = atom.real;
        break;
    case NSX_ATOM_BOOLEAN:
        cell.integer = atom.boolean;
        break;
    case NSX_ATOM_STRING:
        cell.datum = (atom.string_len
                      ? datum_get(pool, atom.string, atom.string_len) : NULL);
        break;
    default:
        cell.datum = (memcmp(atom.uuid, zeros, 16)
                      ? datum_get(pool, atom.uuid, 16) : NULL);
        break;
    }
    return cell;
}

union nsx_ovsdb_cell
cell_initial(struct datum_pool *pool, const struct nsx_ovsdb_column *type)
{
    const struct nsx_atom atom = { .uuid = zeros };
    struct nsx_buf bytes = NSX_BUF_INITIALIZER;

    if (!type->optional) {
        atom_put(&bytes, type->key, &atom);
        atom_put(&bytes, type->value, &atom);
    }
    union nsx_ovsdb_cell cell = cell_make(pool, type, bytes.data, bytes.size);
    nsx_buf_uninit(&bytes);
    return cell;
}

/* A place in the members of a set or a map. */
struct cursor {
    const struct nsx_ovsdb_column *type;
    const uint8_t *p, *end;     /* The next member, and the end of all. */
    struct nsx_atom key;        /* The member's key, */
    const uint8_t *next;        /* and its end. */
};

static void
cursor_move(struct cursor *cursor, const uint8_t *p)
{
    struct nsx_atom value;

    cursor->p = p;
    if (p < cursor->end) {
        p = atom_get(p, cursor->type->key, &cursor->key);
        cursor->next = atom_get(p, cursor->type->value, &value);
    }
}

static struct cursor
cursor_at_start(const struct nsx_ovsdb_column *type, union nsx_ovsdb_cell cell)
{
    struct cursor cursor = { type, zeros, zeros, { .integer = 0 }, zeros };

    if (cell.datum) {
        cursor.end = cell.datum->bytes + cell.datum->size;
        cursor_move(&cursor, cell.datum->bytes);
    }
    return cursor;
}

/* The bytes of an atom; 0: they aren't always as many. */
static size_t
atom_width(enum nsx_atom_type type)
{
    return (type == NSX_ATOM_STRING || type == NSX_ATOM_NONE ? 0
            : type == NSX_ATOM_BOOLEAN ? 1
            : type == NSX_ATOM_UUID ? 16 : 8);
}

/* Moves to the first member whose key isn't below 'key'. */
static void
cursor_seek(struct cursor *cursor, const struct nsx_atom *key)
{
    enum nsx_atom_type type = cursor->type->key;
    size_t width = (cursor->type->value == NSX_ATOM_NONE
                    ? atom_width(type) : 0);

    if (width) {
        /* A bridge's ports are a set of thousands, of which one changes. */
        size_t low = 0, high = (size_t) (cursor->end - cursor->p) / width;
        while (low < high) {
            size_t middle = low + (high - low) / 2;
            struct nsx_atom atom;
            atom_get(cursor->p + middle * width, type, &atom);
            if (atom_compare(type, &atom, key) < 0) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        cursor_move(cursor, cursor->p + low * width);
        return;
    }
    while (cursor->p < cursor->end
           && atom_compare(type, &cursor->key, key) < 0) {
        cursor_move(cursor, cursor->next);
    }
}

union nsx_ovsdb_cell
cell_patch(struct datum_pool *pool, const struct nsx_ovsdb_column *type,
           union nsx_ovsdb_cell cell, union nsx_ovsdb_cell difference)
{
    struct cursor old = cursor_at_start(type, cell);
    struct cursor new = cursor_at_start(type, difference);
    struct nsx_buf b = NSX_BUF_INITIALIZER;

    nsx_buf_reserve(&b, (size_t) (old.end - old.p)
                        + (size_t) (new.end - new.p) + 1);
    for (; new.p < new.end; cursor_move(&new, new.next)) {
        const uint8_t *start = old.p;
        size_t n = (size_t) (new.next - new.p);

        cursor_seek(&old, &new.key);
        nsx_put(&b, start, (size_t) (old.p - start));
        if (old.p < old.end
            && !atom_compare(type->key, &old.key, &new.key)) {
            bool same = ((size_t) (old.next - old.p) == n
                         && !memcmp(new.p, old.p, n));
            cursor_move(&old, old.next);
            if (same) {
                continue;
            }
        }
        nsx_put(&b, new.p, n);
    }
    nsx_put(&b, old.p, (size_t) (old.end - old.p));
    union nsx_ovsdb_cell patched = cell_make(pool, type, b.data, b.size);
    nsx_buf_uninit(&b);
    return patched;
}

int
atom_bytes_compare(enum nsx_atom_type type, const uint8_t *a, const uint8_t *b)
{
    struct nsx_atom atoms[2];

    atom_get(a, type, &atoms[0]);
    atom_get(b, type, &atoms[1]);
    return atom_compare(type, &atoms[0], &atoms[1]);
}
