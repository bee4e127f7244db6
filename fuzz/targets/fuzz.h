/* fuzz.h: what the fuzz targets share.
 *
 * A target is one file with LLVMFuzzerTestOneInput(): libFuzzer hands it bytes
 * with not one readable byte after them.  Beyond what the sanitizers see, it
 * checks what must be true of any input. */
#ifndef NSX_FUZZ_H
#define NSX_FUZZ_H 1

#include <stdio.h>
#include <stdlib.h>

#include "core.h"

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);
size_t LLVMFuzzerMutate(uint8_t *, size_t size, size_t max_size);
size_t LLVMFuzzerCustomMutator(uint8_t *, size_t size, size_t max_size,
                               unsigned int seed);

#define FUZZ_ASSERT(CONDITION) \
    ((CONDITION) ? (void) 0 : fuzz_fail(#CONDITION, __FILE__, __LINE__))

_Noreturn static inline void
fuzz_fail(const char *condition, const char *file, int line)
{
    fprintf(stderr, "%s:%d: not true: %s\n", file, line, condition);
    abort();
}

/* Shows 'buf' before a failure. */
static inline void
fuzz_show(const char *what, const struct nsx_buf *buf)
{
    fprintf(stderr, "%s: %.*s\n", what, (int) buf->size,
            buf->size ? (const char *) buf->data : "");
}

static inline bool
fuzz_same(const struct nsx_buf *a, const struct nsx_buf *b)
{
    return (a->size == b->size
            && (!a->size || !memcmp(a->data, b->data, a->size)));
}

/* Asserts that 'a' and 'b' are the same text, or shows both. */
static inline void
fuzz_same_text(const struct nsx_buf *a, const struct nsx_buf *b)
{
    if (!fuzz_same(a, b)) {
        fuzz_show("first", a);
        fuzz_show("then", b);
        FUZZ_ASSERT(!"the same text");
    }
}

/* What a caller that hasn't looked at the error yet has. */
static inline struct nsx_error
fuzz_error(void)
{
    struct nsx_error error = { .position = SIZE_MAX };

    memset(error.message, 0x55, sizeof error.message);
    return error;
}

/* Checks 'error' about an input of 'len' bytes: one line, and a place in the
 * input. */
static inline void
fuzz_check_error(const struct nsx_error *error, size_t len)
{
    const char *end = memchr(error->message, '\0', sizeof error->message);

    FUZZ_ASSERT(end && end > error->message);
    FUZZ_ASSERT(end[-1] != '\n');
    FUZZ_ASSERT(error->position <= len);
}

/* Parses 'text' and writes what that is printed as to 'again'.  False: it
 * can't be parsed ("set_field:ANY->tcp_src", which Open vSwitch prints and
 * doesn't parse either), or what it gives is refused, as in Open vSwitch
 * ("debug_slow"; "type=indirect" without a bucket; "vlan_tci=5"). */
typedef bool fuzz_again(const struct nsx_buf *text, nsx_tables,
                        struct nsx_buf *again);

/* Checks that printing and parsing come to an end: that what 'text' is printed
 * as, parsed and printed again, is parsed and printed as itself.  (A masked
 * set_field may lose its mask first: "load:0->OXM_OF_IP_DSCP[]" has one.) */
static inline void
fuzz_settles(fuzz_again *again, const struct nsx_buf *text, nsx_tables tables)
{
    struct nsx_buf first = NSX_BUF_INITIALIZER;
    struct nsx_buf second = NSX_BUF_INITIALIZER;
    struct nsx_buf third = NSX_BUF_INITIALIZER;

    if (again(text, tables, &first) && again(&first, tables, &second)
        && again(&second, tables, &third)) {
        fuzz_same_text(&second, &third);
    }
    nsx_buf_uninit(&first);
    nsx_buf_uninit(&second);
    nsx_buf_uninit(&third);
}

static inline bool
fuzz_flow_again(const struct nsx_buf *text, nsx_tables tables,
                struct nsx_buf *again)
{
    struct nsx_buf msg = NSX_BUF_INITIALIZER;
    struct nsx_error error = fuzz_error();
    enum nsx_flow_command command;
    struct nsx_flow_view view;
    bool ok = false;

    if (nsx_flow_parse((const char *) text->data, text->size, NSX_FLOW_ADD,
                       tables, &msg, &error)) {
        fuzz_check_error(&error, text->size);
    } else if (nsx_flow_mod_decode(msg.data, msg.size, &command, &view,
                                   &error)) {
        fuzz_check_error(&error, msg.size);
    } else {
        FUZZ_ASSERT(command == NSX_FLOW_ADD);
        ok = !nsx_flow_format(&view, tables, true, false, again, &error);
        FUZZ_ASSERT(ok == (again->size != 0));
    }
    nsx_buf_uninit(&msg);
    return ok;
}

static inline bool
fuzz_group_again(const struct nsx_buf *text, nsx_tables tables,
                 struct nsx_buf *again)
{
    struct nsx_buf msg = NSX_BUF_INITIALIZER;
    struct nsx_error error = fuzz_error();
    struct nsx_group_view view;
    bool ok = false;

    if (nsx_group_parse((const char *) text->data, text->size, NSX_GROUP_ADD,
                        tables, &msg, &error)) {
        fuzz_check_error(&error, text->size);
    } else if (nsx_group_mod_decode(msg.data, msg.size, &view, &error)) {
        /* Or it takes more than one message. */
        fuzz_check_error(&error, msg.size);
    } else {
        ok = !nsx_group_format(&view, tables, again, &error);
        FUZZ_ASSERT(ok == (again->size != 0));
    }
    nsx_buf_uninit(&msg);
    return ok;
}

static inline bool
fuzz_match_again(const struct nsx_buf *text, nsx_tables tables,
                 struct nsx_buf *again)
{
    struct nsx_buf match = NSX_BUF_INITIALIZER;
    struct nsx_error error = fuzz_error();
    bool ok = false;

    (void) tables;
    if (nsx_match_text_parse((const char *) text->data, text->size, &match,
                             &error)) {
        fuzz_check_error(&error, text->size);
        FUZZ_ASSERT(!match.size);
    } else {
        ok = !nsx_match_text_format(match.data, match.size, again, &error);
        FUZZ_ASSERT(ok || !again->size);
    }
    nsx_buf_uninit(&match);
    return ok;
}

static inline bool
fuzz_instructions_again(const struct nsx_buf *text, nsx_tables tables,
                        struct nsx_buf *again)
{
    struct nsx_buf instructions = NSX_BUF_INITIALIZER;
    struct nsx_error error = fuzz_error();
    bool ok = false;

    if (nsx_instructions_text_parse((const char *) text->data, text->size,
                                    tables, &instructions, &error)) {
        fuzz_check_error(&error, text->size);
        FUZZ_ASSERT(!instructions.size);
    } else if (nsx_instructions_text_format(instructions.data,
                                            instructions.size, tables, again,
                                            &error)) {
        fuzz_check_error(&error, instructions.size);
        FUZZ_ASSERT(!again->size);
    } else {
        FUZZ_ASSERT(again->size);
        ok = true;
    }
    nsx_buf_uninit(&instructions);
    return ok;
}

static inline bool
fuzz_meter_again(const struct nsx_buf *text, nsx_tables tables,
                 struct nsx_buf *again)
{
    struct nsx_buf msg = NSX_BUF_INITIALIZER;
    struct nsx_error error = fuzz_error();
    bool ok = false;

    (void) tables;
    if (nsx_meter_parse((const char *) text->data, text->size, NSX_METER_ADD,
                        &msg, &error)) {
        fuzz_check_error(&error, text->size);
    } else if (nsx_meter_format(msg.data, msg.size, again, &error)) {
        fuzz_check_error(&error, msg.size);
        FUZZ_ASSERT(!again->size);
    } else {
        FUZZ_ASSERT(again->size);
        ok = true;
    }
    nsx_buf_uninit(&msg);
    return ok;
}

/* Half of the tables have a name. */
static inline nsx_tables
fuzz_tables(void)
{
    static char names[256][12];
    static const char *tables[256];

    if (!tables[0]) {
        for (int i = 0; i < 256; i += 2) {
            snprintf(names[i], sizeof names[i], "Table%d", i);
            tables[i] = names[i];
        }
    }
    return tables;
}

/* For targets whose input is one message: mostly, one of version 6 that says
 * its true length. */
static inline size_t
fuzz_mutate_message(uint8_t *data, size_t size, size_t max_size,
                    unsigned int seed)
{
    if (max_size > UINT16_MAX) {
        max_size = UINT16_MAX;
    }
    size = LLVMFuzzerMutate(data, size < max_size ? size : max_size, max_size);
    if (size >= 8 && seed % 16) {
        data[0] = 6;
        nsx_set16(data + 2, (uint16_t) size);
    }
    return size;
}

#define FUZZ_MESSAGE_MUTATOR                                            \
    size_t                                                              \
    LLVMFuzzerCustomMutator(uint8_t *data, size_t size,                 \
                            size_t max_size, unsigned int seed)         \
    {                                                                   \
        return fuzz_mutate_message(data, size, max_size, seed);         \
    }

#endif /* fuzz.h */
