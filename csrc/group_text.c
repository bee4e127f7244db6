/* group_text.c: groups in ovs-ofctl's syntax, to group_mods. */

#include "group.h"

#include "action_verbs.h"

#define PORT_MAX 0xff00u
#define PORT_CONTROLLER 0xfffffffdu
#define PORT_ANY 0xffffffffu

/* Words before the buckets. */

struct group {
    const struct nsx_parser *parser;
    struct nsx_buf *buf;
    size_t start;                       /* Offset of the message. */
    enum nsx_group_command command;

    bool has_id, has_type;
    enum nsx_group_type type;
    uint32_t command_bucket_id;
    struct nsx_slice command_bucket;    /* The text of it. */
    struct nsx_slice method, param, fields;
};

static bool
has_buckets(enum nsx_group_command command)
{
    return (command != NSX_GROUP_DELETE
            && command != NSX_GROUP_REMOVE_BUCKET);
}

/* True if 'command' makes a group, with a type and properties. */
static bool
makes_group(enum nsx_group_command command)
{
    return has_buckets(command) && command != NSX_GROUP_INSERT_BUCKET;
}

static bool
is_bucket_command(enum nsx_group_command command)
{
    return (command == NSX_GROUP_INSERT_BUCKET
            || command == NSX_GROUP_REMOVE_BUCKET);
}

static int
parse_group_id(struct group *g, struct nsx_slice value)
{
    size_t offset = g->start + 12;
    struct nsx_slice hole;

    g->has_id = true;
    if (nsx_slice_equals(value, "all")) {
        nsx_set32(g->buf->data + offset, NSX_GROUP_ALL);
        return 0;
    }

    int error = nsx_parse_number_or_hole(g->parser, value, "group_id",
                                         UINT32_MAX, g->buf, offset, 4);
    uint32_t id = nsx_get32(g->buf->data + offset);
    if (!error && !nsx_is_hole(value, &hole) && id > NSX_GROUP_MAX
        && id != NSX_GROUP_ALL) {
        error = nsx_parse_error(g->parser, value, "no group has this id");
    }
    return error;
}

static int
parse_type(struct group *g, struct nsx_slice value)
{
    static const struct {
        const char *name;
        enum nsx_group_type type;
    } types[] = {
        { "all", NSX_GROUP_TYPE_ALL },
        { "select", NSX_GROUP_TYPE_SELECT },
        { "indirect", NSX_GROUP_TYPE_INDIRECT },
        { "ff", NSX_GROUP_TYPE_FF },
        { "fast_failover", NSX_GROUP_TYPE_FF },
    };

    for (size_t i = 0; i < NSX_ARRAY_SIZE(types); i++) {
        if (nsx_slice_equals(value, types[i].name)) {
            g->type = types[i].type;
            g->has_type = true;
            return 0;
        }
    }
    return nsx_parse_error(g->parser, value,
                           "type is all, select, indirect or ff");
}

static int
parse_command_bucket_id(struct group *g, struct nsx_slice value)
{
    g->command_bucket = value;
    if (nsx_slice_equals(value, "first")) {
        g->command_bucket_id = NSX_BUCKET_FIRST;
    } else if (nsx_slice_equals(value, "last")) {
        g->command_bucket_id = NSX_BUCKET_LAST;
    } else if (nsx_slice_equals(value, "all")) {
        if (g->command == NSX_GROUP_INSERT_BUCKET) {
            return nsx_parse_error(g->parser, value,
                                   "a bucket goes to one place");
        }
        g->command_bucket_id = NSX_BUCKET_ALL;
    } else {
        uint64_t id;
        int error = nsx_parse_number(g->parser, value, "command_bucket_id",
                                     NSX_BUCKET_MAX, &id);
        if (error) {
            return error;
        }
        g->command_bucket_id = (uint32_t) id;
    }
    return 0;
}

