/* template.h: what a template is, to those that make one and those that stamp
 * with it. */
#ifndef NSX_TEMPLATE_H
#define NSX_TEMPLATE_H 1

#include "core.h"

#define NSX_BUCKET_ID 4          /* Offset of a bucket's id. */

enum nsx_patch_place {
    NSX_PATCH_HEAD,             /* A flow, or a group before its buckets. */
    NSX_PATCH_BUCKET,
    NSX_PATCH_TAIL,             /* A group's properties. */
};

/* A field that has a hole's value, or some bits of it, which are zeros in the
 * template. */
struct nsx_patch {
    size_t hole;                /* Index in 'holes'. */
    size_t offset;              /* From the start of its place. */
    size_t width;               /* Bytes of the field. */
    unsigned int shift;         /* Of the value, from the last bit. */
    unsigned int n_bits;
    enum nsx_patch_place place;
};

struct nsx_template_hole {
    char name[32];
    size_t n_bytes;             /* Of the narrowest field... */
    size_t n_bits;              /* ...and what it has for a value. */
    bool in_bucket;             /* A column has a row a bucket. */
};

struct nsx_template {
    bool is_group;

    /* The message: a whole flow_mod, or a group_mod of 'bucket' bytes from
     * 'head' on and 'tail' bytes of properties after them. */
    uint8_t *bytes;
    size_t head, bucket, tail;

    bool number_buckets;        /* Their ids are no hole: 0, 1, ... */
    struct nsx_template_hole *holes;
    size_t n_holes;
    struct nsx_patch *patches;
    size_t n_patches;
};

#endif /* template.h */
