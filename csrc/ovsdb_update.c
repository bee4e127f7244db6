/* ovsdb_update.c: what a server says of rows, taken whole or not at all.
 *
 * Updates are read into a list first, which touches no table; when all of it
 * is right the list is carried out. */

#include "ovsdb.h"

#include <stdio.h>

/* One row's update. */
struct step {
    struct nsx_ovsdb_table *table;
    uint8_t uuid[16];
    struct nsx_ovsdb_row *row;  /* What it becomes; NULL: it goes. */
};

struct updater {
    struct nsx_ovsdb *db;
    enum nsx_ovsdb_updates kind;
    bool snapshot;
    struct value_parser parser;
    struct nsx_buf steps;       /* 'struct step's. */
    struct nsx_buf name;        /* Of a table or column. */
};

/* A row that is being read. */
struct reading {
    struct nsx_ovsdb_table *table;
    uint8_t uuid[16];
    size_t place;               /* Where it is; NSX_OVSDB_NOWHERE: it isn't,
                                 * or what it was doesn't matter. */
};

/* Says something about a row. */
static int
row_error(struct value_parser *parser, const struct reading *row,
          const char *at, const char *what)
{
    char uuid[NSX_UUID_LEN];

    nsx_uuid_format(row->uuid, uuid);
    return nsx_json_error(&parser->json, at, "%s: row %.*s: %s",
                          row->table->name, NSX_UUID_LEN, uuid, what);
}

/* Puts before an error which value it is about. */
static int
value_error(struct value_parser *parser, const struct reading *row,
            const struct column *column)
{
    char uuid[NSX_UUID_LEN], text[NSX_ERROR_MAX];
    struct nsx_error *error = parser->json.error;

    nsx_uuid_format(row->uuid, uuid);
    snprintf(text, sizeof text, "%.60s.%.60s of row %.*s: %.80s",
             row->table->name, column->type.name, NSX_UUID_LEN, uuid,
             error->message);
    memcpy(error->message, text, sizeof text);
    return EPROTO;
}

/* The column of that name, or NULL.  Servers send the columns of each row in
 * the same order: '*guess' is where the last one was found. */
static struct column *
find_column(struct nsx_ovsdb_table *table, const struct nsx_buf *name,
            size_t *guess)
{
    for (size_t i = 0; i < table->n_columns; i++) {
        size_t n = (*guess + 1 + i) % table->n_columns;
        struct column *column = &table->columns[n];
        if (column->name_len == name->size
            && !memcmp(column->type.name, name->data, name->size)) {
            *guess = n;
            return column;
        }
    }
    return NULL;
}

/* Sets what 'row' has of a column: to 'value', or, where that is a difference,
 * to what that makes of it. */
static void
set_cell(struct nsx_ovsdb_table *table, struct column *column,
         struct nsx_ovsdb_row *row, union nsx_ovsdb_cell value,
         bool difference)
{
    struct datum_pool *pool = &table->db->pool;
    union nsx_ovsdb_cell *cell = &row->cells[column - table->columns];

    if (difference && column->type.many) {
        union nsx_ovsdb_cell patched = cell_patch(pool, &column->type, *cell,
                                                  value);
        cell_unref(pool, &column->type, value);
        value = patched;
    }
    cell_unref(pool, &column->type, *cell);
    *cell = value;
}

/* Reads a <row> into 'row'. */
static int
parse_columns(struct value_parser *parser, const struct reading *reading,
              struct nsx_buf *name, bool difference,
              struct nsx_ovsdb_row *row)
{
    struct nsx_ovsdb_table *table = reading->table;
    size_t guess = table->n_columns ? table->n_columns - 1 : 0;
    const char *start = parser->json.p;

