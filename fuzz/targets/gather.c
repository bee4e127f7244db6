/* gather.c: batches of pieces, of which each owner gets its own.
 *
 * What is gathered is what a look through all batches for each owner finds. */
#include "fuzz.h"

#define MAX_BATCHES 4
#define MAX_PIECES 16
#define MAX_OWNERS 6

struct input {
    const uint8_t *data;
    size_t size;
};

static uint8_t
next(struct input *in)
{
    return in->size ? (in->size--, *in->data++) : 0;
}

/* One batch, copied so that not one byte after it can be read. */
static void
fill(struct input *in, struct nsx_batch *batch)
{
    size_t n = next(in) % (MAX_PIECES + 1);
    uint64_t *ends = malloc((n ? n : 1) * sizeof *ends);
    uint64_t *owners = malloc((n ? n : 1) * sizeof *owners);
    uint64_t end = 0, longest = 0;

    FUZZ_ASSERT(ends && owners);
    for (size_t i = 0; i < n; i++) {
        uint8_t what = next(in);

        owners[i] = what % (MAX_OWNERS + 1);
        end = what == UINT8_MAX && end ? end - 1 : end + what / 32;
        ends[i] = end;
        longest = end > longest ? end : longest;
    }

    uint8_t *msgs = malloc(longest ? longest : 1);
    FUZZ_ASSERT(msgs);
    for (size_t i = 0; i < longest; i++) {
        msgs[i] = next(in);
    }
    *batch = (struct nsx_batch) { msgs, ends, owners, n };
}

/* True if 'batches' are what nsx_gather() must take. */
static bool
is_valid(const struct nsx_batch *batches, size_t n_batches, size_t n_owners)
{
    for (size_t i = 0; i < n_batches; i++) {
        uint64_t start = 0;

        for (size_t j = 0; j < batches[i].n; j++) {
            if (batches[i].owners[j] >= n_owners
                || batches[i].ends[j] < start) {
                return false;
            }
            start = batches[i].ends[j];
        }
    }
    return true;
}

/* Appends the pieces of 'owner'. */
static void
find_pieces(const struct nsx_batch *batches, size_t n_batches, uint64_t owner,
            struct nsx_buf *pieces)
{
    for (size_t i = 0; i < n_batches; i++) {
        const uint8_t *msgs = batches[i].msgs;
        uint64_t start = 0;

        for (size_t j = 0; j < batches[i].n; j++) {
            if (batches[i].owners[j] == owner) {
                nsx_put(pieces, msgs + start, batches[i].ends[j] - start);
            }
            start = batches[i].ends[j];
        }
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct nsx_buf all = NSX_BUF_INITIALIZER;
    struct nsx_buf expected = NSX_BUF_INITIALIZER;
    struct nsx_error error = fuzz_error();
    struct nsx_batch batches[MAX_BATCHES];
    uint64_t ends[MAX_OWNERS];
    struct input in = { data, size };
    size_t n_owners = next(&in) % (MAX_OWNERS + 1);
    size_t n_batches = next(&in) % (MAX_BATCHES + 1);

    for (size_t i = 0; i < n_batches; i++) {
        fill(&in, &batches[i]);
    }
    nsx_puts(&all, "front");
    nsx_puts(&expected, "front");
    if (nsx_gather(batches, n_batches, n_owners, &all, ends, &error)) {
        fuzz_check_error(&error, MAX_PIECES);
        FUZZ_ASSERT(!is_valid(batches, n_batches, n_owners));
    } else {
        FUZZ_ASSERT(is_valid(batches, n_batches, n_owners));
        for (size_t i = 0; i < n_owners; i++) {
            find_pieces(batches, n_batches, i, &expected);
            FUZZ_ASSERT(ends[i] == expected.size - 5);
        }
    }
    FUZZ_ASSERT(fuzz_same(&all, &expected));

    for (size_t i = 0; i < n_batches; i++) {
        free((void *) batches[i].msgs);
        free((void *) batches[i].ends);
        free((void *) batches[i].owners);
    }
    nsx_buf_uninit(&all);
    nsx_buf_uninit(&expected);
    return 0;
}
