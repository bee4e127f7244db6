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
    uint8_t *data = realloc(b->data, allocated);
    if (!data) {
        abort();
    }
    b->data = data;
    b->allocated = allocated;
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
