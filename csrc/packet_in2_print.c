/* packet_in2_print.c: NXT_PACKET_IN2 and NXT_RESUME: packets with properties,
 * and, of a packet that is paused, how the switch will go on. */
#include "message_print.h"

#include "action.h"

enum { PIN_PACKET, PIN_FULL_LEN, PIN_BUFFER_ID, PIN_TABLE_ID, PIN_COOKIE,
       PIN_REASON, PIN_METADATA, PIN_USERDATA, PIN_CONTINUATION, PIN_N };

enum { CPT_BRIDGE = 0x8000, CPT_STACK, CPT_MIRRORS, CPT_CONNTRACKED,
       CPT_TABLE_ID, CPT_COOKIE, CPT_ACTIONS, CPT_ACTION_SET, CPT_ODP_PORT };

enum { UUID_LEN = 16, STACK_MAX = 128 };

/* The lengths that properties have; 'or_more': at least.  A 64-bit value is
 * aligned: four zeros are before it. */
struct length {
    uint8_t n;
    bool or_more;
};

static int
check_length(struct nsx_print *p, const struct nsx_property *property,
             struct length length)
{
    return nsx_property_check(p, property, length.n, length.or_more);
}

/* The packet. */

static int
pull_properties(struct nsx_print *p, struct nsx_property found[PIN_N])
{
    static const struct length lengths[PIN_N] = {
        [PIN_PACKET] = { 0, true },    [PIN_FULL_LEN] = { 4, false },
        [PIN_BUFFER_ID] = { 4, false }, [PIN_TABLE_ID] = { 1, true },
        [PIN_COOKIE] = { 12, false },  [PIN_REASON] = { 1, true },
        [PIN_METADATA] = { 0, true },  [PIN_USERDATA] = { 0, true },
        [PIN_CONTINUATION] = { 4, true },
    };
    struct nsx_property property;
    int retval = 0;

    while (!retval && p->n) {
        retval = nsx_print_property(p, &property);
        if (!retval && property.type < PIN_N) {
            retval = check_length(p, &property, lengths[property.type]);
            found[property.type] = property;
        }
        if (!retval && property.type == PIN_METADATA) {
            size_t size = p->out->size;

            /* For its errors: it is printed later. */
            retval = nsx_print_fields(p, property.value, property.n, true,
                                      NSX_DEFAULT_PRIORITY);
            p->out->size = size;
        }
    }
    return retval;
}

/* The continuation. */

/* A value that a flow has pushed. */
static void
print_stack(struct nsx_buf *out, const struct nsx_property *property,
            bool first)
{
    nsx_puts(out, first ? " continuation.stack=(top) " : " ");
    nsx_print_hex(out, property->n ? property->value : (const uint8_t *) "",
                  property->n ? property->n : 1);
}

static void
print_uuid(struct nsx_buf *out, const uint8_t *uuid)
{
    nsx_puts(out, " continuation.bridge=");
    for (size_t i = 0; i < UUID_LEN; i++) {
        nsx_printf(out, i == 4 || i == 6 || i == 8 || i == 10 ? "-%02x"
                   : "%02x", uuid[i]);
    }
    nsx_puts(out, "\n");
}

static bool
is_zero(const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (p[i]) {
            return false;
        }
    }
    return true;
}

/* What has been read of a continuation, of which each piece is printed where
 * Open vSwitch prints it. */
struct continuation {
    const uint8_t *bridge;
    struct nsx_buf stack, actions, action_set;
    uint32_t mirrors, odp_port;
    bool conntracked;
    uint8_t table_id;
    uint64_t cookie;
};

/* Checks the actions of a property, which are aligned, and appends their
 * text. */
static int
pull_actions(struct nsx_print *p, const struct nsx_property *property,
             struct nsx_buf *text)
{
    int retval = nsx_property_check(p, property, 4, true);
    const uint8_t *actions = property->value + 4;

    if (!retval) {
        retval = nsx_actions_check(actions, property->n - 4,
                                   (size_t) (actions - p->msg), NSX_IN_FLOW,
                                   p->error);
    }
    if (!retval && property->n > 4) {
        if (text->size) {
            nsx_puts(text, ",");
        }
        nsx_actions_format(text, actions, property->n - 4, p->tables);
    }
    return retval;
}

