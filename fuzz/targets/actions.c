/* actions.c: bytes of actions and instructions, wherever they may stand. The
 * first byte says where. */
#include "fuzz.h"

#include "action.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct nsx_buf text = NSX_BUF_INITIALIZER;
    struct nsx_error error = fuzz_error();

    if (!size) {
        return 0;
    }

    unsigned int context = *data++ % (NSX_IN_WRITE_ACTIONS + 2u);
    size--;
    int retval = (context > NSX_IN_WRITE_ACTIONS
                  ? nsx_instructions_text_format(data, size, NULL, &text,
                                                 &error)
                  : nsx_actions_check(data, size, 0, context, &error));
    if (retval) {
        fuzz_check_error(&error, size);
        FUZZ_ASSERT(!text.size);
    } else if (context > NSX_IN_WRITE_ACTIONS) {
        FUZZ_ASSERT(text.size);
        fuzz_settles(fuzz_instructions_again, &text, NULL);
    } else {
        nsx_actions_format(&text, data, size, NULL);
        nsx_actions_format(&text, data, size, fuzz_tables());
        FUZZ_ASSERT(text.size);
    }
    nsx_buf_uninit(&text);
    return 0;
}
