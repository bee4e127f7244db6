/* instructions_text.c: the text of a flow's actions and instructions, without
 * the flow. */
#include "fuzz.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct nsx_buf text = NSX_BUF_INITIALIZER;

    nsx_put(&text, data, size);
    fuzz_settles(fuzz_instructions_again, &text, NULL);
    fuzz_settles(fuzz_instructions_again, &text, fuzz_tables());
    nsx_buf_uninit(&text);
    return 0;
}
