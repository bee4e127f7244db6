/* message.h: the frame that every OpenFlow message has, and their types.
 *
 * messages.def is the single table: a type's number, its name, and the shape
 * of its body. */
#ifndef NSX_MESSAGE_H
#define NSX_MESSAGE_H 1

#include "core.h"

#define NSX_OFP_VERSION 6               /* OpenFlow 1.5. */
#define NSX_OFP_HEADER_LEN 8            /* Version, type, length, xid. */
#define NSX_NICIRA 0x00002320           /* Experimenter: Open vSwitch. */
#define NSX_BUNDLE_ADD_LEN 16           /* What is before the message. */

enum nsx_message_type {
#define NSX_MESSAGE(TYPE, ID, BODY, UNIT, PRINT) NSX_OFPT_##ID = TYPE,
#include "messages.def"
#undef NSX_MESSAGE
};

struct nsx_header {
    uint8_t version;
    uint8_t type;
    uint16_t length;            /* Of the whole message: 8 or more. */
    uint32_t xid;
};

/* Reads the header of the message at the front of the 'len' bytes at 'p'.
 * All of the message need not be there. */
int nsx_header_decode(const void *p, size_t len, struct nsx_header *,
                      struct nsx_error *);

#endif /* message.h */
