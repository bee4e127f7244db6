/* core.h: what the files of the core share: buffers, byte order, text
 * scanning, and the parser's context. */
#ifndef NSX_CORE_H
#define NSX_CORE_H 1

#include <errno.h>
#include <stdarg.h>
#include <string.h>

#include "nsxdp.h"

#define NSX_ARRAY_SIZE(ARRAY) (sizeof (ARRAY) / sizeof *(ARRAY))
#define NSX_ROUND_UP(X, Y) (((X) + (Y) - 1) / (Y) * (Y))

/* Byte order: the wire is big-endian and nothing on it is aligned. */

static inline uint16_t
nsx_get16(const void *p_)
{
    const uint8_t *p = p_;
    return (uint16_t) (p[0] << 8 | p[1]);
}

static inline uint32_t
nsx_get32(const void *p_)
{
    const uint8_t *p = p_;
    return (uint32_t) p[0] << 24 | (uint32_t) p[1] << 16 | p[2] << 8 | p[3];
}

static inline uint64_t
nsx_get64(const void *p_)
{
    const uint8_t *p = p_;
    return (uint64_t) nsx_get32(p) << 32 | nsx_get32(p + 4);
}

static inline void
nsx_set16(void *p_, uint16_t x)
{
    uint8_t *p = p_;
    p[0] = (uint8_t) (x >> 8);
    p[1] = (uint8_t) x;
}

static inline void
nsx_set32(void *p, uint32_t x)
{
    nsx_set16(p, (uint16_t) (x >> 16));
    nsx_set16((uint8_t *) p + 2, (uint16_t) x);
}

static inline void
nsx_set64(void *p, uint64_t x)
{
    nsx_set32(p, (uint32_t) (x >> 32));
    nsx_set32((uint8_t *) p + 4, (uint32_t) x);
}

/* Memory (buf.c).  If it cannot be had, the process ends, as in Open vSwitch:
 * nothing here could go on without it. */

void *nsx_xmalloc(size_t);
void *nsx_xcalloc(size_t n, size_t size);
void *nsx_xrealloc(void *, size_t n, size_t size);

/* Buffers (buf.c). */

/* Grows a buffer that has too little room for 'n' more bytes. */
void nsx_buf_grow(struct nsx_buf *, size_t n);

/* Makes room for 'n' more bytes and returns where they start; 'size' stays. */
static inline uint8_t *
nsx_buf_reserve(struct nsx_buf *b, size_t n)
{
    if (!b->data || n > b->allocated - b->size) {
        nsx_buf_grow(b, n);
    }
    return b->data + b->size;
}

/* Appends 'n' bytes and returns where they start: uninitialized, zeroed, or
 * copied from 'p'. */

static inline uint8_t *
nsx_put_uninit(struct nsx_buf *b, size_t n)
{
    uint8_t *p = nsx_buf_reserve(b, n);
    b->size += n;
    return p;
}

static inline uint8_t *
nsx_put_zeros(struct nsx_buf *b, size_t n)
{
    return memset(nsx_put_uninit(b, n), 0, n);
}

static inline uint8_t *
nsx_put(struct nsx_buf *b, const void *p, size_t n)
{
    uint8_t *dst = nsx_put_uninit(b, n);
    if (n) {
        memcpy(dst, p, n);
    }
    return dst;
}

static inline void
nsx_put8(struct nsx_buf *b, uint8_t x)
{
    *nsx_put_uninit(b, 1) = x;
}

static inline void
nsx_put16(struct nsx_buf *b, uint16_t x)
{
    nsx_set16(nsx_put_uninit(b, 2), x);
}

static inline void
nsx_put32(struct nsx_buf *b, uint32_t x)
{
    nsx_set32(nsx_put_uninit(b, 4), x);
}

/* Appends zeros until 'size - start' is a multiple of 'align'. */
static inline void
nsx_pad(struct nsx_buf *b, size_t start, size_t align)
{
    size_t n = b->size - start;
    nsx_put_zeros(b, NSX_ROUND_UP(n, align) - n);
}

