/* stamp.c: stamping: many copies of a template, with columns' values in its
 * holes. */

#include <inttypes.h>
#include <stdlib.h>

#include "desired.h"
#include "template.h"

/* Rows are stamped in blocks that stay in the first-level cache, column by
 * column: so each hole's inner loop has nothing to decide. */
#define BLOCK_BYTES 16384

/* Writes 'n' values, 'src_stride' bytes apart from 'src' on, into fields
 * 'dst_stride' bytes apart from 'dst' on.  Returns the bits that any of them
 * has: too many bits are cut off. */
typedef uint64_t put_func(const struct nsx_patch *, uint8_t *dst,
                          size_t dst_stride, const uint8_t *src,
                          ptrdiff_t src_stride, size_t n);

/* A patch and its column. */
struct bound {
    const struct nsx_patch *patch;
    put_func *put;
    const uint8_t *data;
    ptrdiff_t stride;
    size_t width;               /* Of a value. */
    uint64_t excess;            /* Bits that no value may have. */
};

/* What all rows of a call have in common. */
struct stamp {
    const struct nsx_template *template;
    struct nsx_error *error;
    uint8_t *bytes;             /* The message, with what all rows share. */
    struct bound *rows;         /* One value for each message... */
    size_t n_rows;
    struct bound *buckets;      /* ...and for each bucket. */
    size_t n_buckets;
};

static int stamp_init(struct stamp *, const struct nsx_template *,
                      const struct nsx_column *, struct nsx_error *);
static void stamp_uninit(struct stamp *);
static int put_column(const struct stamp *, const struct bound *, uint8_t *dst,
                      size_t dst_stride, size_t row, size_t n);
static size_t model_offset(const struct nsx_template *,
                           const struct nsx_patch *);
static void repeat(uint8_t *dst, const uint8_t *src, size_t len, size_t n);

/* Flows. */

int
nsx_template_stamp(const struct nsx_template *t, size_t n,
                   const struct nsx_column *columns, struct nsx_buf *b,
                   uint64_t *ends, struct nsx_error *error)
{
    struct stamp stamp;

    if (t->is_group) {
        nsx_decode_error(error, NSX_NO_OFPERR, 0, "a group's template stamps "
                         "groups, not flows");
        return EINVAL;
    }
    int retval = stamp_init(&stamp, t, columns, error);
    if (retval) {
        return retval;
    }

    size_t len = t->head;
    size_t block = len < BLOCK_BYTES ? BLOCK_BYTES / len : 1;
    size_t size = b->size;
    if (n > SIZE_MAX / 2 / len) {
        abort();
    }
    nsx_buf_reserve(b, n * len);
    for (size_t row = 0; row < n && !retval; row += block) {
        size_t m = n - row < block ? n - row : block;
        uint8_t *dst = nsx_put_uninit(b, m * len);

        repeat(dst, stamp.bytes, len, m);
        for (size_t i = 0; i < stamp.n_rows && !retval; i++) {
            const struct bound *bound = &stamp.rows[i];
            retval = put_column(&stamp, bound, dst + bound->patch->offset, len,
                                row, m);
        }
    }
    stamp_uninit(&stamp);
    if (retval) {
        b->size = size;
        return retval;
    }
    for (size_t i = 0; ends && i < n; i++) {
        ends[i] = (i + 1) * len;
    }
    return 0;
}

/* Groups. */

/* How many buckets the first message of a group takes, and those after it. */
static size_t
max_first(const struct nsx_template *t)
{
    return (NSX_BUNDLED_MAX - t->head - t->tail) / t->bucket;
}

static size_t
max_next(const struct nsx_template *t)
{
    return (NSX_BUNDLED_MAX - t->head) / t->bucket;
}

/* The bytes of a group of 'n' buckets. */
static size_t
group_size(const struct nsx_template *t, size_t n)
{
    size_t first = max_first(t), next = max_next(t);
    size_t n_messages = n > first ? 1 + (n - first + next - 1) / next : 1;
    return n_messages * t->head + n * t->bucket + t->tail;
}

/* Writes the buckets of 'n' rows from 'row' on, the first of which is the
 * group's 'index'-th, to 'dst'. */