static int
parse_head_word(struct group *g, struct nsx_slice key, struct nsx_slice value)
{
    if (nsx_slice_equals(key, "group_id")) {
        return parse_group_id(g, value);
    } else if (nsx_slice_equals(key, "command_bucket_id")) {
        return (is_bucket_command(g->command)
                ? parse_command_bucket_id(g, value)
                : nsx_parse_error(g->parser, key, "only for inserting and "
                                  "removing buckets"));
    } else if (nsx_slice_equals(key, "type")
               || nsx_slice_equals(key, "selection_method")
               || nsx_slice_equals(key, "selection_method_param")
               || nsx_slice_equals(key, "fields")) {
        if (!makes_group(g->command)) {
            return nsx_parse_error(g->parser, key,
                                   "not for this command");
        }
    } else {
        return nsx_parse_error(g->parser, key, "unknown word of a group");
    }

    if (nsx_slice_equals(key, "type")) {
        return parse_type(g, value);
    } else if (nsx_slice_equals(key, "selection_method")) {
        g->method = value;
    } else if (nsx_slice_equals(key, "fields")) {
        g->fields = value;
    } else {
        g->param = value;
    }
    return 0;
}

/* Fails where the words of the head do not go together.  'at' is all of it. */
static int
check_head(const struct group *g, struct nsx_slice at)
{
    bool hash = nsx_slice_equals(g->method, "hash");

    if (!g->has_id) {
        return nsx_parse_error(g->parser, at, "missing group_id");
    } else if (makes_group(g->command) && !g->has_type) {
        return nsx_parse_error(g->parser, at, "missing type");
    } else if (g->command == NSX_GROUP_INSERT_BUCKET
               && !g->command_bucket.n) {
        return nsx_parse_error(g->parser, at, "missing command_bucket_id");
    } else if (g->method.n >= NSX_SELECTION_METHOD_LEN) {
        return nsx_parse_error(g->parser, g->method,
                               "selection_method has at most %d bytes",
                               NSX_SELECTION_METHOD_LEN - 1);
    } else if (g->fields.n && !hash) {
        return nsx_parse_error(g->parser, g->fields,
                               "fields are for selection_method=hash");
    } else if (g->param.n && !g->method.n) {
        uint64_t param;
        int error = nsx_parse_number(g->parser, g->param,
                                     "selection_method_param", UINT64_MAX,
                                     &param);

        return (error || !param ? error
                : nsx_parse_error(g->parser, g->param,
                                  "selection_method_param needs "
                                  "selection_method"));
    }
    return 0;
}

/* Buckets. */

struct bucket {
    struct nsx_slice id, weight, watch_port, watch_group;
};

/* Appends a property with the 'width' bytes of a number, or of a hole. */
static int
put_property(struct group *g, enum nsx_bucket_property type,
             struct nsx_slice text, const char *what, uint64_t max,
             size_t width)
{
    nsx_put16(g->buf, (uint16_t) type);
    nsx_put16(g->buf, 8);
    size_t value = g->buf->size;
    nsx_put_zeros(g->buf, 4);
    return nsx_parse_number_or_hole(g->parser, text, what, max, g->buf, value,
                                    width);
}

static int
put_weight(struct group *g, struct nsx_slice text, struct nsx_slice at)
{
    bool select = g->type == NSX_GROUP_TYPE_SELECT;
    size_t start = g->buf->size;
    struct nsx_slice hole;

    if (!text.n) {
        text = select ? NSX_SLICE("1") : NSX_SLICE("0");
    }

    int error = put_property(g, NSX_BUCKET_WEIGHT, text, "weight",
                             UINT16_MAX, 2);
    if (error || select) {
        return error;
    } else if (!nsx_is_hole(text, &hole)
               && !nsx_get16(g->buf->data + start + 4)) {
        g->buf->size = start;
    } else if (g->command != NSX_GROUP_INSERT_BUCKET) {
        return nsx_parse_error(g->parser, at,
                               "only buckets of type=select have a weight");
    }
    return 0;
}

