/* group.c: groups on the wire, in group_mods and in descriptions. */

#include "group.h"

#include "action.h"
#include "field.h"

#define PORT_ANY 0xffffffffu
#define GROUP_ANY 0xffffffffu

/* Checking. */

static int
check_bucket_properties(const uint8_t *p, size_t n, size_t position,
                        struct nsx_error *error)
{
    for (size_t i = 0; i < n; i += 8) {
        if (n - i < 8 || nsx_get16(p + i + 2) != 8) {
            return nsx_decode_error(error, position + i,
                                    "bad length of a property of a bucket");
        } else if (nsx_get16(p + i) >= NSX_N_BUCKET_PROPERTIES) {
            return nsx_decode_error(error, position + i,
                                    "unknown property %u of a bucket",
                                    nsx_get16(p + i));
        } else if (nsx_get16(p + i) == NSX_BUCKET_WEIGHT
                   && nsx_get16(p + i + 6)) {
            return nsx_decode_error(error, position + i + 6,
                                    "padding that isn't zero");
        }
    }
    return 0;
}

static int
check_bucket(const uint8_t *p, size_t n, size_t position,
             struct nsx_error *error)
{
    size_t len = n >= NSX_BUCKET_LEN ? nsx_get16(p) : 0;
    size_t actions_len = n >= NSX_BUCKET_LEN ? nsx_get16(p + 2) : 0;

    if (len < NSX_BUCKET_LEN || len > n || len % 8) {
        return nsx_decode_error(error, position, "bad length of a bucket");
    } else if (actions_len > len - NSX_BUCKET_LEN || actions_len % 8) {
        return nsx_decode_error(error, position + 2,
                                "bad length of a bucket's actions");
    } else if (nsx_get32(p + 4) > NSX_BUCKET_MAX) {
        return nsx_decode_error(error, position + 4, "bad bucket id 0x%x",
                                nsx_get32(p + 4));
    }

    size_t properties = NSX_BUCKET_LEN + actions_len;
    int retval = nsx_actions_check(p + NSX_BUCKET_LEN, actions_len,
                                   position + NSX_BUCKET_LEN, NSX_IN_BUCKET,
                                   error);
    return (retval ? retval
            : check_bucket_properties(p + properties, len - properties,
                                      position + properties, error));
}

static int
check_buckets(const uint8_t *p, size_t n, size_t position,
              struct nsx_error *error)
{
    for (size_t i = 0; i < n; i += nsx_get16(p + i)) {
        int retval = check_bucket(p + i, n - i, position + i, error);
        if (retval) {
            return retval;
        }
    }

    uint32_t id;
    return (nsx_group_repeats_id(p, n, &id)
            ? nsx_decode_error(error, position,
                               "two buckets with bucket_id %u", id)
            : 0);
}

static bool
is_all_ones(const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (p[i] != 0xff) {
            return false;
        }
    }
    return true;
}

/* Reads one field of a selection method at the front of the 'n' bytes at 'p'
 * and returns its length, 0 if it is wrong. */
static size_t
pull_selection_field(const uint8_t *p, size_t n,
                     const struct nsx_field **field, const uint8_t **mask)
{
    size_t header_len;
    bool has_mask;

    *mask = p;
    *field = nsx_oxm_pull_header(p, n, &has_mask, &header_len);
    if (!*field || has_mask || header_len + nsx_field_n_bytes(*field) > n) {
        return 0;
    }
    *mask = p + header_len;
    return (nsx_field_maskable(*field)
            || is_all_ones(*mask, nsx_field_n_bytes(*field))
            ? header_len + nsx_field_n_bytes(*field) : 0);
}

static bool
is_method(const uint8_t *p, const char *name)
{
    char padded[NSX_SELECTION_METHOD_LEN] = { 0 };

    memcpy(padded, name, strlen(name));
    return !memcmp(p + NSX_SELECTION_METHOD, padded, sizeof padded);
}

