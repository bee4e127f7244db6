/* meter.c: meters in ovs-ofctl's syntax, to meter_mods and from them. */

#include "core.h"

/* OFPT_METER_MOD: after the header the command at 8, flags at 10, the meter's
 * id at 12, from 16 on bands of 16 bytes: type, length, 32 bits each of rate
 * and burst size, and the precedence level at 12. */

enum {
    OFPT_METER_MOD = 29,
    METER_MOD_LEN = 16,
    BAND_LEN = 16,

    BAND_DROP = 1,
    BAND_DSCP_REMARK = 2,

    FLAG_KBPS = 1,
    FLAG_PKTPS = 2,
    FLAG_BURST = 4,
};

#define METER_MAX 0xffff0000u           /* Others have names. */

static const struct {
    const char *name;
    uint16_t flag;
} flags[] = {
    { "kbps", FLAG_KBPS },
    { "pktps", FLAG_PKTPS },
    { "burst", FLAG_BURST },
    { "stats", 8 },
};

static const struct {
    const char *name;
    uint32_t id;
} named_meters[] = {
    { "slowpath", 0xfffffffd },
    { "controller", 0xfffffffe },
    { "all", 0xffffffff },
};

static const char space[] = ", \t\r\n";

/* Splits a word, up to a blank or comma, or to '=' if it is a name, off the
 * front of 'rest'. */
static bool
take_word(struct nsx_slice *rest, bool is_name, struct nsx_slice *word)
{
    const char *end = is_name ? "=, \t\r\n" : space;

    while (rest->n && *rest->s && strchr(end, *rest->s)) {
        rest->s++;
        rest->n--;
    }
    *word = (struct nsx_slice) { rest->s, 0 };
    while (rest->n && (!*rest->s || !strchr(end, *rest->s))) {
        rest->s++;
        rest->n--;
        word->n++;
    }
    if (rest->n && word->n) {
        rest->s++;
        rest->n--;
    }
    return word->n > 0;
}

static int
parse_id(const struct nsx_parser *parser, struct nsx_slice value, uint8_t *p)
{
    for (size_t i = 0; i < NSX_ARRAY_SIZE(named_meters); i++) {
        if (nsx_slice_equals(value, named_meters[i].name)) {
            nsx_set32(p, named_meters[i].id);
            return 0;
        }
    }

    uint64_t id;
    int error = nsx_parse_number(parser, value, "meter", METER_MAX, &id);
    if (!error && !id) {
        error = nsx_parse_error(parser, value, "no meter has this id");
    }
    if (!error) {
        nsx_set32(p, (uint32_t) id);
    }
    return error;
}

/* Parses what stands before the bands into the message at 'p'. */
static int
parse_head(const struct nsx_parser *parser, struct nsx_slice text,
           bool has_bands, uint8_t *p)
{
    struct nsx_slice rest = text;
    struct nsx_slice name, value;

    while (take_word(&rest, true, &name)) {
        size_t i = 0;

        while (i < NSX_ARRAY_SIZE(flags)
               && !nsx_slice_equals(name, flags[i].name)) {
            i++;
        }
        if (has_bands && i < NSX_ARRAY_SIZE(flags)) {
            nsx_set16(p + 10, nsx_get16(p + 10) | flags[i].flag);
            continue;
        } else if (!nsx_slice_equals(name, "meter")) {
            return nsx_parse_error(parser, name, "unknown word of a meter");
        } else if (!take_word(&rest, false, &value)) {
            return nsx_parse_error(parser, name, "missing id");
        }

        int error = parse_id(parser, value, p + 12);
        if (error) {
            return error;
        }
    }
    if (!nsx_get32(p + 12)) {
        return nsx_parse_error(parser, text, "missing meter=");
    } else if (has_bands && !nsx_get16(p + 10)) {
        return nsx_parse_error(parser, text, "missing kbps or pktps");
    }
    return 0;
}

