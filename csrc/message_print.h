/* message_print.h: what the printers of messages share. */
#ifndef NSX_MESSAGE_PRINT_H
#define NSX_MESSAGE_PRINT_H 1

#include "message.h"

#define NSX_DEFAULT_PRIORITY 0x8000

/* One message, or the part of one that is left. */
struct nsx_print {
    const uint8_t *msg;         /* The message: positions count from here. */
    const uint8_t *p;           /* What isn't printed yet... */
    size_t n;                   /* ...and its size. */
    const struct nsx_header *header;
    nsx_tables tables;
    unsigned int depth;         /* Messages that this one is in. */
    struct nsx_buf *out;
    struct nsx_error *error;
};

/* Removes the 'n' bytes at the front, which the caller knows are there. */
const uint8_t *nsx_print_pull(struct nsx_print *, size_t n);

/* Blames what is at the front; returns EPROTO. */
int nsx_print_fail(struct nsx_print *, const char *format, ...)
    NSX_PRINTF(2, 3);

/* Removes a match from the front, prints it, and where it has 'priority' that
 * isn't the default, puts this before it.  'loose': fields that we don't know
 * are left out. */
int nsx_print_match(struct nsx_print *, bool loose, int priority);

/* Prints a message that is in another. */
void nsx_print_inner(struct nsx_print *, const uint8_t *, size_t);

/* Prints the names of the 'bits', which 'names' has from bit 0 on, and what
 * has no name as a number. */
void nsx_print_bits(struct nsx_buf *, uint32_t bits,
                    const char *const *names, size_t n_names);

void nsx_print_multipart_flags(struct nsx_print *);

/* Prints why a packet was sent to the controller. */
void nsx_print_reason(struct nsx_buf *, uint8_t reason);

/* The printers: each prints what follows the header's name and xid.  A body
 * has the length that messages.def asks for. */
#define NSX_MESSAGE(TYPE, ID, BODY, UNIT, PRINT) \
    int nsx_print_##PRINT(struct nsx_print *);
#define NSX_MULTIPART(MESSAGE, TYPE, ID, WHAT, BODY, UNIT, PRINT) \
    int nsx_print_##PRINT(struct nsx_print *);
#define NSX_EXPERIMENTER(TYPE, ID, BODY, UNIT, PRINT) \
    int nsx_print_##PRINT(struct nsx_print *);
#include "messages.def"
#undef NSX_MESSAGE
#undef NSX_MULTIPART
#undef NSX_EXPERIMENTER

#endif /* message_print.h */
