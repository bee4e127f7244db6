/* packet_out.c: packet-outs as ovs-ofctl packet-out takes them. */

#include "action_verbs.h"
#include "message_print.h"

/* OFPT_PACKET_OUT: after the header the buffer's id at 8, the length of the
 * actions at 12, from 16 on the match, the actions and the packet. */

enum {
    OFPT_PACKET_OUT = 13,
    PACKET_OUT_LEN = 16,
    ETHERNET_LEN = 14,
};

#define NO_BUFFER 0xffffffffu
#define PORT_MAX 0xff00u
#define PORT_CONTROLLER 0xfffffffdu
#define PORT_LOCAL 0xfffffffeu
#define PORT_NONE 0xffffffffu

/* What a packet-out may say of its packet. */
static bool
is_pipeline_field(const struct nsx_field *field)
{
    const char *name = nsx_field_name(field);
    struct nsx_slice slice = { name, strlen(name) };
    enum nsx_field_id id = nsx_field_id(field);

    return (nsx_slice_equals(slice, "metadata")
            || nsx_slice_equals(slice, "packet_type")
            || id == NSX_F_IN_PORT || id == NSX_F_IN_PORT_OXM
            || nsx_slice_starts_with(slice, "reg")
            || nsx_slice_starts_with(slice, "xreg")
            || nsx_slice_starts_with(slice, "xxreg")
            || (nsx_slice_starts_with(slice, "tun_")
                && !nsx_slice_equals(slice, "tun_ttl")
                && !nsx_slice_equals(slice, "tun_tos")));
}

int
nsx_packet_out_check(const uint8_t *fields, size_t n, size_t position,
                     struct nsx_error *error)
{
    uint32_t in_port = PORT_MAX;        /* Which it may not be. */

    for (size_t i = 0; n - i >= 4; i += 4u + fields[i + 3]) {
        size_t header_len;
        bool has_mask;
        const struct nsx_field *field
            = nsx_oxm_pull_header(fields + i, n - i, &has_mask, &header_len);

        if (field && !is_pipeline_field(field)) {
            return nsx_decode_error(error, NSX_OFPBRC_PIPELINE_FIELDS_ONLY,
                                    position + i, "a packet-out has no %s",
                                    nsx_field_name(field));
        } else if (field && nsx_field_id(field) == NSX_F_IN_PORT_OXM) {
            in_port = nsx_get32(fields + i + header_len);
        } else if (field && nsx_field_id(field) == NSX_F_IN_PORT) {
            in_port = nsx_get16(fields + i + header_len);
        }
    }
    return (in_port < PORT_MAX || in_port == PORT_LOCAL || in_port == PORT_NONE
            || in_port == PORT_CONTROLLER ? 0
            : nsx_decode_error(error, NSX_OFPBRC_BAD_PORT, position,
                               "no packet comes from port 0x%x", in_port));
}

static void
set_in_port(struct nsx_match *match, uint32_t port)
{
    enum nsx_field_id id = NSX_F_IN_PORT_OXM;

    match->present[id / 64] |= UINT64_C(1) << id % 64;
    nsx_set32(match->fields[id].value, port);
    memset(match->fields[id].mask, 0xff, 4);
}

static int
parse_in_port(const struct nsx_parser *parser, struct nsx_slice value,
              struct nsx_match *match)
{
    uint32_t port;
    int error = nsx_parse_port(parser, value, &port);

    if (!error && port > PORT_MAX && port != PORT_LOCAL && port != PORT_NONE
        && port != PORT_CONTROLLER) {
        error = nsx_parse_error(parser, value,
                                "no packet comes from this port");
    }
    if (!error) {
        set_in_port(match, port);
    }
    return error;
}

/* Takes one word; a packet's bytes go to 'packet'. */
static int
parse_word(const struct nsx_parser *parser, struct nsx_slice key,
           struct nsx_slice value, char delimiter, struct nsx_match *match,
           struct nsx_buf *packet)
{
    const struct nsx_field *field;

    if (!value.n) {
        return nsx_parse_error(parser, key, "%.*s has no value", (int) key.n,
                               key.s);
    } else if (nsx_slice_equals(key, "in_port")) {
        return parse_in_port(parser, value, match);
    } else if (nsx_slice_equals(key, "packet")) {
        packet->size = 0;

        int error = nsx_parse_hex(parser, value, packet);
        if (!error && packet->size < ETHERNET_LEN) {
            error = nsx_parse_error(parser, value,
                                    "shorter than Ethernet's header");
        }
        return error;
    }

    field = nsx_field_from_name(key);
    if (!field || !is_pipeline_field(field)) {
        return nsx_parse_error(parser, key, "a packet-out has no such word");
    }

    int error = nsx_match_parse_field(parser, match, key, value, delimiter);
    return (error != ENOENT ? error
            : nsx_parse_error(parser, key, "a packet-out has no such word"));
}

