/* flow_parse.c: flows' text to OFPT_FLOW_MOD, as parse_ofp_str() in Open
 * vSwitch's lib/ofp-flow.c and ofputil_encode_flow_mod() have it. */

#include "flow.h"

#include "action.h"
#include "field.h"
#include "words.h"

/* The keys that are not match fields. */
enum key {
    KEY_TABLE,
    KEY_COOKIE,
    KEY_PRIORITY,
    KEY_IDLE_TIMEOUT,
    KEY_HARD_TIMEOUT,
    KEY_IMPORTANCE,
    KEY_OUT_PORT,
    KEY_OUT_GROUP,
    KEY_IGNORED,                /* So that a dump's text can be read. */
    KEY_ASSUMED,                /* It has no value; nothing else is done. */
};

#define ADDS (1u << NSX_FLOW_ADD)
#define MODIFIES (1u << NSX_FLOW_MODIFY | 1u << NSX_FLOW_MODIFY_STRICT)
#define DELETES (1u << NSX_FLOW_DELETE | 1u << NSX_FLOW_DELETE_STRICT)
#define STRICT_DELETE (1u << NSX_FLOW_DELETE_STRICT)
#define ANY_COMMAND (ADDS | MODIFIES | DELETES)

static const struct {
    const char *name;
    enum key key;
    unsigned int commands;      /* That take it. */
    uint8_t offset;             /* Of a 16-bit number in the flow_mod. */
} keys[] = {
    { "table", KEY_TABLE, ANY_COMMAND, 0 },
    { "cookie", KEY_COOKIE, ANY_COMMAND, 0 },
    { "priority", KEY_PRIORITY, ADDS | MODIFIES | STRICT_DELETE,
      FM_PRIORITY },
    { "idle_timeout", KEY_IDLE_TIMEOUT, ADDS | MODIFIES, FM_IDLE_TIMEOUT },
    { "hard_timeout", KEY_HARD_TIMEOUT, ADDS | MODIFIES, FM_HARD_TIMEOUT },
    { "importance", KEY_IMPORTANCE, ADDS, FM_IMPORTANCE },
    { "out_port", KEY_OUT_PORT, DELETES, 0 },
    { "out_group", KEY_OUT_GROUP, DELETES, 0 },
    { "duration", KEY_IGNORED, ANY_COMMAND, 0 },
    { "n_packets", KEY_IGNORED, ANY_COMMAND, 0 },
    { "n_bytes", KEY_IGNORED, ANY_COMMAND, 0 },
    { "idle_age", KEY_IGNORED, ANY_COMMAND, 0 },
    { "hard_age", KEY_IGNORED, ANY_COMMAND, 0 },
    { "no_readonly_table", KEY_ASSUMED, ANY_COMMAND, 0 },
    { "allow_hidden_fields", KEY_ASSUMED, ANY_COMMAND, 0 },
};

enum { FIRST_FLAG = NSX_ARRAY_SIZE(keys) };

/* Rows of 'keys' and, from FIRST_FLAG on, of nsx_flow_flags. */
NSX_WORDS(key_words, 64);

__attribute__((constructor)) static void
add_keys(void)
{
    for (size_t i = 0; i < NSX_ARRAY_SIZE(keys); i++) {
        nsx_words_add(&key_words, keys[i].name, i);
    }
    for (size_t i = 0; nsx_flow_flags[i].name; i++) {
        nsx_words_add(&key_words, nsx_flow_flags[i].name, FIRST_FLAG + i);
    }
}

/* A flow_mod that is being written at 'start' of 'buf'. */
struct flow_writer {
    const struct nsx_parser *parser;
    enum nsx_flow_command command;
    struct nsx_buf *buf;
    size_t start;
    bool has_table;             /* As a number. */
};

static uint8_t *
flow_mod(const struct flow_writer *w, size_t offset)
{
    return w->buf->data + w->start + offset;
}

static int
parse_flow_table(struct flow_writer *w, struct nsx_slice text)
{
    struct nsx_slice name;
    uint8_t table;

    if (nsx_is_hole(text, &name)) {
        return nsx_add_hole(w->parser, name, w->start + FM_TABLE_ID, 1, 0, 8);
    }

    int error = nsx_parse_table(w->parser, text, &table);
    if (error) {
        return error;
    } else if (table == ALL_TABLES && !nsx_flow_deletes(w->command)) {
        /* There is no such table to put a flow into: ovs-ofctl takes it for
         * the first. */
        if (w->parser->holes) {
            return nsx_parse_error(w->parser, text,
                                   "there is no table 255 to put a flow into");
        }
        *flow_mod(w, FM_TABLE_ID) = 0;
        w->has_table = false;
        return 0;
    }
    *flow_mod(w, FM_TABLE_ID) = table;
    w->has_table = table != ALL_TABLES;
    return 0;
}

