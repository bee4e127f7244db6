/* action_verbs.h: what the files of the actions share.
 *
 * Each word and each wire form of actions.def has its verbs in the file of its
 * family:
 *
 *    - nsx_parse_VERB() parses the word's argument and appends bytes.
 *    - nsx_check_VERB() checks one whole action that came from elsewhere,
 *      whose length is already within the table's bounds.
 *    - nsx_format_VERB() prints a checked one. */
#ifndef NSX_ACTION_VERBS_H
#define NSX_ACTION_VERBS_H 1

#include "action.h"
#include "field.h"

/* "NX" in actions.def. */
#define NSX_VENDOR_0 0
#define NSX_VENDOR_NX 0x00002320u

#define NSX_ACTION_EXPERIMENTER 0xffff
#define NSX_ACTION_LIST_MAX 65528       /* Bytes that a 16-bit length takes. */
#define NSX_ACTION_DEPTH_MAX 64         /* clone(clone(...)) */

/* Instructions, in the order in which they must stand in a text.  'meter' is
 * an action in OpenFlow 1.5 and still comes first. */
enum nsx_stage {
    NSX_STAGE_METER,
    NSX_STAGE_APPLY,
    NSX_STAGE_CLEAR,
    NSX_STAGE_WRITE,
    NSX_STAGE_METADATA,
    NSX_STAGE_GOTO,
    NSX_N_STAGES
};

/* One list of actions that is being parsed. */
struct nsx_action_list {
    const struct nsx_parser *parser;
    struct nsx_buf *buf;
    enum nsx_action_context context;
    unsigned int depth;

    /* What a packet has by now: the flow's match, or, if actions have changed
     * its headers, a copy of it.  NULL: nobody asks. */
    const struct nsx_match *match;
    struct nsx_match *changed;  /* The copy, or NULL. */
    unsigned int n_vlans;       /* Tags. */
    uint32_t packet_type;       /* (namespace, type), 0 for Ethernet. */
    bool lenient;               /* In an action set, whose packets may have
                                 * other headers by then. */

    /* For the rules among the words of a list. */
    enum nsx_stage stage;       /* Of the last word... */
    size_t n_words;             /* ...if this isn't 0. */
    size_t start;               /* Offset of the list in the buffer. */
    bool has_apply;             /* Is there an apply_actions?  Then... */
    size_t apply;               /* ...its offset in the buffer. */
    struct nsx_slice drop, conjunction, other;
};

void nsx_action_list_init(struct nsx_action_list *, const struct nsx_parser *,
                          enum nsx_action_context, struct nsx_buf *);
void nsx_action_list_uninit(struct nsx_action_list *);

/* Parses one word, or a text of any number of them. */
int nsx_action_list_word(struct nsx_action_list *, struct nsx_slice key,
                         struct nsx_slice value);
int nsx_action_list_text(struct nsx_action_list *, struct nsx_slice);

/* What a packet's headers are by now; 0 where that isn't known. */
uint32_t nsx_action_list_eth_type(const struct nsx_action_list *);
uint32_t nsx_action_list_ip_proto(const struct nsx_action_list *);
bool nsx_action_list_is_ip(const struct nsx_action_list *);

/* Notes that a packet has another Ethernet type from here on, or no known
 * protocol over IP. */
void nsx_action_list_set_packet_type(struct nsx_action_list *, uint32_t);
void nsx_action_list_set_eth_type(struct nsx_action_list *, uint32_t type);
void nsx_action_list_forget_ip_proto(struct nsx_action_list *);

/* Parses 'text' as the actions that are nested in one of 'outer'. */
int nsx_action_list_nested(struct nsx_action_list *outer,
                           enum nsx_action_context, struct nsx_slice text);

/* Appends the header of an action of 'len' bytes, zeros after it, and returns
 * the offset of the action in the buffer. */
size_t nsx_put_action(struct nsx_buf *, uint16_t type, size_t len);
size_t nsx_put_nx_action(struct nsx_buf *, uint16_t subtype, size_t len);

/* Pads the action at 'start' to 8 bytes and sets its length. */
void nsx_finish_action(struct nsx_buf *, size_t start);

/* Fails where the flow's match lacks what 'field' needs ('at' is blamed).
 * nsx_check_destination() also fails where actions may not write it here;
 * nsx_check_read_only() where they may nowhere. */
int nsx_check_read_only(const struct nsx_action_list *,
                        const struct nsx_field *, struct nsx_slice at);
int nsx_check_source(const struct nsx_action_list *, const struct nsx_field *,
                     struct nsx_slice at);
int nsx_check_destination(const struct nsx_action_list *,
                          const struct nsx_field *, struct nsx_slice at);

/* Fails, saying what the flow has to match, unless 'ok', or nobody asks;
 * nsx_require() doesn't either in an action set. */
int nsx_demand(const struct nsx_action_list *, bool ok, struct nsx_slice word,
               const char *what);
