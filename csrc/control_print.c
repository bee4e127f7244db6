/* control_print.c: who controls the switch, and what it tells to whom. */
#include "message_print.h"

/* Roles. */

static int
print_role(struct nsx_print *p, uint32_t role, uint64_t generation)
{
    static const char *const roles[] = {
        "nochange", "equal", "primary", "secondary",
    };

    if (role >= NSX_ARRAY_SIZE(roles)) {
        return nsx_print_fail(p, NSX_OFPRRFC_BAD_ROLE, "there is no role %u",
                              role);
    }
    nsx_printf(p->out, " role=%s", roles[role]);
    if (generation != UINT64_MAX) {
        nsx_printf(p->out, " generation_id=%llu",
                   (unsigned long long) generation);
    }
    return 0;
}

int
nsx_print_role(struct nsx_print *p)
{
    uint32_t role = nsx_get32(p->p);

    /* Who only asks for the role gives no generation. */
    return print_role(p, role,
                      (p->header->type == NSX_OFPT_ROLE_REQUEST && !role
                       ? UINT64_MAX : nsx_get64(p->p + 8)));
}

/* NXT_ROLE_REQUEST and NXT_ROLE_REPLY. */
int
nsx_print_nx_role(struct nsx_print *p)
{
    uint32_t role = nsx_get32(p->p);

    return print_role(p, role < 3 ? role + 1 : role, UINT64_MAX);
}

int
nsx_print_role_status(struct nsx_print *p)
{
    static const char *const reasons[] = {
        "primary_request", "configuration_changed",
        "experimenter_data_changed",
    };
    uint8_t reason = p->p[4];
    int retval = print_role(p, nsx_get32(p->p), nsx_get64(p->p + 8));

    if (!retval) {
        nsx_printf(p->out, " reason=%s",
                   (reason < NSX_ARRAY_SIZE(reasons) ? reasons[reason]
                    : "(unknown)"));
    }
    return retval;
}

/* Asynchronous messages. */

/* Each kind has two properties: 2 * i for secondaries, 2 * i + 1 for the
 * primary.  A reason without a name isn't printed. */
static const struct async_kind {
    const char *name;
    uint32_t allowed;
    const char *reasons[8];
} async_kinds[] = {
    { "PACKET_IN", 0x3f,
      { "no_match", "action", "invalid_ttl", "action_set", "group",
        "packet_out", "", "" } },
    { "PORT_STATUS", 0x07, { "add", "delete", "modify" } },
    { "FLOW_REMOVED", 0x3f,
      { "idle", "hard", "delete", "group_delete", "meter_delete",
        "eviction" } },
    { "ROLE_STATUS", 0x07,
      { "primary_request", "configuration_changed",
        "experimenter_data_changed" } },
    { "TABLE_STATUS", 0x18,
      { NULL, NULL, NULL, "vacancy_down", "vacancy_up" } },
    { "REQUESTFORWARD", 0x03, { "group_mod_request", "meter_mod_request" } },
};
#define N_ASYNC NSX_ARRAY_SIZE(async_kinds)

/* 'masks' has the secondary's and the primary's, for each kind. */
static void
print_async(struct nsx_buf *out, uint32_t masks[N_ASYNC][2])
{
    for (size_t primary = 2; primary-- > 0;) {
        nsx_printf(out, "\n %s:\n", primary ? "primary" : "secondary");
        for (size_t i = 0; i < N_ASYNC; i++) {
            uint32_t mask = masks[i][primary];

            nsx_printf(out, "%16s:", async_kinds[i].name);
            for (size_t bit = 0; bit < 8; bit++) {
                const char *reason = async_kinds[i].reasons[bit];

                if (mask & 1u << bit && reason) {
                    nsx_printf(out, " %s", reason);
                }
            }
            nsx_puts(out, mask ? "\n" : " (off)\n");
        }
    }
}

int
nsx_print_async(struct nsx_print *p)
{
    bool strict = p->header->type != NSX_OFPT_GET_ASYNC_REPLY;
    uint32_t masks[N_ASYNC][2] = { { 0 } };
    struct nsx_property property;

    while (p->n) {
        int retval = nsx_print_property(p, &property);

        if (!retval && property.type < 2 * N_ASYNC) {
            retval = nsx_property_check(p, &property, 4, false);
        } else if (!retval && strict) {
            retval = nsx_property_fail(
                p, &property, (property.type == NSX_EXPERIMENTER_PROPERTY
                               ? NSX_OFPBPC_BAD_EXP_TYPE
                               : NSX_OFPACFC_UNSUPPORTED), "an unknown type");
        }
        if (retval) {
            return retval;
        } else if (property.type < 2 * N_ASYNC) {
            uint32_t allowed = async_kinds[property.type / 2].allowed;
            uint32_t mask = nsx_get32(property.value);

            if (strict && mask & ~allowed) {
                return nsx_property_fail(p, &property, NSX_OFPACFC_INVALID,
                                         "an unknown reason");
            }
            masks[property.type / 2][property.type % 2] = mask & allowed;
        }
    }
    print_async(p->out, masks);
    return 0;
}

/* NXT_SET_ASYNC_CONFIG: the first three kinds, the primary's first. */
int
nsx_print_nx_async(struct nsx_print *p)
{
    uint32_t masks[N_ASYNC][2] = { { 0 } };
    static const uint8_t order[] = { 0, 1, 2 };

    for (size_t i = 0; i < NSX_ARRAY_SIZE(order); i++) {
        for (size_t primary = 2; primary-- > 0;) {
            masks[order[i]][primary]
                = (nsx_get32(nsx_print_pull(p, 4))
                   & async_kinds[order[i]].allowed);
        }
    }
    print_async(p->out, masks);
    return 0;
}
