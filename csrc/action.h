/* action.h: actions and instructions.
 *
 * actions.def is the single table: the words of the text and the types on the
 * wire, each with its verbs (parse; check, format).  The canonical form is
 * OpenFlow 1.5's bytes: parsing writes them, formatting reads them. */
#ifndef NSX_ACTION_H
#define NSX_ACTION_H 1

#include "core.h"

enum nsx_action_context {
    NSX_IN_FLOW,                /* A flow's actions=: instructions too. */
    NSX_IN_BUCKET,              /* A group's bucket. */
    NSX_IN_PACKET_OUT,
    NSX_IN_CT_EXEC,             /* ct(exec(...)): set_field, load, move. */
    NSX_IN_CLONE,               /* clone(...) */
    NSX_IN_WRITE_ACTIONS,       /* write_actions(...): an action set. */
};

/* Parses the text after "actions=" and appends the action list: no
 * instructions, and nothing for "drop". */
int nsx_actions_parse(const struct nsx_parser *, struct nsx_slice text,
                      enum nsx_action_context, struct nsx_buf *);

/* Parses the text after "actions=" of a flow and appends its instructions
 * (none for "drop"). */
int nsx_instructions_parse(const struct nsx_parser *, struct nsx_slice text,
                           struct nsx_buf *);

/* Check 'n' bytes of actions or instructions, 'position' bytes into a
 * message. */
int nsx_actions_check(const uint8_t *, size_t n, size_t position,
                      enum nsx_action_context, struct nsx_error *);
int nsx_instructions_check(const uint8_t *, size_t n, size_t position,
                           struct nsx_error *);

/* Print checked bytes as a flow dump does, without "actions=": "drop" for
 * none. */
void nsx_actions_format(struct nsx_buf *, const uint8_t *, size_t n,
                        nsx_tables);
void nsx_instructions_format(struct nsx_buf *, const uint8_t *, size_t n,
                             nsx_tables);

#endif /* action.h */