static int
check_properties(const uint8_t *p, size_t n, size_t position,
                 enum nsx_group_type type, struct nsx_error *error)
{
    while (n) {
        size_t len = n >= 4 ? nsx_get16(p + 2) : 0;
        size_t padded = NSX_ROUND_UP(len, 8);

        if (len < 4 || padded > n) {
            return nsx_decode_error(error, position,
                                    "bad length of a property of a group");
        } else if (len < NSX_SELECTION_LEN || nsx_get16(p) != 0xffff
                   || nsx_get32(p + 4) != NSX_NTR_VENDOR
                   || nsx_get32(p + 8) != 1) {
            return nsx_decode_error(error, position,
                                    "unknown property 0x%x of a group",
                                    nsx_get16(p));
        } else if (type != NSX_GROUP_TYPE_SELECT
                   || (!is_method(p, "hash")
                       && (!is_method(p, "dp_hash")
                           || len != NSX_SELECTION_LEN))) {
            return nsx_decode_error(error, position,
                                    "bad selection method of a group");
        }

        for (size_t i = NSX_SELECTION_LEN; i < len; ) {
            const struct nsx_field *field;
            const uint8_t *mask;
            size_t field_len = pull_selection_field(p + i, len - i, &field,
                                                    &mask);

            if (!field_len) {
                return nsx_decode_error(error, position + i, "bad field of a "
                                        "group's selection method");
            }
            i += field_len;
        }
        p += padded;
        n -= padded;
        position += padded;
    }
    return 0;
}

/* Checks the parts of a group, whose lengths and pointers 'view' has. */
static int
check_group(const struct nsx_group_view *view, const uint8_t *msg,
            struct nsx_error *error)
{
    int retval = check_buckets(view->buckets, view->buckets_len,
                               (size_t) (view->buckets - msg), error);

    return (retval ? retval
            : check_properties(view->properties, view->properties_len,
                               (size_t) (view->properties - msg),
                               (enum nsx_group_type) view->type, error));
}

/* Checks the rules of a new or changed group, as Open vSwitch does for a
 * group_mod and for no other message. */
static int
check_new_group(const struct nsx_group_view *view, const uint8_t *msg,
                struct nsx_error *error)
{
    bool select = view->type == NSX_GROUP_TYPE_SELECT;
    bool ff = view->type == NSX_GROUP_TYPE_FF;
    size_t n_buckets = 0;

    for (size_t i = 0; i < view->buckets_len;
         i += nsx_get16(view->buckets + i)) {
        const uint8_t *p = view->buckets + i;
        size_t position = (size_t) (p - msg);
        bool watches = false, weighs = false;

        for (size_t j = NSX_BUCKET_LEN + nsx_get16(p + 2); j < nsx_get16(p);
             j += 8) {
            bool weight = nsx_get16(p + j) == NSX_BUCKET_WEIGHT;

            weighs = weighs || (weight && nsx_get16(p + j + 4));
            watches = watches || (!weight && nsx_get32(p + j + 4) != PORT_ANY);
        }
        if (weighs && !select) {
            return nsx_decode_error(error, position, "only buckets of "
                                    "type=select have a weight");
        } else if (watches && !select && !ff) {
            return nsx_decode_error(error, position, "buckets of this type of "
                                    "group watch nothing");
        } else if (!watches && ff) {
            return nsx_decode_error(error, position, "a bucket of type=ff "
                                    "needs watch_port or watch_group");
        }
        n_buckets++;
    }
    return (view->type == NSX_GROUP_TYPE_INDIRECT && n_buckets != 1
            ? nsx_decode_error(error, 10,
                               "a group of type=indirect has one bucket")
            : 0);
}

/* Reading messages. */

static bool
is_command(uint16_t command)
{
    switch ((enum nsx_group_command) command) {
    case NSX_GROUP_ADD:
    case NSX_GROUP_MODIFY:
    case NSX_GROUP_DELETE:
    case NSX_GROUP_INSERT_BUCKET:
    case NSX_GROUP_REMOVE_BUCKET:
    case NSX_GROUP_ADD_OR_MOD:
        return true;
    default:
        return false;
    }
}

/* A command has a command_bucket_id exactly where it is about buckets. */
static bool
is_command_bucket_id(uint16_t command, uint32_t id)
{
    bool is_place = (id <= NSX_BUCKET_MAX || id == NSX_BUCKET_FIRST
                     || id == NSX_BUCKET_LAST);

    return (command == NSX_GROUP_INSERT_BUCKET ? is_place
            : command == NSX_GROUP_REMOVE_BUCKET
              ? is_place || id == NSX_BUCKET_ALL
            : id == NSX_BUCKET_ALL);
}

int
nsx_group_mod_decode(const void *msg_, size_t len,
                     struct nsx_group_view *view, struct nsx_error *error)
{
    const uint8_t *msg = msg_;

