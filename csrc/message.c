/* message.c: framing, names of errors, and actions of packets. */
#include "message.h"

#include "action.h"

/* The key of an error: distinct for each, or errors.def doesn't compile. */
#define ERROR_KEY(EXPERIMENTER, TYPE, CODE) \
    ((uint64_t) (EXPERIMENTER) << 32 | (uint64_t) (TYPE) << 16 | (CODE))

int
nsx_header_decode(const void *p_, size_t len, struct nsx_header *header,
                  struct nsx_error *error)
{
    const uint8_t *p = p_;

    if (len < NSX_OFP_HEADER_LEN) {
        return nsx_decode_error(error, NSX_OFPBRC_BAD_LEN, len,
                                "message of %zu bytes: its header has %d",
                                len, NSX_OFP_HEADER_LEN);
    }
    header->version = p[0];
    header->type = p[1];
    header->length = nsx_get16(p + 2);
    header->xid = nsx_get32(p + 4);
    if (header->length < NSX_OFP_HEADER_LEN) {
        return nsx_decode_error(error, NSX_OFPBRC_BAD_LEN, 2,
                                "message says that its length is %u: "
                                "a header alone has %d",
                                header->length, NSX_OFP_HEADER_LEN);
    }
    return 0;
}

int
nsx_stream_split(const void *stream, size_t len, size_t *n, size_t *used,
                 struct nsx_error *error)
{
    const uint8_t *p = stream;

    *n = *used = 0;
    while (len - *used >= NSX_OFP_HEADER_LEN) {
        struct nsx_header header;
        int retval;

        retval = nsx_header_decode(p + *used, len - *used, &header, error);
        if (retval) {
            error->position += *used;
            return retval;
        }
        if (header.length > len - *used) {
            break;
        }
        *used += header.length;
        ++*n;
    }
    return 0;
}

const char *
nsx_error_name(uint16_t type, uint16_t code, uint32_t experimenter)
{
    switch (ERROR_KEY(experimenter, type, code)) {
#define NSX_ERROR(EXPERIMENTER, TYPE, CODE, NAME) \
    case ERROR_KEY(EXPERIMENTER, TYPE, CODE): \
        return #NAME;
#include "errors.def"
#undef NSX_ERROR
    default:
        return NULL;
    }
}

int
nsx_packet_actions_parse(const char *text, size_t len, nsx_tables tables,
                         struct nsx_buf *buf, struct nsx_error *error)
{
    struct nsx_parser parser = {
        .text = text,
        .tables = tables,
        .origin = buf->size,
        .error = error,
    };
    size_t size = buf->size;
    int retval = nsx_actions_parse(&parser, (struct nsx_slice) { text, len },
                                   NSX_IN_PACKET_OUT, buf);

    if (retval) {
        buf->size = size;
    }
    return retval;
}
