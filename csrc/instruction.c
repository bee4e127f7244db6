/* instruction.c: the instructions of a flow: what is done with its actions. */

#include "action_verbs.h"

enum {
    GOTO_TABLE = 1,                     /* The table at 4. */
    WRITE_METADATA = 2,                 /* Metadata at 8, its mask at 16. */
    WRITE_ACTIONS = 3,                  /* Actions from 8. */
    APPLY_ACTIONS = 4,                  /* Actions from 8. */
    CLEAR_ACTIONS = 5,
    N_INSTRUCTIONS,
    EXPERIMENTER = 0xffff,
};

/* Parsing.  (apply_actions, which has no word, is the action lists' affair.)
 */

int
nsx_parse_clear_actions(struct nsx_action_list *list,
                        struct nsx_slice word __attribute__((unused)),
                        struct nsx_slice arg __attribute__((unused)))
{
    nsx_put_action(list->buf, CLEAR_ACTIONS, 8);
    return 0;
}

int
nsx_parse_write_actions(struct nsx_action_list *list,
                        struct nsx_slice word __attribute__((unused)),
                        struct nsx_slice arg)
{
    size_t start = nsx_put_action(list->buf, WRITE_ACTIONS, 8);
    int error = nsx_action_list_nested(list, NSX_IN_WRITE_ACTIONS, arg);

    if (list->buf->size == start + 8) {
        /* Writing nothing is no instruction. */
        list->buf->size = start;
    } else if (!error) {
        nsx_finish_action(list->buf, start);
    }
    return error;
}

int
nsx_parse_write_metadata(struct nsx_action_list *list,
                         struct nsx_slice word __attribute__((unused)),
                         struct nsx_slice arg)
{
    size_t start = nsx_put_action(list->buf, WRITE_METADATA, 24);
    const char *slash = arg.n ? memchr(arg.s, '/', arg.n) : NULL;
    struct nsx_slice value = arg;

    memset(list->buf->data + start + 16, 0xff, 8);
    if (slash) {
        struct nsx_slice mask = { slash + 1, 0 };

        value.n = (size_t) (slash - arg.s);
        mask.n = arg.n - value.n - 1;

        int error = nsx_parse_number_or_hole(list->parser, mask, "mask",
                                             UINT64_MAX, list->buf,
                                             start + 16, 8);
        if (error) {
            return error;
        }
    }
    return nsx_parse_number_or_hole(list->parser, value, "metadata",
                                    UINT64_MAX, list->buf, start + 8, 8);
}

int
nsx_parse_goto_table(struct nsx_action_list *list,
                     struct nsx_slice word __attribute__((unused)),
                     struct nsx_slice arg)
{
    uint8_t table;
    int error = nsx_parse_table(list->parser, arg, &table);

    if (!error && table < list->parser->min_goto) {
        error = nsx_parse_error(list->parser, arg,
                                "goto_table goes only to a later table");
    }
    if (!error) {
        size_t start = nsx_put_action(list->buf, GOTO_TABLE, 8);

        list->buf->data[start + 4] = table;
    }
    return error;
}

/* Sets the length of apply_actions, which ends where 'list' or another
 * instruction does. */
static void
finish_apply(struct nsx_action_list *list, size_t end)
{
    nsx_set16(list->buf->data + list->apply + 2,
              (uint16_t) (end - list->apply));
}

int
nsx_instructions_parse(const struct nsx_parser *parser, struct nsx_slice text,
                       struct nsx_buf *buf)
{
    struct nsx_slice key, value;
    struct nsx_action_list list;
    size_t start = buf->size;
    size_t end = start;
    char delimiter;
    int error = 0;

    nsx_action_list_init(&list, parser, NSX_IN_FLOW, buf);
    while (!error && nsx_next_key_value(&text, &key, &value, &delimiter)) {
        error = nsx_action_list_word(&list, key, value);
        if (!error && list.stage <= NSX_STAGE_APPLY) {
            end = buf->size;
        }
    }
    nsx_action_list_uninit(&list);
    if (error) {
        buf->size = start;
    } else if (list.has_apply) {
        finish_apply(&list, end);
    }
    return error;
}

/* Reading bytes. */

