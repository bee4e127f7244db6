/* action_controller.c: controller(...), in its three forms on the wire. */

#include "action_verbs.h"

#define PORT_CONTROLLER 0xfffffffdu
#define NO_METER 0

/* Types of controller2's properties. */
enum property {
    PROP_MAX_LEN,
    PROP_ID,
    PROP_REASON,
    PROP_USERDATA,
    PROP_PAUSE,
    PROP_METER_ID,
};
enum { N_PROPS = PROP_METER_ID + 1 };

static const char *const reasons[] = {
    "no_match", "action", "invalid_ttl", "action_set", "group", "packet_out",
};

#define REASON_ACTION 1

struct controller {
    uint16_t max_len, id;
    uint8_t reason;
    bool pause;
    uint32_t meter;
    const uint8_t *userdata;            /* Of bytes... */
    size_t userdata_len;
    struct nsx_slice userdata_s;        /* ...or of a text: NULL if none is
                                         * given, empty without a byte. */
};

#define CONTROLLER_INITIALIZER \
    { .max_len = UINT16_MAX, .reason = REASON_ACTION, .meter = NO_METER }

/* Parsing. */

static int
parse_reason(const struct nsx_parser *parser, struct nsx_slice text,
             uint8_t *reason)
{
    for (size_t i = 0; i < NSX_ARRAY_SIZE(reasons); i++) {
        if (nsx_slice_equals(text, reasons[i])) {
            *reason = (uint8_t) i;
            return 0;
        }
    }
    return nsx_parse_error(parser, text, "unknown reason");
}

static int
parse_option(const struct nsx_parser *parser, struct nsx_slice key,
             struct nsx_slice value, struct controller *c)
{
    uint64_t number = 0;
    int error;

    if (nsx_slice_equals(key, "reason")) {
        return parse_reason(parser, value, &c->reason);
    } else if (nsx_slice_equals(key, "max_len")) {
        error = nsx_parse_number(parser, value, "max_len", UINT16_MAX,
                                 &number);
        c->max_len = (uint16_t) number;
    } else if (nsx_slice_equals(key, "id")) {
        error = nsx_parse_number(parser, value, "id", UINT16_MAX, &number);
        c->id = (uint16_t) number;
    } else if (nsx_slice_equals(key, "userdata")) {
        while (value.n && strchr(" .\t\r\n", *value.s) && *value.s) {
            value.s++;
            value.n--;
        }
        c->userdata_s = value;
        error = 0;
    } else if (nsx_slice_equals(key, "pause")) {
        c->pause = true;
        error = 0;
    } else if (nsx_slice_equals(key, "meter_id")) {
        error = nsx_parse_number(parser, value, "meter_id", UINT32_MAX,
                                 &number);
        c->meter = (uint32_t) number;
    } else {
        error = nsx_parse_error(parser, key, "controller takes reason, "
                                "max_len, id, userdata, pause and meter_id");
    }
    return error;
}

/* What follows the header of each property, but for userdata.  16 bits come
 * with 16 more of padding that count, 8 bits with padding that doesn't. */
static const size_t widths[N_PROPS] = {
    [PROP_MAX_LEN] = 4,
    [PROP_ID] = 4,
    [PROP_REASON] = 1,
    [PROP_PAUSE] = 0,
    [PROP_METER_ID] = 4,
};

/* Appends the property 'type' with 'value', which is left-aligned. */
static void
put_property(struct nsx_buf *buf, enum property type, uint32_t value)
{
    size_t start = buf->size;

    nsx_put16(buf, (uint16_t) type);
    nsx_put16(buf, (uint16_t) (4 + widths[type]));
    nsx_put32(buf, value);
    buf->size -= 4 - widths[type];
    nsx_pad(buf, start, 8);
}

static int
put_controller2(struct nsx_action_list *list, const struct controller *c)
{
    struct nsx_buf *buf = list->buf;
    size_t start = nsx_put_nx_action(buf, 37, 16);

    if (c->max_len != UINT16_MAX) {
        put_property(buf, PROP_MAX_LEN, (uint32_t) c->max_len << 16);
    }
    if (c->id) {
        put_property(buf, PROP_ID, (uint32_t) c->id << 16);
    }
    if (c->reason != REASON_ACTION) {
        put_property(buf, PROP_REASON, (uint32_t) c->reason << 24);
    }
    if (c->userdata_s.n) {
        size_t property = nsx_put_action(buf, PROP_USERDATA, 4);
        int error = nsx_parse_hex(list->parser, c->userdata_s, buf);
        if (error) {
            return error;
        }

        size_t len = buf->size - property;
        if (len > NSX_ACTION_LIST_MAX) {
            return nsx_parse_error(list->parser, c->userdata_s,
                                   "userdata is too long");
        }
        nsx_set16(buf->data + property + 2, (uint16_t) len);
        nsx_pad(buf, property, 8);
    }
    if (c->pause) {
        put_property(buf, PROP_PAUSE, 0);
    }
    if (c->meter != NO_METER) {
        put_property(buf, PROP_METER_ID, c->meter);
    }
    nsx_finish_action(buf, start);
    return 0;
}

static bool
is_decimal(struct nsx_slice text)
{
    for (size_t i = 0; i < text.n; i++) {
        if (text.s[i] < '0' || text.s[i] > '9') {
            return false;
        }
    }
    return text.n > 0;
}

