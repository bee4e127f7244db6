/* gather.c: from batches of stamped pieces to each owner's messages. */

#include "core.h"

/* Adds the sizes of the pieces of 'batch' to those of their owners. */
static int
add_sizes(const struct nsx_batch *batch, size_t index, size_t n_owners,
          uint64_t *sizes, struct nsx_error *error)
{
    uint64_t start = 0;

    for (size_t i = 0; i < batch->n; i++) {
        if (batch->owners[i] >= n_owners) {
            nsx_decode_error(error, NSX_NO_OFPERR, i, "batch %zu: piece %zu "
                             "is owner %llu's, of %zu owners", index, i,
                             (unsigned long long) batch->owners[i], n_owners);
            return ERANGE;
        }
        if (batch->ends[i] < start) {
            nsx_decode_error(error, NSX_NO_OFPERR, i, "batch %zu: piece %zu "
                             "ends before it starts", index, i);
            return EINVAL;
        }
        sizes[batch->owners[i]] += batch->ends[i] - start;
        start = batch->ends[i];
    }
    return 0;
}

/* Copies the pieces of 'batch' to where their owners' next one goes. */
static void
copy_pieces(const struct nsx_batch *batch, uint8_t *dst, uint64_t *next)
{
    const uint8_t *msgs = batch->msgs;
    uint64_t start = 0;

    for (size_t i = 0; i < batch->n;) {
        /* A run of one owner's. */
        uint64_t owner = batch->owners[i];
        uint64_t end;
        do {
            end = batch->ends[i++];
        } while (i < batch->n && batch->owners[i] == owner);

        if (end > start) {
            memcpy(dst + next[owner], msgs + start, end - start);
            next[owner] += end - start;
        }
        start = end;
    }
}

int
nsx_gather(const struct nsx_batch *batches, size_t n_batches, size_t n_owners,
           struct nsx_buf *b, uint64_t *ends, struct nsx_error *error)
{
    if (n_owners) {
        memset(ends, 0, n_owners * sizeof *ends);
    }
    for (size_t i = 0; i < n_batches; i++) {
        int retval = add_sizes(&batches[i], i, n_owners, ends, error);
        if (retval) {
            return retval;
        }
    }

    /* From sizes to where each owner's first piece goes; copying moves that to
     * where the last one ends. */
    uint64_t total = 0;
    for (size_t i = 0; i < n_owners; i++) {
        uint64_t size = ends[i];
        ends[i] = total;
        total += size;
    }
    uint8_t *dst = nsx_put_uninit(b, total);
    for (size_t i = 0; i < n_batches; i++) {
        copy_pieces(&batches[i], dst, ends);
    }
    return 0;
}
