/* action.c: lists of actions: which verb reads what, and the rules that hold
 * among the actions of a list. */

#include "action_verbs.h"
#include "words.h"

#include <stdlib.h>

/* Words. */

static const struct word {
    const char *name;
    enum nsx_stage stage;
    int (*parse)(struct nsx_action_list *, struct nsx_slice word,
                 struct nsx_slice arg);
} words[] = {
#define NSX_WORD(NAME, VERB, STAGE) \
    { NAME, NSX_STAGE_##STAGE, nsx_parse_##VERB },
#include "actions.def"
#undef NSX_WORD
};

enum { WORD_MAX = 31 };                 /* Bytes; no word is longer. */

NSX_WORDS(word_rows, 256);

__attribute__((constructor)) static void
add_words(void)
{
    for (size_t i = 0; i < NSX_ARRAY_SIZE(words); i++) {
        nsx_words_add(&word_rows, words[i].name, i);
    }
}

static const struct word *
find_word(struct nsx_slice name)
{
    char lower[WORD_MAX];

    if (name.n > WORD_MAX) {
        return NULL;
    }
    for (size_t i = 0; i < name.n; i++) {
        lower[i] = nsx_to_lower(name.s[i]);
    }

    size_t row = nsx_words_find(&word_rows,
                                (struct nsx_slice) { lower, name.n });
    return row == NSX_NO_ROW ? NULL : &words[row];
}

static const char *
stage_name(enum nsx_stage stage)
{
    static const char *const names[NSX_N_STAGES] = {
        [NSX_STAGE_METER] = "meter",
        [NSX_STAGE_APPLY] = "apply_actions",
        [NSX_STAGE_CLEAR] = "clear_actions",
        [NSX_STAGE_WRITE] = "write_actions",
        [NSX_STAGE_METADATA] = "write_metadata",
        [NSX_STAGE_GOTO] = "goto_table",
    };

    return names[stage];
}

static const char *
context_name(enum nsx_action_context context)
{
    static const char *const names[] = {
        [NSX_IN_FLOW] = "a flow",
        [NSX_IN_BUCKET] = "a bucket",
        [NSX_IN_PACKET_OUT] = "a packet_out",
        [NSX_IN_CT_EXEC] = "ct(exec(...))",
        [NSX_IN_CLONE] = "clone(...)",
        [NSX_IN_WRITE_ACTIONS] = "write_actions(...)",
    };

    return names[context];
}

static bool
is_nested(enum nsx_action_context context)
{
    return (context == NSX_IN_CT_EXEC || context == NSX_IN_CLONE
            || context == NSX_IN_WRITE_ACTIONS);
}

/* Actions on the wire. */

#define SET 1                           /* May be in an action set. */
#define EXEC 2                          /* May be in ct(exec(...)). */

static const struct action {
    uint64_t type;              /* As nsx_action_type(). */
    size_t min, max;
    unsigned int places;        /* SET, EXEC. */
    int (*check)(const struct nsx_action_check *, const uint8_t *, size_t n,
                 size_t position);
    void (*format)(struct nsx_buf *, const uint8_t *, size_t n, nsx_tables);
} actions[] = {
#define NSX_ACTION(VENDOR, TYPE, MIN, MAX, PLACES, VERB)                \
    { (uint64_t) NSX_VENDOR_##VENDOR << 16 | TYPE, MIN, MAX, PLACES,    \
      nsx_check_##VERB, nsx_format_##VERB },
#include "actions.def"
#undef NSX_ACTION
};

static const struct action *
find_action(const uint8_t *a)
{
    uint64_t type = nsx_action_type(a);

    for (size_t i = 0; i < NSX_ARRAY_SIZE(actions); i++) {
        if (actions[i].type == type) {
            return &actions[i];
        }
    }
    return NULL;
}

/* May an action that is nested in something be there? */
static bool
is_placed(const struct action *action, enum nsx_action_context context)
{
    return (context == NSX_IN_CT_EXEC ? action->places & EXEC
            : context == NSX_IN_WRITE_ACTIONS ? action->places & SET
            : true);
}

/* Parsing. */

void
nsx_action_list_init(struct nsx_action_list *list,
                     const struct nsx_parser *parser,
                     enum nsx_action_context context, struct nsx_buf *buf)
{
    *list = (struct nsx_action_list) {
        .parser = parser,
        .buf = buf,
        .context = context,
        .start = buf->size,
        .match = parser->match,
    };
    if (list->match) {
        list->n_vlans = (list->match->fields[NSX_F_VLAN_TCI].value[0] & 0x10
                         ? 1 : 0);
        list->packet_type = nsx_match_exact(list->match, NSX_F_PACKET_TYPE);
    }
}

void
nsx_action_list_uninit(struct nsx_action_list *list)
{
    free(list->changed);
}

/* Fails where a word of 'stage' may not follow what 'list' has, or not be in
 * it at all. */
static int
check_stage(const struct nsx_action_list *list, struct nsx_slice word,
            enum nsx_stage stage)
{
    if (list->context != NSX_IN_FLOW && stage > NSX_STAGE_APPLY) {
        return nsx_parse_error(list->parser, word,
                               "this instruction is not allowed in %s",
                               context_name(list->context));
    } else if (is_nested(list->context) && stage == NSX_STAGE_METER) {
        return nsx_parse_error(list->parser, word, "not allowed in %s",
                               context_name(list->context));
    } else if (!list->n_words || stage > list->stage
               || (stage == list->stage && stage == NSX_STAGE_APPLY)) {
        return 0;
    } else if (stage == list->stage) {
        return nsx_parse_error(list->parser, word, "duplicate %s",
                               stage_name(stage));
    }
    return nsx_parse_error(list->parser, word, "%s must come before %s",
                           stage_name(stage), stage_name(list->stage));
}

/* conjunction stands alone, but for more of it and notes. */
static int
check_conjunction(struct nsx_action_list *list, struct nsx_slice word)
{
    if (nsx_is_word(word, "conjunction")) {
        list->conjunction = word;
    } else if (!nsx_is_word(word, "note")) {
        list->other = word;
    }
    if (list->conjunction.n && list->other.n) {
        return nsx_parse_error(list->parser, list->other,
                               "no other action may accompany conjunction");
    }
    return 0;
}

/* Fails where one of the actions that 'word' has put at 'start' may not be in
 * this list. */
static int
check_places(const struct nsx_action_list *list, struct nsx_slice word,
             size_t start)
{
    if (list->context != NSX_IN_CT_EXEC) {
        return 0;
    }
    for (size_t i = start; i < list->buf->size; ) {
        const uint8_t *a = list->buf->data + i;
        const struct action *action = find_action(a);

        /* The debug actions can be written, and never read. */
        if (!action || !is_placed(action, list->context)) {
            return nsx_parse_error(list->parser, word, "not allowed in %s",
                                   context_name(list->context));
        }
        i += nsx_get16(a + 2);
    }
    return 0;
}

static int
parse_word(struct nsx_action_list *list, struct nsx_slice key,
           struct nsx_slice value)
{
    const struct word *word = find_word(key);
    uint32_t port = 0;
    int error;

    if (nsx_is_word(key, "apply_actions")) {
        return nsx_parse_error(list->parser, key,
                               "these are the actions without a word");
    } else if (!word) {
        struct nsx_parser quiet = *list->parser;

        quiet.error = NULL;
        if (!key.n || nsx_parse_port(&quiet, key, &port)) {
            return nsx_parse_error(list->parser, key, "unknown action");
        }
    }

    enum nsx_stage stage = word ? word->stage : NSX_STAGE_APPLY;
    error = check_stage(list, key, stage);
    if (error) {
        return error;
    }
    if (list->context == NSX_IN_FLOW && stage <= NSX_STAGE_APPLY
        && !list->has_apply) {
        list->has_apply = true;
        list->apply = list->buf->size;
        nsx_put_action(list->buf, 4, 8);        /* OFPIT_APPLY_ACTIONS. */
    }
    list->stage = stage;
    list->n_words++;

    error = check_conjunction(list, key);
    size_t start = list->buf->size;
    if (!error) {
        error = (word ? word->parse(list, key, value)
                 : nsx_parse_output_port(list, key, port));
    }
    return error ? error : check_places(list, key, start);
}

int
nsx_action_list_word(struct nsx_action_list *list, struct nsx_slice key,
                     struct nsx_slice value)
{
    if (nsx_is_word(key, "drop")) {
        list->drop = key;
    } else {
        int error = parse_word(list, key, value);
        if (error) {
            return error;
        }
    }
    if (list->drop.n && list->n_words) {
        return nsx_parse_error(list->parser, list->drop,
                               "no other action may accompany drop");
    } else if (list->buf->size - list->start > NSX_ACTION_LIST_MAX) {
        return nsx_parse_error(list->parser, key,
                               "more than %d bytes of actions",
                               NSX_ACTION_LIST_MAX);
    }
    return 0;
}

int
nsx_action_list_text(struct nsx_action_list *list, struct nsx_slice text)
{
    struct nsx_slice key, value;
    char delimiter;
    int error = 0;

    while (!error && nsx_next_key_value(&text, &key, &value, &delimiter)) {
        error = nsx_action_list_word(list, key, value);
    }
    return error;
}

int
nsx_action_list_nested(struct nsx_action_list *outer,
                       enum nsx_action_context context, struct nsx_slice text)
{
    struct nsx_action_list list;

    if (outer->depth >= NSX_ACTION_DEPTH_MAX) {
        return nsx_parse_error(outer->parser, text,
                               "actions nested deeper than %d",
                               NSX_ACTION_DEPTH_MAX);
    }
    nsx_action_list_init(&list, outer->parser, context, outer->buf);
    list.depth = outer->depth + 1;
    list.match = outer->match;
    list.n_vlans = outer->n_vlans;
    list.packet_type = outer->packet_type;
    list.lenient = outer->lenient || context == NSX_IN_WRITE_ACTIONS;

    int error = nsx_action_list_text(&list, text);
    nsx_action_list_uninit(&list);
    return error;
}

int
nsx_actions_parse(const struct nsx_parser *parser, struct nsx_slice text,
                  enum nsx_action_context context, struct nsx_buf *buf)
{
    struct nsx_action_list list;
    size_t start = buf->size;

    nsx_action_list_init(&list, parser, context, buf);
    int error = nsx_action_list_text(&list, text);
    nsx_action_list_uninit(&list);
    if (error) {
        buf->size = start;
    }
    return error;
}

/* Checking and formatting. */

#define CONJUNCTION ((uint64_t) NSX_VENDOR_NX << 16 | 34)
#define NOTE ((uint64_t) NSX_VENDOR_NX << 16 | 8)
#define METER 29

/* The error of an experimenter's action that nobody knows. */
static enum nsx_ofperr
unknown_action(const uint8_t *action)
{
    enum { ONF = 0x4f4e4600, NX = 0x2320 };
    uint32_t vendor = nsx_get32(action + 4);

    return (vendor == ONF || vendor == NX ? NSX_OFPBAC_BAD_VENDOR_TYPE
            : NSX_OFPBAC_BAD_VENDOR);
}

/* Checks what actions may be in one another.  'n_plain' and 'n_conjunctions'
 * count the list's. */
static int
check_place(const struct nsx_action_check *check, const struct action *action,
            size_t position, size_t *n_plain, size_t *n_conjunctions)
{
    bool in_set = (check->context == NSX_IN_WRITE_ACTIONS
                   || check->context == NSX_IN_BUCKET);

    if (action->type == CONJUNCTION) {
        ++*n_conjunctions;
    } else if (action->type != NOTE) {
        ++*n_plain;
    }
    if (*n_conjunctions && *n_plain) {
        return nsx_decode_error(check->error, NSX_NXBAC_BAD_CONJUNCTION,
                                position, "an action beside conjunction");
    } else if (!is_placed(action, check->context)
               || (action->type == METER && is_nested(check->context))) {
        return nsx_decode_error(check->error, (in_set ? NSX_OFPBAC_BAD_TYPE
                                               : NSX_OFPBAC_BAD_ARGUMENT),
                                position, "an action that may not be in %s",
                                context_name(check->context));
    }
    return 0;
}

int
nsx_actions_check__(const struct nsx_action_check *check, const uint8_t *p,
                    size_t n, size_t position)
{
    size_t n_plain = 0, n_conjunctions = 0;

    while (n) {
        size_t len = n >= 8 ? nsx_get16(p + 2) : 0;

        if (len < 8 || len % 8 || len > n) {
            return nsx_decode_error(check->error, NSX_OFPBAC_BAD_LEN, position,
                                    "bad length of an action");
        }

        bool experimenter = nsx_get16(p) == NSX_ACTION_EXPERIMENTER;
        if (experimenter && len < 16) {
            return nsx_decode_error(check->error, NSX_OFPBAC_BAD_LEN, position,
                                    "bad length of an action");
        }

        const struct action *action = find_action(p);
        if (!action && experimenter) {
            return nsx_decode_error(check->error, unknown_action(p), position,
                                    "unknown action: vendor 0x%x type %u",
                                    nsx_get32(p + 4), nsx_get16(p + 8));
        } else if (!action) {
            return nsx_decode_error(check->error, NSX_OFPBAC_BAD_TYPE,
                                    position, "unknown action: type %u",
                                    nsx_get16(p));
        } else if (len < action->min || len > action->max) {
            return nsx_decode_error(check->error, NSX_OFPBAC_BAD_LEN, position,
                                    "bad length of an action");
        }

        int error = check_place(check, action, position, &n_plain,
                                &n_conjunctions);
        if (!error) {
            error = action->check(check, p, len, position);
        }
        if (error) {
            return error;
        }
        p += len;
        n -= len;
        position += len;
    }
    return 0;
}

int
nsx_actions_check_nested(const struct nsx_action_check *outer,
                         enum nsx_action_context context, const uint8_t *p,
                         size_t n, size_t position)
{
    struct nsx_action_check check = *outer;

    if (check.depth++ >= NSX_ACTION_DEPTH_MAX) {
        return nsx_decode_error(check.error, NSX_OFPBAC_BAD_ARGUMENT, position,
                                "actions nested deeper than %d",
                                NSX_ACTION_DEPTH_MAX);
    }
    check.context = context;
    return nsx_actions_check__(&check, p, n, position);
}

int
nsx_actions_check(const uint8_t *p, size_t n, size_t position,
                  enum nsx_action_context context, struct nsx_error *error)
{
    struct nsx_action_check check = { .context = context, .error = error };

    return nsx_actions_check__(&check, p, n, position);
}

void
nsx_actions_format(struct nsx_buf *buf, const uint8_t *p, size_t n,
                   nsx_tables tables)
{
    if (!n) {
        nsx_puts(buf, "drop");
    }
    for (size_t i = 0; i < n; i += nsx_get16(p + i + 2)) {
        if (i) {
            nsx_put8(buf, ',');
        }
        find_action(p + i)->format(buf, p + i, nsx_get16(p + i + 2), tables);
    }
}
