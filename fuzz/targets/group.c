/* group.c: group_mods and group descriptions, decoded, printed and parsed
 * again. */
#include "fuzz.h"

FUZZ_MESSAGE_MUTATOR

static void
check(const struct nsx_group_view *view)
{
    struct nsx_buf named = NSX_BUF_INITIALIZER;
    struct nsx_buf text = NSX_BUF_INITIALIZER;
    struct nsx_error error = fuzz_error();
    struct nsx_bucket_view bucket;
    size_t offset = 0, used = 0;

    while (!nsx_bucket_next(view, &offset, &bucket, &error)) {
        FUZZ_ASSERT(bucket.bucket == view->buckets + used);
        used += bucket.len;
        FUZZ_ASSERT(used <= view->buckets_len);
    }

    if (nsx_group_format(view, NULL, &text, &error)) {
        FUZZ_ASSERT(!text.size);
    } else {
        FUZZ_ASSERT(!nsx_group_format(view, fuzz_tables(), &named, &error));
        fuzz_settles(fuzz_group_again, &text, NULL);
    }
    nsx_buf_uninit(&named);
    nsx_buf_uninit(&text);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct nsx_error error = fuzz_error();
    struct nsx_group_view view;
    size_t offset = 0;
    int retval;

    if (!nsx_group_mod_decode(data, size, &view, &error)) {
        check(&view);
        return 0;
    }
    fuzz_check_error(&error, size);

    error = fuzz_error();
    while (!(retval = nsx_group_desc_next(data, size, &offset, &view,
                                          &error))) {
        check(&view);
    }
    if (retval != ENOENT) {
        fuzz_check_error(&error, size);
    }
    return 0;
}
