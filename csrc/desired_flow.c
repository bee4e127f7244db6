/* desired_flow.c: the desired set's flows: cookies, and what a delta says of
 * them. */

#include "desired.h"

uint64_t
nsx_flow_cookie(uint16_t prefix, const uint8_t *flow_mod, size_t len)
{
    /* All but header and cookie. */
    uint64_t hash = nsx_hash_bytes(flow_mod + FM_COOKIE_MASK,
                                   len - FM_COOKIE_MASK, 0);
    return (uint64_t) prefix << 48 | hash >> 16;
}

void
nsx_flow_put(const struct nsx_claim *claim, struct nsx_buf *delta,
             struct nsx_changes *changes)
{
    nsx_put(delta, claim->data, claim->len);
    changes->messages++;
}

void
nsx_flow_put_delete(uint8_t table_id, uint16_t priority, const uint8_t *match,
                    size_t match_len, struct nsx_buf *delta,
                    struct nsx_changes *changes)
{
    struct nsx_flow_view flow = {
        .priority = priority,
        .table_id = table_id,
        .match = match,
        .match_len = match_len,
    };

    nsx_flow_mod_encode(&flow, NSX_FLOW_DELETE_STRICT, 0, delta, NULL);
    changes->messages++;
    changes->flows_deleted++;
}