static int
put_buckets(const struct stamp *stamp, const uint8_t *bucket, uint8_t *dst,
            size_t row, size_t index, size_t n)
{
    const struct nsx_template *t = stamp->template;

    repeat(dst, bucket, t->bucket, n);
    for (size_t i = 0; i < stamp->n_buckets; i++) {
        const struct bound *bound = &stamp->buckets[i];
        int retval = put_column(stamp, bound, dst + bound->patch->offset,
                                t->bucket, row, n);
        if (retval) {
            return retval;
        }
    }
    for (size_t i = 0; t->number_buckets && i < n; i++) {
        nsx_set32(dst + i * t->bucket + NSX_BUCKET_ID, (uint32_t) (index + i));
    }
    return 0;
}

/* Appends the 'group'-th group, with the bucket rows from 'row' on.  'model'
 * has room for a message. */
static int
put_group(const struct stamp *stamp, size_t group, size_t row, size_t n,
          uint8_t *model, struct nsx_buf *b)
{
    const struct nsx_template *t = stamp->template;

    /* A message of one bucket, with what all of the group have in common. */
    memcpy(model, stamp->bytes, t->head + t->bucket + t->tail);
    for (size_t i = 0; i < stamp->n_rows; i++) {
        const struct bound *bound = &stamp->rows[i];
        int retval = put_column(stamp, bound,
                                model + model_offset(t, bound->patch), 0,
                                group, 1);
        if (retval) {
            return retval;
        }
    }

    size_t done = 0;
    do {
        size_t max = done ? max_next(t) : max_first(t);
        size_t m = n - done < max ? n - done : max;
        size_t tail = done ? 0 : t->tail;
        size_t len = t->head + m * t->bucket + tail;
        uint8_t *p = nsx_put_uninit(b, len);

        memcpy(p, model, t->head);
        nsx_set16(p + 2, (uint16_t) len);
        nsx_set16(p + 16, (uint16_t) (m * t->bucket));
        if (done) {
            nsx_set16(p + 8, NSX_GROUP_INSERT_BUCKET);
            nsx_set32(p + 20, NSX_BUCKET_LAST);
        }
        int retval = put_buckets(stamp, model + t->head, p + t->head,
                                 row + done, done, m);
        if (retval) {
            return retval;
        }
        memcpy(p + len - tail, model + t->head + t->bucket, tail);
        done += m;
    } while (done < n);
    return 0;
}

int
nsx_template_stamp_groups(const struct nsx_template *t, size_t n,
                          const uint64_t *offsets,
                          const struct nsx_column *columns, struct nsx_buf *b,
                          uint64_t *ends, struct nsx_error *error)
{
    struct stamp stamp;

    if (!t->is_group) {
        nsx_decode_error(error, NSX_NO_OFPERR, 0, "a flow's template stamps "
                         "flows, not groups");
        return EINVAL;
    }
    size_t size = b->size, total = 0;
    for (size_t i = 0; i < n; i++) {
        if (offsets[i + 1] < offsets[i] || offsets[i + 1] > UINT32_MAX) {
            nsx_decode_error(error, NSX_NO_OFPERR, i,
                             "group %zu has the bucket rows %"PRIu64
                              " to %"PRIu64,
                             i, offsets[i], offsets[i + 1]);
            return EINVAL;
        }
        total += group_size(t, offsets[i + 1] - offsets[i]);
    }
    int retval = stamp_init(&stamp, t, columns, error);
    if (retval) {
        return retval;
    }

    uint8_t *model = nsx_xmalloc(t->head + t->bucket + t->tail);
    nsx_buf_reserve(b, total);
    for (size_t i = 0; i < n && !retval; i++) {
        retval = put_group(&stamp, i, offsets[i], offsets[i + 1] - offsets[i],
                           model, b);
        if (ends) {
            ends[i] = b->size - size;
        }
    }
    free(model);
    stamp_uninit(&stamp);
    if (retval) {
        b->size = size;
    }
    return retval;
}

/* Numbers into whole fields. */

#define NUMBER_INTO_FIELD(SRC, DST)                                         \
static uint64_t                                                             \
put_##SRC##_##DST(const struct nsx_patch *patch, uint8_t *dst,              \
                  size_t dst_stride, const uint8_t *src,                    \
                  ptrdiff_t src_stride, size_t n)                           \
{                                                                           \
    uint64_t seen = 0;                                                      \
                                                                            \
    (void) patch;                                                           \
    for (; n > 0; n--, dst += dst_stride, src += src_stride) {              \
        uint##SRC##_t x;                                                    \
        memcpy(&x, src, sizeof x);                                          \
        seen |= x;                                                          \
        nsx_set##DST(dst, (uint##DST##_t) x);                               \
    }                                                                       \
    return seen;                                                            \
}