static int
parse_band_type(const struct nsx_parser *parser, struct nsx_slice value,
                struct nsx_buf *buf)
{
    bool remark = nsx_slice_equals(value, "dscp_remark");

    if (!remark && !nsx_slice_equals(value, "drop")) {
        return nsx_parse_error(parser, value, "type is drop or dscp_remark");
    }

    uint8_t *band = nsx_put_zeros(buf, BAND_LEN);
    nsx_set16(band, remark ? BAND_DSCP_REMARK : BAND_DROP);
    nsx_set16(band + 2, BAND_LEN);
    return 0;
}

static int
parse_band_number(const struct nsx_parser *parser, struct nsx_slice name,
                  struct nsx_slice value, uint8_t *band)
{
    bool rate = nsx_slice_equals(name, "rate");
    uint64_t number;
    int error;

    if (rate || nsx_slice_equals(name, "burst_size")) {
        error = nsx_parse_number(parser, value, rate ? "rate" : "burst_size",
                                 UINT32_MAX, &number);
        if (!error) {
            nsx_set32(band + (rate ? 4 : 8), (uint32_t) number);
        }
    } else if (nsx_slice_equals(name, "prec_level")) {
        error = nsx_parse_number(parser, value, "prec_level", UINT8_MAX,
                                 &number);
        if (!error) {
            band[12] = (uint8_t) number;
        }
    } else {
        error = nsx_parse_error(parser, name, "unknown word of a band");
    }
    return error;
}

static const char *
bad_band(const uint8_t *band, uint16_t meter_flags)
{
    bool remark = nsx_get16(band) == BAND_DSCP_REMARK;
    bool burst = meter_flags & FLAG_BURST;

    if (remark != (band[12] != 0)) {
        return remark ? "a band of type=dscp_remark needs prec_level"
                      : "only bands of type=dscp_remark have a prec_level";
    } else if (!nsx_get32(band + 4)) {
        return "a band needs a rate";
    } else if (burst != (nsx_get32(band + 8) != 0)) {
        return burst ? "a band of a meter with burst needs a burst_size"
                     : "burst_size needs burst, before the bands";
    }
    return NULL;
}

/* Parses 'text' as bands and appends them to the message at 'start'. */
static int
parse_bands(const struct nsx_parser *parser, struct nsx_slice text,
            struct nsx_buf *buf, size_t start)
{
    struct nsx_slice rest = text;
    struct nsx_slice name, value;

    while (take_word(&rest, true, &name)) {
        bool first = buf->size == start + METER_MOD_LEN;
        int error;

        if (!take_word(&rest, false, &value)) {
            error = nsx_parse_error(parser, name, "missing value");
        } else if (nsx_slice_equals(name, "type")) {
            error = parse_band_type(parser, value, buf);
        } else if (first) {
            error = nsx_parse_error(parser, name, "a band starts with type=");
        } else {
            error = parse_band_number(parser, name, value,
                                      buf->data + buf->size - BAND_LEN);
        }
        if (!error && buf->size - start > UINT16_MAX) {
            error = nsx_parse_error(parser, name, "too many bands");
        }
        if (error) {
            return error;
        }
    }
    if (buf->size == start + METER_MOD_LEN) {
        return nsx_parse_error(parser, text, "a meter needs a band");
    }
    for (size_t i = start + METER_MOD_LEN; i < buf->size; i += BAND_LEN) {
        const char *problem = bad_band(buf->data + i,
                                       nsx_get16(buf->data + start + 10));
        if (problem) {
            return nsx_parse_error(parser, text, "%s", problem);
        }
    }
    return 0;
}

