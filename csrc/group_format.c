/* group_format.c: groups as text, as ovs-ofctl dump-groups prints them.  The
 * other direction: group_text.c. */

#include "group.h"

#include "action.h"
#include "table.h"

static void
format_bucket(struct nsx_buf *buf, const uint8_t *p, uint8_t type,
              nsx_tables tables)
{
    size_t actions_len = nsx_get16(p + 2);
    struct nsx_bucket_properties has;

    nsx_bucket_properties(p, type, &has);
    nsx_puts(buf, "bucket=bucket_id:");
    nsx_put_decimal(buf, nsx_get32(p + 4));
    nsx_put8(buf, ',');
    if (has.weight != (type == NSX_GROUP_TYPE_SELECT)) {
        nsx_puts(buf, "weight:");
        nsx_put_decimal(buf, has.weight);
        nsx_put8(buf, ',');
    }
    if (has.watch_port != NSX_WATCH_ANY) {
        nsx_puts(buf, "watch_port:");
        nsx_format_port(buf, has.watch_port);
        nsx_put8(buf, ',');
    }
    if (has.watch_group != NSX_WATCH_ANY) {
        nsx_printf(buf, "watch_group:%u,", has.watch_group);
    }
    nsx_puts(buf, "actions=");
    nsx_actions_format(buf, p + NSX_BUCKET_LEN, actions_len, tables);
}

static void
format_selection(struct nsx_buf *buf, const uint8_t *p)
{
    uint64_t param = nsx_get64(p + NSX_SELECTION_PARAM);
    size_t len = nsx_get16(p + 2);
    const struct nsx_field *fields[NSX_N_FIELDS] = { NULL };
    const uint8_t *masks[NSX_N_FIELDS] = { NULL };
    size_t n_fields = 0, n_printed = 0;

    nsx_printf(buf, ",selection_method=%s",
               (const char *) p + NSX_SELECTION_METHOD);
    if (param) {
        nsx_printf(buf, ",selection_method_param=%llu",
                   (unsigned long long) param);
    }
    if (len == NSX_SELECTION_LEN) {
        return;
    }

    for (size_t i = NSX_SELECTION_LEN; i < len; n_fields++) {
        const struct nsx_field *field;
        const uint8_t *mask;

        i += nsx_selection_field_pull(p + i, len - i, &field, &mask);
        fields[nsx_field_id(field)] = field;
        masks[nsx_field_id(field)] = mask;
    }
    nsx_puts(buf, n_fields > 1 ? ",fields(" : ",fields=");
    for (size_t id = 0; id < NSX_N_FIELDS; id++) {
        if (!fields[id]) {
            continue;
        }
        nsx_puts(buf, n_printed++ ? "," : "");
        nsx_puts(buf, nsx_field_name(fields[id]));
        if (!nsx_is_all(masks[id], nsx_field_n_bytes(fields[id]), 0xff)) {
            nsx_put8(buf, '=');
            nsx_field_format_value(buf, fields[id], masks[id], NULL);
        }
    }
    if (n_fields > 1) {
        nsx_put8(buf, ')');
    }
}

/* Appends a checked group. */
static void
format_group(const struct nsx_group_view *view, nsx_tables tables,
             struct nsx_buf *buf)
{
    static const char *const types[NSX_N_GROUP_TYPES] = {
        [NSX_GROUP_TYPE_ALL] = "all",
        [NSX_GROUP_TYPE_SELECT] = "select",
        [NSX_GROUP_TYPE_INDIRECT] = "indirect",
        [NSX_GROUP_TYPE_FF] = "ff",
    };

    nsx_puts(buf, "group_id=");
    nsx_put_decimal(buf, view->group_id);
    if (view->command != NSX_GROUP_INSERT_BUCKET
        && view->command != NSX_GROUP_REMOVE_BUCKET) {
        nsx_puts(buf, ",type=");
        nsx_puts(buf, types[view->type]);
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
}

int
nsx_group_format(const struct nsx_group_view *view, nsx_tables tables,
                 struct nsx_buf *buf, struct nsx_error *error)
{
    if (view->type >= NSX_N_GROUP_TYPES) {
        return nsx_decode_error(error, NSX_OFPGMFC_BAD_TYPE, 0,
                                "unknown type %u of a group", view->type);
    }

    /* The view may come from anywhere. */
    int retval = nsx_group_check(view, view->buckets, error);
    if (!retval) {
        format_group(view, tables, buf);
    }
    return retval;
}

int
nsx_group_mod_format(const void *msg, size_t len, nsx_tables tables,
                     struct nsx_buf *buf, struct nsx_error *error)
{
    struct nsx_group_view view;
    int retval = nsx_group_mod_decode(msg, len, &view, error);

    if (!retval) {
        format_group(&view, tables, buf);
    }
    return retval;
}
