/* meter_text.c: a meter's text.  The first byte says what becomes of it. */
#include "fuzz.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct nsx_buf msg = NSX_BUF_INITIALIZER;
    struct nsx_error error = fuzz_error();

    if (!size) {
        return 0;
    }

    enum nsx_meter_command command = *data % 3;
    const char *text = (const char *) data + 1;

    size--;
    nsx_puts(&msg, "front");
    if (nsx_meter_parse(text, size, command, &msg, &error)) {
        fuzz_check_error(&error, size);
        FUZZ_ASSERT(msg.size == 5);
    } else {
        FUZZ_ASSERT(msg.size == 5u + nsx_get16(msg.data + 7));
        if (command == NSX_METER_ADD) {
            msg.size = 0;
            nsx_put(&msg, text, size);
            fuzz_settles(fuzz_meter_again, &msg, NULL);
        }
    }
    nsx_buf_uninit(&msg);
    return 0;
}
