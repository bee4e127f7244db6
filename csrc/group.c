/* group.c: groups on the wire, in group_mods and in descriptions.  As text:
 * group_text.c, group_format.c. */

#include "group.h"

#include "action.h"
#include "message.h"
#include "table.h"

/* Checking. */

int
nsx_bucket_properties_read(const uint8_t *p, size_t n, size_t position,
                           uint8_t type,
                           struct nsx_bucket_properties *properties,
                           struct nsx_error *error)
{
    *properties = (struct nsx_bucket_properties) {
        .weight = type == NSX_GROUP_TYPE_SELECT,
        .watch_port = NSX_WATCH_ANY,
        .watch_group = NSX_WATCH_ANY,
    };
    for (size_t i = 0; i < n; i += NSX_BUCKET_PROPERTY_LEN) {
        if (n - i < NSX_BUCKET_PROPERTY_LEN
            || nsx_get16(p + i + 2) != NSX_BUCKET_PROPERTY_LEN) {
            return nsx_decode_error(error, NSX_OFPBPC_BAD_LEN, position + i,
                                    "bad length of a property of a bucket");
        }
        switch (nsx_get16(p + i)) {
        case NSX_BUCKET_WEIGHT:
            if (nsx_get16(p + i + 6)) {
                return nsx_decode_error(error, NSX_OFPBPC_BAD_LEN,
                                        position + i + 6,
                                        "padding that isn't zero");
            }
            properties->weight = nsx_get16(p + i + 4);
            break;
        case NSX_BUCKET_WATCH_PORT:
            properties->watch_port = nsx_get32(p + i + 4);
            if (!nsx_port_is_valid(properties->watch_port)) {
                return nsx_decode_error(error, NSX_OFPGMFC_BAD_WATCH,
                                        position + i + 4,
                                        "there is no port 0x%x to watch",
                                        properties->watch_port);
            }
            break;
        case NSX_BUCKET_WATCH_GROUP:
            properties->watch_group = nsx_get32(p + i + 4);
            break;
        default:
            return nsx_decode_error(error, NSX_OFPBPC_BAD_TYPE, position + i,
                                    "unknown property %u of a bucket",
                                    nsx_get16(p + i));
        }
    }
    return 0;
}

void
nsx_bucket_properties(const uint8_t *bucket, uint8_t type,
                      struct nsx_bucket_properties *properties)
{
    size_t at = NSX_BUCKET_LEN + nsx_get16(bucket + 2);

    nsx_bucket_properties_read(bucket + at, nsx_get16(bucket) - at, 0, type,
                               properties, NULL);
}

static int
check_bucket(const uint8_t *p, size_t n, size_t position,
             struct nsx_error *error)
{
    size_t len = n >= NSX_BUCKET_LEN ? nsx_get16(p) : 0;
    size_t actions_len = n >= NSX_BUCKET_LEN ? nsx_get16(p + 2) : 0;

    if (len < NSX_BUCKET_LEN || len > n) {
        return nsx_decode_error(error, NSX_OFPGMFC_BAD_BUCKET, position,
                                "bad length of a bucket");
    } else if (actions_len > len - NSX_BUCKET_LEN) {
        return nsx_decode_error(error, NSX_OFPGMFC_BAD_BUCKET, position + 2,
                                "bad length of a bucket's actions");
    } else if (actions_len % 8) {
        return nsx_decode_error(error, NSX_OFPBRC_BAD_LEN, position + 2,
                                "bad length of a bucket's actions");
    }

    size_t properties = NSX_BUCKET_LEN + actions_len;
    struct nsx_bucket_properties unused;
    int retval = nsx_actions_check(p + NSX_BUCKET_LEN, actions_len,
                                   position + NSX_BUCKET_LEN, NSX_IN_BUCKET,
                                   error);
    if (!retval) {
        retval = nsx_bucket_properties_read(p + properties, len - properties,
                                            position + properties,
                                            NSX_GROUP_TYPE_ALL, &unused,
                                            error);
    }
    return (retval || nsx_get32(p + 4) <= NSX_BUCKET_MAX ? retval
            : nsx_decode_error(error, NSX_OFPGMFC_BAD_BUCKET, position + 4,
                               "bad bucket id 0x%x", nsx_get32(p + 4)));
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
            ? nsx_decode_error(error, NSX_OFPGMFC_BAD_BUCKET, position,
                               "two buckets with bucket_id %u", id)
            : 0);
}