    if (nsx_json_peek(&parser->json) != '{') {
        return row_error(parser, reading, start, "its columns are no object");
    }
    parser->json.p++;
    for (bool first = true, more; ; first = false) {
        int error = nsx_json_next(&parser->json, '}', first, &more);
        if (error || !more) {
            return error;
        }
        start = parser->json.p;
        error = nsx_json_name(&parser->json, name);
        if (error) {
            return error;
        }
        struct column *column = find_column(table, name, &guess);
        if (!column) {
            return nsx_json_error(&parser->json, start, "an update of %.60s"
                                  ".%.*s, which isn't monitored", table->name,
                                  name->size < 60 ? (int) name->size : 60,
                                  (const char *) name->data);
        }
        union nsx_ovsdb_cell value;
        error = value_parse(parser, &column->type, &value);
        if (error) {
            return value_error(parser, reading, column);
        }
        set_cell(table, column, row, value, difference);
    }
}

/* Reads a <row> and adds the step that gives it to 'reading'. */
static int
parse_row(struct updater *updater, const struct reading *reading, bool keep,
          bool difference)
{
    struct nsx_ovsdb_row *row = (keep && reading->place != NSX_OVSDB_NOWHERE
                                 ? nsx_ovsdb_row_get(reading->table,
                                                     reading->place)
                                 : row_initial(reading->table));
    struct step step = { .table = reading->table, .row = row };

    memcpy(row->uuid, reading->uuid, sizeof row->uuid);
    memcpy(step.uuid, reading->uuid, sizeof step.uuid);
    nsx_put(&updater->steps, &step, sizeof step);
    return parse_columns(&updater->parser, reading, &updater->name, difference,
                         row);
}

/* Says that a row isn't there to be changed. */
static int
not_there(struct updater *updater, const struct reading *row, const char *at,
          const char *verb)
{
    char uuid[NSX_UUID_LEN];

    nsx_uuid_format(row->uuid, uuid);
    return nsx_json_error(&updater->parser.json, at, "%s: %s of row %.*s, "
                          "which isn't there", row->table->name, verb,
                          NSX_UUID_LEN, uuid);
}

/* Adds the step that removes the row. */
static int
put_deletion(struct updater *updater, const struct reading *row,
             const char *at)
{
    struct step step = { .table = row->table, .row = NULL };

    if (row->place == NSX_OVSDB_NOWHERE) {
        return not_there(updater, row, at, "delete");
    }
    memcpy(step.uuid, row->uuid, sizeof step.uuid);
    nsx_put(&updater->steps, &step, sizeof step);
    return 0;
}

/* Reads a <row-update2>: an object of one member, which says what happened. */
static int
parse_row_update2(struct updater *updater, const struct reading *row)
{
    struct nsx_json *json = &updater->parser.json;
    const char *start = json->p;
    bool more = false;
    int error = nsx_json_expect(json, '{');

    if (!error) {
        error = nsx_json_next(json, '}', true, &more);
    }
    if (!error && more) {
        error = nsx_json_name(json, &updater->name);
    }
    if (error || !more) {
        return row_error(&updater->parser, row, start,
                         "not an update of a row");
    }

    if (buf_is(&updater->name, "initial")
        || buf_is(&updater->name, "insert")) {
        error = parse_row(updater, row, false, false);
    } else if (buf_is(&updater->name, "modify")) {
        error = (row->place == NSX_OVSDB_NOWHERE
                 ? not_there(updater, row, start, "modify")
                 : parse_row(updater, row, true, true));
    } else if (buf_is(&updater->name, "delete")) {
        error = put_deletion(updater, row, start);
        if (!error) {
            error = nsx_json_skip(json);
        }
    } else {
        error = row_error(&updater->parser, row, start,
                          "not an update of a row");
    }
    return error ? error : nsx_json_expect(json, '}');
}

/* Reads RFC 7047's <row-update>: where it has a "new", that is the row, and
 * its "old", whichever comes first, isn't needed. */
