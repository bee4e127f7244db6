/* desired_read.c: from messages to what an owner claims. */

#include "desired.h"

void
nsx_claims_init(struct nsx_claims *claims)
{
    claims->first = NULL;
    claims->end = &claims->first;
}

void
nsx_claims_append(struct nsx_claims *claims, struct nsx_claim *claim)
{
    claim->sibling = NULL;
    *claims->end = claim;
    claims->end = &claim->sibling;
}

void
nsx_claims_free(struct nsx_claims *claims)
{
    struct nsx_claim *claim = claims->first;

    while (claim) {
        struct nsx_claim *next = claim->sibling;
        free(claim);
        claim = next;
    }
    nsx_claims_init(claims);
}

static struct nsx_claim *
claim_new(size_t len)
{
    struct nsx_claim *claim = nsx_xmalloc(sizeof *claim + len);

    memset(claim, 0, sizeof *claim);
    claim->len = (uint32_t) len;
    return claim;
}

static int
read_flow(const struct nsx_desired *d, const uint8_t *msg, size_t len,
          size_t position, struct nsx_claims *claims, struct nsx_error *error)
{
    struct nsx_flow_view view;
    enum nsx_flow_command command;

    int retval = nsx_flow_mod_decode(msg, len, &command, &view, error);
    if (retval) {
        error->position += position;
        return retval;
    }
    if (command != NSX_FLOW_ADD) {
        return nsx_decode_error(error, NSX_NO_OFPERR, position + FM_COMMAND,
                                "a flow that is desired must be added; this "
                                "flow_mod's command is %d", (int) command);
    } else if (len > NSX_FLOW_MOD_MAX) {
        return nsx_decode_error(error, NSX_NO_OFPERR, position + 2,
                                "a flow of %zu bytes: with more than %d, Open "
                                "vSwitch could not show it", len,
                                NSX_FLOW_MOD_MAX);
    }

    struct nsx_claim *claim = claim_new(len);
    memcpy(claim->data, msg, len);
    nsx_set32(claim->data + 4, 0);
    nsx_set64(claim->data + FM_COOKIE, nsx_flow_cookie(d->prefix, msg, len));
    nsx_claims_append(claims, claim);
    return 0;
}

static int
finish_group(struct nsx_canon *canon, size_t position,
             struct nsx_claims *claims, struct nsx_error *error)
{
    int retval = nsx_canon_end(canon, position, error);
    if (retval) {
        return retval;
    }

    size_t packed_len = canon->packed.size;
    size_t properties_len = canon->properties.size;
    struct nsx_claim *claim = claim_new(packed_len + properties_len);
    claim->is_group = true;
    claim->group_id = canon->group_id;
    claim->group_type = canon->type;
    claim->n_buckets = (uint32_t) canon->n_buckets;
    claim->properties_len = (uint16_t) properties_len;
    if (packed_len) {
        memcpy(claim->data, canon->packed.data, packed_len);
    }
    if (properties_len) {
        memcpy(claim->data + packed_len, canon->properties.data,
               properties_len);
    }
    nsx_claims_append(claims, claim);
    return 0;
}

/* Reads the group_mod of 'len' bytes at 'position' in 'msgs', and as many
 * bytes of the INSERT_BUCKETs for the same group that follow it before 'end';
 * adds what they take to '*position'. */
static int
read_group(const struct nsx_desired *d, const uint8_t *msgs, size_t *position,
           size_t len, size_t end, struct nsx_canon *canon,
           struct nsx_claims *claims, struct nsx_error *error)
{
    size_t first = *position, p = first;
    struct nsx_group_view view;

    int retval = nsx_group_mod_decode(msgs + p, len, &view, error);
    if (retval) {
        error->position += p;
        return retval;
    }
    if (view.command != NSX_GROUP_ADD
        && view.command != NSX_GROUP_ADD_OR_MOD) {
        return nsx_decode_error(error, NSX_NO_OFPERR, p + 8,
                                "a group that is desired must be added; the "
                                "command for group %"PRIu32" is %"PRIu16,
                                view.group_id, view.command);
    } else if (view.group_id < d->first_group
               || view.group_id > d->last_group) {
        return nsx_decode_error(error, NSX_NO_OFPERR, p + 12,
                                "group %"PRIu32" is not one of this set, "
                                "whose ids are %"PRIu32" to %"PRIu32,
                                view.group_id, d->first_group, d->last_group);
    }
    retval = nsx_canon_start(canon, &view, p, error);
    p += len;

    uint32_t group_id = view.group_id;
    while (!retval && end - p >= NSX_GROUP_MOD_LEN
           && msgs[p + 1] == NSX_OFPT_GROUP_MOD
           && nsx_get16(msgs + p + 8) == NSX_GROUP_INSERT_BUCKET
           && nsx_get32(msgs + p + 12) == group_id) {
        len = nsx_get16(msgs + p + 2);
        retval = (len > end - p
                  ? nsx_decode_error(error, NSX_NO_OFPERR, 2, "the message "
                                     "has %zu bytes, of which only %zu are "
                                     "there", len, end - p)
                  : nsx_group_mod_decode(msgs + p, len, &view, error));
        if (retval) {
            error->position += p;
        } else if (view.command_bucket_id != NSX_BUCKET_LAST) {
            retval = nsx_decode_error(error, NSX_NO_OFPERR, p + 20,
                                      "buckets that continue group %"PRIu32" "
                                      "must be inserted last", group_id);
        } else {
            retval = nsx_canon_continue(canon, &view, p, error);
        }
        p += len;
    }
    if (!retval) {
        retval = finish_group(canon, first, claims, error);
    }
    *position = p;
    return retval;
}

int
nsx_claims_read(const struct nsx_desired *d, const uint8_t *msgs,
                size_t start, size_t end, struct nsx_claims *claims,
                struct nsx_error *error)
{
    struct nsx_canon canon;
    int retval = 0;

    nsx_canon_init(&canon);
    while (start < end && !retval) {
        struct nsx_header header;

        retval = nsx_header_decode(msgs + start, end - start, &header, error);
        if (retval) {
            error->position += start;
        } else if (header.length > end - start) {
            retval = nsx_decode_error(error, NSX_NO_OFPERR, start + 2,
                                      "the message has %"PRIu16" bytes, of "
                                      "which only %zu are there",
                                      header.length, end - start);
        } else if (header.type == NSX_OFPT_FLOW_MOD) {
            retval = read_flow(d, msgs + start, header.length, start, claims,
                               error);
            start += header.length;
        } else if (header.type == NSX_OFPT_GROUP_MOD) {
            retval = read_group(d, msgs, &start, header.length, end, &canon,
                                claims, error);
        } else {
            retval = nsx_decode_error(error, NSX_NO_OFPERR, start + 1,
                                      "a message of type %"PRIu8" cannot be "
                                      "desired: only flow_mods and group_mods "
                                      "can", header.type);
        }
    }
    nsx_canon_uninit(&canon);
    return retval;
}