int nsx_require(const struct nsx_action_list *, bool ok, struct nsx_slice word,
                const char *what);

/* The field's value, or 0 where the match doesn't have all of it. */
uint32_t nsx_match_exact(const struct nsx_match *, enum nsx_field_id);

/* A number of any length, for a field of 'n_bytes', big-endian at 'bytes',
 * that fits into 'n_bits'. */
int nsx_parse_bits(const struct nsx_parser *, struct nsx_slice,
                   size_t n_bits, size_t n_bytes, uint8_t *bytes);

/* True if a big-endian number has no bits above the 'n_bits' low ones. */
bool nsx_bits_fit(const uint8_t *, size_t n_bytes, size_t n_bits);

/* Copies the 'n_bits' low bits of 'src' to bits 'offset'... of 'dst', both of
 * 'n' big-endian bytes. */
void nsx_copy_bits(const uint8_t *src, uint8_t *dst, size_t n, size_t offset,
                   size_t n_bits);

/* Splits "a->b".  Fails, blaming all, without an arrow. */
int nsx_split_arrow(const struct nsx_parser *, struct nsx_slice text,
                    struct nsx_slice *a, struct nsx_slice *b);

/* A decimal number, whatever zeros it starts with, as Open vSwitch takes some
 * arguments. */
int nsx_parse_decimal(const struct nsx_parser *, struct nsx_slice,
                      const char *what, uint64_t max, uint64_t *);

/* A 16-bit port of Nicira's actions. */
int nsx_parse_port16(const struct nsx_parser *, struct nsx_slice, uint16_t *);
uint32_t nsx_port_from_16(uint16_t port);

/* An action that sets all of 'field' to 'value'. */
void nsx_put_set_field(struct nsx_buf *, enum nsx_field_id, uint64_t value);

/* Some bits of a field, as (offset << 6 | (n_bits - 1)) and a 4-byte header.
 * 'at' is blamed for a field that has none. */
int nsx_set_subfield(const struct nsx_parser *, struct nsx_slice at,
                     const struct nsx_subfield *, uint8_t *ofs_nbits,
                     uint8_t *header);
bool nsx_get_subfield(const uint8_t *ofs_nbits, const uint8_t *header,
                      struct nsx_subfield *);

/* Hexadecimal bytes with any number of dots and blanks between them. */
int nsx_parse_hex(const struct nsx_parser *, struct nsx_slice,
                  struct nsx_buf *);
void nsx_format_hex(struct nsx_buf *, const uint8_t *, size_t n);

/* A subfield whose field is named by a 4-byte NXM header, and whose bits are
 * all in it; false if it's no such one. */
bool nsx_subfield_from_header(uint32_t header, size_t offset, size_t n_bits,
                              struct nsx_subfield *);

/* Checking. */
struct nsx_action_check {
    enum nsx_action_context context;
    unsigned int depth;
    struct nsx_error *error;
};

int nsx_actions_check__(const struct nsx_action_check *, const uint8_t *,
                        size_t n, size_t position);

/* Checks the actions that are nested in one of 'outer'. */
int nsx_actions_check_nested(const struct nsx_action_check *outer,
                             enum nsx_action_context, const uint8_t *,
                             size_t n, size_t position);

/* Fails with the given error unless 'n' bytes are zeros. */
int nsx_check_zeros(const struct nsx_action_check *, enum nsx_ofperr,
                    const uint8_t *, size_t n, size_t position);

/* Fails unless 'sf' is some bits of a field: with 'unknown' if it has none. */
int nsx_check_subfield(const struct nsx_action_check *,
                       const struct nsx_subfield *, enum nsx_ofperr unknown,
                       size_t position);

/* Fails where 'field' isn't one that actions may write here. */
int nsx_check_writable(const struct nsx_action_check *,
                       const struct nsx_field *, size_t position);

/* An action's type: (vendor, type). */
static inline uint64_t
nsx_action_type(const uint8_t *a)
{
    uint16_t type = nsx_get16(a);

    return (type == NSX_ACTION_EXPERIMENTER
            ? (uint64_t) nsx_get32(a + 4) << 16 | nsx_get16(a + 8)
            : type);
}

#define NSX_WORD(NAME, VERB, STAGE)                                     \
    int nsx_parse_##VERB(struct nsx_action_list *, struct nsx_slice word, \
                         struct nsx_slice arg);
#include "actions.def"
#undef NSX_WORD

#define NSX_ACTION(VENDOR, TYPE, MIN, MAX, PLACES, VERB)                \
    int nsx_check_##VERB(const struct nsx_action_check *, const uint8_t *, \
                         size_t n, size_t position);                    \
    void nsx_format_##VERB(struct nsx_buf *, const uint8_t *, size_t n, \
                           nsx_tables);
#include "actions.def"
#undef NSX_ACTION

/* A bare port, in 'word'. */
int nsx_parse_output_port(struct nsx_action_list *, struct nsx_slice word,
                          uint32_t port);

#endif /* action_verbs.h */
