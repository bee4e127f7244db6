/* match.c: the bytes of a match, read, written and read again.
 *
 * OpenFlow 1.5 can't say all that Nicira's fields can, such as a vlan_tci of
 * 0x0001.  What was written once is written the same again. */
#include "fuzz.h"

#include "match.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct nsx_buf text = NSX_BUF_INITIALIZER;
    struct nsx_buf again = NSX_BUF_INITIALIZER;
    struct nsx_buf wire = NSX_BUF_INITIALIZER;
    struct nsx_error error = fuzz_error();
    struct nsx_match match;
    size_t len;

    if (nsx_match_decode(data, size, 0, &match, &len, &error)) {
        fuzz_check_error(&error, size);
        return 0;
    }
    FUZZ_ASSERT(len <= size);
    FUZZ_ASSERT(!nsx_match_text_format(data, len, &text, &error));
    fuzz_settles(fuzz_match_again, &text, NULL);

    if (!nsx_match_check_vlan(&match)
        && !nsx_match_encode(NULL, &match, &wire)) {
        FUZZ_ASSERT(!nsx_match_decode(wire.data, wire.size, 0, &match, &len,
                                      &error));
        FUZZ_ASSERT(len == wire.size);
        FUZZ_ASSERT(!nsx_match_encode(NULL, &match, &again));
        FUZZ_ASSERT(fuzz_same(&wire, &again));
    }
    nsx_buf_uninit(&text);
    nsx_buf_uninit(&again);
    nsx_buf_uninit(&wire);
    return 0;
}
