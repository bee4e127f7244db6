/* flow_parts.c: the match of a flow, and its instructions, each alone. */

#include "action.h"
#include "field.h"

int
nsx_match_text_parse(const char *text_, size_t len, struct nsx_buf *buf,
                     struct nsx_error *error)
{
    struct nsx_parser parser = {
        .text = text_,
        .origin = buf->size,
        .error = error,
    };
    struct nsx_slice text = { text_, len };
    struct nsx_slice rest = text;
    struct nsx_slice key, value;
    struct nsx_match match;
    char delimiter;
    int retval = 0;

    nsx_match_init(&match);
    while (!retval && nsx_next_key_value(&rest, &key, &value, &delimiter)) {
        retval = nsx_match_parse_field(&parser, &match, key, value,
                                       delimiter);
        if (retval == ENOENT) {
            retval = nsx_parse_error(&parser, key, "unknown field");
        }
    }
    if (!retval) {
        retval = nsx_match_resolve(&parser, &match, text);
    }
    return retval ? retval : nsx_match_encode(&parser, &match, buf);
}

int
nsx_match_text_format(const void *p, size_t len, struct nsx_buf *buf,
                      struct nsx_error *error)
{
    struct nsx_match match;
    size_t match_len;
    int retval = nsx_match_decode(p, len, 0, &match, &match_len, error);

    if (!retval && match_len != len) {
        retval = nsx_decode_error(error, NSX_OFPBMC_BAD_LEN, match_len,
                                  "more than a match");
    }
    if (!retval) {
        nsx_match_format(buf, &match);
    }
    return retval;
}

int
nsx_instructions_text_parse(const char *text, size_t len, nsx_tables tables,
                            struct nsx_buf *buf, struct nsx_error *error)
{
    struct nsx_parser parser = {
        .text = text,
        .tables = tables,
        .origin = buf->size,
        .error = error,
    };

    return nsx_instructions_parse(&parser, (struct nsx_slice) { text, len },
                                  buf);
}

int
nsx_instructions_text_format(const void *p, size_t len, nsx_tables tables,
                             struct nsx_buf *buf, struct nsx_error *error)
{
    int retval = nsx_instructions_check(p, len, 0, error);

    if (!retval) {
        nsx_instructions_format(buf, p, len, tables);
    }
    return retval;
}