static int
check_instruction(const struct nsx_action_check *check, const uint8_t *p,
                  size_t n, size_t position)
{
    static const struct {
        size_t min, max;
    } lengths[N_INSTRUCTIONS] = {
        [GOTO_TABLE] = { 8, 8 },
        [WRITE_METADATA] = { 24, 24 },
        [WRITE_ACTIONS] = { 8, 65528 },
        [APPLY_ACTIONS] = { 8, 65528 },
        [CLEAR_ACTIONS] = { 8, 8 },
    };
    uint16_t type = nsx_get16(p);

    if (!type || type >= N_INSTRUCTIONS) {
        return nsx_decode_error(check->error, (type == EXPERIMENTER
                                               ? NSX_OFPBIC_BAD_EXPERIMENTER
                                               : NSX_OFPBIC_UNKNOWN_INST),
                                position, "unknown instruction %u", type);
    } else if (n < lengths[type].min || n > lengths[type].max) {
        return nsx_decode_error(check->error, NSX_OFPBIC_BAD_LEN, position + 2,
                                "bad length of an instruction");
    }

    switch (type) {
    case WRITE_ACTIONS:
        return nsx_actions_check_nested(check, NSX_IN_WRITE_ACTIONS, p + 8,
                                        n - 8, position + 8);
    case APPLY_ACTIONS:
        return nsx_actions_check__(check, p + 8, n - 8, position + 8);
    default:
        return 0;
    }
}

int
nsx_instructions_check(const uint8_t *p, size_t n, size_t position,
                       struct nsx_error *error)
{
    struct nsx_action_check check = { .context = NSX_IN_FLOW, .error = error };
    unsigned int seen = 0;

    while (n) {
        size_t len = n >= 8 ? nsx_get16(p + 2) : 0;

        if (len < 8 || len % 8 || len > n) {
            return nsx_decode_error(error, NSX_OFPBIC_BAD_LEN, position,
                                    "bad length of an instruction");
        }

        int retval = check_instruction(&check, p, len, position);
        if (retval) {
            return retval;
        } else if (seen & 1u << nsx_get16(p)) {
            return nsx_decode_error(error, NSX_OFPBIC_DUP_INST, position,
                                    "duplicate instruction %u",
                                    nsx_get16(p));
        }
        seen |= 1u << nsx_get16(p);
        p += len;
        n -= len;
        position += len;
    }
    return 0;
}

static void
format_instruction(struct nsx_buf *buf, const uint8_t *p, nsx_tables tables)
{
    size_t n = nsx_get16(p + 2);

    switch (nsx_get16(p)) {
    case GOTO_TABLE:
        nsx_puts(buf, "goto_table:");
        nsx_format_table(buf, tables, p[4]);
        break;
    case WRITE_METADATA:
        nsx_printf(buf, "write_metadata:%#llx",
                   (unsigned long long) nsx_get64(p + 8));
        if (nsx_get64(p + 16) != UINT64_MAX) {
            nsx_printf(buf, "/%#llx", (unsigned long long) nsx_get64(p + 16));
        }
        break;
    case WRITE_ACTIONS:
        nsx_puts(buf, "write_actions(");
        nsx_actions_format(buf, p + 8, n - 8, tables);
        nsx_put8(buf, ')');
        break;
    case APPLY_ACTIONS:
        nsx_actions_format(buf, p + 8, n - 8, tables);
        break;
    case CLEAR_ACTIONS:
        nsx_puts(buf, "clear_actions");
        break;
    }
}

void
nsx_instructions_format(struct nsx_buf *buf, const uint8_t *p, size_t n,
                        nsx_tables tables)
{
    /* The order of execution, whatever the message's is. */
    static const uint16_t order[] = {
        APPLY_ACTIONS, CLEAR_ACTIONS, WRITE_ACTIONS, WRITE_METADATA,
        GOTO_TABLE,
    };
    size_t start = buf->size;

    for (size_t i = 0; i < NSX_ARRAY_SIZE(order); i++) {
        for (size_t ofs = 0; ofs < n; ofs += nsx_get16(p + ofs + 2)) {
            bool empty = (order[i] == APPLY_ACTIONS
                          && nsx_get16(p + ofs + 2) == 8);

            if (nsx_get16(p + ofs) == order[i] && !empty) {
                if (buf->size > start) {
                    nsx_put8(buf, ',');
                }
                format_instruction(buf, p + ofs, tables);
            }
        }
    }
    if (buf->size == start) {
        nsx_puts(buf, "drop");
    }
}
