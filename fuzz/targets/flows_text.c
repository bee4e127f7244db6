/* flows_text.c: a file of flows.  The first byte says what a line without a
 * command is, and whether tables have names. */
#include "fuzz.h"

/* Every message is one that its own text may be; all are whole. */
static void
check_messages(const struct nsx_buf *msgs, nsx_tables tables)
{
    struct nsx_buf text = NSX_BUF_INITIALIZER;
    struct nsx_buf one = NSX_BUF_INITIALIZER;
    struct nsx_error error = fuzz_error();
    size_t n, used;

    FUZZ_ASSERT(!nsx_stream_split(msgs->data, msgs->size, &n, &used, &error));
    FUZZ_ASSERT(used == msgs->size);
    if (nsx_messages_format(msgs->data, msgs->size, tables, &text, &error)) {
        fuzz_check_error(&error, msgs->size);
        FUZZ_ASSERT(!text.size);
    } else {
        for (size_t i = 0; i < msgs->size;
             i += nsx_get16(msgs->data + i + 2)) {
            FUZZ_ASSERT(!nsx_message_format(msgs->data + i,
                                            nsx_get16(msgs->data + i + 2),
                                            tables, &one, &error));
            nsx_put8(&one, '\n');
        }
        FUZZ_ASSERT(one.size == text.size);
        FUZZ_ASSERT(!one.size || !memcmp(one.data, text.data, one.size));
    }
    nsx_buf_uninit(&one);
    nsx_buf_uninit(&text);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct nsx_buf msgs = NSX_BUF_INITIALIZER;
    struct nsx_error error = fuzz_error();

    if (!size) {
        return 0;
    }

    nsx_tables tables = *data & 8 ? fuzz_tables() : NULL;
    enum nsx_flow_command command
        = (*data & 7) % (NSX_FLOW_DELETE_STRICT + 1u);

    size--;
    if (nsx_flows_parse((const char *) data + 1, size, command, tables, &msgs,
                        &error)) {
        fuzz_check_error(&error, size);
        FUZZ_ASSERT(!msgs.size);
    } else {
        check_messages(&msgs, tables);
    }
    nsx_buf_uninit(&msgs);
    return 0;
}
