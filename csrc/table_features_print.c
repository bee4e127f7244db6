/* table_features_print.c: what tables can do.
 *
 * Most switches have many tables that are all alike: what is as in the table
 * before is said in a word. */
#include "message_print.h"

#include <stdio.h>
#include <stdlib.h>

#include "field.h"

enum { FEATURES_LEN = 64, NAME = 8, NAME_LEN = 32, N_TABLES = 255 };
enum { CAN_EVICT = 1 << 2, CAN_TELL_VACANCY = 1 << 3 };

/* OFPTFPT_*.  Each but P_MATCH and P_WILDCARDS has one, with the next number,
 * for packets that match no flow. */
enum { P_INSTRUCTIONS = 0, P_NEXT_TABLES = 2, P_WRITE_ACTIONS = 4,
       P_APPLY_ACTIONS = 6, P_MATCH = 8, P_WILDCARDS = 10,
       P_WRITE_SETFIELD = 12, P_APPLY_SETFIELD = 14 };
#define REQUIRED 0x5555

struct fields {
    bool has[NSX_N_FIELDS];
};

struct can {                            /* Some actions. */
    uint32_t actions;
    struct fields set;
};

struct does {                           /* Packets that match, or those that
                                         * don't. */
    bool next[N_TABLES];
    uint32_t instructions;              /* 1 << type. */
    struct can write, apply;
};

struct features {
    const uint8_t *fixed;               /* struct ofp_table_features. */
    struct does does[2];                /* By 'miss'. */
    struct fields match, mask, wildcard;
};

/* Reading. */

/* Removes an id (of an action or an instruction: type and length, and what an
 * experimenter adds) from the front of 'p'. */
static bool
pull_id(struct nsx_property *p, uint16_t *type)
{
    size_t len = p->n < 4 ? 0 : nsx_get16(p->value + 2);

    if (len < 4 || len > p->n) {
        return false;
    }
    *type = nsx_get16(p->value);
    p->value += len;
    p->n -= len;
    return true;
}

static enum nsx_ofperr
read_ids(struct nsx_property p, uint32_t *bits)
{
    uint16_t type;

    while (p.n) {
        if (!pull_id(&p, &type)) {
            return NSX_OFPBPC_BAD_LEN;
        }
        if (type < 32) {
            *bits |= UINT32_C(1) << type;
        }
    }
    return NSX_NO_OFPERR;
}

/* Reads headers of fields.  Those with a mask go to 'masked'; where that is
 * NULL there can't be any. */
static enum nsx_ofperr
read_fields(struct nsx_property p, struct fields *exact,
            struct fields *masked)
{
    bool mask_error = false;

    while (p.n) {
        /* The length in these headers is that of a value, which isn't
         * there. */
        const struct nsx_field *field;
        size_t header_len = 4;
        bool has_mask = false;

        if (p.n < 4) {
            return NSX_OFPBMC_BAD_LEN;
        }
        field = nsx_oxm_pull_header(p.value, p.n, &has_mask, &header_len);
        if (field && has_mask && !masked) {
            mask_error = true;
        } else if (field) {
            (has_mask ? masked : exact)->has[nsx_field_id(field)] = true;
        } else if (nsx_get16(p.value) == 0xffff) {
            header_len = 8;
        }
        if (p.n < header_len) {
            return NSX_OFPBMC_BAD_LEN;
        }
        p.value += header_len;
        p.n -= header_len;
    }
    return mask_error ? NSX_OFPBMC_BAD_MASK : NSX_NO_OFPERR;
}