static int
parse_row_update(struct updater *updater, const struct reading *row)
{
    struct nsx_json *json = &updater->parser.json;
    const char *start = json->p;
    bool new = false, old = false, more;

    if (nsx_json_expect(json, '{')) {
        return row_error(&updater->parser, row, start,
                         "not an update of a row");
    }
    for (bool first = true; ; first = false) {
        int error = nsx_json_next(json, '}', first, &more);
        if (!error && !more) {
            break;
        }
        if (!error) {
            error = nsx_json_name(json, &updater->name);
        }
        if (!error && buf_is(&updater->name, "new") && !new) {
            new = true;
            error = parse_row(updater, row, true, false);
        } else if (!error) {
            old |= buf_is(&updater->name, "old");
            error = nsx_json_skip(json);
        }
        if (error) {
            return error;
        }
    }
    if (new) {
        return 0;
    }
    return old ? put_deletion(updater, row, start)
           : row_error(&updater->parser, row, start, "not an update of a row");
}

/* Reads the updates of one table's rows. */
static int
parse_table(struct updater *updater, struct nsx_ovsdb_table *table)
{
    struct value_parser *parser = &updater->parser;
    struct nsx_json *json = &parser->json;
    struct reading row = { .table = table };

    if (nsx_json_peek(json) != '{') {
        return nsx_json_error(json, json->p,
                              "updates of table %s are no object",
                              table->name);
    }
    json->p++;
    for (bool first = true, more; ; first = false) {
        int error = nsx_json_next(json, '}', first, &more);
        if (error || !more) {
            return error;
        }
        error = value_parse_uuid(parser, row.uuid);
        if (!error) {
            error = nsx_json_expect(json, ':');
        }
        if (error) {
            return error;
        }
        row.place = (updater->snapshot ? NSX_OVSDB_NOWHERE
                     : nsx_ovsdb_table_find(table, row.uuid));
        nsx_json_peek(json);
        error = (updater->kind == NSX_OVSDB_UPDATE
                 ? parse_row_update(updater, &row)
                 : parse_row_update2(updater, &row));
        if (error) {
            return error;
        }
    }
}

static int
parse_updates(struct updater *updater)
{
    struct nsx_json *json = &updater->parser.json;

    if (nsx_json_peek(json) != '{') {
        return nsx_json_error(json, json->p, "table updates are no object");
    }
    json->p++;
    for (bool first = true, more; ; first = false) {
        int error = nsx_json_next(json, '}', first, &more);
        if (error || !more) {
            return error ? error : nsx_json_end(json);
        }
        const char *start = json->p;
        error = nsx_json_name(json, &updater->name);
        if (error) {
            return error;
        }
        struct nsx_ovsdb_table *table = table_by_name(updater->db,
                                                      &updater->name);
        if (!table) {
            return nsx_json_error(json, start, "an update of table %.*s, "
                                  "which isn't monitored",
                                  updater->name.size < 60
                                  ? (int) updater->name.size : 60,
                                  (const char *) updater->name.data);
        }
        error = parse_table(updater, table);
        if (error) {
            return error;
        }
    }
}

static void
report(struct nsx_ovsdb_changes *changes, struct nsx_ovsdb_table *table,
       struct nsx_ovsdb_row *before, struct nsx_ovsdb_row *after)
{
    if (changes->n == changes->allocated) {
        changes->allocated = changes->allocated ? changes->allocated * 2 : 16;
        changes->list = nsx_xrealloc(changes->list, changes->allocated,
                                     sizeof *changes->list);
    }
    changes->list[changes->n++] = (struct nsx_ovsdb_change) {
        .table = table, .before = before, .after = after,
    };
}

void
nsx_ovsdb_changes_uninit(struct nsx_ovsdb_changes *changes)
{
    for (size_t i = 0; i < changes->n; i++) {
        struct nsx_ovsdb_change *change = &changes->list[i];
        nsx_ovsdb_row_free(change->table, change->before);
        nsx_ovsdb_row_free(change->table, change->after);
    }
    free(changes->list);
    *changes = (struct nsx_ovsdb_changes) { NULL, 0, 0 };
}

static void
remove_row(struct nsx_ovsdb_table *table, size_t place,
           struct nsx_ovsdb_changes *changes)
{
    if (changes) {
        report(changes, table, nsx_ovsdb_row_get(table, place), NULL);
    }
    table_remove(table, place);
}

