/* message_print.c: messages as ovs-ofctl ofp-print prints them. */
#include "message_print.h"

#include <stdio.h>

#include "action.h"
#include "field.h"

/* A message in an error, or in a bundle, is one deep.  One in a bundle's
 * message that is in an error is two deep.  No sane message is deeper. */
#define MAX_DEPTH 2

#define MULTIPART_MORE 1
#define MULTIPART_EXPERIMENTER 0xffff

#define MULTIPART_LEN 8
#define EXPERIMENTER_LEN 8
#define ONF 0x4f4e4600

typedef int printer(struct nsx_print *);

struct shape {
    const char *name;
    size_t body;                /* Bytes that it has at least. */
    size_t unit;                /* What follows has a multiple of these. */
    printer *print;
};

static int print_message(struct nsx_print *, const uint8_t *, size_t);

/* Removes white space from the end, but for what is before 'start'. */
static void
chomp(struct nsx_buf *out, size_t start)
{
    while (out->size > start && strchr(" \n", out->data[out->size - 1])) {
        out->size--;
    }
}

/* Ends the line, without a space at its end. */
static void
end_line(struct nsx_buf *out)
{
    if (out->size && out->data[out->size - 1] == ' ') {
        out->size--;
    }
    if (out->size && out->data[out->size - 1] != '\n') {
        nsx_puts(out, "\n");
    }
}

int
nsx_message_format(const void *msg, size_t len, nsx_tables tables,
                   struct nsx_buf *out, struct nsx_error *error)
{
    struct nsx_print p = {
        .tables = tables,
        .out = out,
        .error = error,
    };
    size_t size = out->size;
    int retval = print_message(&p, msg, len);

    if (retval) {
        out->size = size;
    }
    chomp(out, size);
    return retval;
}

void
nsx_message_print(const void *msg, size_t len, nsx_tables tables,
                  struct nsx_buf *out)
{
    struct nsx_error error;
    struct nsx_print p = {
        .tables = tables,
        .out = out,
        .error = &error,
    };
    size_t size = out->size;

    print_message(&p, msg, len);
    chomp(out, size);
}

int
nsx_messages_format(const void *msgs, size_t len, nsx_tables tables,
                    struct nsx_buf *out, struct nsx_error *error)
{
    const uint8_t *p = msgs;
    size_t size = out->size;

    for (size_t i = 0; i < len; ) {
        struct nsx_header header;
        int retval = nsx_header_decode(p + i, len - i, &header, error);
        size_t n = retval || header.length > len - i ? len - i : header.length;

        retval = nsx_message_format(p + i, n, tables, out, error);
        if (retval) {
            error->position += i;
            out->size = size;
            return retval;
        }
        nsx_put8(out, '\n');
        i += n;
    }
    return 0;
}

/* What printers share. */

const uint8_t *
nsx_print_pull(struct nsx_print *p, size_t n)
{
    const uint8_t *data = p->p;

    p->p += n;
    p->n -= n;
    return data;
}

void
nsx_print_keep(struct nsx_print *p)
{
    p->kept = p->out->size;
}

int
nsx_print_fail(struct nsx_print *p, enum nsx_ofperr ofperr,
               const char *format, ...)
{
    char why[NSX_ERROR_MAX / 2];
    va_list args;

    va_start(args, format);
    vsnprintf(why, sizeof why, format, args);
    va_end(args);
    return nsx_decode_error(p->error, ofperr, (size_t) (p->p - p->msg), "%s",
                            why);
}

/* Copies the fields of the 'n' bytes at 'p' that nsxdp knows, as a match, to
 * 'match'.  Returns false if the last is cut off. */
static bool
known_fields(const uint8_t *p, size_t n, struct nsx_buf *match)
{
    nsx_put32(match, 1 << 16);
    while (n) {
        bool has_mask;
        size_t header_len;
        size_t len = 4 + (size_t) (n < 4 ? 0 : p[3]);

        if (len > n) {
            return false;
        }
        if (nsx_oxm_pull_header(p, n, &has_mask, &header_len)) {
            nsx_put(match, p, len);
        }
        p += len;
        n -= len;
    }
    nsx_set16(match->data + 2, (uint16_t) match->size);
    nsx_pad(match, 0, 8);
    return true;
}

