/* table_print.c: tables: their settings and statistics. */
#include "message_print.h"

enum { EVICTION = 1 << 2, VACANCY_EVENTS = 1 << 3 };    /* OFPTC_*. */
enum { PROP_EVICTION = 2, PROP_VACANCY = 3 };
enum { DESC_LEN = 8, TABLE_STATS_LEN = 24 };

struct settings {
    const uint8_t *eviction;            /* Its flags, or NULL. */
    const uint8_t *vacancy;             /* Down, up, now; or NULL. */
};

static int
pull_settings(struct nsx_print *p, bool strict, struct settings *settings)
{
    struct nsx_property property;

    *settings = (struct settings) { NULL, NULL };
    while (p->n) {
        int retval = nsx_print_property(p, &property);

        if (!retval && (property.type == PROP_EVICTION
                        || property.type == PROP_VACANCY)) {
            retval = nsx_property_check(p, &property, 4, false);
        } else if (!retval && strict) {
            retval = nsx_property_fail(p, &property, NSX_OFPBRC_BAD_TYPE,
                                       "an unknown type");
        }
        if (retval) {
            return retval;
        } else if (property.type == PROP_EVICTION) {
            settings->eviction = property.value;
        } else if (property.type == PROP_VACANCY) {
            const uint8_t *v = property.value;

            if (strict && (v[0] > v[1] || v[1] > 100 || v[2])) {
                return nsx_property_fail(p, &property, NSX_OFPBPC_BAD_VALUE,
                                         "wrong percentages");
            }
            settings->vacancy = v;
        }
    }
    return 0;
}

static int
print_desc(struct nsx_print *p)
{
    static const char *const flags[] = { "OTHER", "IMPORTANCE", "LIFETIME" };
    struct settings settings;
    struct nsx_print entry;
    int retval = nsx_print_entry(p, 0, DESC_LEN, &entry);

    if (retval) {
        return retval;
    }

    const uint8_t *desc = nsx_print_pull(&entry, DESC_LEN);
    uint32_t config = nsx_get32(desc + 4);
    retval = pull_settings(&entry, false, &settings);
    if (retval) {
        return retval;
    }
    nsx_puts(p->out, "\n  table ");
    nsx_format_table(p->out, p->tables, desc[2]);
    nsx_printf(p->out, ":\n   eviction=%s eviction_flags=",
               config & EVICTION ? "on" : "off");
    if (settings.eviction && nsx_get32(settings.eviction) != UINT32_MAX) {
        nsx_print_bits_by(p->out, nsx_get32(settings.eviction), flags,
                          NSX_ARRAY_SIZE(flags), '|');
    } else {
        nsx_puts(p->out, "(default)");
    }
    nsx_printf(p->out, "\n   vacancy=%s",
               config & VACANCY_EVENTS ? "on" : "off");
    if (config & VACANCY_EVENTS) {
        const uint8_t *v = settings.vacancy;

        nsx_printf(p->out, " vacancy_down=%u%% vacancy_up=%u%% vacancy=%u%%",
                   v ? v[0] : 0, v ? v[1] : 0, v ? v[2] : 0);
    }
    nsx_puts(p->out, "\n");
    return 0;
}

int
nsx_print_table_desc_reply(struct nsx_print *p)
{
    int retval = 0;

    while (p->n && !retval) {
        retval = print_desc(p);
        if (!retval) {
            nsx_print_keep(p);
        }
    }
    return retval;
}

int
nsx_print_table_status(struct nsx_print *p)
{
    enum { VACANCY_DOWN = 3, VACANCY_UP = 4 };
    uint8_t reason = *p->p;

    if (reason != VACANCY_DOWN && reason != VACANCY_UP) {
        return nsx_print_fail(p, NSX_OFPBPC_BAD_VALUE,
                              "table status for reason %u", reason);
    }
    nsx_print_pull(p, 8);
    nsx_printf(p->out, " reason=VACANCY_%s\ntable_desc:-",
               reason == VACANCY_DOWN ? "DOWN" : "UP");
    return print_desc(p);
}

int
nsx_print_table_mod(struct nsx_print *p)
{
    const uint8_t *mod = nsx_print_pull(p, 8);
    uint32_t config = nsx_get32(mod + 4);
    struct settings settings;
    int retval = pull_settings(p, true, &settings);

    if (retval) {
        return retval;
    }
    if (mod[0] == 0xff) {
        nsx_puts(p->out, " table_id: ALL_TABLES");
    } else {
        nsx_puts(p->out, " table_id=");
        nsx_format_table(p->out, p->tables, mod[0]);
    }
    nsx_printf(p->out, ", eviction=%s, vacancy=%s",
               config & EVICTION ? "on" : "off",
               config & VACANCY_EVENTS ? "on" : "off");
    if (config & VACANCY_EVENTS) {
        nsx_printf(p->out, " vacancy:%u,%u",
                   settings.vacancy ? settings.vacancy[0] : 0,
                   settings.vacancy ? settings.vacancy[1] : 0);
    }
    return 0;
}

/* Statistics.  A table that is like the one before is "ditto". */

void
nsx_print_ditto(struct nsx_buf *out, int first, int last)
{
    if (first < 0) {
        return;
    }
    nsx_puts(out, "\n");
    if (first == last) {
        nsx_printf(out, "  table %d: ditto\n", first);
    } else {
        nsx_printf(out, "  tables %d...%d: ditto\n", first, last);
    }
}

int
nsx_print_table_stats_reply(struct nsx_print *p)
{
    const uint8_t *before = NULL;
    int first = -1, last = -1;

    while (p->n) {
        const uint8_t *t = nsx_print_pull(p, TABLE_STATS_LEN);

        if (before && !memcmp(before + 4, t + 4, TABLE_STATS_LEN - 4)) {
            first = first < 0 ? t[0] : first;
            last = t[0];
        } else {
            nsx_print_ditto(p->out, first, last);
            first = -1;
            nsx_printf(p->out, "\n  table %u:\n    active=%u, lookup=%llu, "
                       "matched=%llu\n", t[0], nsx_get32(t + 4),
                       (unsigned long long) nsx_get64(t + 8),
                       (unsigned long long) nsx_get64(t + 16));
        }
        before = t;
    }
    nsx_print_ditto(p->out, first, last);
    return 0;
}
