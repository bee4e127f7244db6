/* buf.c: memory, growing buffers, and the lists of holes. */

#include "core.h"

#include <stdio.h>
#include <stdlib.h>

static void *
check_memory(void *p)
{
    if (!p) {
        abort();
    }
    return p;
}

void *
nsx_xmalloc(size_t n)
{
    return check_memory(malloc(n));
}

void *
nsx_xcalloc(size_t n, size_t size)
{
    return check_memory(calloc(n, size));
}

void *
nsx_xrealloc(void *p, size_t n, size_t size)
{
    return check_memory(n > SIZE_MAX / size ? NULL : realloc(p, n * size));
}

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

void
nsx_buf_put(struct nsx_buf *b, const void *p, size_t n)
{
    nsx_put(b, p, n);
}

/* Doubling makes appending cost constant time on average. */
void
nsx_buf_grow(struct nsx_buf *b, size_t n)
{
    if (n > SIZE_MAX / 2 - b->size) {
        abort();
    }

    size_t allocated = b->allocated ? b->allocated * 2 : 256;
    if (allocated < b->size + n) {
        allocated = b->size + n;
    }
    b->data = nsx_xrealloc(b->data, allocated, 1);
    b->allocated = allocated;
}

void
nsx_put_decimal(struct nsx_buf *b, uint64_t x)
{
    uint8_t digits[20];
    size_t i = sizeof digits;

    do {
        digits[--i] = (uint8_t) ('0' + x % 10);
        x /= 10;
    } while (x);
    nsx_put(b, digits + i, sizeof digits - i);
}

static const char hex_digits[] = "0123456789abcdef";

void
nsx_put_hex(struct nsx_buf *b, uint64_t x, size_t n_digits)
{
    uint8_t digits[16];
    size_t i = sizeof digits;

    do {
        digits[--i] = (uint8_t) hex_digits[x & 15];
        x >>= 4;
    } while (x || sizeof digits - i < n_digits);
    nsx_puts(b, "0x");
    nsx_put(b, digits + i, sizeof digits - i);
}

void
nsx_put_hex_bytes(struct nsx_buf *b, const uint8_t *p, size_t n)
{
    while (n && !*p) {
        p++;
        n--;
    }
    if (!n) {
        nsx_puts(b, "0");
        return;
    }
    nsx_put_hex(b, *p, 1);
    while (--n) {
        p++;
        nsx_put8(b, (uint8_t) hex_digits[*p >> 4]);
        nsx_put8(b, (uint8_t) hex_digits[*p & 15]);
    }
}

void
nsx_printf(struct nsx_buf *b, const char *format, ...)
{
    size_t room = 64;

    /* vsnprintf() writes a null after the text: room for it, not size. */
    for (;;) {
        char *p = (char *) nsx_buf_reserve(b, room);
        va_list args;

        va_start(args, format);
        int n = vsnprintf(p, room, format, args);
        va_end(args);
        if (n < 0) {
            return;
        } else if ((size_t) n < room) {
            b->size += (size_t) n;
            return;
        }
        room = (size_t) n + 1;
    }
}

void
nsx_holes_uninit(struct nsx_holes *holes)
{
    free(holes->list);
    *holes = (struct nsx_holes) { NULL, 0, 0 };
}