/* Splits 'text' before its "band" and after the '=' that follows. */
static bool
split_bands(struct nsx_slice text, struct nsx_slice *head,
            struct nsx_slice *bands)
{
    for (size_t i = 0; i < text.n; i++) {
        struct nsx_slice rest = { text.s + i, text.n - i };
        const char *equals = memchr(rest.s, '=', rest.n);

        if (nsx_slice_starts_with(rest, "band") && equals) {
            *head = (struct nsx_slice) { text.s, i };
            *bands = (struct nsx_slice) {
                equals + 1, (size_t) (text.s + text.n - equals - 1)
            };
            return true;
        }
    }
    return false;
}

int
nsx_meter_parse(const char *text_, size_t len, enum nsx_meter_command command,
                struct nsx_buf *buf, struct nsx_error *error)
{
    struct nsx_parser parser = { .text = text_, .error = error };
    struct nsx_slice text = { text_, len };
    struct nsx_slice head = text;
    struct nsx_slice bands = { text_ + len, 0 };
    bool has_bands = command != NSX_METER_DELETE;
    size_t start = buf->size;

    if (has_bands && !split_bands(text, &head, &bands)) {
        return nsx_parse_error(&parser, text, "missing band=");
    }

    uint8_t *p = nsx_put_zeros(buf, METER_MOD_LEN);
    p[0] = 6;                           /* OpenFlow 1.5. */
    p[1] = OFPT_METER_MOD;
    nsx_set16(p + 8, (uint16_t) command);

    int retval = parse_head(&parser, head, has_bands, p);
    if (!retval && has_bands) {
        retval = parse_bands(&parser, bands, buf, start);
    }
    if (retval) {
        buf->size = start;
        return retval;
    }
    nsx_set16(buf->data + start + 2, (uint16_t) (buf->size - start));
    return 0;
}

/* Reading bytes. */

static int
check_meter_mod(const uint8_t *msg, size_t len, struct nsx_error *error)
{
    const uint16_t both = FLAG_KBPS | FLAG_PKTPS;

    if (len < METER_MOD_LEN || msg[0] != 6 || msg[1] != OFPT_METER_MOD
        || nsx_get16(msg + 2) != len) {
        return nsx_decode_error(error, NSX_OFPBRC_BAD_LEN, 0, "not an "
                                "OpenFlow 1.5 meter_mod of %zu bytes", len);
    } else if (nsx_get16(msg + 8) > NSX_METER_DELETE) {
        return nsx_decode_error(error, NSX_OFPBRC_BAD_LEN, 8,
                                "unknown command %u of a meter_mod",
                                nsx_get16(msg + 8));
    } else if (nsx_get16(msg + 8) == NSX_METER_DELETE) {
        return 0;
    } else if ((nsx_get16(msg + 10) & both) == both) {
        return nsx_decode_error(error, NSX_OFPBRC_BAD_LEN, 10,
                                "a meter of both kbps and pktps");
    }
    for (size_t i = METER_MOD_LEN; i < len; i += BAND_LEN) {
        if (len - i < BAND_LEN || nsx_get16(msg + i + 2) != BAND_LEN) {
            return nsx_decode_error(error, NSX_OFPBRC_BAD_LEN, i,
                                    "bad length of a band");
        } else if (nsx_get16(msg + i) != BAND_DROP
                   && nsx_get16(msg + i) != BAND_DSCP_REMARK) {
            return nsx_decode_error(error, NSX_OFPBRC_BAD_LEN, i,
                                    "unknown type %u of a band",
                                    nsx_get16(msg + i));
        }
    }
    return 0;
}

int
nsx_meter_format(const void *msg, size_t len, struct nsx_buf *buf,
                 struct nsx_error *error)
{
    size_t start = buf->size;
    int retval = check_meter_mod(msg, len, error);

    if (!retval) {
        retval = nsx_message_format(msg, len, NULL, buf, error);
    }
    if (retval) {
        return retval;
    }

    /* Without the message's name and its command. */
    size_t at = start;
    while (at + 6 < buf->size && memcmp(buf->data + at, "meter=", 6)) {
        at++;
    }
    memmove(buf->data + start, buf->data + at, buf->size - at);
    buf->size -= at - start;
    return 0;
}
