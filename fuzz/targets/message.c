/* message.c: any message, printed. */
#include "fuzz.h"

FUZZ_MESSAGE_MUTATOR

static void
print(const uint8_t *data, size_t size, nsx_tables tables)
{
    struct nsx_buf text = NSX_BUF_INITIALIZER;
    struct nsx_error error = fuzz_error();

    nsx_puts(&text, "front");
    if (nsx_message_format(data, size, tables, &text, &error)) {
        fuzz_check_error(&error, size);
        FUZZ_ASSERT(text.size == 5);
    } else {
        FUZZ_ASSERT(text.size > 5);
    }
    FUZZ_ASSERT(!memcmp(text.data, "front", 5));
    nsx_buf_uninit(&text);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    print(data, size, NULL);
    print(data, size, fuzz_tables());
    return 0;
}
