/* buf.c: growing buffers, and the lists of holes. */

#include "core.h"

#include <stdio.h>
#include <stdlib.h>

void
nsx_buf_init(struct nsx_buf *b)
{
    *b = (struct nsx_buf) NSX_BUF_INITIALIZER;
}

void
nsx_buf_uninit(struct nsx_buf *b)
{
    free(b->data);
    nsx_buf_init(b);
}

/* Grows 'b', which has too little room for 'n' more bytes.  Doubling makes
 * appending cost constant time on average. */
static void
buf_grow(struct nsx_buf *b, size_t n)
{
    if (n > SIZE_MAX / 2 - b->size) {
        abort();
    }

    size_t allocated = b->allocated ? b->allocated * 2 : 256;
    if (allocated < b->size + n) {
        allocated = b->size + n;
    }
    uint8_t *data = realloc(b->data, allocated);
    if (!data) {
        abort();
    }
    b->data = data;
    b->allocated = allocated;
}

uint8_t *
nsx_buf_reserve(struct nsx_buf *b, size_t n)
{
    if (!b->data || n > b->allocated - b->size) {
        buf_grow(b, n);
    }
    return b->data + b->size;
}

uint8_t *
nsx_put_uninit(struct nsx_buf *b, size_t n)
{
    uint8_t *p = nsx_buf_reserve(b, n);
    b->size += n;
    return p;
}

uint8_t *
nsx_put_zeros(struct nsx_buf *b, size_t n)
{
    return memset(nsx_put_uninit(b, n), 0, n);
}

uint8_t *
nsx_put(struct nsx_buf *b, const void *p, size_t n)
{
    uint8_t *dst = nsx_put_uninit(b, n);
    if (n) {
        memcpy(dst, p, n);
    }
    return dst;
}

void
nsx_put8(struct nsx_buf *b, uint8_t x)
{
    *nsx_put_uninit(b, 1) = x;
}

void
nsx_put16(struct nsx_buf *b, uint16_t x)
{
    nsx_set16(nsx_put_uninit(b, 2), x);
}

void
nsx_put32(struct nsx_buf *b, uint32_t x)
{
    nsx_set32(nsx_put_uninit(b, 4), x);
}

void
nsx_put64(struct nsx_buf *b, uint64_t x)
{
    nsx_set64(nsx_put_uninit(b, 8), x);
}

void
nsx_pad(struct nsx_buf *b, size_t start, size_t align)
{
    size_t n = b->size - start;
    nsx_put_zeros(b, NSX_ROUND_UP(n, align) - n);
}

void
nsx_puts(struct nsx_buf *b, const char *s)
{
    nsx_put(b, s, strlen(s));
}

void
nsx_printf(struct nsx_buf *b, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    int n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (n <= 0) {
        return;
    }

    /* vsnprintf() writes a null after the text: room for it, not size. */
    char *p = (char *) nsx_buf_reserve(b, (size_t) n + 1);
    va_start(args, format);
    vsnprintf(p, (size_t) n + 1, format, args);
    va_end(args);
    b->size += (size_t) n;
}

void
nsx_holes_uninit(struct nsx_holes *holes)
{
    free(holes->list);
    *holes = (struct nsx_holes) { NULL, 0, 0 };
}