int
nsx_print_match(struct nsx_print *p, bool loose, uint16_t priority)
{
    struct nsx_buf known = NSX_BUF_INITIALIZER;
    struct nsx_match match;
    size_t len;
    int retval;

    if (loose) {
        size_t bare = p->n >= 4 ? nsx_get16(p->p + 2) : 0;

        len = NSX_ROUND_UP(bare, 8);
        if (p->n >= 4 && nsx_get16(p->p) != 1) {
            return nsx_print_fail(p, NSX_OFPBMC_BAD_TYPE, "match of type %u",
                                  nsx_get16(p->p));
        } else if (bare < 4 || len > p->n) {
            return nsx_print_fail(p, NSX_OFPBMC_BAD_LEN,
                                  "match of %zu bytes where there are %zu",
                                  bare, p->n);
        }
        if (!known_fields(p->p + 4, bare - 4, &known)) {
            nsx_buf_uninit(&known);
            return nsx_print_fail(p, NSX_OFPBMC_BAD_LEN, "match is cut off");
        }
        retval = nsx_match_decode(known.data, known.size,
                                  (size_t) (p->p - p->msg), &match,
                                  &(size_t) { 0 }, p->error);
    } else {
        retval = nsx_match_decode(p->p, p->n, (size_t) (p->p - p->msg),
                                  &match, &len, p->error);
    }
    nsx_buf_uninit(&known);
    if (retval) {
        return retval;
    }
    nsx_print_pull(p, len);

    nsx_match_format_priority(p->out, &match, priority);
    return 0;
}

int
nsx_print_fields(struct nsx_print *p, const uint8_t *fields, size_t n,
                 bool loose, uint16_t priority)
{
    struct nsx_buf match = NSX_BUF_INITIALIZER;
    struct nsx_print q = *p;
    int retval;

    nsx_put16(&match, 1);
    nsx_put16(&match, (uint16_t) (4 + n));
    nsx_put(&match, fields, n);
    nsx_pad(&match, 0, 8);
    q.msg = q.p = match.data;
    q.n = match.size;
    retval = nsx_print_match(&q, loose, priority);
    nsx_buf_uninit(&match);
    if (retval) {
        p->error->position = (size_t) (fields - p->msg);
    }
    return retval;
}

void
nsx_print_inner(struct nsx_print *outer, const uint8_t *msg, size_t len)
{
    struct nsx_error error;
    struct nsx_print p = {
        .tables = outer->tables,
        .out = outer->out,
        .depth = outer->depth + 1,
        .quiet = outer->quiet || outer->header->type == NSX_OFPT_ERROR,
        .error = &error,
    };

    if (p.depth > MAX_DEPTH) {
        nsx_printf(p.out, "(%zu bytes of a message in a message)", len);
        return;
    }

    print_message(&p, msg, len);
}

/* The frame. */