int
nsx_parse_controller(struct nsx_action_list *list,
                     struct nsx_slice word __attribute__((unused)),
                     struct nsx_slice arg)
{
    struct controller c = CONTROLLER_INITIALIZER;
    struct nsx_slice key, value;
    char delimiter;
    int error = 0;

    if (is_decimal(arg)) {
        error = parse_option(list->parser, NSX_SLICE("max_len"), arg, &c);
        arg.n = 0;
    }
    while (!error && nsx_next_key_value(&arg, &key, &value, &delimiter)) {
        error = parse_option(list->parser, key, value, &c);
    }
    if (error) {
        return error;
    }

    if (c.userdata_s.n || c.pause || c.meter != NO_METER) {
        return put_controller2(list, &c);
    } else if (c.reason == REASON_ACTION && !c.id && !c.userdata_s.s) {
        size_t start = nsx_put_action(list->buf, 0, 16);

        nsx_set32(list->buf->data + start + 4, PORT_CONTROLLER);
        nsx_set16(list->buf->data + start + 8, c.max_len);
    } else {
        size_t start = nsx_put_nx_action(list->buf, 20, 16);

        nsx_set16(list->buf->data + start + 10, c.max_len);
        nsx_set16(list->buf->data + start + 12, c.id);
        list->buf->data[start + 14] = c.reason;
    }
    return 0;
}

/* Reading bytes. */

static void
format_controller(struct nsx_buf *buf, const struct controller *c)
{
    size_t start;

    if (c->reason == REASON_ACTION && !c->id && !c->userdata_len && !c->pause
        && c->meter == NO_METER) {
        nsx_printf(buf, "CONTROLLER:%u", c->max_len);
        return;
    }

    nsx_puts(buf, "controller(");
    start = buf->size;
    if (c->reason != REASON_ACTION) {
        if (c->reason < NSX_ARRAY_SIZE(reasons)) {
            nsx_printf(buf, "reason=%s,", reasons[c->reason]);
        } else {
            nsx_printf(buf, "reason=%u,", c->reason);
        }
    }
    if (c->max_len != UINT16_MAX) {
        nsx_printf(buf, "max_len=%u,", c->max_len);
    }
    if (c->id) {
        nsx_printf(buf, "id=%u,", c->id);
    }
    if (c->userdata_len) {
        nsx_puts(buf, "userdata=");
        nsx_format_hex(buf, c->userdata, c->userdata_len);
        nsx_put8(buf, ',');
    }
    if (c->pause) {
        nsx_puts(buf, "pause,");
    }
    if (c->meter != NO_METER) {
        nsx_printf(buf, "meter_id=%u,", c->meter);
    }
    if (buf->size > start) {
        buf->size--;
    }
    nsx_put8(buf, ')');
}

int
nsx_check_controller(
    const struct nsx_action_check *check __attribute__((unused)),
    const uint8_t *a __attribute__((unused)),
    size_t n __attribute__((unused)),
    size_t position __attribute__((unused)))
{
    return 0;
}

void
nsx_format_controller(struct nsx_buf *buf, const uint8_t *a,
                      size_t n __attribute__((unused)),
                      nsx_tables tables __attribute__((unused)))
{
    struct controller c = CONTROLLER_INITIALIZER;

    c.max_len = nsx_get16(a + 10);
    c.id = nsx_get16(a + 12);
    c.reason = a[14];
    format_controller(buf, &c);
}

int
nsx_check_controller2(const struct nsx_action_check *check, const uint8_t *a,
                      size_t n, size_t position)
{
    int error = nsx_check_zeros(check, NSX_NXBRC_MUST_BE_ZERO, a + 10, 6,
                                position + 10);

    for (size_t i = 16; !error && i < n; ) {
        /* 'n' and 'i' are multiples of 8. */
        uint16_t type = nsx_get16(a + i);
        size_t len = nsx_get16(a + i + 2);

        if (len < 4 || NSX_ROUND_UP(len, 8) > n - i) {
            return nsx_decode_error(check->error, NSX_OFPBPC_BAD_LEN,
                                    position + i + 2, "bad length of a "
                                    "property of controller");
        } else if (type >= N_PROPS) {
            return nsx_decode_error(check->error, NSX_OFPBPC_BAD_TYPE,
                                    position + i,
                                    "unknown property %u of controller", type);
        } else if (type != PROP_USERDATA && len != 4 + widths[type]) {
            return nsx_decode_error(check->error, NSX_OFPBPC_BAD_LEN,
                                    position + i + 2, "bad length of a "
                                    "property of controller");
        }
        i += NSX_ROUND_UP(len, 8);
    }
    return error;
}

void
nsx_format_controller2(struct nsx_buf *buf, const uint8_t *a, size_t n,
                       nsx_tables tables __attribute__((unused)))
{
    struct controller c = CONTROLLER_INITIALIZER;

    for (size_t i = 16; i < n; i += NSX_ROUND_UP(nsx_get16(a + i + 2), 8)) {
        const uint8_t *value = a + i + 4;

        switch ((enum property) nsx_get16(a + i)) {
        case PROP_MAX_LEN:
            c.max_len = nsx_get16(value);
            break;
        case PROP_ID:
            c.id = nsx_get16(value);
            break;
        case PROP_REASON:
            c.reason = *value;
            break;
        case PROP_USERDATA:
            c.userdata = value;
            c.userdata_len = nsx_get16(a + i + 2) - 4u;
            break;
        case PROP_PAUSE:
            c.pause = true;
            break;
        case PROP_METER_ID:
            c.meter = nsx_get32(value);
            break;
        }
    }
    format_controller(buf, &c);
}