static enum nsx_ofperr
read_property(struct features *f, const struct nsx_property *p)
{
    struct does *does = &f->does[p->type & 1];

    switch (p->type & ~1) {
    case P_INSTRUCTIONS:
        return read_ids(*p, &does->instructions);
    case P_NEXT_TABLES:
        for (size_t i = 0; i < p->n; i++) {
            if (p->value[i] >= N_TABLES) {
                return NSX_OFPBPC_BAD_VALUE;
            }
            does->next[p->value[i]] = true;
        }
        return NSX_NO_OFPERR;
    case P_WRITE_ACTIONS:
        return read_ids(*p, &does->write.actions);
    case P_APPLY_ACTIONS:
        return read_ids(*p, &does->apply.actions);
    case P_MATCH:
        return (p->type == P_MATCH ? read_fields(*p, &f->match, &f->mask)
                : NSX_NO_OFPERR);
    case P_WILDCARDS:
        return (p->type == P_WILDCARDS ? read_fields(*p, &f->wildcard, NULL)
                : NSX_NO_OFPERR);
    case P_WRITE_SETFIELD:
        return read_fields(*p, &does->write.set, NULL);
    case P_APPLY_SETFIELD:
        return read_fields(*p, &does->apply.set, NULL);
    default:
        return NSX_NO_OFPERR;
    }
}

/* What isn't said of packets that don't match is as of those that do. */
static void
complete(struct features *f, unsigned int seen)
{
    struct does *from = &f->does[0];
    struct does *to = &f->does[1];

    if (!(seen & 1u << (P_INSTRUCTIONS + 1))) {
        to->instructions = from->instructions;
    }
    if (!(seen & 1u << (P_NEXT_TABLES + 1))) {
        memcpy(to->next, from->next, sizeof to->next);
    }
    if (!(seen & 1u << (P_WRITE_ACTIONS + 1))) {
        to->write.actions = from->write.actions;
    }
    if (!(seen & 1u << (P_APPLY_ACTIONS + 1))) {
        to->apply.actions = from->apply.actions;
    }
    if (!(seen & 1u << (P_WRITE_SETFIELD + 1))) {
        to->write.set = from->write.set;
    }
    if (!(seen & 1u << (P_APPLY_SETFIELD + 1))) {
        to->apply.set = from->apply.set;
    }
    for (size_t i = 0; i < 2; i++) {
        struct does *does = &f->does[i];

        does->write.actions = nsx_print_known_actions(does->write.actions);
        does->apply.actions = nsx_print_known_actions(does->apply.actions);
        does->instructions &= 0x7e;
    }

    /* What may be masked may be matched, and left out. */
    for (size_t i = 0; i < NSX_N_FIELDS; i++) {
        f->match.has[i] |= f->mask.has[i];
        f->wildcard.has[i] |= f->mask.has[i];
        f->wildcard.has[i] &= f->match.has[i];
    }
}

static int
pull_features(struct nsx_print *p, struct features *f)
{
    struct nsx_print entry;
    struct nsx_property property;
    uint32_t seen = 0;
    size_t len = p->n < FEATURES_LEN ? 0 : nsx_get16(p->p);

    if (len < FEATURES_LEN || len % 8 || len > p->n) {
        return nsx_print_fail(p, NSX_OFPBPC_BAD_LEN,
                              "features of %zu bytes where there are %zu",
                              len, p->n);
    }
    entry = *p;
    entry.n = len;
    nsx_print_pull(p, len);
    memset(f, 0, sizeof *f);
    f->fixed = nsx_print_pull(&entry, FEATURES_LEN);
    if (f->fixed[3] > 3) {
        return nsx_print_fail(&entry, NSX_OFPTFFC_BAD_COMMAND,
                              "unknown command %u of features", f->fixed[3]);
    } else if (f->fixed[2] == 255) {
        return nsx_print_fail(&entry, NSX_OFPTFFC_BAD_TABLE,
                              "features of table 255");
    }

    bool any = entry.n;
    while (entry.n) {
        enum nsx_ofperr ofperr;
        int retval = nsx_print_property(&entry, &property);

        if (retval) {
            return retval;
        } else if (property.type < 32 && seen & UINT32_C(1) << property.type) {
            return nsx_property_fail(&entry, &property,
                                     NSX_OFPTFFC_BAD_FEATURES,
                                     "one like it before it");
        } else if (property.type < 32) {
            seen |= UINT32_C(1) << property.type;
        }
        ofperr = read_property(f, &property);
        if (ofperr) {
            return nsx_property_fail(&entry, &property, ofperr,
                                     "a wrong value");
        }
    }
    if (any && (seen & REQUIRED) != REQUIRED) {
        return nsx_print_fail(&entry, NSX_OFPTFFC_BAD_FEATURES,
                              "table's features lack a property");
    }
    complete(f, seen);
    return 0;
}

