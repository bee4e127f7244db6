/* desired_pack.c: the buckets of a group in little room.
 *
 * The buckets of a Service's group are alike but for their ids and the
 * addresses of their endpoints, and a node keeps hundreds of thousands of
 * them.  So each is kept as what it differs in from the one before:
 *
 *     0 BUCKET               a bucket as it is
 *     N (SKIP COUNT BYTES)*N the one before, with N runs of other bytes
 *
 * where SKIP says how many bytes stay as they were since the last run.  Equal
 * buckets give equal bytes: what is packed can be compared and hashed. */

#include "desired.h"

enum {
    RUN_HEADER = 2,             /* SKIP and COUNT. */
    /* So SKIP and COUNT fit into a byte, as does the number of runs. */
    PACKED_MAX = UINT8_MAX,
};

static size_t
bucket_len(const uint8_t *bucket)
{
    return nsx_get16(bucket);
}

/* Appends the runs that make 'bucket' of 'before', both of 'len' bytes. */
static void
put_runs(struct nsx_buf *b, const uint8_t *before, const uint8_t *bucket,
         size_t len)
{
    size_t n_at = b->size;
    size_t done = 0, n = 0, i = 0;

    nsx_put_zeros(b, 1);
    while (i < len) {
        if (bucket[i] == before[i]) {
            i++;
            continue;
        }

        /* To go on over a few equal bytes takes less than another run. */
        size_t start = i, end = i + 1;
        for (i = end; i < len && i - end <= RUN_HEADER; i++) {
            if (bucket[i] != before[i]) {
                end = i + 1;
            }
        }
        uint8_t *p = nsx_put_zeros(b, RUN_HEADER);
        p[0] = (uint8_t) (start - done);
        p[1] = (uint8_t) (end - start);
        nsx_put(b, bucket + start, end - start);
        n++;
        i = done = end;
    }
    b->data[n_at] = (uint8_t) n;
}

void
nsx_buckets_pack(struct nsx_buf *b, const void *buckets, size_t len)
{
    const uint8_t *p = buckets, *before = NULL;

    for (size_t left = len; left;) {
        size_t n = bucket_len(p);

        if (before && n == bucket_len(before) && n <= PACKED_MAX
            && memcmp(p, before, n)) {
            put_runs(b, before, p, n);
        } else {
            nsx_put_zeros(b, 1);
            nsx_put(b, p, n);
        }
        before = p;
        p += n;
        left -= n;
    }
}

void
nsx_buckets_unpack(struct nsx_buf *b, const void *packed, size_t len)
{
    const uint8_t *p = packed;
    size_t before = 0;

    for (const uint8_t *end = p + len; p < end;) {
        size_t start = b->size;
        uint8_t n_runs = *p++;

        if (!n_runs) {
            size_t n = bucket_len(p);
            nsx_put(b, p, n);
            p += n;
        } else {
            size_t n = bucket_len(b->data + before);
            uint8_t *bucket = nsx_put_zeros(b, n);

            memcpy(bucket, b->data + before, n);
            for (; n_runs; n_runs--) {
                bucket += p[0];
                memcpy(bucket, p + RUN_HEADER, p[1]);
                bucket += p[1];
                p += RUN_HEADER + p[1];
            }
        }
        before = start;
    }
}