/* Numbers into some bits of a field of any width. */
#define NUMBER_INTO_BITS(SRC)                                               \
static uint64_t                                                             \
put_##SRC##_bits(const struct nsx_patch *patch, uint8_t *dst,               \
                 size_t dst_stride, const uint8_t *src,                     \
                 ptrdiff_t src_stride, size_t n)                            \
{                                                                           \
    uint64_t seen = 0;                                                      \
                                                                            \
    for (; n > 0; n--, dst += dst_stride, src += src_stride) {              \
        uint##SRC##_t x;                                                    \
        memcpy(&x, src, sizeof x);                                          \
        seen |= x;                                                          \
        or_bits(patch, dst, x);                                             \
    }                                                                       \
    return seen;                                                            \
}

static inline void
nsx_set8(uint8_t *p, uint8_t x)
{
    *p = x;
}

static inline void
or_bits(const struct nsx_patch *patch, uint8_t *field, uint64_t x)
{
    unsigned int shift = patch->shift % 8;
    uint8_t *p = field + patch->width - 1 - patch->shift / 8;

    if (patch->n_bits < 64) {
        x &= (UINT64_C(1) << patch->n_bits) - 1;
    }
    if (x) {
        *p-- |= (uint8_t) (x << shift);
        for (x >>= 8 - shift; x; x >>= 8) {
            *p-- |= (uint8_t) x;
        }
    }
}

#define NUMBERS(SRC)                                                        \
    NUMBER_INTO_FIELD(SRC, 8)                                               \
    NUMBER_INTO_FIELD(SRC, 16)                                              \
    NUMBER_INTO_FIELD(SRC, 32)                                              \
    NUMBER_INTO_FIELD(SRC, 64)                                              \
    NUMBER_INTO_BITS(SRC)
NUMBERS(8)
NUMBERS(16)
NUMBERS(32)
NUMBERS(64)

