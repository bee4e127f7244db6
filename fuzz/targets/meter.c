/* meter.c: meter_mods, printed and parsed again. */
#include "fuzz.h"

FUZZ_MESSAGE_MUTATOR

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct nsx_buf text = NSX_BUF_INITIALIZER;
    struct nsx_error error = fuzz_error();

    if (nsx_meter_format(data, size, &text, &error)) {
        fuzz_check_error(&error, size);
        FUZZ_ASSERT(!text.size);
    } else {
        FUZZ_ASSERT(text.size);
        fuzz_settles(fuzz_meter_again, &text, NULL);
    }
    nsx_buf_uninit(&text);
    return 0;
}