/* Carries out a step; its row is the table's from now on. */
static void
take_step(const struct step *step, struct nsx_ovsdb_changes *changes)
{
    size_t place = nsx_ovsdb_table_find(step->table, step->uuid);

    if (!step->row) {
        /* The same update may have removed it before. */
        if (place != NSX_OVSDB_NOWHERE) {
            remove_row(step->table, place, changes);
        }
        return;
    }
    if (!changes) {
        table_put(step->table, step->row);
        return;
    }

    struct nsx_ovsdb_row *before = (place == NSX_OVSDB_NOWHERE ? NULL
                                    : nsx_ovsdb_row_get(step->table, place));
    if (before && nsx_ovsdb_row_equals(step->table, before, step->row)) {
        nsx_ovsdb_row_free(step->table, before);
        table_put(step->table, step->row);
        return;
    }
    place = table_put(step->table, step->row);
    report(changes, step->table, before,
           nsx_ovsdb_row_get(step->table, place));
}

/* Removes the rows that no step was about. */
static void
remove_unseen(struct nsx_ovsdb *db, struct nsx_ovsdb_changes *changes)
{
    for (size_t i = 0; i < db->n_tables; i++) {
        struct nsx_ovsdb_table *table = db->tables[i];
        for (size_t place = 0; place < table->n_places; place++) {
            if (table->used[place] == PLACE_USED && !table->retired) {
                remove_row(table, place, changes);
            }
        }
    }
}

static void
forget_seen(struct nsx_ovsdb *db)
{
    for (size_t i = 0; i < db->n_tables; i++) {
        struct nsx_ovsdb_table *table = db->tables[i];
        for (size_t place = 0; place < table->n_places; place++) {
            if (table->used[place]) {
                table->used[place] = PLACE_USED;
            }
        }
    }
}

int
nsx_ovsdb_apply(struct nsx_ovsdb *db, enum nsx_ovsdb_updates kind,
                bool snapshot, const char *json, size_t len,
                struct nsx_ovsdb_changes *changes, struct nsx_error *err)
{
    struct updater updater = { .db = db, .kind = kind, .snapshot = snapshot };

    value_parser_init(&updater.parser, &db->pool, json, len, err);
    int error = parse_updates(&updater);
    const struct step *steps = (const struct step *) updater.steps.data;
    size_t n = updater.steps.size / sizeof *steps;
    if (snapshot && !error) {
        forget_seen(db);
    }
    for (size_t i = 0; i < n; i++) {
        if (error) {
            nsx_ovsdb_row_free(steps[i].table, steps[i].row);
        } else {
            take_step(&steps[i], changes);
        }
    }
    if (snapshot && !error) {
        remove_unseen(db, changes);
    }
    value_parser_uninit(&updater.parser);
    nsx_buf_uninit(&updater.steps);
    nsx_buf_uninit(&updater.name);
    return error;
}

int
nsx_ovsdb_row_parse(struct nsx_ovsdb_table *table, const uint8_t uuid[16],
                    const char *json, size_t len, struct nsx_ovsdb_row **rowp,
                    struct nsx_error *err)
{
    struct reading reading = { .table = table, .place = NSX_OVSDB_NOWHERE };
    struct nsx_ovsdb_row *row = row_initial(table);
    struct nsx_buf name = NSX_BUF_INITIALIZER;
    struct value_parser parser;

    memcpy(reading.uuid, uuid, sizeof reading.uuid);
    memcpy(row->uuid, uuid, sizeof row->uuid);
    value_parser_init(&parser, &table->db->pool, json, len, err);
    int error = parse_columns(&parser, &reading, &name, false, row);
    if (!error) {
        error = nsx_json_end(&parser.json);
    }
    if (error) {
        nsx_ovsdb_row_free(table, row);
        row = NULL;
    }
    *rowp = row;
    value_parser_uninit(&parser);
    nsx_buf_uninit(&name);
    return error;
}
