/* message_print.h: what the printers of messages share. */
#ifndef NSX_MESSAGE_PRINT_H
#define NSX_MESSAGE_PRINT_H 1

#include "message.h"

/* One message, or the part of one that is left. */
struct nsx_print {
    const uint8_t *msg;         /* The message: positions count from here. */
    const uint8_t *p;           /* What isn't printed yet... */
    size_t n;                   /* ...and its size. */
    const struct nsx_header *header;
    nsx_tables tables;
    unsigned int depth;         /* Messages that this one is in. */
    bool quiet;                 /* One of these is an error. */
    struct nsx_buf *out;
    size_t kept;                /* Of the output, should the rest fail. */
    struct nsx_error *error;
};

/* Removes the 'n' bytes at the front, which the caller knows are there. */
const uint8_t *nsx_print_pull(struct nsx_print *, size_t n);

/* Keeps what has been printed so far, whatever becomes of the rest. */
void nsx_print_keep(struct nsx_print *);

/* Blames what is at the front; returns EPROTO. */
int nsx_print_fail(struct nsx_print *, enum nsx_ofperr, const char *format,
                   ...) NSX_PRINTF(3, 4);

/* Removes a match from the front, prints it, and where it has 'priority' that
 * isn't the default, puts this before it.  'loose': fields that we don't know
 * are left out. */
int nsx_print_match(struct nsx_print *, bool loose, uint16_t priority);

/* Prints a message that is in another. */
void nsx_print_inner(struct nsx_print *, const uint8_t *, size_t);

/* True if the 'len' bytes at 'msg' may be a message in a bundle. */
bool nsx_print_is_bundlable(struct nsx_print *, const uint8_t *msg,
                            size_t len);

/* Prints the names of the 'bits', which 'names' has from bit 0 on, and what
 * has no name as a number. */
void nsx_print_bits(struct nsx_buf *, uint32_t bits,
                    const char *const *names, size_t n_names);

/* As nsx_print_bits(), with another separator. */
void nsx_print_bits_by(struct nsx_buf *, uint32_t bits,
                       const char *const *names, size_t n_names,
                       char separator);

/* Prints bare fields, which have no header of a match, as nsx_print_match()
 * does.  'p' is for errors and where to print. */
int nsx_print_fields(struct nsx_print *p, const uint8_t *, size_t n,
                     bool loose, uint16_t priority);

/* Removes an entry of a list from the front: 'entry' is it, all of it.  It has
 * its length, of at least 'min', 'length_at' bytes from its start. */
int nsx_print_entry(struct nsx_print *, size_t length_at, size_t min,
                    struct nsx_print *entry);

/* Properties: type, length, value; padded to 8 bytes.  Those of type
 * NSX_EXPERIMENTER_PROPERTY have two numbers at the front of their value: an
 * experimenter's, and one of its types. */
enum { NSX_EXPERIMENTER_PROPERTY = 0xffff };

struct nsx_property {
    uint16_t type;
    const uint8_t *value;
    size_t n;
};

/* Removes a property from the front. */
int nsx_print_property(struct nsx_print *, struct nsx_property *);

/* Fails where the value of the property isn't of 'n' bytes, or, if 'or_more',
 * is of less. */
int nsx_property_check(struct nsx_print *, const struct nsx_property *,
                       size_t n, bool or_more);

/* Blames the property. */
int nsx_property_fail(struct nsx_print *, const struct nsx_property *,
                      enum nsx_ofperr, const char *why);

/* Blames a property for its type. */
int nsx_property_unknown(struct nsx_print *, const struct nsx_property *);

/* Statistics (struct ofp_oxs_stat); all ones where the switch gave none. */
struct nsx_oxs {
    uint32_t duration_sec, duration_nsec, flow_count;
    uint64_t n_packets, n_bytes;
};

/* Removes statistics from the front. */
int nsx_print_oxs(struct nsx_print *, struct nsx_oxs *);

/* Small things: "1.5s"; a name and a count, "?" where that is all ones; a MAC
 * address; text up to a null; bytes as Open vSwitch dumps them. */
void nsx_print_duration(struct nsx_buf *, uint32_t sec, uint32_t nsec);
void nsx_print_count(struct nsx_buf *, const char *name, uint64_t);
void nsx_print_mac(struct nsx_buf *, const uint8_t *);
void nsx_print_text(struct nsx_buf *, const uint8_t *, size_t);
void nsx_print_hex_dump(struct nsx_buf *, const uint8_t *, size_t);

/* Bytes as one number: "0x0", "0x1f"; and as bytes: "00.1f". */
void nsx_print_hex(struct nsx_buf *, const uint8_t *, size_t);
void nsx_print_dotted(struct nsx_buf *, const uint8_t *, size_t);

/* The names of a bitmap of OFPAT_*, "<none>" for none; and those of its bits
 * that have one. */
void nsx_print_action_names(struct nsx_buf *, uint32_t bits);
uint32_t nsx_print_known_actions(uint32_t bits);

/* Prints that tables 'first' to 'last' are like the one before; 'first' may be
 * -1: none is. */
void nsx_print_ditto(struct nsx_buf *, int first, int last);

/* A packet-in: what comes before its fields, and what after them, where the
 * packet is what is left. */
void nsx_print_packet_source(struct nsx_print *, uint8_t table,
                             uint64_t cookie, size_t total_len);
void nsx_print_packet_data(struct nsx_print *, uint32_t buffer_id,
                           size_t total_len, uint8_t reason);
void nsx_print_packet_sizes(struct nsx_buf *, uint32_t buffer_id,
                            size_t total_len, size_t data_len,
                            uint8_t reason);

/* Checks the 'n' bytes of fields, all of which are there, of a packet-out,
 * 'position' bytes into it: they may only say what a packet can't. */
int nsx_packet_out_check(const uint8_t *fields, size_t n, size_t position,
                         struct nsx_error *);

/* Prints what an Ethernet frame is, as a flow, and its checksum. */
void nsx_print_packet(struct nsx_buf *, const uint8_t *, size_t);

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
#define NSX_NX_MULTIPART(MESSAGE, TYPE, ID, WHAT, BODY, UNIT, PRINT) \
    int nsx_print_##PRINT(struct nsx_print *);
#include "messages.def"
#undef NSX_MESSAGE
#undef NSX_MULTIPART
#undef NSX_EXPERIMENTER
#undef NSX_NX_MULTIPART

#endif /* message_print.h */
