/* packet_out.c: a packet-out's text, or its bytes if they start as such a
 * message does. */
#include "fuzz.h"

static bool
print_again(const struct nsx_buf *text, nsx_tables tables,
            struct nsx_buf *again)
{
    struct nsx_buf msg = NSX_BUF_INITIALIZER;
    struct nsx_error error = fuzz_error();
    bool ok = false;

    if (nsx_packet_out_parse((const char *) text->data, text->size, tables,
                             &msg, &error)) {
        fuzz_check_error(&error, text->size);
        FUZZ_ASSERT(!msg.size);
    } else if (nsx_packet_out_format(msg.data, msg.size, tables, again,
                                     &error)) {
        fuzz_check_error(&error, msg.size);
        FUZZ_ASSERT(!again->size);
    } else {
        FUZZ_ASSERT(again->size);
        ok = true;
    }
    nsx_buf_uninit(&msg);
    return ok;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct nsx_buf text = NSX_BUF_INITIALIZER;
    struct nsx_error error = fuzz_error();

    if (!size || *data != 6) {
        nsx_put(&text, data, size);
        fuzz_settles(print_again, &text, NULL);
    } else if (nsx_packet_out_format(data, size, fuzz_tables(), &text,
                                     &error)) {
        fuzz_check_error(&error, size);
        FUZZ_ASSERT(!text.size);
    } else {
        fuzz_settles(print_again, &text, fuzz_tables());
    }
    nsx_buf_uninit(&text);
    return 0;
}