/* Text into a buffer (no terminating null). */

static inline void
nsx_puts(struct nsx_buf *b, const char *s)
{
    nsx_put(b, s, strlen(s));
}

/* A decimal number; a hexadecimal one, "0x" before at least 'n_digits'. */
void nsx_put_decimal(struct nsx_buf *, uint64_t);
void nsx_put_hex(struct nsx_buf *, uint64_t, size_t n_digits);

/* The big-endian number of 'n' bytes at 'p': "0", or "0x" and its digits. */
void nsx_put_hex_bytes(struct nsx_buf *, const uint8_t *p, size_t n);

/* As printf().  What every flow has is rather put together of the others,
 * which are ten times as fast. */
void nsx_printf(struct nsx_buf *, const char *format, ...) NSX_PRINTF(2, 3);

/* What a hexadecimal digit stands for; -1: it is none. */
static inline int
nsx_hex_digit(char c)
{
    return (c >= '0' && c <= '9' ? c - '0'
            : c >= 'a' && c <= 'f' ? c - 'a' + 10
            : c >= 'A' && c <= 'F' ? c - 'A' + 10
            : -1);
}

/* Slices: a piece of a text that somebody else owns. */

struct nsx_slice {
    const char *s;
    size_t n;
};

#define NSX_SLICE(LITERAL) ((struct nsx_slice) { LITERAL, sizeof LITERAL - 1 })

static inline bool
nsx_slice_equals(struct nsx_slice slice, const char *string)
{
    size_t n = strlen(string);
    return slice.n == n && (!n || !memcmp(slice.s, string, n));
}

/* True if 'b' has just the bytes of 'text'. */
static inline bool
buf_is(const struct nsx_buf *b, const char *text)
{
    return nsx_slice_equals((struct nsx_slice) { (const char *) b->data,
                                                 b->size }, text);
}

static inline bool
nsx_slice_starts_with(struct nsx_slice slice, const char *prefix)
{
    size_t n = strlen(prefix);
    return slice.n >= n && !memcmp(slice.s, prefix, n);
}

/* Returns where 'string' is in 'slice' first, or the end. */
static inline size_t
nsx_slice_find(struct nsx_slice slice, const char *string)
{
    size_t n = strlen(string);

    for (size_t i = 0; i + n <= slice.n; i++) {
        const char *p = memchr(slice.s + i, *string, slice.n - n + 1 - i);

        if (!p) {
            break;
        }
        i = (size_t) (p - slice.s);
        if (!memcmp(p, string, n)) {
            return i;
        }
    }
    return slice.n;
}

static inline char
nsx_to_lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char) (c - 'A' + 'a') : c;
}

/* True if both are the same but for their case. */
static inline bool
nsx_is_word(struct nsx_slice slice, const char *word)
{
    size_t i = 0;

    if (slice.n != strlen(word)) {
        return false;
    }
    while (i < slice.n && nsx_to_lower(slice.s[i]) == nsx_to_lower(word[i])) {
        i++;
    }
    return i == slice.n;
}

struct nsx_slice nsx_slice_trim(struct nsx_slice);

/* Holes: the '{name}'s of a template. */

struct nsx_hole {
    char name[32];              /* What stands between the braces. */
    uint32_t offset;            /* From the start of the message... */
    uint16_t width;             /* ...of the big-endian field that has it. */
    uint16_t bit_offset;        /* From that field's least significant bit. */
    uint16_t n_bits;            /* Bits that a column's value may use. */
};

struct nsx_holes {
    struct nsx_hole *list;
    size_t n, allocated;
};

void nsx_holes_uninit(struct nsx_holes *);

#define NSX_DEFAULT_PRIORITY 0x8000     /* Of a flow. */

/* Parsing (text.c). */

struct nsx_match;

struct nsx_parser {
    const char *text;           /* Start of the whole text: for positions. */
    nsx_tables tables;
    size_t origin;              /* Offset of the message in the buffer. */
    struct nsx_holes *holes;    /* NULL where a hole is an error. */
    struct nsx_error *error;