/* Comparing. */

static bool
has_fields(const struct fields *f)
{
    for (size_t i = 0; i < NSX_N_FIELDS; i++) {
        if (f->has[i]) {
            return true;
        }
    }
    return false;
}

static bool
same_fields(const struct fields *a, const struct fields *b)
{
    return !memcmp(a->has, b->has, sizeof a->has);
}

static bool
same_can(const struct can *a, const struct can *b)
{
    return a->actions == b->actions && same_fields(&a->set, &b->set);
}

static bool
same_actions(const struct does *a, const struct does *b)
{
    return same_can(&a->write, &b->write) && same_can(&a->apply, &b->apply);
}

/* A table can only be followed by later ones: that the second of two
 * neighbours isn't followed by itself makes no difference. */
static bool
same_does(const struct does *a, int a_table, const struct does *b,
          int b_table)
{
    if (a_table == b_table + 1) {
        return same_does(b, b_table, a, a_table);
    }
    for (int i = 0; i < N_TABLES; i++) {
        if (a->next[i] != b->next[i]
            && !(b_table == a_table + 1 && i == b_table && a->next[i])) {
            return false;
        }
    }
    return a->instructions == b->instructions && same_actions(a, b);
}

static bool
does_nothing(const struct does *d)
{
    static const struct does nothing;

    return !memcmp(d->next, nothing.next, sizeof d->next) && !d->instructions
           && same_actions(d, &nothing);
}

static bool
same_features(const struct features *a, const struct features *b)
{
    int a_table = a->fixed[2], b_table = b->fixed[2];
    static const uint32_t known = CAN_EVICT | CAN_TELL_VACANCY;

    return (!memcmp(a->fixed + 40, b->fixed + 40, 16)
            && (nsx_get32(a->fixed + 56) & known)
               == (nsx_get32(b->fixed + 56) & known)
            && !memcmp(a->fixed + 60, b->fixed + 60, 4)
            && same_does(&a->does[0], a_table, &b->does[0], b_table)
            && same_does(&a->does[1], a_table, &b->does[1], b_table)
            && same_fields(&a->match, &b->match));
}

/* Names, in short: "eth_{src,dst,type}" and "reg0...reg15". */

/* Splits the number that ends 'name' off; returns where it starts. */
static size_t
split_number(const char *name, unsigned long *number)
{
    size_t n = strlen(name);

    while (n && name[n - 1] >= '0' && name[n - 1] <= '9') {
        n--;
    }
    *number = name[n] ? strtoul(name + n, NULL, 10) : 0;
    return n;
}

static bool
follows(const char *a, const char *b)
{
    unsigned long x, y;
    size_t n = split_number(a, &x);

    return (a[n] && n == split_number(b, &y) && b[n] && !memcmp(a, b, n)
            && y == x + 1);
}

static size_t
numbered_run(const char *const *names, size_t n)
{
    size_t i = 1;

    while (i < n && follows(names[i - 1], names[i])) {
        i++;
    }
    return i == 2 ? 1 : i;
}

/* The length of the words that 'a' and 'b' start with, with their '_'. */
static size_t
common_words(const char *a, const char *b)
{
    size_t len = 0;

    for (size_t i = 0; a[i] && a[i] == b[i]; i++) {
        if (a[i] == '_') {
            len = i + 1;
        }
    }
    return len;
}

static size_t
prefix_run(const char *const *names, size_t n, size_t skip, size_t *prefix)
{
    size_t i = 1;

    *prefix = 0;
    for (; i < n; i++) {
        size_t len = common_words(names[0] + skip, names[i] + skip);

        if (!len) {
            break;
        }
        *prefix = i == 1 || len < *prefix ? len : *prefix;
    }
    return i;
}

/* Prints names, all of which have the same first 'skip' bytes, without
 * those. */