size_t
nsx_selection_field_pull(const uint8_t *p, size_t n,
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
            || nsx_is_all(*mask, nsx_field_n_bytes(*field), 0xff)
            ? header_len + nsx_field_n_bytes(*field) : 0);
}

static bool
is_method(const uint8_t *p, const char *name)
{
    return !memcmp(p + NSX_SELECTION_METHOD, name, strlen(name) + 1);
}

/* The error of the selection method's field at 'p'. */
static enum nsx_ofperr
selection_field_error(const uint8_t *p, size_t n,
                      const struct nsx_field *field)
{
    bool has_mask;
    size_t header_len;

    if (!field) {
        return n < 4 ? NSX_OFPBMC_BAD_LEN : NSX_OFPBMC_BAD_FIELD;
    }
    nsx_oxm_pull_header(p, n, &has_mask, &header_len);
    return (has_mask ? NSX_OFPBMC_BAD_WILDCARDS
            : header_len + nsx_field_n_bytes(field) > n ? NSX_OFPBMC_BAD_LEN
            : NSX_OFPBMC_BAD_MASK);
}

/* Checks a property, 'len' bytes with its header, that gives the selection
 * method. */
static int
check_selection(const uint8_t *p, size_t len, size_t position, bool allowed,
                struct nsx_error *error)
{
    if (!allowed || (len >= NSX_SELECTION_LEN && !is_method(p, "hash")
                     && (!is_method(p, "dp_hash")
                         || len != NSX_SELECTION_LEN))) {
        return nsx_decode_error(error, NSX_OFPBPC_BAD_VALUE, position,
                                "bad selection method of a group");
    } else if (len < NSX_SELECTION_LEN) {
        return nsx_decode_error(error, NSX_OFPBPC_BAD_LEN, position,
                                "bad length of a property of a group");
    }

    bool seen[NSX_N_FIELDS] = { false };
    for (size_t i = NSX_SELECTION_LEN; i < len; ) {
        const struct nsx_field *field;
        const uint8_t *mask;
        size_t field_len = nsx_selection_field_pull(p + i, len - i,
                                                    &field, &mask);

        if (!field_len) {
            return nsx_decode_error(error,
                                    selection_field_error(p + i, len - i,
                                                          field),
                                    position + i, "bad field of a group's "
                                    "selection method");
        } else if (seen[nsx_field_id(field)]) {
            return nsx_decode_error(error, NSX_OFPBMC_DUP_FIELD, position + i,
                                    "a group's selection method has %s twice",
                                    nsx_field_name(field));
        }
        seen[nsx_field_id(field)] = true;
        i += field_len;
    }
    return 0;
}

/* True if the group_mod of 'command' makes or changes a whole group. */
static bool
makes_group(uint16_t command)
{
    return (command == NSX_GROUP_ADD || command == NSX_GROUP_MODIFY
            || command == NSX_GROUP_ADD_OR_MOD);
}

static int
check_properties(const struct nsx_group_view *view, size_t position,
                 struct nsx_error *error)
{
    bool allowed = (view->type == NSX_GROUP_TYPE_SELECT
                    && makes_group(view->command));
    const uint8_t *p = view->properties;
    size_t n = view->properties_len;

    while (n) {
        size_t len = n >= 4 ? nsx_get16(p + 2) : 0;
        size_t padded = NSX_ROUND_UP(len, 8);
        bool experimenter = len >= 4 && nsx_get16(p) == 0xffff;
        int retval;

        if (len < 4 || padded > n || (experimenter && len < 12)) {
            return nsx_decode_error(error, NSX_OFPBPC_BAD_LEN, position,
                                    "bad length of a property of a group");
        } else if (!experimenter) {
            return nsx_decode_error(error, NSX_OFPBPC_BAD_TYPE, position,
                                    "unknown property 0x%x of a group",
                                    nsx_get16(p));
        } else if ((nsx_get32(p + 4) != NSX_NTR_VENDOR
                    && nsx_get32(p + 4) != NSX_NTR_COMPAT_VENDOR)
                   || nsx_get32(p + 8) != 1) {
            return nsx_decode_error(error, (nsx_get32(p + 4)
                                            ? NSX_OFPBPC_BAD_EXP_TYPE
                                            : NSX_OFPBPC_BAD_EXPERIMENTER),
                                    position, "unknown property %u of "
                                    "experimenter 0x%x of a group",
                                    nsx_get32(p + 8), nsx_get32(p + 4));
        }
        retval = check_selection(p, len, position, allowed, error);
        if (retval) {
            return retval;
        }
        p += padded;
        n -= padded;
        position += padded;
    }
    return 0;
}