static int
pull_piece(struct nsx_print *p, struct continuation *c)
{
    static const struct length lengths[] = {
        [CPT_BRIDGE - CPT_BRIDGE] = { UUID_LEN, false },
        [CPT_STACK - CPT_BRIDGE] = { 0, true },
        [CPT_MIRRORS - CPT_BRIDGE] = { 4, false },
        [CPT_CONNTRACKED - CPT_BRIDGE] = { 0, true },
        [CPT_TABLE_ID - CPT_BRIDGE] = { 1, true },
        [CPT_COOKIE - CPT_BRIDGE] = { 12, false },
        [CPT_ACTIONS - CPT_BRIDGE] = { 4, true },
        [CPT_ACTION_SET - CPT_BRIDGE] = { 4, true },
        [CPT_ODP_PORT - CPT_BRIDGE] = { 4, false },
    };
    struct nsx_property property;
    int retval = nsx_print_property(p, &property);

    if (!retval && property.type >= CPT_BRIDGE
        && property.type <= CPT_ODP_PORT) {
        retval = check_length(p, &property,
                              lengths[property.type - CPT_BRIDGE]);
    }
    if (retval) {
        return retval;
    }
    switch (property.type) {
    case CPT_BRIDGE:
        c->bridge = property.value;
        break;
    case CPT_STACK:
        if (property.n > STACK_MAX) {
            return nsx_property_fail(p, &property, NSX_OFPBPC_BAD_LEN,
                                     "a value that is too long");
        }
        print_stack(&c->stack, &property, !c->stack.size);
        break;
    case CPT_MIRRORS:
        c->mirrors = nsx_get32(property.value);
        break;
    case CPT_CONNTRACKED:
        c->conntracked = true;
        break;
    case CPT_TABLE_ID:
        c->table_id = *property.value;
        break;
    case CPT_COOKIE:
        c->cookie = nsx_get64(property.value + 4);
        break;
    case CPT_ACTIONS:
        nsx_printf(&c->actions, "%sunroll_xlate(table=",
                   c->actions.size ? "," : "");
        nsx_format_table(&c->actions, p->tables, c->table_id);
        nsx_printf(&c->actions, ", cookie=%llu)",
                   (unsigned long long) c->cookie);
        retval = pull_actions(p, &property, &c->actions);
        break;
    case CPT_ACTION_SET:
        retval = pull_actions(p, &property, &c->action_set);
        break;
    case CPT_ODP_PORT:
        c->odp_port = nsx_get32(property.value);
        break;
    default:
        break;
    }
    return retval;
}

static void
print_text(struct nsx_buf *out, const char *title, const struct nsx_buf *text,
           const char *end)
{
    if (text->size) {
        nsx_puts(out, title);
        nsx_put(out, text->data, text->size);
        nsx_puts(out, end);
    }
}

static void
print_continuation(struct nsx_buf *out, const struct continuation *c)
{
    if (c->bridge && !is_zero(c->bridge, UUID_LEN)) {
        print_uuid(out, c->bridge);
    }
    print_text(out, "", &c->stack, " (bottom)\n");
    if (c->mirrors) {
        nsx_printf(out, " continuation.mirrors=0x%x\n", c->mirrors);
    }
    if (c->conntracked) {
        nsx_puts(out, " continuation.conntracked=true\n");
    }
    print_text(out, " continuation.actions=", &c->actions, "\n");
    print_text(out, " continuation.action_set=", &c->action_set, "\n");
    if (c->odp_port) {
        nsx_printf(out, " continuation.odp_port=%u\n", c->odp_port);
    }
}

/* All of it. */

static size_t
total_len(const struct nsx_property found[PIN_N])
{
    const uint8_t *full_len = found[PIN_FULL_LEN].value;

    return (full_len && nsx_get32(full_len) ? nsx_get32(full_len)
            : found[PIN_PACKET].n);
}

static void
print_packet(struct nsx_print *p, const struct nsx_property found[PIN_N],
             const struct continuation *c)
{
    const struct nsx_property *userdata = &found[PIN_USERDATA];
    const struct nsx_property *metadata = &found[PIN_METADATA];
    size_t len = found[PIN_PACKET].n;
    size_t total = total_len(found);

    nsx_print_packet_source(p, (found[PIN_TABLE_ID].value
                                ? *found[PIN_TABLE_ID].value : 0),
                            (found[PIN_COOKIE].value
                             ? nsx_get64(found[PIN_COOKIE].value + 4)
                             : UINT64_MAX), total);
    if (metadata->value) {
        nsx_print_fields(p, metadata->value, metadata->n, true,
                         NSX_DEFAULT_PRIORITY);
    }
    nsx_print_packet_sizes(p->out, (found[PIN_BUFFER_ID].value
                                    ? nsx_get32(found[PIN_BUFFER_ID].value)
                                    : UINT32_MAX), total, len,
                           (found[PIN_REASON].value
                            ? *found[PIN_REASON].value : 0));
    if (userdata->n) {
        nsx_puts(p->out, " userdata=");
        nsx_print_dotted(p->out, userdata->value, userdata->n);
        nsx_puts(p->out, "\n");
    }
    print_continuation(p->out, c);
    nsx_print_packet(p->out, found[PIN_PACKET].value, len);
}

int
nsx_print_packet_in2(struct nsx_print *p)
{
    struct nsx_property found[PIN_N] = { { 0 } };
    struct continuation c = { .bridge = NULL };
    struct nsx_print pieces = *p;
    int retval = pull_properties(p, found);

    if (!retval
        && (!found[PIN_PACKET].n || total_len(found) < found[PIN_PACKET].n)) {
        retval = nsx_print_fail(p, NSX_OFPBRC_BAD_LEN,
                                "%zu bytes of a packet of %zu",
                                found[PIN_PACKET].n, total_len(found));
    }

    pieces.n = 0;
    if (!retval && found[PIN_CONTINUATION].value) {
        pieces.p = found[PIN_CONTINUATION].value + 4;
        pieces.n = found[PIN_CONTINUATION].n - 4;
    }
    while (!retval && pieces.n) {
        retval = pull_piece(&pieces, &c);
    }
    if (!retval) {
        print_packet(p, found, &c);
    }
    nsx_buf_uninit(&c.stack);
    nsx_buf_uninit(&c.actions);
    nsx_buf_uninit(&c.action_set);
    return retval;
}
