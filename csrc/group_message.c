/* group_message.c: what is done to a group_mod when all of it has been parsed:
 * numbering its buckets, and cutting it into messages. */

#include "group.h"

#include <stdlib.h>

/* Numbers. */

static int
compare_ids(const void *a_, const void *b_)
{
    uint32_t a, b;

    memcpy(&a, a_, sizeof a);
    memcpy(&b, b_, sizeof b);
    return a < b ? -1 : a > b;
}

/* Appends the ids of the buckets at 'start'...'end' that have one, sorted. */
static size_t
sort_ids(const uint8_t *start, const uint8_t *end, struct nsx_buf *ids)
{
    for (const uint8_t *p = start; p < end; p += nsx_get16(p)) {
        uint32_t id = nsx_get32(p + 4);

        if (id != NSX_BUCKET_ALL) {
            nsx_put(ids, &id, sizeof id);
        }
    }

    size_t n = ids->size / sizeof(uint32_t);
    if (n) {
        qsort(ids->data, n, sizeof(uint32_t), compare_ids);
    }
    return n;
}

bool
nsx_group_repeats_id(const uint8_t *buckets, size_t len, uint32_t *id)
{
    const uint8_t *end = buckets + len;
    struct nsx_buf ids = NSX_BUF_INITIALIZER;
    const uint8_t *last = NULL;
    bool ascending = true;
    bool repeats = false;

    for (const uint8_t *p = buckets; p < end && ascending; p += nsx_get16(p)) {
        ascending = !last || nsx_get32(last + 4) < nsx_get32(p + 4);
        last = p;
    }
    if (ascending) {
        return false;
    }

    size_t n = sort_ids(buckets, end, &ids);
    for (size_t i = 1; !repeats && i < n; i++) {
        const uint8_t *p = ids.data + i * sizeof *id;

        repeats = !compare_ids(p - sizeof *id, p);
        memcpy(id, p, sizeof *id);
    }
    nsx_buf_uninit(&ids);
    return repeats;
}

void
nsx_group_number_buckets(struct nsx_buf *buf, size_t start)
{
    size_t first = start + NSX_GROUP_MOD_LEN;
    size_t i = first;

    while (i < buf->size && nsx_get32(buf->data + i + 4) != NSX_BUCKET_ALL) {
        i += nsx_get16(buf->data + i);
    }
    if (i >= buf->size) {
        return;
    }

    struct nsx_buf ids = NSX_BUF_INITIALIZER;   /* Sorted uint32_t. */
    size_t n = sort_ids(buf->data + first, buf->data + buf->size, &ids);
    uint32_t next = 0;
    size_t used = 0;

    for (; i < buf->size; i += nsx_get16(buf->data + i)) {
        if (nsx_get32(buf->data + i + 4) != NSX_BUCKET_ALL) {
            continue;
        }
        while (used < n
               && compare_ids(ids.data + used * sizeof next, &next) <= 0) {
            next += !compare_ids(ids.data + used * sizeof next, &next);
            used++;
        }
        nsx_set32(buf->data + i + 4, next++);
    }
    nsx_buf_uninit(&ids);
}

/* Messages. */

static void
finish_message(struct nsx_buf *buf, size_t start, size_t buckets_len)
{
    uint8_t *p = buf->data + start;

    nsx_set16(p + 2, (uint16_t) (buf->size - start));
    nsx_set16(p + 16, (uint16_t) buckets_len);
}

/* Returns the bytes of those buckets at the front of the 'n' bytes at 'p' that
 * fit into 'max', and sets '*last' to the id of the last of them. */
static size_t
take_buckets(const uint8_t *p, size_t n, size_t max, uint32_t *last)
{
    size_t used = 0;

    while (used < n && used + nsx_get16(p + used) <= max) {
        *last = nsx_get32(p + used + 4);
        used += nsx_get16(p + used);
    }
    return used;
}

/* Appends the messages that the group_mod 'whole', of which the last
 * 'tail_len' bytes are properties, becomes. */
static int
split_message(const struct nsx_parser *parser, struct nsx_slice at,
              const struct nsx_buf *whole, size_t tail_len,
              struct nsx_buf *buf)
{
    const uint8_t *buckets = whole->data + NSX_GROUP_MOD_LEN;
    size_t buckets_len = whole->size - tail_len - NSX_GROUP_MOD_LEN;
    bool at_end = (nsx_get16(whole->data + 8) != NSX_GROUP_INSERT_BUCKET
                   || nsx_get32(whole->data + 20) == NSX_BUCKET_LAST);
    uint32_t last = NSX_BUCKET_LAST;
    size_t done = 0;

    while (done < buckets_len) {
        size_t room = (NSX_MESSAGE_MAX - NSX_GROUP_MOD_LEN
                       - (done ? 0 : tail_len));
        uint32_t after = at_end ? NSX_BUCKET_LAST : last;
        size_t n = take_buckets(buckets + done, buckets_len - done, room,
                                &last);
        if (!n) {
            return nsx_parse_error(parser, at, "a bucket is too long");
        }

        size_t message = buf->size;
        nsx_put(buf, whole->data, NSX_GROUP_MOD_LEN);
        nsx_put(buf, buckets + done, n);
        if (!done) {
            nsx_put(buf, buckets + buckets_len, tail_len);
        } else {
            nsx_set16(buf->data + message + 8, NSX_GROUP_INSERT_BUCKET);
            nsx_set32(buf->data + message + 20, after);
        }
        finish_message(buf, message, n);
        done += n;
    }
    return 0;
}

int
nsx_group_finish(const struct nsx_parser *parser, struct nsx_slice at,
                 struct nsx_buf *buf, size_t start, size_t tail)
{
    if (buf->size - start <= NSX_MESSAGE_MAX) {
        finish_message(buf, start, tail - start - NSX_GROUP_MOD_LEN);
        return 0;
    }

    struct nsx_buf whole = NSX_BUF_INITIALIZER;
    size_t tail_len = buf->size - tail;

    nsx_put(&whole, buf->data + start, buf->size - start);
    buf->size = start;
    int error = split_message(parser, at, &whole, tail_len, buf);
    nsx_buf_uninit(&whole);
    return error;
}
