/* flow.c: flow_mods and flow descriptions, decoded, printed and parsed
 * again. */
#include "fuzz.h"

FUZZ_MESSAGE_MUTATOR

static void
check(const struct nsx_flow_view *view)
{
    struct nsx_buf named = NSX_BUF_INITIALIZER;
    struct nsx_buf text = NSX_BUF_INITIALIZER;
    struct nsx_error error = fuzz_error();

    if (nsx_flow_format(view, NULL, true, false, &text, &error)) {
        FUZZ_ASSERT(!text.size);
    } else {
        FUZZ_ASSERT(!nsx_flow_format(view, fuzz_tables(), true, true, &named,
                                     &error));
        fuzz_settles(fuzz_flow_again, &text, NULL);
    }
    nsx_buf_uninit(&named);
    nsx_buf_uninit(&text);
}

/* The rows of a reply are its 'n' flows (SIZE_MAX: one of them is wrong, which
 * a row may not show). */
static void
check_rows(const uint8_t *data, size_t size, size_t n)
{
    struct nsx_buf rows = NSX_BUF_INITIALIZER;
    struct nsx_buf text = NSX_BUF_INITIALIZER;
    struct nsx_error error = fuzz_error();

    int retval = nsx_flow_rows(data, size, 0, &rows, &error);
    FUZZ_ASSERT(!retval || n == SIZE_MAX);
    if (!retval) {
        const struct nsx_flow_row *list = (const void *) rows.data;
        size_t n_rows = rows.size / sizeof *list;

        FUZZ_ASSERT(n_rows == n || n == SIZE_MAX);
        for (size_t i = 0; i < n_rows; i++) {
            nsx_flow_row_format(data, size, &list[i], NULL, true, true, &text,
                                &error);
        }
    } else {
        FUZZ_ASSERT(!rows.size);
    }
    nsx_buf_uninit(&rows);
    nsx_buf_uninit(&text);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct nsx_error error = fuzz_error();
    enum nsx_flow_command command;
    struct nsx_flow_view view;

    if (!nsx_flow_mod_decode(data, size, &command, &view, &error)) {
        check(&view);
        return 0;
    }
    fuzz_check_error(&error, size);

    size_t offset = 0, n = 0;
    int retval;
    error = fuzz_error();
    while (!(retval = nsx_flow_stats_next(data, size, &offset, &view,
                                          &error))) {
        check(&view);
        n++;
    }
    if (retval != ENOENT) {
        fuzz_check_error(&error, size);
        n = SIZE_MAX;
    }
    check_rows(data, size, n);
    return 0;
}