static void
print_names(struct nsx_buf *out, const char *const *names, size_t n,
            size_t skip)
{
    const char *separator = "";

    while (n) {
        size_t prefix;
        size_t by_prefix = prefix_run(names, n, skip, &prefix);
        size_t by_number = numbered_run(names, n);
        size_t run = by_number >= by_prefix ? by_number : by_prefix;

        nsx_puts(out, separator);
        separator = skip ? "," : " ";
        if (by_number >= by_prefix) {
            nsx_puts(out, names[0] + skip);
            if (run > 1) {
                nsx_printf(out, "...%s", names[run - 1] + skip);
            }
        } else {
            nsx_put(out, names[0] + skip, prefix);
            nsx_puts(out, "{");
            print_names(out, names, run, skip + prefix);
            nsx_puts(out, "}");
        }
        names += run;
        n -= run;
    }
}

static void
print_fields(struct nsx_buf *out, const struct fields *fields)
{
    const char *names[NSX_N_FIELDS];
    size_t n = 0;

    for (size_t i = 0; i < NSX_N_FIELDS; i++) {
        if (fields->has[i]) {
            names[n++] = nsx_field_name(nsx_field_from_id(
                (enum nsx_field_id) i));
        }
    }
    if (n) {
        nsx_puts(out, " ");
        print_names(out, names, n, 0);
    }
}

/* Printing. */

static void
print_can(struct nsx_buf *out, const struct can *can)
{
    if (can->actions) {
        nsx_puts(out, "        actions: ");
        nsx_print_action_names(out, can->actions);
        nsx_puts(out, "\n");
    }
    if (has_fields(&can->set)) {
        nsx_puts(out, "        supported on Set-Field:");
        print_fields(out, &can->set);
        nsx_puts(out, "\n");
    }
}

static void
print_next(struct nsx_buf *out, const bool *next)
{
    const char *separator = "      next tables: ";

    for (int i = 0; i < N_TABLES; i++) {
        int end = i;

        while (end < N_TABLES && next[end]) {
            end++;
        }
        if (end > i) {
            nsx_printf(out, end == i + 1 ? "%s%d" : "%s%d-%d", separator, i,
                       end - 1);
            separator = ",";
            i = end;
        }
    }
    if (*separator == ',') {
        nsx_puts(out, "\n");
    }
}

static void
print_does(struct nsx_buf *out, const struct does *d,
           const struct does *before)
{
    static const struct {
        uint8_t type;
        const char *name;
    } instructions[] = {
        { 6, "meter" }, { 4, "apply_actions" }, { 5, "clear_actions" },
        { 3, "write_actions" }, { 2, "write_metadata" }, { 1, "goto_table" },
    };

    print_next(out, d->next);
    if (d->instructions && before && d->instructions == before->instructions) {
        nsx_puts(out, "      (same instructions)\n");
    } else if (d->instructions) {
        const char *separator = "      instructions: ";

        for (size_t i = 0; i < NSX_ARRAY_SIZE(instructions); i++) {
            if (d->instructions & UINT32_C(1) << instructions[i].type) {
                nsx_printf(out, "%s%s", separator, instructions[i].name);
                separator = " ";
            }
        }
        nsx_puts(out, "\n");
    }

    if (before && same_actions(d, before) && has_fields(&d->write.set)) {
        nsx_puts(out, "      (same actions)\n");
    } else if (!same_can(&d->write, &d->apply)) {
        nsx_puts(out, "      Write-Actions features:\n");
        print_can(out, &d->write);
        nsx_puts(out, "      Apply-Actions features:\n");
        print_can(out, &d->apply);
    } else if (d->write.actions || has_fields(&d->write.set)) {
        nsx_puts(out, "      Write-Actions and Apply-Actions features:\n");
        print_can(out, &d->write);
    }
}

