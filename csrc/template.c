/* template.c: making templates: a text is parsed once, and what its holes
 * patch is remembered. */

#include "template.h"

#include <stdlib.h>

#include "desired.h"

static int parse(struct nsx_template *, const struct nsx_parser *,
                 struct nsx_slice text, struct nsx_buf *);
static void take_holes(struct nsx_template *, const struct nsx_holes *);

int
nsx_template_new(const char *text, size_t len, nsx_tables tables,
                 struct nsx_template **templatep, struct nsx_error *error)
{
    struct nsx_slice slice = nsx_slice_trim((struct nsx_slice) { text, len });
    struct nsx_template *t = nsx_xcalloc(1, sizeof *t);
    struct nsx_holes holes = { NULL, 0, 0 };
    struct nsx_buf buf = NSX_BUF_INITIALIZER;
    struct nsx_parser parser = {
        .text = text,
        .tables = tables,
        .holes = &holes,
        .error = error,
    };

    *templatep = NULL;
    t->is_group = nsx_slice_starts_with(slice, "group_id=");
    int retval = parse(t, &parser, slice, &buf);
    if (!retval) {
        t->bytes = nsx_xmalloc(buf.size);
        memcpy(t->bytes, buf.data, buf.size);
        take_holes(t, &holes);
        *templatep = t;
    } else {
        free(t);
    }
    nsx_holes_uninit(&holes);
    nsx_buf_uninit(&buf);
    return retval;
}

void
nsx_template_free(struct nsx_template *t)
{
    if (t) {
        free(t->bytes);
        free(t->holes);
        free(t->patches);
        free(t);
    }
}

bool
nsx_template_is_group(const struct nsx_template *t)
{
    return t->is_group;
}

size_t
nsx_template_n_holes(const struct nsx_template *t)
{
    return t->n_holes;
}

const char *
nsx_template_hole(const struct nsx_template *t, size_t i, size_t *n_bytes,
                  size_t *n_bits, bool *in_bucket)
{
    const struct nsx_template_hole *hole = &t->holes[i];

    *n_bytes = hole->n_bytes;
    *n_bits = hole->n_bits;
    *in_bucket = hole->in_bucket;
    return hole->name;
}

/* Parses 'text' into 'buf' and sets the lengths of the message's parts. */
static int
parse(struct nsx_template *t, const struct nsx_parser *parser,
      struct nsx_slice text, struct nsx_buf *buf)
{
    if (!t->is_group) {
        int retval = nsx_flow_parse__(parser, text, NSX_FLOW_ADD, buf);
        t->head = buf->size;
        return retval;
    }

    int retval = nsx_group_parse__(parser, text, NSX_GROUP_ADD_OR_MOD, buf);
    if (retval) {
        return retval;
    }
    size_t len = nsx_get16(buf->data + 2);
    t->head = NSX_GROUP_MOD_LEN;
    t->bucket = nsx_get16(buf->data + 16);
    t->tail = len - t->head - t->bucket;
    if (len != buf->size || !t->bucket
        || nsx_get16(buf->data + t->head) != t->bucket) {
        return nsx_parse_error(parser, text, "a group's template has exactly "
                               "one bucket, which is repeated");
    }
    if (t->head + t->bucket + t->tail > NSX_BUNDLED_MAX) {
        return nsx_parse_error(parser, text, "the bucket does not fit into a "
                               "bundle's message");
    }
    return 0;
}

/* Returns the index of the hole 'name', which is added if it is new. */
static size_t
hole_index(struct nsx_template *t, const struct nsx_hole *hole)
{
    for (size_t i = 0; i < t->n_holes; i++) {
        if (!strcmp(t->holes[i].name, hole->name)) {
            return i;
        }
    }

    struct nsx_template_hole *new = &t->holes[t->n_holes];
    memcpy(new->name, hole->name, sizeof new->name);
    new->n_bytes = hole->width;
    new->n_bits = hole->n_bits;
    new->in_bucket = true;
    return t->n_holes++;
}

static void
take_holes(struct nsx_template *t, const struct nsx_holes *holes)
{
    t->holes = nsx_xcalloc(holes->n + 1, sizeof *t->holes);
    t->patches = nsx_xcalloc(holes->n + 1, sizeof *t->patches);
    t->number_buckets = t->is_group;
    for (size_t i = 0; i < holes->n; i++) {
        const struct nsx_hole *hole = &holes->list[i];
        struct nsx_patch *patch = &t->patches[t->n_patches++];
        struct nsx_template_hole *named;

        patch->hole = hole_index(t, hole);
        patch->width = hole->width;
        patch->shift = hole->bit_offset;
        patch->n_bits = hole->n_bits;
        if (hole->offset < t->head) {
            patch->place = NSX_PATCH_HEAD;
            patch->offset = hole->offset;
        } else if (hole->offset < t->head + t->bucket) {
            patch->place = NSX_PATCH_BUCKET;
            patch->offset = hole->offset - t->head;
            if (patch->offset == NSX_BUCKET_ID) {
                t->number_buckets = false;
            }
        } else {
            patch->place = NSX_PATCH_TAIL;
            patch->offset = hole->offset - t->head - t->bucket;
        }

        named = &t->holes[patch->hole];
        if (patch->n_bits < named->n_bits) {
            named->n_bytes = patch->width;
            named->n_bits = patch->n_bits;
        }
        named->in_bucket = (named->in_bucket
                            && patch->place == NSX_PATCH_BUCKET);
    }
}