int
nsx_group_check(const struct nsx_group_view *view, const uint8_t *msg,
                struct nsx_error *error)
{
    int retval = check_buckets(view->buckets, view->buckets_len,
                               (size_t) (view->buckets - msg), error);

    return (retval ? retval
            : check_properties(view, (size_t) (view->properties - msg),
                               error));
}

static size_t
count_buckets(const struct nsx_group_view *view)
{
    size_t n_buckets = 0;

    for (size_t i = 0; i < view->buckets_len;
         i += nsx_get16(view->buckets + i)) {
        n_buckets++;
    }
    return n_buckets;
}

/* Checks whether the bucket at 'p' is one for its group. */
static int
check_bucket_of_type(const uint8_t *p, const struct nsx_group_view *view,
                     size_t position, struct nsx_error *error)
{
    bool select = view->type == NSX_GROUP_TYPE_SELECT;
    bool ff = view->type == NSX_GROUP_TYPE_FF;
    struct nsx_bucket_properties has;

    nsx_bucket_properties(p, view->type, &has);
    bool watches = (has.watch_port != NSX_WATCH_ANY
                    || has.watch_group != NSX_WATCH_ANY);
    if (has.weight && !select && view->command != NSX_GROUP_INSERT_BUCKET) {
        return nsx_decode_error(error, NSX_OFPGMFC_INVALID_GROUP, position,
                                "only buckets of type=select have a weight");
    } else if (watches && !select && !ff) {
        return nsx_decode_error(error, NSX_OFPGMFC_WATCH_UNSUPPORTED, position,
                                "buckets of this type of group watch nothing");
    } else if (!watches && ff) {
        return nsx_decode_error(error, NSX_OFPGMFC_INVALID_GROUP, position,
                                "a bucket of type=ff needs watch_port or "
                                "watch_group");
    }
    return 0;
}

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

/* Checks what Open vSwitch checks of a group_mod and of no other message. */
static int
check_mod(const struct nsx_group_view *view, const uint8_t *msg,
          struct nsx_error *error)
{
    int retval = 0;

    if (view->type >= NSX_N_GROUP_TYPES) {
        return nsx_decode_error(error, NSX_OFPGMFC_BAD_TYPE, 10,
                                "unknown type %u of a group", view->type);
    } else if (view->type == NSX_GROUP_TYPE_INDIRECT
               && view->command != NSX_GROUP_DELETE
               && count_buckets(view) != 1) {
        return nsx_decode_error(error, NSX_OFPGMFC_INVALID_GROUP, 10,
                                "a group of type=indirect has one bucket");
    } else if (!is_command(view->command)) {
        return nsx_decode_error(error, NSX_OFPGMFC_BAD_COMMAND, 8,
                                "unknown command %u of a group_mod",
                                view->command);
    } else if (view->command == NSX_GROUP_REMOVE_BUCKET && view->buckets_len) {
        return nsx_decode_error(error, NSX_OFPGMFC_BAD_BUCKET, 16,
                                "a removal of buckets has buckets");
    }
    for (size_t i = 0; !retval && i < view->buckets_len;
         i += nsx_get16(view->buckets + i)) {
        const uint8_t *bucket = view->buckets + i;

        retval = check_bucket_of_type(bucket, view, (size_t) (bucket - msg),
                                      error);
    }
    return retval;
}

/* Reading messages. */

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

void
nsx_group_mod_view(const void *msg_, size_t len, struct nsx_group_view *view)
{
    const uint8_t *msg = msg_;
    size_t buckets_len = nsx_get16(msg + 16);

    *view = (struct nsx_group_view) {
        .command = nsx_get16(msg + 8),
        .type = msg[10],
        .group_id = nsx_get32(msg + 12),
        .command_bucket_id = nsx_get32(msg + 20),
        .buckets = msg + NSX_GROUP_MOD_LEN,
        .buckets_len = buckets_len,
        .properties = msg + NSX_GROUP_MOD_LEN + buckets_len,
        .properties_len = len - NSX_GROUP_MOD_LEN - buckets_len,
    };
}