    if (len < NSX_GROUP_MOD_LEN || msg[0] != 6 || msg[1] != 15
        || nsx_get16(msg + 2) != len) {
        return nsx_decode_error(error, 0, "not an OpenFlow 1.5 group_mod of "
                                "%zu bytes", len);
    }

    size_t buckets_len = nsx_get16(msg + 16);
    *view = (struct nsx_group_view) {
        .command = nsx_get16(msg + 8),
        .type = msg[10],
        .group_id = nsx_get32(msg + 12),
        .command_bucket_id = nsx_get32(msg + 20),
        .buckets = msg + NSX_GROUP_MOD_LEN,
        .buckets_len = buckets_len,
    };
    if (!is_command(view->command)) {
        return nsx_decode_error(error, 8, "unknown command %u of a group_mod",
                                view->command);
    } else if (view->type >= NSX_N_GROUP_TYPES) {
        return nsx_decode_error(error, 10, "unknown type %u of a group",
                                view->type);
    } else if (!is_command_bucket_id(view->command,
                                     view->command_bucket_id)) {
        return nsx_decode_error(error, 20, "bad command_bucket_id 0x%x",
                                view->command_bucket_id);
    } else if (buckets_len > len - NSX_GROUP_MOD_LEN) {
        return nsx_decode_error(error, 16, "bad length of a group's buckets");
    }
    view->properties = view->buckets + buckets_len;
    view->properties_len = len - NSX_GROUP_MOD_LEN - buckets_len;

    int retval = check_group(view, msg, error);
    bool makes_group = (view->command == NSX_GROUP_ADD
                        || view->command == NSX_GROUP_MODIFY
                        || view->command == NSX_GROUP_ADD_OR_MOD);
    return (retval || !makes_group ? retval
            : check_new_group(view, msg, error));
}

int
nsx_group_desc_next(const void *msg_, size_t len, size_t *offset,
                    struct nsx_group_view *view, struct nsx_error *error)
{
    const size_t header_len = 16, desc_len = 16;
    const uint8_t *msg = msg_;

    if (len < header_len || msg[0] != 6 || msg[1] != 19
        || nsx_get16(msg + 2) != len || nsx_get16(msg + 8) != 7) {
        return nsx_decode_error(error, 0, "not an OpenFlow 1.5 "
                                "OFPMP_GROUP_DESC reply of %zu bytes", len);
    } else if (!*offset) {
        *offset = header_len;
    }
    if (*offset >= len) {
        return ENOENT;
    }

    const uint8_t *p = msg + *offset;
    size_t n = len - *offset;
    size_t entry_len = n >= desc_len ? nsx_get16(p) : 0;
    size_t buckets_len = n >= desc_len ? nsx_get16(p + 8) : 0;
    if (entry_len < desc_len || entry_len > n
        || buckets_len > entry_len - desc_len) {
        return nsx_decode_error(error, *offset, "bad length of a group");
    }

    *view = (struct nsx_group_view) {
        .command = NSX_GROUP_ADD,
        .type = p[2],
        .group_id = nsx_get32(p + 4),
        .command_bucket_id = NSX_BUCKET_ALL,
        .buckets = p + desc_len,
        .buckets_len = buckets_len,
        .properties = p + desc_len + buckets_len,
        .properties_len = entry_len - desc_len - buckets_len,
    };
    if (view->type >= NSX_N_GROUP_TYPES) {
        return nsx_decode_error(error, *offset + 2, "unknown type %u of a "
                                "group", view->type);
    }

    int retval = check_group(view, msg, error);
    if (!retval) {
        *offset += entry_len;
    }
    return retval;
}

int
nsx_bucket_next(const struct nsx_group_view *group, size_t *offset,
                struct nsx_bucket_view *view, struct nsx_error *error)
{
    if (*offset >= group->buckets_len) {
        return ENOENT;
    }

    const uint8_t *p = group->buckets + *offset;
    size_t n = group->buckets_len - *offset;
    if (n < NSX_BUCKET_LEN || nsx_get16(p) < NSX_BUCKET_LEN
        || nsx_get16(p) > n) {
        return nsx_decode_error(error, *offset, "bad length of a bucket");
    }
    *view = (struct nsx_bucket_view) {
        .bucket_id = nsx_get32(p + 4),
        .bucket = p,
        .len = nsx_get16(p),
    };
    *offset += view->len;
    return 0;
}

/* Printing. */