    /* For a flow's actions: the match that has to satisfy their prerequisites
     * (NULL: nobody asks), and the lowest table that goto_table may name (the
     * flow's table plus one; 0: any). */
    const struct nsx_match *match;
    unsigned int min_goto;
};

/* Writes an error about 'at' and returns EINVAL. */
int nsx_parse_error(const struct nsx_parser *, struct nsx_slice at,
                    const char *format, ...) NSX_PRINTF(3, 4);

/* The errors of OpenFlow: NSX_OFPBRC_BAD_LEN, and so on. */
enum nsx_ofperr {
    NSX_NO_OFPERR,
#define NSX_ERROR(EXPERIMENTER, TYPE, CODE, NAME) NSX_##NAME,
#include "errors.def"
#undef NSX_ERROR
};

/* Writes an error at byte 'position' of a message and returns EPROTO. */
int nsx_decode_error(struct nsx_error *, enum nsx_ofperr, size_t position,
                     const char *format, ...) NSX_PRINTF(4, 5);

/* Splits 'key', 'key=value', 'key:value' or 'key(value)' (nested parentheses
 * and brackets are kept whole) off the front of 'rest', with the commas and
 * white space before it.  Returns false at the end of the text.  Sets
 * '*delimiter' to '=', ':', '(' or 0.  As ofputil_parse_key_value() in Open
 * vSwitch's lib/ofp-parse.c. */
bool nsx_next_key_value(struct nsx_slice *rest, struct nsx_slice *key,
                        struct nsx_slice *value, char *delimiter);

/* Splits the next word, up to one of 'separators', off the front of 'rest'.
 * Parentheses, brackets and braces are kept whole. */
bool nsx_next_word(struct nsx_slice *rest, const char *separators,
                   struct nsx_slice *word);

/* A digit's value; 16 for what is none. */
static inline unsigned int
nsx_digit_value(char c)
{
    return (c >= '0' && c <= '9' ? (unsigned int) (c - '0')
            : c >= 'a' && c <= 'f' ? (unsigned int) (c - 'a') + 10
            : c >= 'A' && c <= 'F' ? (unsigned int) (c - 'A') + 10
            : 16);
}

/* Appends 'digit' to the number 'x' in 'base', modulo 2^64.  Returns false if
 * it is more than that. */
static inline bool
nsx_append_digit(uint64_t *x, unsigned int digit, unsigned int base)
{
    /* Only a large number can be: most need no division. */
    bool fits = !(*x >> 60) || *x <= (UINT64_MAX - digit) / base;

    *x = *x * base + digit;
    return fits;
}

/* A decimal or 0x-hexadecimal number of at most 'max'. */
int nsx_parse_number(const struct nsx_parser *, struct nsx_slice,
                     const char *what, uint64_t max, uint64_t *);

/* True, with its name, where 'text' is '{name}'. */
bool nsx_is_hole(struct nsx_slice text, struct nsx_slice *name);

/* Notes the hole 'name' for the 'width' bytes at 'offset' of the buffer
 * (nsx_parser.origin is subtracted).  Fails where holes are not allowed. */
int nsx_add_hole(const struct nsx_parser *, struct nsx_slice name,
                 size_t offset, size_t width, size_t bit_offset,
                 size_t n_bits);

/* A number of 'width' bytes at 'offset' of 'buf', or a hole for it. */
int nsx_parse_number_or_hole(const struct nsx_parser *, struct nsx_slice,
                             const char *what, uint64_t max,
                             struct nsx_buf *, size_t offset, size_t width);

/* A table: its number or, with names, its name. */
int nsx_parse_table(const struct nsx_parser *, struct nsx_slice,
                    uint8_t *table);
void nsx_format_table(struct nsx_buf *, nsx_tables, uint8_t table);

/* OpenFlow ports: LOCAL, IN_PORT and the like, and numbers. */
int nsx_parse_port(const struct nsx_parser *, struct nsx_slice, uint32_t *);
bool nsx_port_is_valid(uint32_t port);
void nsx_format_port(struct nsx_buf *, uint32_t port);

#endif /* core.h */
