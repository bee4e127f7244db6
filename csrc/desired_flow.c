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
    uint8_t *fm = nsx_put_zeros(delta, FM_LEN);

    fm[0] = NSX_OFP_VERSION;
    fm[1] = NSX_OFPT_FLOW_MOD;
    nsx_set16(fm + 2, (uint16_t) (FM_LEN + match_len));
    fm[FM_TABLE_ID] = table_id;
    fm[FM_COMMAND] = NSX_FLOW_DELETE_STRICT;
    nsx_set16(fm + FM_PRIORITY, priority);
    memset(fm + FM_BUFFER_ID, 0xff, 12);    /* None; any port; any group. */
    nsx_put(delta, match, match_len);
    changes->messages++;
    changes->flows_deleted++;
}