static const struct shape *
message_shape(uint8_t type)
{
    switch (type) {
#define NSX_MESSAGE(TYPE, ID, BODY, UNIT, PRINT)                        \
    case TYPE: {                                                        \
        static const struct shape shape                                 \
            = { "OFPT_" #ID, BODY, UNIT, nsx_print_##PRINT };           \
        return &shape;                                                  \
    }
#include "messages.def"
#undef NSX_MESSAGE
    default:
        return NULL;
    }
}

static const struct shape *
multipart_shape(uint8_t message, uint16_t type)
{
    switch ((uint32_t) message << 16 | type) {
#define NSX_MULTIPART(MESSAGE, TYPE, ID, WHAT, BODY, UNIT, PRINT)       \
    case MESSAGE << 16 | TYPE: {                                        \
        static const struct shape shape                                 \
            = { "OFPST_" #ID " " WHAT, BODY, UNIT, nsx_print_##PRINT }; \
        return &shape;                                                  \
    }
#include "messages.def"
#undef NSX_MULTIPART
    default:
        return NULL;
    }
}

static const struct shape *
nicira_multipart_shape(uint8_t message, uint32_t type)
{
    switch ((uint64_t) message << 32 | type) {
#define NSX_NX_MULTIPART(MESSAGE, TYPE, ID, WHAT, BODY, UNIT, PRINT)    \
    case (uint64_t) MESSAGE << 32 | TYPE: {                             \
        static const struct shape shape                                 \
            = { "NXST_" #ID " " WHAT, BODY, UNIT, nsx_print_##PRINT };  \
        return &shape;                                                  \
    }
#include "messages.def"
#undef NSX_NX_MULTIPART
    default:
        return NULL;
    }
}

static const struct shape *
nicira_shape(uint32_t type)
{
    switch (type) {
#define NSX_EXPERIMENTER(TYPE, ID, BODY, UNIT, PRINT)                   \
    case TYPE: {                                                        \
        static const struct shape shape                                 \
            = { "NXT_" #ID, BODY, UNIT, nsx_print_##PRINT };            \
        return &shape;                                                  \
    }
#include "messages.def"
#undef NSX_EXPERIMENTER
    default:
        return NULL;
    }
}

static void
print_header(struct nsx_print *p, const char *name)
{
    static const char *const versions[] = {
        [1] = "", [2] = " (OF1.1)", [3] = " (OF1.2)", [4] = " (OF1.3)",
        [5] = " (OF1.4)", [6] = " (OF1.5)",
    };
    uint8_t version = p->header->version;

    nsx_puts(p->out, name);
    if (version < NSX_ARRAY_SIZE(versions) && versions[version]) {
        nsx_puts(p->out, versions[version]);
    } else {
        nsx_printf(p->out, " (OF 0x%02x)", version);
    }
    nsx_puts(p->out, " (xid=");
    nsx_put_hex(p->out, p->header->xid, 1);
    nsx_puts(p->out, "):");
}

static void
print_multipart_flags(struct nsx_print *p)
{
    uint16_t flags = nsx_get16(p->msg + NSX_OFP_HEADER_LEN + 2);

    if (flags) {
        nsx_puts(p->out, " flags=");
        if (flags & MULTIPART_MORE) {
            nsx_puts(p->out, "[more]");
        }
        if (flags & ~MULTIPART_MORE) {
            nsx_printf(p->out, "[***unknown flags 0x%04x***]",
                       flags & ~MULTIPART_MORE);
        }
    }
}

/* Removes an experimenter's number and message type from the front, and finds
 * whether those are Open vSwitch's. */
static int
pull_experimenter(struct nsx_print *p, uint32_t *type)
{
    uint32_t experimenter;

    if (p->n < EXPERIMENTER_LEN) {
        return nsx_print_fail(p, NSX_OFPBRC_BAD_LEN,
                              "message of an experimenter is cut off");
    }
    experimenter = nsx_get32(p->p);
    *type = nsx_get32(p->p + 4);
    if (experimenter != NSX_NICIRA && experimenter != ONF) {
        return nsx_print_fail(p, NSX_OFPBRC_BAD_VENDOR,
                              "unknown experimenter 0x%x", experimenter);
    } else if (experimenter == ONF) {
        return nsx_print_fail(p, NSX_OFPBRC_BAD_SUBTYPE,
                              "unknown type %u of experimenter 0x%x", *type,
                              experimenter);
    }
    nsx_print_pull(p, EXPERIMENTER_LEN);
    return 0;
}

/* Finds what a message is of which the header has been removed, and removes
 * what else of the front says so. */
static int
pull_shape(struct nsx_print *p, const struct shape **shape)
{
    uint8_t type = p->header->type;
    uint8_t version = p->header->version;
    uint16_t multipart = 0;
    uint32_t subtype = 0;
    int retval;

    *shape = message_shape(type);

    /* Hello, error and echo, the first four, are the same in all versions. */
    if (version != NSX_OFP_VERSION && type > NSX_OFPT_ECHO_REPLY) {
        bool known = version && version < NSX_OFP_VERSION;

        p->p = p->msg;
        return nsx_print_fail(p, (known ? NSX_OFPBRC_BAD_VERSION
                                  : NSX_OFPBRC_BAD_TYPE),
                              "message of OpenFlow version %u, not %u (1.5)",
                              version, NSX_OFP_VERSION);
    } else if (type == NSX_OFPT_MULTIPART_REQUEST
               || type == NSX_OFPT_MULTIPART_REPLY) {
        if (p->n < MULTIPART_LEN) {
            return nsx_print_fail(p, NSX_OFPBRC_BAD_LEN,
                                  "%s is cut off", (*shape)->name);
        }
        multipart = nsx_get16(nsx_print_pull(p, MULTIPART_LEN));
        *shape = multipart_shape(type, multipart);
    }

    if (type == NSX_OFPT_EXPERIMENTER || multipart == MULTIPART_EXPERIMENTER) {
        retval = pull_experimenter(p, &subtype);
        if (retval) {
            return retval;
        }
        *shape = (multipart ? nicira_multipart_shape(type, subtype)
                  : nicira_shape(subtype));
        if (!*shape) {
            return nsx_print_fail(p, NSX_OFPBRC_BAD_SUBTYPE,
                                  "unknown message %u of Open vSwitch's",
                                  subtype);
        }
    }
    if (!*shape) {
        return (type == NSX_OFPT_MULTIPART_REQUEST
                || type == NSX_OFPT_MULTIPART_REPLY
                ? nsx_print_fail(p, NSX_OFPBRC_BAD_STAT,
                                 "unknown multipart %u", multipart)
                : nsx_print_fail(p, NSX_OFPBRC_BAD_TYPE,
                                 "unknown message type %u", type));
    }
    return 0;
}

/* True if the body has a length that 'shape' may have. */
static bool
is_whole(const struct nsx_print *p, const struct shape *shape)
{
    return (p->n >= shape->body
            && !(shape->unit ? (p->n - shape->body) % shape->unit
                 : p->n - shape->body));
}

/* Prints the message that 'p' has all of. */
static int
print_whole(struct nsx_print *p)
{
    const struct shape *shape;
    int retval = pull_shape(p, &shape);

    if (!retval && !is_whole(p, shape)) {
        retval = nsx_print_fail(p, NSX_OFPBRC_BAD_LEN, "%s: wrong length",
                                shape->name);
    }
    if (!retval) {
        print_header(p, shape->name);
        size_t header = p->out->size;
        if (p->header->type == NSX_OFPT_MULTIPART_REQUEST
            || p->header->type == NSX_OFPT_MULTIPART_REPLY) {
            print_multipart_flags(p);
        }
        nsx_print_keep(p);
        retval = shape->print(p);
        if (retval) {
            p->out->size = p->kept;
            if (p->kept == header) {
                nsx_puts(p->out, " ");
            } else {
                end_line(p->out);
            }
        }
    }
    return retval;
}

bool
nsx_print_is_bundlable(struct nsx_print *outer, const uint8_t *msg, size_t len)
{
    struct nsx_print p = *outer;
    struct nsx_header header;
    struct nsx_error ignored;
    const struct shape *shape;

    p.error = &ignored;
    p.header = &header;
    p.msg = p.p = msg;
    if (nsx_header_decode(msg, len, &header, &ignored)) {
        return false;
    }
    nsx_print_pull(&p, NSX_OFP_HEADER_LEN);
    p.n = len - NSX_OFP_HEADER_LEN;
    return (!pull_shape(&p, &shape) && is_whole(&p, shape)
            && (header.type == NSX_OFPT_FLOW_MOD
                || header.type == NSX_OFPT_GROUP_MOD
                || header.type == NSX_OFPT_PORT_MOD
                || header.type == NSX_OFPT_PACKET_OUT));
}

/* Prints the start of a message, which is all there is. */
static void
print_start(struct nsx_print *p, size_t len)
{
    struct nsx_error ignored;
    struct nsx_print start = *p;
    const struct shape *shape;

    start.error = &ignored;
    if (p->header->version && p->header->version < NSX_OFP_VERSION
        && p->header->type <= NSX_OFPT_FLOW_MOD
        && p->header->type != NSX_OFPT_EXPERIMENTER) {
        /* These have the same names in all versions. */
        print_header(p, message_shape(p->header->type)->name);
        nsx_puts(p->out, "\n");
    } else if (!pull_shape(&start, &shape)) {
        print_header(p, shape->name);
        nsx_puts(p->out, "\n");
    }
    nsx_printf(p->out, "(***truncated to %zu bytes from %u***)\n", len,
               p->header->length);
}

/* Prints the 'len' bytes at 'msg', whatever they are.  If they aren't one
 * whole message, that is printed, and then is the error. */
static int
print_message(struct nsx_print *p, const uint8_t *msg, size_t len)
{
    struct nsx_header header = { 0 };
    int retval;

    p->msg = p->p = msg;
    p->n = 0;
    p->header = &header;
    if (len < NSX_OFP_HEADER_LEN) {
        nsx_header_decode(msg, len, &header, p->error);
        if (!len) {
            nsx_puts(p->out, "OpenFlow message is empty\n");
        } else {
            nsx_printf(p->out,
                       "OpenFlow packet too short (only %zu bytes):\n", len);
        }
        nsx_print_hex_dump(p->out, msg, len);
        return EPROTO;
    }

    retval = nsx_header_decode(msg, len, &header, p->error);
    nsx_print_pull(p, NSX_OFP_HEADER_LEN);
    if (header.length > len) {
        p->n = len - NSX_OFP_HEADER_LEN;
        print_start(p, len);
        p->p = msg + len;
        retval = nsx_print_fail(p, NSX_OFPBRC_BAD_LEN,
                                "message of %u bytes is cut off after %zu",
                                header.length, len);
    } else if (header.length < len) {
        nsx_printf(p->out, "(***only uses %u bytes out of %zu***)\n",
                   header.length, len);
        if (!retval) {
            p->p = msg + header.length;
            retval = nsx_print_fail(p, NSX_OFPBRC_BAD_LEN,
                                    "message of %u bytes is followed by %zu "
                                    "more", header.length,
                                    len - header.length);
        }
    } else {
        p->n = len - NSX_OFP_HEADER_LEN;
        retval = print_whole(p);
        if (!retval) {
            end_line(p->out);
            return 0;
        }
        nsx_printf(p->out, "***decode error: %s***\n", p->error->name);
    }
    nsx_print_hex_dump(p->out, msg, len);
    return retval;
}

int
nsx_print_nothing(struct nsx_print *p)
{
    (void) p;
    return 0;
}