/* The functions above: by the logarithms of the widths, and for bits. */
static put_func *const put_number[4][5] = {
#define NUMBERS_ROW(SRC) \
    { put_##SRC##_8, put_##SRC##_16, put_##SRC##_32, put_##SRC##_64, \
      put_##SRC##_bits }
    NUMBERS_ROW(8),
    NUMBERS_ROW(16),
    NUMBERS_ROW(32),
    NUMBERS_ROW(64),
};

/* Returns the binary logarithm of 'width' where that is 1, 2, 4 or 8, else
 * 4. */
static size_t
log_width(size_t width)
{
    return width == 1 ? 0 : width == 2 ? 1 : width == 4 ? 2 : width == 8 ? 3
           : 4;
}

/* Bytes into whole fields. */

static inline uint64_t
put_bytes(const struct nsx_patch *patch, size_t width, uint8_t *dst,
          size_t dst_stride, const uint8_t *src, ptrdiff_t src_stride,
          size_t n)
{
    (void) patch;
    for (; n > 0; n--, dst += dst_stride, src += src_stride) {
        memcpy(dst, src, width);
    }
    return 0;
}

#define BYTES_INTO_FIELD(NAME, WIDTH)                                       \
static uint64_t                                                             \
NAME(const struct nsx_patch *patch, uint8_t *dst, size_t dst_stride,        \
     const uint8_t *src, ptrdiff_t src_stride, size_t n)                    \
{                                                                           \
    return put_bytes(patch, WIDTH, dst, dst_stride, src, src_stride, n);    \
}
BYTES_INTO_FIELD(put_6_bytes, 6)
BYTES_INTO_FIELD(put_16_bytes, 16)
BYTES_INTO_FIELD(put_any_bytes, patch->width)

/* Columns. */

static int
bind(struct stamp *stamp, const struct nsx_patch *patch,
     const struct nsx_column *column, struct bound *bound)
{
    const struct nsx_template_hole *hole
        = &stamp->template->holes[patch->hole];
    bool whole = patch->n_bits == 8 * patch->width;
    size_t src = log_width(column->width);

    *bound = (struct bound) {
        .patch = patch,
        .data = column->data,
        .stride = column->stride,
        .width = column->width,
    };
    if (src < 4) {
        bound->put = put_number[src][whole ? log_width(patch->width) : 4];
        bound->excess = (hole->n_bits < 64 ? ~UINT64_C(0) << hole->n_bits
                         : 0);
    } else if (whole && column->width == patch->width) {
        bound->put = (patch->width == 6 ? put_6_bytes
                      : patch->width == 16 ? put_16_bytes
                      : put_any_bytes);
    } else {
        nsx_decode_error(stamp->error, NSX_NO_OFPERR, patch->hole,
                         "hole %s: values of %zu bytes do not fit a field of "
                         "%zu bytes and %u bits", hole->name, column->width,
                         patch->width, patch->n_bits);
        return EINVAL;
    }
    return 0;
}

static int
stamp_init(struct stamp *stamp, const struct nsx_template *t,
           const struct nsx_column *columns, struct nsx_error *error)
{
    size_t len = t->head + t->bucket + t->tail;
    struct bound *bounds = nsx_xcalloc(2 * t->n_patches + 1, sizeof *bounds);

    *stamp = (struct stamp) {
        .template = t,
        .error = error,
        .bytes = memcpy(nsx_xmalloc(len), t->bytes, len),
        .rows = bounds,
        .buckets = bounds + t->n_patches,
    };
    for (size_t i = 0; i < t->n_patches; i++) {
        const struct nsx_patch *patch = &t->patches[i];
        struct bound bound;

        int retval = bind(stamp, patch, &columns[patch->hole], &bound);
        if (!retval && !bound.stride) {
            /* The same in all rows: once, into what is copied. */
            retval = put_column(stamp, &bound,
                                stamp->bytes + model_offset(t, patch), 0,
                                0, 1);
        } else if (t->holes[patch->hole].in_bucket) {
            stamp->buckets[stamp->n_buckets++] = bound;
        } else {
            stamp->rows[stamp->n_rows++] = bound;
        }
        if (retval) {
            stamp_uninit(stamp);
            return retval;
        }
    }
    return 0;
}

static void
stamp_uninit(struct stamp *stamp)
{
    free(stamp->bytes);
    free(stamp->rows);
}

static uint64_t
read_number(const uint8_t *p, size_t width)
{
    uint8_t x8;
    uint16_t x16;
    uint32_t x32;
    uint64_t x64;

    switch (width) {
    case 1:
        memcpy(&x8, p, sizeof x8);
        return x8;
    case 2:
        memcpy(&x16, p, sizeof x16);
        return x16;
    case 4:
        memcpy(&x32, p, sizeof x32);
        return x32;
    default:
        memcpy(&x64, p, sizeof x64);
        return x64;
    }
}

/* Puts 'n' values of a column, from 'row' on, into fields 'dst_stride' bytes
 * apart. */
static int
put_column(const struct stamp *stamp, const struct bound *bound, uint8_t *dst,
           size_t dst_stride, size_t row, size_t n)
{
    const uint8_t *src = bound->data + (ptrdiff_t) row * bound->stride;

    uint64_t seen = bound->put(bound->patch, dst, dst_stride, src,
                               bound->stride, n);
    if (!(seen & bound->excess)) {
        return 0;
    }

    const struct nsx_template_hole *hole
        = &stamp->template->holes[bound->patch->hole];
    while (!(read_number(src, bound->width) & bound->excess)) {
        src += bound->stride;
        row++;
    }
    nsx_decode_error(stamp->error, NSX_NO_OFPERR, row,
                     "hole %s, row %zu: %"PRIu64" has more than %zu bits",
                     hole->name, row, read_number(src, bound->width),
                     hole->n_bits);
    return ERANGE;
}

/* Where 'patch' is in the template's message. */
static size_t
model_offset(const struct nsx_template *t, const struct nsx_patch *patch)
{
    switch (patch->place) {
    case NSX_PATCH_BUCKET:
        return t->head + patch->offset;
    case NSX_PATCH_TAIL:
        return t->head + t->bucket + patch->offset;
    case NSX_PATCH_HEAD:
    default:
        return patch->offset;
    }
}

/* Fills 'dst' with 'n' copies of the 'len' bytes at 'src'. */
static void
repeat(uint8_t *dst, const uint8_t *src, size_t len, size_t n)
{
    if (!n) {
        return;
    }
    memcpy(dst, src, len);
    for (size_t done = 1; done < n;) {
        size_t more = done < n - done ? done : n - done;
        memcpy(dst + done * len, dst, more * len);
        done += more;
    }
}