static int
put_watch_port(struct group *g, struct nsx_slice text)
{
    uint32_t port;
    int error = nsx_parse_port(g->parser, text, &port);

    if (error || port == PORT_ANY) {
        return error;
    } else if (port >= PORT_MAX && port != PORT_CONTROLLER) {
        return nsx_parse_error(g->parser, text, "cannot watch this port");
    }
    nsx_put16(g->buf, NSX_BUCKET_WATCH_PORT);
    nsx_put16(g->buf, 8);
    nsx_put32(g->buf, port);
    return 0;
}

static int
put_bucket_properties(struct group *g, const struct bucket *b,
                      struct nsx_slice at)
{
    bool watches = b->watch_port.n || b->watch_group.n;
    int error = put_weight(g, b->weight, b->weight.n ? b->weight : at);

    if (error) {
        return error;
    } else if (g->type == NSX_GROUP_TYPE_FF && !watches) {
        return nsx_parse_error(g->parser, at, "a bucket of type=ff needs "
                               "watch_port or watch_group");
    }
    if (b->watch_port.n) {
        error = put_watch_port(g, b->watch_port);
    }
    if (!error && b->watch_group.n) {
        error = put_property(g, NSX_BUCKET_WATCH_GROUP, b->watch_group,
                             "watch_group", NSX_GROUP_MAX, 4);
    }
    return error;
}

/* Parses the actions of 'text', which may stand among other words of the
 * bucket, which go to 'b'. */
static int
parse_bucket_words(struct group *g, struct nsx_slice text, struct bucket *b)
{
    struct nsx_parser parser = *g->parser;
    struct nsx_slice at = text;
    struct nsx_action_list actions;
    struct nsx_slice key, value;
    bool has_actions = false;
    char delimiter;
    int error = 0;

    parser.match = NULL;
    nsx_action_list_init(&actions, &parser, NSX_IN_BUCKET, g->buf);
    while (!error && nsx_next_key_value(&text, &key, &value, &delimiter)) {
        if (nsx_is_word(key, "bucket_id")) {
            b->id = value;
        } else if (nsx_is_word(key, "weight")) {
            b->weight = value;
        } else if (nsx_is_word(key, "watch_port")) {
            b->watch_port = value;
        } else if (nsx_is_word(key, "watch_group")) {
            b->watch_group = value;
        } else if (nsx_is_word(key, "actions")
                   || nsx_is_word(key, "action")) {
            has_actions = true;
            error = nsx_action_list_text(&actions, value);
        } else {
            has_actions = true;
            error = nsx_action_list_word(&actions, key, value);
        }
    }
    nsx_action_list_uninit(&actions);
    if (!error && !has_actions) {
        error = nsx_parse_error(&parser, at, "a bucket without actions=");
    }
    return error;
}

/* Parses 'text' as a bucket and appends it; NSX_BUCKET_ALL stands for an id
 * that it doesn't say. */
static int
parse_bucket(struct group *g, struct nsx_slice text)
{
    size_t start = g->buf->size;
    struct bucket b = { { NULL, 0 }, { NULL, 0 }, { NULL, 0 }, { NULL, 0 } };
    int error;

    nsx_put_zeros(g->buf, NSX_BUCKET_LEN);
    error = parse_bucket_words(g, text, &b);
    size_t actions_end = g->buf->size;
    if (!error) {
        error = put_bucket_properties(g, &b, text);
    }
    if (!error && g->buf->size - start > NSX_ACTION_LIST_MAX) {
        error = nsx_parse_error(g->parser, text, "the bucket is too long");
    }
    if (error) {
        return error;
    }

    uint8_t *bucket = g->buf->data + start;
    nsx_set16(bucket, (uint16_t) (g->buf->size - start));
    nsx_set16(bucket + 2, (uint16_t) (actions_end - start - NSX_BUCKET_LEN));
    if (!b.id.n) {
        nsx_set32(bucket + 4, NSX_BUCKET_ALL);
        return 0;
    }
    return nsx_parse_number_or_hole(g->parser, b.id, "bucket_id",
                                    NSX_BUCKET_MAX, g->buf, start + 4, 4);
}