int
nsx_group_mod_decode(const void *msg_, size_t len,
                     struct nsx_group_view *view, struct nsx_error *error)
{
    const uint8_t *msg = msg_;

    if (len < NSX_GROUP_MOD_LEN || msg[0] != NSX_OFP_VERSION
        || msg[1] != NSX_OFPT_GROUP_MOD
        || nsx_get16(msg + 2) != len) {
        return nsx_decode_error(error, NSX_OFPBRC_BAD_LEN, 0,
                                "not an OpenFlow 1.5 group_mod of %zu bytes",
                                len);
    }

    uint16_t command = nsx_get16(msg + 8);
    uint32_t command_bucket_id = nsx_get32(msg + 20);
    if (!is_command_bucket_id(command, command_bucket_id)) {
        return nsx_decode_error(error, NSX_OFPGMFC_BAD_BUCKET, 20,
                                "bad command_bucket_id 0x%x",
                                command_bucket_id);
    } else if (nsx_get16(msg + 16) > len - NSX_GROUP_MOD_LEN) {
        return nsx_decode_error(error, NSX_OFPBRC_BAD_LEN, 16,
                                "bad length of a group's buckets");
    }

    nsx_group_mod_view(msg, len, view);
    int retval = nsx_group_check(view, msg, error);
    return retval ? retval : check_mod(view, msg, error);
}

int
nsx_group_mod_encode(const struct nsx_group_view *view, uint32_t xid,
                     struct nsx_buf *buf, struct nsx_error *error)
{
    size_t len = (NSX_GROUP_MOD_LEN + view->buckets_len
                  + view->properties_len);

    if (len > NSX_MESSAGE_MAX) {
        return nsx_decode_error(error, NSX_NO_OFPERR, 0,
                                "a group_mod of %zu bytes: OpenFlow allows %d",
                                len, NSX_MESSAGE_MAX);
    }

    uint8_t *p = nsx_put_zeros(buf, NSX_GROUP_MOD_LEN);
    p[0] = NSX_OFP_VERSION;
    p[1] = NSX_OFPT_GROUP_MOD;
    nsx_set16(p + 2, (uint16_t) len);
    nsx_set32(p + 4, xid);
    nsx_set16(p + 8, view->command);
    p[10] = view->type;
    nsx_set32(p + 12, view->group_id);
    nsx_set16(p + 16, (uint16_t) view->buckets_len);
    nsx_set32(p + 20, view->command_bucket_id);
    nsx_put(buf, view->buckets, view->buckets_len);
    nsx_put(buf, view->properties, view->properties_len);
    return 0;
}

int
nsx_group_desc_next(const void *msg_, size_t len, size_t *offset,
                    struct nsx_group_view *view, struct nsx_error *error)
{
    const size_t header_len = 16, desc_len = 16;
    const uint8_t *msg = msg_;

    if (len < header_len || msg[0] != NSX_OFP_VERSION
        || msg[1] != NSX_OFPT_MULTIPART_REPLY
        || nsx_get16(msg + 2) != len || nsx_get16(msg + 8) != 7) {
        return nsx_decode_error(error, NSX_OFPBRC_BAD_LEN, 0,
                                "not an OpenFlow 1.5 OFPMP_GROUP_DESC reply "
                                "of %zu bytes", len);
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
        return nsx_decode_error(error, NSX_OFPBRC_BAD_LEN, *offset,
                                "bad length of a group");
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
        return nsx_decode_error(error, NSX_OFPGMFC_BAD_TYPE, *offset + 2,
                                "unknown type %u of a group", view->type);
    }

    int retval = nsx_group_check(view, msg, error);
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
        return nsx_decode_error(error, NSX_OFPGMFC_BAD_BUCKET, *offset,
                                "bad length of a bucket");
    }
    *view = (struct nsx_bucket_view) {
        .bucket_id = nsx_get32(p + 4),
        .bucket = p,
        .len = nsx_get16(p),
    };
    *offset += view->len;
    return 0;
}