static void
print_instructions(struct nsx_buf *out, const struct features *f,
                   const struct features *before)
{
    const struct does *does = f->does;
    const struct does *old = before ? before->does : NULL;
    int table = f->fixed[2];
    int old_table = before ? before->fixed[2] : 0;

    if (before && same_does(&does[0], table, &old[0], old_table)
        && same_does(&does[1], table, &old[1], old_table)) {
        if (!does_nothing(&does[0])) {
            nsx_puts(out, "    (same instructions)\n");
        }
    } else if (!same_does(&does[0], table, &does[1], table)) {
        nsx_puts(out, "    instructions (other than table miss):\n");
        print_does(out, &does[0], before ? &old[0] : NULL);
        nsx_puts(out, "    instructions (table miss):\n");
        print_does(out, &does[1], before ? &old[1] : NULL);
    } else if (!does_nothing(&does[0])) {
        nsx_puts(out, "    instructions (table miss and others):\n");
        print_does(out, &does[0], before ? &old[0] : NULL);
    }
}

static void
print_matching(struct nsx_buf *out, const struct features *f,
               const struct features *before)
{
    static const struct {
        const char *title;
        bool mask, wildcard;
    } kinds[] = {
        { "      arbitrary mask:", true, true },
        { "      exact match or wildcard:", false, true },
        { "      must exact match:", false, false },
    };

    if (!has_fields(&f->match)) {
        return;
    }
    if (before && same_fields(&f->match, &before->match)) {
        nsx_puts(out, "    (same matching)\n");
        return;
    }
    nsx_puts(out, "    matching:\n");
    for (size_t kind = 0; kind < NSX_ARRAY_SIZE(kinds); kind++) {
        struct fields these;

        for (size_t i = 0; i < NSX_N_FIELDS; i++) {
            these.has[i] = (f->match.has[i]
                            && f->mask.has[i] == kinds[kind].mask
                            && f->wildcard.has[i] == kinds[kind].wildcard);
        }
        if (has_fields(&these)) {
            nsx_puts(out, kinds[kind].title);
            print_fields(out, &these);
            nsx_puts(out, "\n");
        }
    }
}

static void
print_features(struct nsx_buf *out, const struct features *f,
               const struct features *before)
{
    uint32_t capabilities = nsx_get32(f->fixed + 56);
    uint64_t can_match = nsx_get64(f->fixed + 40);
    uint64_t can_write = nsx_get64(f->fixed + 48);
    uint32_t max_entries = nsx_get32(f->fixed + 60);

    if (can_match || can_write) {
        nsx_printf(out, "    metadata: match=%#llx write=%#llx\n",
                   (unsigned long long) can_match,
                   (unsigned long long) can_write);
    }
    nsx_printf(out, "    eviction: %ssupported\n"
               "    vacancy events: %ssupported\n",
               capabilities & CAN_EVICT ? "" : "not ",
               capabilities & CAN_TELL_VACANCY ? "" : "not ");
    if (max_entries) {
        nsx_printf(out, "    max_entries=%u\n", max_entries);
    }
    print_instructions(out, f, before);
    print_matching(out, f, before);
}

int
nsx_print_table_features(struct nsx_print *p)
{
    static const char *const commands[] = {
        "replace", "modify", "enable", "disable",
    };
    struct features features[2];
    const struct features *before = NULL;
    int first = -1, last = -1;

    for (size_t i = 0; p->n; i++) {
        struct features *f = &features[i % 2];
        int retval = pull_features(p, f);

        if (retval) {
            nsx_print_ditto(p->out, first, last);
            nsx_print_keep(p);
            return retval;
        }

        int table = f->fixed[2];
        bool named = f->fixed[NAME];
        bool same = before && same_features(f, before);
        if (!before && f->fixed[3]) {
            nsx_printf(p->out, "\n  command: %s", commands[f->fixed[3]]);
        }
        if (same && !named) {
            first = first < 0 ? table : first;
            last = table;
        } else {
            nsx_print_ditto(p->out, first, last);
            first = -1;
            nsx_printf(p->out, "\n  table %d", table);
            if (named) {
                nsx_puts(p->out, " (\"");
                nsx_print_text(p->out, f->fixed + NAME, NAME_LEN - 1);
                nsx_puts(p->out, "\")");
            }
            nsx_puts(p->out, same ? ": ditto" : ":\n");
            if (!same) {
                print_features(p->out, f, before);
            }
        }
        before = f;
    }
    nsx_print_ditto(p->out, first, last);
    return 0;
}