/* Splits 'text' before its "action" and after the '=' that follows. */
static void
split_actions(struct nsx_slice text, struct nsx_slice *head,
              struct nsx_slice *actions)
{
    size_t at = nsx_slice_find(text, "action");
    const char *equals = text.n ? memchr(text.s + at, '=', text.n - at) : NULL;

    *head = (struct nsx_slice) { text.s, at };
    *actions = (struct nsx_slice) { text.s, 0 };
    if (equals) {
        actions->s = equals + 1;
        actions->n = (size_t) (text.s + text.n - equals - 1);
    }
}

static int
parse_packet_out(const struct nsx_parser *parser, struct nsx_slice text,
                 struct nsx_buf *buf, struct nsx_buf *packet)
{
    struct nsx_slice key, value, rest, actions;
    size_t start = buf->size;
    struct nsx_match match;
    char delimiter;
    int error = 0;

    nsx_match_init(&match);
    set_in_port(&match, PORT_CONTROLLER);
    split_actions(text, &rest, &actions);
    while (!error && nsx_next_key_value(&rest, &key, &value, &delimiter)) {
        error = parse_word(parser, key, value, delimiter, &match, packet);
    }
    if (!error && !packet->size) {
        error = nsx_parse_error(parser, text, "missing packet=");
    }
    if (error) {
        return error;
    }

    uint8_t *p = nsx_put_zeros(buf, PACKET_OUT_LEN);
    p[0] = 6;                           /* OpenFlow 1.5. */
    p[1] = OFPT_PACKET_OUT;
    nsx_set32(p + 8, NO_BUFFER);
    error = nsx_match_encode(parser, &match, buf);
    size_t actions_start = buf->size;
    if (!error) {
        error = nsx_actions_parse(parser, actions, NSX_IN_PACKET_OUT, buf);
    }
    if (error) {
        return error;
    }
    nsx_set16(buf->data + start + 12, (uint16_t) (buf->size - actions_start));
    nsx_put(buf, packet->data, packet->size);
    if (buf->size - start > UINT16_MAX) {
        return nsx_parse_error(parser, text, "the packet-out is too long");
    }
    nsx_set16(buf->data + start + 2, (uint16_t) (buf->size - start));
    return 0;
}

int
nsx_packet_out_parse(const char *text, size_t len, nsx_tables tables,
                     struct nsx_buf *buf, struct nsx_error *error)
{
    struct nsx_parser parser = {
        .text = text,
        .tables = tables,
        .origin = buf->size,
        .error = error,
    };
    struct nsx_buf packet = NSX_BUF_INITIALIZER;
    size_t start = buf->size;
    int retval = parse_packet_out(&parser, (struct nsx_slice) { text, len },
                                  buf, &packet);

    nsx_buf_uninit(&packet);
    if (retval) {
        buf->size = start;
    }
    return retval;
}

int
nsx_packet_out_format(const void *msg_, size_t len, nsx_tables tables,
                      struct nsx_buf *buf, struct nsx_error *error)
{
    const uint8_t *msg = msg_;
    struct nsx_match match;
    size_t match_len;

    if (len < PACKET_OUT_LEN || msg[0] != 6 || msg[1] != OFPT_PACKET_OUT
        || nsx_get16(msg + 2) != len) {
        return nsx_decode_error(error, NSX_OFPBRC_BAD_LEN, 0, "not an "
                                "OpenFlow 1.5 packet_out of %zu bytes", len);
    } else if (nsx_get32(msg + 8) != NO_BUFFER) {
        return nsx_decode_error(error, NSX_OFPBRC_BAD_LEN, 8,
                                "a packet_out without its packet");
    }

    int retval = nsx_match_decode(msg + PACKET_OUT_LEN, len - PACKET_OUT_LEN,
                                  PACKET_OUT_LEN, &match, &match_len, error);
    if (retval) {
        return retval;
    }

    size_t at = PACKET_OUT_LEN + match_len;
    size_t actions_len = nsx_get16(msg + 12);
    if (actions_len > len - at) {
        return nsx_decode_error(error, NSX_OFPBRC_BAD_LEN, 12,
                                "bad length of actions");
    }
    retval = nsx_actions_check(msg + at, actions_len, at, NSX_IN_PACKET_OUT,
                               error);
    if (retval) {
        return retval;
    }

    size_t start = buf->size;
    nsx_match_format(buf, &match);
    nsx_puts(buf, buf->size > start ? ",packet=" : "packet=");
    for (size_t i = at + actions_len; i < len; i++) {
        nsx_printf(buf, "%02x", msg[i]);
    }
    nsx_puts(buf, " actions=");
    nsx_actions_format(buf, msg + at, actions_len, tables);
    return 0;
}