static void
format_bucket(struct nsx_buf *buf, const uint8_t *p, uint8_t type,
              nsx_tables tables)
{
    size_t actions_len = nsx_get16(p + 2);
    uint32_t weight = type == NSX_GROUP_TYPE_SELECT;
    uint32_t watch_port = PORT_ANY, watch_group = GROUP_ANY;

    for (size_t i = NSX_BUCKET_LEN + actions_len; i < nsx_get16(p); i += 8) {
        switch ((enum nsx_bucket_property) nsx_get16(p + i)) {
        case NSX_BUCKET_WEIGHT:
            weight = nsx_get16(p + i + 4);
            break;
        case NSX_BUCKET_WATCH_PORT:
            watch_port = nsx_get32(p + i + 4);
            break;
        case NSX_BUCKET_WATCH_GROUP:
            watch_group = nsx_get32(p + i + 4);
            break;
        case NSX_N_BUCKET_PROPERTIES:
            break;
        }
    }

    nsx_printf(buf, "bucket=bucket_id:%u,", nsx_get32(p + 4));
    if (weight != (type == NSX_GROUP_TYPE_SELECT)) {
        nsx_printf(buf, "weight:%u,", weight);
    }
    if (watch_port != PORT_ANY) {
        nsx_puts(buf, "watch_port:");
        nsx_format_port(buf, watch_port);
        nsx_put8(buf, ',');
    }
    if (watch_group != GROUP_ANY) {
        nsx_printf(buf, "watch_group:%u,", watch_group);
    }
    nsx_puts(buf, "actions=");
    nsx_actions_format(buf, p + NSX_BUCKET_LEN, actions_len, tables);
}

static void
format_selection(struct nsx_buf *buf, const uint8_t *p)
{
    uint64_t param = nsx_get64(p + NSX_SELECTION_PARAM);
    size_t len = nsx_get16(p + 2);
    const struct nsx_field *field;
    const uint8_t *mask;
    size_t n_fields = 0;

    nsx_printf(buf, ",selection_method=%s",
               (const char *) p + NSX_SELECTION_METHOD);
    if (param) {
        nsx_printf(buf, ",selection_method_param=%llu",
                   (unsigned long long) param);
    }
    if (len == NSX_SELECTION_LEN) {
        return;
    }

    size_t first = pull_selection_field(p + NSX_SELECTION_LEN,
                                        len - NSX_SELECTION_LEN, &field,
                                        &mask);
    bool several = NSX_SELECTION_LEN + first < len;

    nsx_puts(buf, several ? ",fields(" : ",fields=");
    for (size_t i = NSX_SELECTION_LEN; i < len; ) {
        i += pull_selection_field(p + i, len - i, &field, &mask);
        nsx_printf(buf, "%s%s", n_fields++ ? "," : "", nsx_field_name(field));
        if (!is_all_ones(mask, nsx_field_n_bytes(field))) {
            nsx_put8(buf, '=');
            nsx_field_format_value(buf, field, mask, NULL);
        }
    }
    if (several) {
        nsx_put8(buf, ')');
    }
}

int
nsx_group_format(const struct nsx_group_view *view, nsx_tables tables,
                 struct nsx_buf *buf, struct nsx_error *error)
{
    static const char *const types[NSX_N_GROUP_TYPES] = {
        [NSX_GROUP_TYPE_ALL] = "all",
        [NSX_GROUP_TYPE_SELECT] = "select",
        [NSX_GROUP_TYPE_INDIRECT] = "indirect",
        [NSX_GROUP_TYPE_FF] = "ff",
    };

    if (view->type >= NSX_N_GROUP_TYPES) {
        return nsx_decode_error(error, 0, "unknown type %u of a group",
                                view->type);
    }

    /* The view may come from anywhere. */
    int retval = check_group(view, view->buckets, error);
    if (retval) {
        return retval;
    }

    nsx_printf(buf, "group_id=%u", view->group_id);
    if (view->command != NSX_GROUP_INSERT_BUCKET
        && view->command != NSX_GROUP_REMOVE_BUCKET) {
        nsx_printf(buf, ",type=%s", types[view->type]);
    }
    for (size_t i = 0; i < view->properties_len;
         i += NSX_ROUND_UP(nsx_get16(view->properties + i + 2), 8)) {
        format_selection(buf, view->properties + i);
    }
    for (size_t i = 0; i < view->buckets_len;
         i += nsx_get16(view->buckets + i)) {
        nsx_put8(buf, ',');
        format_bucket(buf, view->buckets + i, view->type, tables);
    }
    return 0;
}
