/* actions_text.c: the text of a packet-out's actions. */
#include "fuzz.h"

#include "action.h"

static bool
print_again(const struct nsx_buf *text, nsx_tables tables,
            struct nsx_buf *again)
{
    struct nsx_buf actions = NSX_BUF_INITIALIZER;
    struct nsx_error error = fuzz_error();
    bool ok = false;

    if (nsx_packet_actions_parse((const char *) text->data, text->size, tables,
                                 &actions, &error)) {
        fuzz_check_error(&error, text->size);
        FUZZ_ASSERT(!actions.size);
    } else if (nsx_actions_check(actions.data, actions.size, 0,
                                 NSX_IN_PACKET_OUT, &error)) {
        fuzz_check_error(&error, actions.size);
    } else {
        nsx_actions_format(again, actions.data, actions.size, tables);
        FUZZ_ASSERT(again->size);
        ok = true;
    }
    nsx_buf_uninit(&actions);
    return ok;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct nsx_buf text = NSX_BUF_INITIALIZER;

    nsx_put(&text, data, size);
    fuzz_settles(print_again, &text, NULL);
    fuzz_settles(print_again, &text, fuzz_tables());
    nsx_buf_uninit(&text);
    return 0;
}