/* A cookie or its mask.  "-1" is ovs-ofctl's customary way to say all bits. */
static int
parse_cookie_bits(const struct nsx_parser *parser, struct nsx_slice text,
                  const char *what, uint64_t *bits)
{
    bool negative = text.n && *text.s == '-';

    if (negative) {
        text.s++;
        text.n--;
    }

    int error = nsx_parse_number(parser, text, what, UINT64_MAX, bits);
    if (negative) {
        *bits = -*bits;
    }
    return error;
}

static int
parse_cookie(struct flow_writer *w, struct nsx_slice text)
{
    const char *slash = memchr(text.s, '/', text.n);
    struct nsx_slice value = text;
    uint64_t cookie, mask;

    if (!slash) {
        uint8_t *p = flow_mod(w, FM_COOKIE);
        struct nsx_slice name;

        if (nsx_flow_deletes(w->command)) {
            return nsx_parse_error(w->parser, text, "a cookie to look for "
                                   "needs a mask (cookie=0x1/-1)");
        } else if (w->command == NSX_FLOW_ADD && nsx_is_hole(text, &name)) {
            return nsx_add_hole(w->parser, name, w->start + FM_COOKIE, 8, 0,
                                64);
        }

        int error = parse_cookie_bits(w->parser, text, "cookie", &cookie);
        /* OpenFlow 1.5 has no way to change the cookie of a flow: ovs-ofctl
         * takes one and leaves it out. */
        if (!error && w->command == NSX_FLOW_ADD) {
            nsx_set64(p, cookie);
        }
        return error;
    } else if (w->command == NSX_FLOW_ADD) {
        return nsx_parse_error(w->parser, text,
                               "an added flow's cookie has no mask");
    }

    value.n = (size_t) (slash - text.s);
    int error = parse_cookie_bits(w->parser, value, "cookie", &cookie);
    if (!error) {
        struct nsx_slice rest = { slash + 1, text.n - value.n - 1 };
        error = parse_cookie_bits(w->parser, rest, "cookie mask", &mask);
    }
    if (!error) {
        nsx_set64(flow_mod(w, FM_COOKIE), cookie & mask);
        nsx_set64(flow_mod(w, FM_COOKIE_MASK), mask);
    }
    return error;
}

static int
parse_out_group(struct flow_writer *w, struct nsx_slice text)
{
    uint64_t group = UINT32_MAX;

    if (nsx_is_word(text, "all")) {
        group = 0xfffffffc;
    } else if (!nsx_is_word(text, "any")) {
        int error = nsx_parse_number(w->parser, text, "out_group", UINT32_MAX,
                                     &group);
        if (error) {
            return error;
        }
    }
    nsx_set32(flow_mod(w, FM_OUT_GROUP), (uint32_t) group);
    return 0;
}

/* Takes a key that is no match field. */
static int
parse_key(struct flow_writer *w, struct nsx_slice key, struct nsx_slice value)
{
    size_t i = nsx_words_find(&key_words, key);
    uint32_t port;
    int error;

    if (i == NSX_NO_ROW
        || (i >= FIRST_FLAG && !(1u << w->command & (ADDS | MODIFIES)))) {
        return nsx_parse_error(w->parser, key, "unknown key");
    } else if (i >= FIRST_FLAG) {
        uint8_t *p = flow_mod(w, FM_FLAGS);

        nsx_set16(p, nsx_get16(p) | nsx_flow_flags[i - FIRST_FLAG].flag);
        return 0;
    } else if (!(keys[i].commands & 1u << w->command)) {
        return nsx_parse_error(w->parser, key, "this command takes no %s",
                               keys[i].name);
    } else if (!value.n && keys[i].key != KEY_ASSUMED) {
        return nsx_parse_error(w->parser, key, "%s has no value",
                               keys[i].name);
    }

    switch (keys[i].key) {
    case KEY_TABLE:
        return parse_flow_table(w, value);
    case KEY_COOKIE:
        return parse_cookie(w, value);
    case KEY_PRIORITY:
    case KEY_IDLE_TIMEOUT:
    case KEY_HARD_TIMEOUT:
    case KEY_IMPORTANCE:
        return nsx_parse_number_or_hole(w->parser, value, keys[i].name,
                                        UINT16_MAX, w->buf,
                                        w->start + keys[i].offset, 2);
    case KEY_OUT_PORT:
        error = nsx_parse_port(w->parser, value, &port);
        if (!error) {
            nsx_set32(flow_mod(w, FM_OUT_PORT), port);
        }
        return error;
    case KEY_OUT_GROUP:
        return parse_out_group(w, value);
    case KEY_IGNORED:
    case KEY_ASSUMED:
        break;
    }
    return 0;
}

/* Splits 'text' before the first "action": what follows the '=' after it are
 * the actions.  A hole's name is no place to look for it. */
