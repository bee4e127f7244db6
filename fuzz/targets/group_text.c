/* group_text.c: a group's text.  The first byte says what becomes of it, and
 * whether tables have names. */
#include "fuzz.h"

static const enum nsx_group_command commands[] = {
    NSX_GROUP_ADD, NSX_GROUP_MODIFY, NSX_GROUP_DELETE,
    NSX_GROUP_INSERT_BUCKET, NSX_GROUP_REMOVE_BUCKET, NSX_GROUP_ADD_OR_MOD,
};

/* What is read of a message makes the same again. */
static void
check_encode(const uint8_t *msg, size_t len)
{
    struct nsx_buf again = NSX_BUF_INITIALIZER;
    struct nsx_error error = fuzz_error();
    struct nsx_group_view view;

    nsx_group_mod_view(msg, len, &view);
    FUZZ_ASSERT(!nsx_group_mod_encode(&view, 0, &again, &error));
    FUZZ_ASSERT(again.size == len && !memcmp(again.data, msg, len));
    nsx_buf_uninit(&again);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct nsx_buf msg = NSX_BUF_INITIALIZER;
    struct nsx_error error = fuzz_error();

    if (!size) {
        return 0;
    }

    nsx_tables tables = *data & 8 ? fuzz_tables() : NULL;
    enum nsx_group_command command
        = commands[(*data & 7) % NSX_ARRAY_SIZE(commands)];
    const char *text = (const char *) data + 1;

    size--;
    nsx_puts(&msg, "front");
    if (nsx_group_parse(text, size, command, tables, &msg, &error)) {
        fuzz_check_error(&error, size);
        FUZZ_ASSERT(msg.size == 5);
    } else {
        size_t n, used;

        FUZZ_ASSERT(!nsx_stream_split(msg.data + 5, msg.size - 5, &n, &used,
                                      &error));
        FUZZ_ASSERT(n && used == msg.size - 5);
        if (n == 1 && command != NSX_GROUP_INSERT_BUCKET
            && command != NSX_GROUP_REMOVE_BUCKET) {
            check_encode(msg.data + 5, msg.size - 5);
        }
        if (command == NSX_GROUP_ADD) {
            msg.size = 0;
            nsx_put(&msg, text, size);
            fuzz_settles(fuzz_group_again, &msg, tables);
        }
    }
    nsx_buf_uninit(&msg);
    return 0;
}
