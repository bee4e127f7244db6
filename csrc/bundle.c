/* bundle.c: messages into a bundle. */
#include "message.h"

int
nsx_bundle_wrap(const void *msgs, size_t len, uint32_t bundle_id,
                uint16_t flags, uint32_t xid, struct nsx_buf *buf,
                struct nsx_error *error)
{
    const uint8_t *p = msgs;
    size_t n, used;
    uint8_t *out;
    int retval;

    retval = nsx_stream_split(msgs, len, &n, &used, error);
    if (retval) {
        return retval;
    }
    if (used != len) {
        return nsx_decode_error(error, NSX_OFPBFC_MSG_BAD_LEN, used,
                                "message %zu is cut off: %zu bytes are left",
                                n, len - used);
    }

    /* Lengths first, so that nothing has to be undone: 64 KiB are a limit
     * of the envelope, too. */
    for (size_t i = 0, ofs = 0; i < n; i++) {
        size_t length = nsx_get16(p + ofs + 2);

        if (length + NSX_BUNDLE_ADD_LEN > UINT16_MAX) {
            return nsx_decode_error(error, NSX_OFPBFC_MSG_BAD_LEN, ofs,
                                    "message %zu: %zu bytes are too long for "
                                    "a bundle", i, length);
        }
        ofs += length;
    }

    out = nsx_put_uninit(buf, len + n * NSX_BUNDLE_ADD_LEN);
    for (size_t i = 0; i < n; i++, xid++) {
        size_t length = nsx_get16(p + 2);

        out[0] = NSX_OFP_VERSION;
        out[1] = NSX_OFPT_BUNDLE_ADD_MESSAGE;
        nsx_set16(out + 2, (uint16_t) (length + NSX_BUNDLE_ADD_LEN));
        nsx_set32(out + 4, xid);
        nsx_set32(out + 8, bundle_id);
        nsx_set16(out + 12, 0);
        nsx_set16(out + 14, flags);
        out += NSX_BUNDLE_ADD_LEN;

        memcpy(out, p, length);
        nsx_set32(out + 4, xid);
        out += length;
        p += length;
    }
    return 0;
}