static int
parse_buckets(struct group *g, struct nsx_slice text)
{
    const size_t word_len = strlen("bucket=");
    struct nsx_slice rest = text;
    size_t n = 0;

    while (rest.n) {
        rest.s += word_len;
        rest.n -= word_len;

        struct nsx_slice bucket = { rest.s, nsx_slice_find(rest, "bucket=") };
        int error = parse_bucket(g, bucket);
        if (error) {
            return error;
        }
        rest.s += bucket.n;
        rest.n -= bucket.n;
        n++;
    }
    if (makes_group(g->command) && g->type == NSX_GROUP_TYPE_INDIRECT
        && n > 1) {
        return nsx_parse_error(g->parser, text,
                               "a group of type=indirect has one bucket");
    }
    nsx_group_number_buckets(g->buf, g->start);
    return 0;
}

/* Properties. */

struct selection_fields {
    uint64_t present[(NSX_N_FIELDS + 63) / 64];
    uint8_t masks[NSX_N_FIELDS][NSX_FIELD_MAX];
};

/* Parses 'key=value', or 'key' alone, as a field to hash and its mask. */
static int
parse_selection_field(struct group *g, struct nsx_slice key,
                      struct nsx_slice value, struct selection_fields *fields)
{
    const struct nsx_field *field = nsx_field_from_name(key);

    if (!field || !nsx_field_has_header(field)) {
        return nsx_parse_error(g->parser, key, "unknown field");
    }

    size_t n = nsx_field_n_bytes(field);
    enum nsx_field_id id = nsx_field_id(field);
    uint64_t bit = UINT64_C(1) << id % 64;
    uint8_t *mask = fields->masks[id];
    uint8_t ones[NSX_FIELD_MAX];
    struct nsx_slice hole = { NULL, 0 };
    int error = 0;

    if (fields->present[id / 64] & bit) {
        return nsx_parse_error(g->parser, key, "duplicate field");
    }
    fields->present[id / 64] |= bit;
    memset(mask, 0xff, n);
    if (!value.n) {
        return 0;
    }

    bool whole = true, none = true;
    error = nsx_field_parse_value(g->parser, field, value, mask, ones, &hole);
    for (size_t i = 0; i < n; i++) {
        whole = whole && mask[i] == 0xff;
        none = none && !mask[i];
    }
    if (!error && hole.n) {
        error = nsx_parse_error(g->parser, value, "a mask is no hole");
    } else if (!error && (none || (!whole && !nsx_field_maskable(field)))) {
        error = nsx_parse_error(g->parser, value, "no mask for %s",
                                nsx_field_name(field));
    }
    return error;
}

static int
put_selection_fields(struct group *g)
{
    struct selection_fields fields;
    struct nsx_slice rest = g->fields;
    struct nsx_slice key, value;
    char delimiter;

    memset(fields.present, 0, sizeof fields.present);
    while (nsx_next_key_value(&rest, &key, &value, &delimiter)) {
        int error = parse_selection_field(g, key, value, &fields);
        if (error) {
            return error;
        }
    }
    for (size_t id = 0; id < NSX_N_FIELDS; id++) {
        if (fields.present[id / 64] >> id % 64 & 1) {
            const struct nsx_field *field
                = nsx_field_from_id((enum nsx_field_id) id);

            nsx_oxm_put_header(g->buf, field, false);
            nsx_put(g->buf, fields.masks[id], nsx_field_n_bytes(field));
        }
    }
    return 0;
}

