/* flow_text.c: a flow's text.  The first byte says what becomes of it, and
 * whether tables have names. */
#include "fuzz.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct nsx_buf msg = NSX_BUF_INITIALIZER;
    struct nsx_buf again = NSX_BUF_INITIALIZER;
    struct nsx_error error = fuzz_error();

    if (!size) {
        return 0;
    }

    nsx_tables tables = *data & 8 ? fuzz_tables() : NULL;
    enum nsx_flow_command command
        = (*data & 7) % (NSX_FLOW_DELETE_STRICT + 1u);
    const char *text = (const char *) data + 1;

    size--;
    nsx_puts(&msg, "front");
    if (nsx_flow_parse(text, size, command, tables, &msg, &error)) {
        fuzz_check_error(&error, size);
        FUZZ_ASSERT(msg.size == 5);
    } else {
        enum nsx_flow_command decoded;
        struct nsx_flow_view view;

        FUZZ_ASSERT(msg.size == 5u + nsx_get16(msg.data + 7));
        FUZZ_ASSERT(nsx_flow_mod_decode(msg.data + 5, msg.size - 5, &decoded,
                                        &view, &error)
                    || decoded == command);
        if (command == NSX_FLOW_ADD) {
            nsx_flow_mod_view(msg.data + 5, msg.size - 5, &view);
            FUZZ_ASSERT(!nsx_flow_mod_encode(&view, command, 0, &again,
                                             &error));
            FUZZ_ASSERT(again.size == msg.size - 5);
            FUZZ_ASSERT(!memcmp(again.data, msg.data + 5, again.size));
            msg.size = 0;
            nsx_put(&msg, text, size);
            fuzz_settles(fuzz_flow_again, &msg, tables);
        }
    }
    nsx_buf_uninit(&again);
    nsx_buf_uninit(&msg);
    return 0;
}
