/* stream.c: a stream is split, and its messages are put into a bundle and
 * taken out of it again. */
#include "fuzz.h"

#define ENVELOPE 16

static void
check_bundle(const uint8_t *data, size_t size, size_t n_messages)
{
    struct nsx_buf bundle = NSX_BUF_INITIALIZER;
    struct nsx_error error = fuzz_error();
    uint32_t xid = UINT32_MAX;
    size_t n, used;

    if (nsx_bundle_wrap(data, size, 7, 3, xid, &bundle, &error)) {
        fuzz_check_error(&error, size);
        FUZZ_ASSERT(!bundle.size);
        nsx_buf_uninit(&bundle);
        return;
    }
    FUZZ_ASSERT(bundle.size == size + n_messages * ENVELOPE);
    FUZZ_ASSERT(!nsx_stream_split(bundle.data, bundle.size, &n, &used,
                                  &error));
    FUZZ_ASSERT(n == n_messages && used == bundle.size);

    const uint8_t *p = bundle.data;
    for (size_t i = 0; i < n; i++, xid++) {
        const uint8_t *inner = p + ENVELOPE;
        size_t length = nsx_get16(data + 2);

        FUZZ_ASSERT(nsx_get32(p + 4) == xid && nsx_get32(inner + 4) == xid);
        FUZZ_ASSERT(!memcmp(inner, data, 4));
        FUZZ_ASSERT(!memcmp(inner + 8, data + 8, length - 8));
        p += ENVELOPE + length;
        data += length;
    }
    nsx_buf_uninit(&bundle);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct nsx_error error = fuzz_error();
    size_t n, used, all;

    if (nsx_stream_split(data, size, &n, &used, &error)) {
        fuzz_check_error(&error, size);
        FUZZ_ASSERT(error.position >= used);
    }
    FUZZ_ASSERT(used <= size);
    FUZZ_ASSERT(!nsx_stream_split(data, used, &all, &used, &error));
    FUZZ_ASSERT(all == n);
    check_bundle(data, used, n);
    return 0;
}