static int
put_selection(struct group *g)
{
    size_t start = g->buf->size;
    uint8_t *p = nsx_put_zeros(g->buf, NSX_SELECTION_LEN);
    int error = 0;

    nsx_set16(p, 0xffff);
    nsx_set32(p + 4, NSX_NTR_VENDOR);
    nsx_set32(p + 8, 1);
    memcpy(p + NSX_SELECTION_METHOD, g->method.s, g->method.n);
    if (g->param.n) {
        error = nsx_parse_number_or_hole(g->parser, g->param,
                                         "selection_method_param", UINT64_MAX,
                                         g->buf, start + NSX_SELECTION_PARAM,
                                         8);
    }
    if (!error && g->fields.n) {
        error = put_selection_fields(g);
    }
    if (!error) {
        nsx_set16(g->buf->data + start + 2,
                  (uint16_t) (g->buf->size - start));
        nsx_pad(g->buf, start, 8);
    }
    return error;
}

/* The whole. */

static int
parse_group(struct group *g, struct nsx_slice text)
{
    size_t head_len = nsx_slice_find(text, "bucket=");
    struct nsx_slice head = { text.s, head_len };
    struct nsx_slice buckets = { text.s + head_len, text.n - head_len };
    struct nsx_slice rest = head;
    struct nsx_slice key, value;
    char delimiter;
    int error = 0;

    if (g->command == NSX_GROUP_DELETE && !nsx_slice_trim(text).n) {
        g->has_id = true;
        nsx_set32(g->buf->data + g->start + 12, NSX_GROUP_ALL);
    }
    while (!error && nsx_next_key_value(&rest, &key, &value, &delimiter)) {
        error = parse_head_word(g, key, value);
    }
    if (!error) {
        error = check_head(g, nsx_slice_trim(head));
    }
    if (!error && buckets.n && !has_buckets(g->command)) {
        error = nsx_parse_error(g->parser, buckets, "not for this command");
    }
    if (!error) {
        error = parse_buckets(g, buckets);
    }
    if (error) {
        return error;
    }

    size_t tail = g->buf->size;
    if (g->method.n) {
        error = put_selection(g);
    }
    if (error) {
        return error;
    }

    uint8_t *p = g->buf->data + g->start;
    p[10] = (uint8_t) g->type;
    nsx_set32(p + 20, g->command_bucket_id);
    if (g->buf->size - g->start > NSX_MESSAGE_MAX
        && g->parser->holes && g->parser->holes->n) {
        return nsx_parse_error(g->parser, head, "the group of a template is "
                               "longer than a message");
    }
    return nsx_group_finish(g->parser, head, g->buf, g->start, tail);
}

int
nsx_group_parse__(const struct nsx_parser *parser_, struct nsx_slice text,
                  enum nsx_group_command command, struct nsx_buf *buf)
{
    struct nsx_parser parser = *parser_;
    struct group g = {
        .parser = &parser,
        .buf = buf,
        .start = buf->size,
        .command = command,
        .command_bucket_id = NSX_BUCKET_ALL,
        .command_bucket = NSX_SLICE(""),
        .method = NSX_SLICE(""),
        .param = NSX_SLICE(""),
        .fields = NSX_SLICE(""),
    };
    uint8_t *p = nsx_put_zeros(buf, NSX_GROUP_MOD_LEN);

    parser.origin = g.start;
    p[0] = 6;                           /* OpenFlow 1.5. */
    p[1] = 15;                          /* OFPT_GROUP_MOD. */
    nsx_set16(p + 8, (uint16_t) command);

    int error = parse_group(&g, text);
    if (error) {
        buf->size = g.start;
    }
    return error;
}

int
nsx_group_parse(const char *text, size_t len, enum nsx_group_command command,
                nsx_tables tables, struct nsx_buf *buf,
                struct nsx_error *error)
{
    struct nsx_parser parser = {
        .text = text,
        .tables = tables,
        .error = error,
    };

    return nsx_group_parse__(&parser, (struct nsx_slice) { text, len },
                             command, buf);
}