static bool
find_actions(struct nsx_slice text, struct nsx_slice *conditions,
             struct nsx_slice *actions)
{
    if (!text.n) {
        return false;
    }

    const char *end = text.s + text.n;
    struct nsx_slice rest = text;
    const char *hole;
    size_t at;

    while (at = nsx_slice_find(rest, "action"),
           (hole = memchr(rest.s, '{', at))) {
        const char *after = memchr(hole, '}', (size_t) (end - hole));

        rest.s = after ? after : end;
        rest.n = (size_t) (end - rest.s);
    }

    const char *equals = memchr(rest.s + at, '=', rest.n - at);
    conditions->n = (size_t) (rest.s + at - text.s);
    if (equals) {
        actions->s = equals + 1;
        actions->n = (size_t) (end - actions->s);
        *actions = nsx_slice_trim(*actions);
    }
    return equals != NULL;
}

/* Reads what stands before "actions=" into 'match' and the flow_mod, and what
 * stands after it into '*actions'.  Sets '*conditions' to the former. */
static int
parse_conditions(struct flow_writer *w, struct nsx_slice text,
                 struct nsx_match *match, struct nsx_slice *conditions,
                 struct nsx_slice *actions)
{
    struct nsx_slice rest, key, value;
    char delimiter;

    *conditions = text;
    if (!nsx_flow_deletes(w->command)
        && !find_actions(text, conditions, actions)) {
        return nsx_parse_error(w->parser, nsx_slice_trim(text),
                               "a flow needs actions= (drop for none)");
    }
    rest = *conditions;
    while (nsx_next_key_value(&rest, &key, &value, &delimiter)) {
        int error;

        if (nsx_flow_deletes(w->command)
            && (nsx_slice_equals(key, "actions")
                || nsx_slice_equals(key, "action"))) {
            return nsx_parse_error(w->parser, key,
                                   "deleting takes no actions");
        }
        error = nsx_match_parse_field(w->parser, match, key, value,
                                      delimiter);
        if (error == ENOENT) {
            error = parse_key(w, key, value);
        }
        if (error) {
            return error;
        }
    }
    return 0;
}

static int
parse_flow(struct flow_writer *w, struct nsx_slice text)
{
    struct nsx_slice conditions, actions;
    struct nsx_match match;
    int error;

    nsx_match_init(&match);
    error = parse_conditions(w, text, &match, &conditions, &actions);
    if (!error) {
        error = nsx_match_resolve(w->parser, &match, conditions);
    }
    if (!error) {
        error = nsx_match_encode(w->parser, &match, w->buf);
    }
    if (!error && !nsx_flow_deletes(w->command)) {
        struct nsx_parser parser = *w->parser;

        parser.match = &match;
        parser.min_goto = (w->has_table
                           ? *flow_mod(w, FM_TABLE_ID) + 1u : 0);
        error = nsx_instructions_parse(&parser, actions, w->buf);
    }
    return error;
}

int
nsx_flow_parse__(const struct nsx_parser *parser, struct nsx_slice text,
                 enum nsx_flow_command command, struct nsx_buf *buf)
{
    struct flow_writer w = { parser, command, buf, buf->size, false };
    size_t n_holes = parser->holes ? parser->holes->n : 0;

    uint8_t *p = nsx_put_zeros(buf, FM_LEN);
    p[0] = OFP_VERSION;
    p[1] = OFPT_FLOW_MOD;
    p[FM_TABLE_ID] = nsx_flow_deletes(command) ? ALL_TABLES : 0;
    p[FM_COMMAND] = (uint8_t) command;
    nsx_set16(p + FM_PRIORITY, NSX_DEFAULT_PRIORITY);
    nsx_set32(p + FM_BUFFER_ID, UINT32_MAX);
    nsx_set32(p + FM_OUT_PORT, UINT32_MAX);
    nsx_set32(p + FM_OUT_GROUP, UINT32_MAX);

    int error = parse_flow(&w, text);
    if (!error && buf->size - w.start > UINT16_MAX) {
        error = nsx_parse_error(parser, text, "a flow of %zu bytes doesn't "
                                "fit into a message", buf->size - w.start);
    }
    if (error) {
        buf->size = w.start;
        if (parser->holes) {
            parser->holes->n = n_holes;
        }
        return error;
    }
    nsx_set16(buf->data + w.start + 2, (uint16_t) (buf->size - w.start));
    return 0;
}

int
nsx_flow_parse(const char *text, size_t len, enum nsx_flow_command command,
               nsx_tables tables, struct nsx_buf *buf,
               struct nsx_error *error)
{
    struct nsx_parser parser = {
        .text = text,
        .tables = tables,
        .origin = buf->size,
        .error = error,
    };

    return nsx_flow_parse__(&parser, (struct nsx_slice) { text, len },
                            command, buf);
}
