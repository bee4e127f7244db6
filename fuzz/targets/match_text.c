/* match_text.c: the text of a match without a flow. */
#include "fuzz.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct nsx_buf text = NSX_BUF_INITIALIZER;
    struct nsx_buf match = NSX_BUF_INITIALIZER;
    struct nsx_error error = fuzz_error();

    nsx_puts(&match, "front");
    if (nsx_match_text_parse((const char *) data, size, &match, &error)) {
        fuzz_check_error(&error, size);
        FUZZ_ASSERT(match.size == 5);
    } else {
        FUZZ_ASSERT(match.size > 5 && (match.size - 5) % 8 == 0);
        nsx_put(&text, data, size);
        fuzz_settles(fuzz_match_again, &text, NULL);
    }
    nsx_buf_uninit(&match);
    nsx_buf_uninit(&text);
    return 0;
}
