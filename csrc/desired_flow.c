/* desired_flow.c: the desired set's flows: cookies, and what a delta says of
 * them. */

#include "desired.h"

uint64_t
nsx_flow_cookie(uint16_t prefix, const uint8_t *flow_mod, size_t len)
{
    /* All but header and cookie. */
    uint64_t hash = nsx_hash_bytes(flow_mod + 16, len - 16, 0);
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
    uint8_t *fm = nsx_put_zeros(delta, NSX_FLOW_MOD_LEN);

    fm[0] = NSX_OFP_VERSION;
    fm[1] = NSX_OFPT_FLOW_MOD;
    nsx_set16(fm + 2, (uint16_t) (NSX_FLOW_MOD_LEN + match_len));
    fm[24] = table_id;
    fm[25] = NSX_FLOW_DELETE_STRICT;
    nsx_set16(fm + 30, priority);
    memset(fm + 32, 0xff, 12);          /* No buffer; any port; any group. */
    nsx_put(delta, match, match_len);
    changes->messages++;
    changes->flows_deleted++;
}
