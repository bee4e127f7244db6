/* desired_flow.c: the desired set's flows: cookies, whose they are, and what
 * a delta says of them. */

#include "desired.h"

uint64_t
nsx_flow_cookie(uint16_t prefix, const uint8_t *flow_mod, size_t len)
{
    /* All but header and cookie. */
    uint64_t hash = nsx_hash_bytes(flow_mod + FM_COOKIE_MASK,
                                   len - FM_COOKIE_MASK, 0);
    return (uint64_t) prefix << 48 | hash >> 16;
}

int
nsx_desired_owners(const struct nsx_desired *d, const void *data_, size_t len,
                   const struct nsx_flow_row *rows, size_t n,
                   uint64_t *owners, struct nsx_error *error)
{
    const uint8_t *data = data_;

    for (size_t i = 0; i < n; i++) {
        const struct nsx_flow_row *row = &rows[i];

        if (row->match > len || row->match_len > len - row->match) {
            return nsx_decode_error(error, NSX_OFPBRC_BAD_LEN, len,
                                    "flow beyond its %zu bytes", len);
        }
        const uint8_t *match = data + row->match;
        uint64_t hash = nsx_flow_key_hash(row->table_id, row->priority, match,
                                          row->match_len);
        const struct nsx_slot *slot
            = nsx_flow_slot(d, hash, row->table_id, row->priority, match,
                            row->match_len);
        owners[i] = slot ? slot->claims->owner->id : UINT64_MAX;
    }
    return 0;
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
