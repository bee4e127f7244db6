/* template.c: a template's text, up to the first null, and the bytes of its
 * columns.
 *
 * What is stamped are whole messages; many rows at once are the rows one by
 * one. */
#include "fuzz.h"

#define MAX_ROWS 5
#define MAX_BUCKETS 4

struct input {
    const uint8_t *data;
    size_t size;
};

static uint8_t
next(struct input *in)
{
    return in->size ? (in->size--, *in->data++) : 0;
}

/* The values of one hole, copied so that not one byte after them can be
 * read. */
struct values {
    uint8_t *bytes;
    size_t n_rows;
    bool in_bucket;
    struct nsx_column column;
};

static void
fill(struct input *in, const struct nsx_template *template, size_t i,
     size_t n_rows, size_t n_bucket_rows, struct values *v)
{
    static const uint8_t widths[] = { 1, 2, 4, 8, 6, 16, 3, 0 };
    size_t n_bytes, n_bits, width;
    uint8_t how = next(in);

    const char *name = nsx_template_hole(template, i, &n_bytes, &n_bits,
                                         &v->in_bucket);
    FUZZ_ASSERT(name && *name && n_bits && n_bytes);

    width = how & 0x80 ? widths[how & 7] : n_bytes;
    v->n_rows = v->in_bucket ? n_bucket_rows : n_rows;
    v->column.width = width;
    v->column.stride = how & 0x40 ? 0 : (ptrdiff_t) width;

    size_t size = width * (v->column.stride ? v->n_rows : 1);
    v->bytes = malloc(size ? size : 1);
    FUZZ_ASSERT(v->bytes);
    for (size_t j = 0; j < size; j++) {
        /* Mostly values that are small enough. */
        v->bytes[j] = (how & 0x20 || width > 8 || j % width == 0
                       ? next(in) : 0);
    }
    v->column.data = v->bytes;
}

/* Checks that 'size' bytes at 'p' are whole messages. */
static void
check_messages(const uint8_t *p, size_t size)
{
    struct nsx_error error = fuzz_error();
    size_t n, used;

    FUZZ_ASSERT(!nsx_stream_split(p, size, &n, &used, &error));
    FUZZ_ASSERT(used == size);
}

static int
stamp(const struct nsx_template *template, size_t n, const uint64_t *offsets,
      const struct nsx_column *columns, struct nsx_buf *msgs, uint64_t *ends)
{
    struct nsx_error error = fuzz_error();
    size_t size = msgs->size;
    int retval;

    retval = (nsx_template_is_group(template)
              ? nsx_template_stamp_groups(template, n, offsets, columns, msgs,
                                          ends, &error)
              : nsx_template_stamp(template, n, columns, msgs, ends, &error));
    if (retval) {
        fuzz_check_error(&error, SIZE_MAX);
        FUZZ_ASSERT(msgs->size == size);
    } else if (n) {
        FUZZ_ASSERT(ends[n - 1] == msgs->size - size);
    }
    return retval;
}

static void
check(const struct nsx_template *template, struct input *in)
{
    size_t n_holes = nsx_template_n_holes(template);
    struct values *values = calloc(n_holes + 1, sizeof *values);
    struct nsx_column *columns = calloc(n_holes + 1, sizeof *columns);
    struct nsx_buf all = NSX_BUF_INITIALIZER;
    struct nsx_buf single = NSX_BUF_INITIALIZER;
    uint64_t offsets[MAX_ROWS + 1] = { 0 };
    uint64_t ends[MAX_ROWS];
    size_t n = next(in) % (MAX_ROWS + 1);

    FUZZ_ASSERT(values && columns);
    for (size_t i = 0; i < n; i++) {
        offsets[i + 1] = offsets[i] + next(in) % (MAX_BUCKETS + 1);
    }
    for (size_t i = 0; i < n_holes; i++) {
        fill(in, template, i, n, offsets[n], &values[i]);
        columns[i] = values[i].column;
    }

    int retval = stamp(template, n, offsets, columns, &all, ends);
    if (!retval) {
        check_messages(all.data, all.size);
    }

    /* Row by row. */
    int last = 0;
    for (size_t row = 0; row < n && !last; row++) {
        uint64_t rows[2] = { 0, offsets[row + 1] - offsets[row] };
        uint64_t end;

        for (size_t i = 0; i < n_holes; i++) {
            size_t skip = values[i].in_bucket ? offsets[row] : row;

            columns[i].data = (values[i].bytes
                               + skip * (size_t) columns[i].stride);
        }
        last = stamp(template, 1, rows, columns, &single, &end);
        FUZZ_ASSERT(retval || single.size == ends[row]);
    }
    FUZZ_ASSERT(!n || !retval == !last);
    FUZZ_ASSERT(retval || fuzz_same(&all, &single));

    for (size_t i = 0; i < n_holes; i++) {
        free(values[i].bytes);
    }
    free(values);
    free(columns);
    nsx_buf_uninit(&all);
    nsx_buf_uninit(&single);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *null = size ? memchr(data, '\0', size) : NULL;
    size_t len = null ? (size_t) (null - data) : size;
    struct nsx_error error = fuzz_error();
    struct nsx_template *template;
    char *text = malloc(len ? len : 1);

    FUZZ_ASSERT(text);
    memcpy(text, data, len);
    struct input in = { data + len, size - len };
    nsx_tables tables = (next(&in), next(&in) & 1) ? fuzz_tables() : NULL;
    int retval = nsx_template_new(text, len, tables, &template, &error);
    free(text);
    if (retval) {
        FUZZ_ASSERT(!template);
        fuzz_check_error(&error, len);
    } else {
        check(template, &in);
        nsx_template_free(template);
    }
    return 0;
}
