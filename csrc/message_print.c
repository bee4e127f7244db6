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

typedef int printer(struct nsx_print *);

struct shape {
    const char *name;
    size_t body;                /* Bytes that it has at least. */
    size_t unit;                /* What follows has a multiple of these. */
    printer *print;
};

static int print_message(struct nsx_print *, const uint8_t *, size_t);
static void print_multipart_flags(struct nsx_print *);

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
        return retval;
    }
    while (out->size > size && strchr(" \n", out->data[out->size - 1])) {
        out->size--;
    }
    return 0;
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

int
nsx_print_fail(struct nsx_print *p, const char *format, ...)
{
    char why[NSX_ERROR_MAX / 2];
    va_list args;

    va_start(args, format);
    vsnprintf(why, sizeof why, format, args);
    va_end(args);
    return nsx_decode_error(p->error, (size_t) (p->p - p->msg), "%s", why);
}

/* Copies the fields of the 'n' bytes at 'p' that nsxdp knows, as a match, to
 * 'match'. */
static void
known_fields(const uint8_t *p, size_t n, struct nsx_buf *match)
{
    nsx_put32(match, 1 << 16);
    while (n >= 4) {
        bool has_mask;
        size_t header_len;
        size_t len = 4 + (size_t) p[3];

        if (len > n) {
            break;
        }
        if (nsx_oxm_pull_header(p, n, &has_mask, &header_len)) {
            nsx_put(match, p, len);
        }
        p += len;
        n -= len;
    }
    nsx_set16(match->data + 2, (uint16_t) match->size);
    nsx_pad(match, 0, 8);
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
        if (bare < 4 || len > p->n) {
            return nsx_print_fail(p, "match of %zu bytes where there are "
                                   "%zu", bare, p->n);
        }
        known_fields(p->p + 4, bare - 4, &known);
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

    size_t size = p.out->size;
    if (print_message(&p, msg, len)) {
        p.out->size = size;
        nsx_printf(p.out, "(%zu bytes that can't be decoded: %s)", len,
                   error.message);
    }
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
        [2] = " (OF1.1)", [3] = " (OF1.2)", [4] = " (OF1.3)",
        [5] = " (OF1.4)", [6] = " (OF1.5)",
    };
    uint8_t version = p->header->version;

    nsx_puts(p->out, name);
    if (version < NSX_ARRAY_SIZE(versions) && versions[version]) {
        nsx_puts(p->out, versions[version]);
    } else if (version != 1) {
        nsx_printf(p->out, " (OF 0x%02x)", version);
    }
    nsx_puts(p->out, " (xid=");
    nsx_put_hex(p->out, p->header->xid, 1);
    nsx_puts(p->out, "):");
}

/* Prints the name and the header, and then what 'shape' prints, if the body
 * can be that. */
static int
print_shape(struct nsx_print *p, const struct shape *shape)
{
    uint8_t version = p->header->version;

    print_header(p, shape->name);

    /* Hello, error and echo, the first four, are the same in all versions. */
    if (version != NSX_OFP_VERSION && p->header->type > 3) {
        nsx_printf(p->out, " %zu bytes of another version", p->n);
        return 0;
    }
    if (p->n < shape->body
        || (shape->unit
            ? (p->n - shape->body) % shape->unit : p->n != shape->body)) {
        return nsx_print_fail(p, "%s: wrong length", shape->name);
    }
    if (p->header->type == NSX_OFPT_MULTIPART_REQUEST
        || p->header->type == NSX_OFPT_MULTIPART_REPLY) {
        print_multipart_flags(p);
    }
    return shape->print(p);
}

static int
print_message(struct nsx_print *p, const uint8_t *msg, size_t len)
{
    struct nsx_header header;
    const struct shape *shape;
    struct shape unknown = { NULL, 0, 1, nsx_print_nothing };
    char name[32];
    int retval;

    p->msg = p->p = msg;
    retval = nsx_header_decode(msg, len, &header, p->error);
    if (retval) {
        return retval;
    }
    p->header = &header;
    shape = message_shape(header.type);
    if (!shape) {
        snprintf(name, sizeof name, "OFPT_%u", header.type);
        unknown.name = name;
        shape = &unknown;
    }

    nsx_print_pull(p, NSX_OFP_HEADER_LEN);
    p->n = header.length - NSX_OFP_HEADER_LEN;
    if (header.length > len) {
        /* An error may have no more than the first 64 bytes. */
        if (!p->depth) {
            p->p = msg + len;
            return nsx_print_fail(p, "%s of %u bytes is cut off after %zu",
                                   shape->name, header.length, len);
        }
        print_header(p, shape->name);
        nsx_printf(p->out, "\n(***truncated to %zu bytes from %u***)\n", len,
                   header.length);
        nsx_print_hex_dump(p->out, msg, len);
        return 0;
    }
    if (header.length < len && !p->depth) {
        p->p = msg + header.length;
        return nsx_print_fail(p, "%s of %u bytes is followed by %zu more",
                               shape->name, header.length,
                               len - header.length);
    }
    if (shape == &unknown) {
        nsx_printf(p->out, "%s (xid=0x%x): %zu bytes", name, header.xid,
                   p->n);
        return 0;
    }

    /* Those two are named for what is in them. */
    if (header.type == NSX_OFPT_EXPERIMENTER
        || header.type == NSX_OFPT_MULTIPART_REQUEST
        || header.type == NSX_OFPT_MULTIPART_REPLY) {
        if (p->n < shape->body) {
            return nsx_print_fail(p, "%s: wrong length", shape->name);
        }
        return shape->print(p);
    }
    return print_shape(p, shape);
}

int
nsx_print_experimenter(struct nsx_print *p)
{
    uint32_t experimenter = nsx_get32(p->p);
    uint32_t type = nsx_get32(p->p + 4);
    const struct shape *shape;

    shape = experimenter == NSX_NICIRA ? nicira_shape(type) : NULL;
    if (!shape) {
        nsx_printf(p->out, "OFPT_EXPERIMENTER (xid=0x%x): experimenter 0x%x "
                   "type %u, %zu bytes", p->header->xid, experimenter, type,
                   p->n - 8);
        return 0;
    }
    nsx_print_pull(p, 8);
    return print_shape(p, shape);
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

int
nsx_print_multipart(struct nsx_print *p)
{
    uint16_t type = nsx_get16(p->p);
    const struct shape *shape = multipart_shape(p->header->type, type);

    nsx_print_pull(p, 8);
    if (type == MULTIPART_EXPERIMENTER && p->n >= 8
        && nsx_get32(p->p) == NSX_NICIRA) {
        shape = nicira_multipart_shape(p->header->type, nsx_get32(p->p + 4));
        if (shape) {
            nsx_print_pull(p, 8);
        }
    }
    if (!shape) {
        nsx_printf(p->out, "%s (xid=0x%x): type %u, %zu bytes",
                   message_shape(p->header->type)->name, p->header->xid, type,
                   p->n);
        return 0;
    }
    return print_shape(p, shape);
}

int
nsx_print_nothing(struct nsx_print *p)
{
    (void) p;
    return 0;
}
