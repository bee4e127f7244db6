/* field.h: match fields (OXM and NXM), their values and their subfields.
 *
 * fields.def is the single table: one entry a field, from which come the
 * enum, the names, the headers, the sizes and the text form. */
#ifndef NSX_FIELD_H
#define NSX_FIELD_H 1

#include "core.h"

#define NSX_FIELD_MAX 124       /* Bytes of the widest field: tun_metadata. */

enum nsx_field_id {
#define NSX_FIELD(ID, ...) NSX_F_##ID,
#include "fields.def"
#undef NSX_FIELD
    NSX_N_FIELDS
};

static inline bool
nsx_is_tun_metadata(enum nsx_field_id id)
{
    return id >= NSX_F_TUN_METADATA0 && id <= NSX_F_TUN_METADATA63;
}

struct nsx_field;               /* Its members are field.c's affair... */

/* ...but for what actions need to know of a field. */
enum nsx_field_id nsx_field_id(const struct nsx_field *);
const char *nsx_field_name(const struct nsx_field *);
size_t nsx_field_n_bytes(const struct nsx_field *);
size_t nsx_field_n_bits(const struct nsx_field *);
bool nsx_field_writable(const struct nsx_field *);
bool nsx_field_maskable(const struct nsx_field *);

/* False for dl_vlan and dl_vlan_pcp, which are text only: on the wire they are
 * vlan_vid and vlan_pcp. */
bool nsx_field_has_header(const struct nsx_field *);

/* The bytes of a value on the wire where its length isn't fixed: those of a
 * tun_metadata that value or mask (NULL: exact) need, else all. */
size_t nsx_field_wire_len(const struct nsx_field *, const uint8_t *value,
                          const uint8_t *mask);

/* 'name' may be ovs-ofctl's ("reg0", "nw_dst", "tcp_dst"), an NXM name
 * ("NXM_NX_REG0") or an OXM name ("OXM_OF_ETH_DST"). */
const struct nsx_field *nsx_field_from_name(struct nsx_slice name);
const struct nsx_field *nsx_field_from_id(enum nsx_field_id);

/* Reads an OXM header (4 bytes, 8 for an experimenter's) at the front of the
 * 'n' bytes at 'p'.  Sets '*has_mask' and '*header_len'; the payload follows.
 * Returns NULL for a field that is not in the table or a wrong length: any but
 * the field's own. */
const struct nsx_field *nsx_oxm_pull_header(const uint8_t *p, size_t n,
                                            bool *has_mask,
                                            size_t *header_len);

/* Likewise, for the whole of an entry: of a tun_metadata, which may be shorter
 * than the field, too.  Copies the value and the mask, right-aligned, to the
 * nsx_field_n_bytes() bytes at 'value' and 'mask' (all ones where there is
 * none) and sets '*len' to the entry's length.  Returns NULL also where it is
 * cut off. */
const struct nsx_field *nsx_oxm_pull(const uint8_t *p, size_t n,
                                     uint8_t *value, uint8_t *mask,
                                     bool *has_mask, size_t *len);

/* What is wrong with an entry that nsx_oxm_pull() returns NULL for: 'unknown'
 * if it's the field, 'bad_len' if it's the field's length. */
enum nsx_ofperr nsx_oxm_fault(const uint8_t *p, size_t n,
                              enum nsx_ofperr unknown,
                              enum nsx_ofperr bad_len);

/* Appends the header that Open vSwitch uses for the field in OpenFlow 1.5. */
void nsx_oxm_put_header(struct nsx_buf *, const struct nsx_field *,
                        bool has_mask);

/* Appends header, value and, unless it is NULL, mask, as short as they may
 * be.  Returns where the value starts. */
size_t nsx_oxm_put(struct nsx_buf *, const struct nsx_field *,
                   const uint8_t *value, const uint8_t *mask);

/* Appends the header that Open vSwitch's own actions use for the field: 4
 * bytes, or 8 of an experimenter's. */
void nsx_nxm_put_header(struct nsx_buf *, const struct nsx_field *);

/* The 4-byte header that Open vSwitch's own actions (learn, ct, output:reg)
 * use for the field: its NXM one where it has one, else its OXM one.  0 for a
 * field that has only an experimenter's header. */
uint32_t nsx_field_nxm_header(const struct nsx_field *);

/* Parses 'text' ("10.0.0.0/8", "0x1/0xff", "{hole}") into nsx_field_n_bytes()
 * bytes each at 'value' and 'mask' (all ones where there is none).  A hole
 * gives its name in '*hole' (else hole->n is 0) and zeros. */
int nsx_field_parse_value(const struct nsx_parser *, const struct nsx_field *,
                          struct nsx_slice text, uint8_t *value,
                          uint8_t *mask, struct nsx_slice *hole);

/* The bits that a value of the field may have. */
size_t nsx_field_value_bits(const struct nsx_field *);

/* The least significant bits of the field's that a hole with 'mask' fills: all
 * of them under a prefix, as a column has whole addresses. */
size_t nsx_field_hole_bits(const struct nsx_field *, const uint8_t *mask);

/* The value alone, without the field's name: "10.0.0.0/8". 'mask' may be
 * NULL: exact. */
void nsx_field_format_value(struct nsx_buf *, const struct nsx_field *,
                            const uint8_t *value, const uint8_t *mask);

/* Some bits of a field: "NXM_NX_REG0[0..15]", "reg0[3]", "reg0[]", "reg0". */
struct nsx_subfield {
    const struct nsx_field *field;
    uint16_t offset;            /* Lowest bit. */
    uint16_t n_bits;
};

int nsx_subfield_parse(const struct nsx_parser *, struct nsx_slice,
                       struct nsx_subfield *);

/* With the NXM name and brackets, as ovs-ofctl prints it in a 'move'. */
void nsx_subfield_format(struct nsx_buf *, const struct nsx_subfield *);

/* A match: any number of fields, each with a value and a mask.  As in Open
 * vSwitch's struct flow, fields that are one thing are kept as one: registers
 * as xregs, VLAN fields as vlan_tci, in_port as in_port_oxm, nw_tos as
 * ip_dscp, and those of different protocols as one of them (see SLOT in
 * fields.def): arp_op as nw_proto, udp_dst and icmp_code as tcp_dst. */
#define NSX_MATCH_HOLES 32
#define NSX_MATCH_FIELD_MAX 16  /* Bytes of the widest but tun_metadata. */
#define NSX_MATCH_METADATA 256  /* Bytes of all tun_metadata together. */

struct nsx_match {
    uint64_t present[(NSX_N_FIELDS + 63) / 64];
    struct {
        uint8_t value[NSX_MATCH_FIELD_MAX];     /* The first n_bytes. */
        uint8_t mask[NSX_MATCH_FIELD_MAX];
    } fields[NSX_N_FIELDS];

    /* The tun_metadata that are present: where they are. */
    struct {
        uint16_t offset;
        uint8_t len;
        bool masked;
    } metadata[64];
    uint8_t metadata_value[NSX_MATCH_METADATA];
    uint8_t metadata_mask[NSX_MATCH_METADATA];
    size_t n_metadata, metadata_used;

    struct {
        struct nsx_slice name;
        uint8_t field;                  /* enum nsx_field_id. */
        uint8_t bit_offset, n_bits;     /* From the least significant bit. */
    } holes[NSX_MATCH_HOLES];
    size_t n_holes;
};

void nsx_match_init(struct nsx_match *);

static inline bool
nsx_match_has(const struct nsx_match *match, enum nsx_field_id id)
{
    return match->present[id / 64] >> id % 64 & 1;
}

/* Makes 'match' match 'value' and 'mask' (nsx_field_n_bytes() each) on the
 * field, instead of what it did before.  Returns NULL or what is wrong. */
const char *nsx_match_set(struct nsx_match *, const struct nsx_field *,
                          const uint8_t *value, const uint8_t *mask);

/* Copies out what 'match' has of the field. */
void nsx_match_get(const struct nsx_match *, const struct nsx_field *,
                   uint8_t *value, uint8_t *mask);

/* Takes one 'key=value' of a flow's text ("nw_dst=10.0.0.1",
 * "reg0[0..7]=3") or a bare protocol word ("tcp6").  Returns ENOENT, and
 * writes no error, where 'key' is no match field.
 *
 * A flow's text says what ovs-ofctl says it does: what comes later replaces
 * what came before, and what the protocol doesn't have is left out.  A
 * template (a parser with holes) is stricter: neither may be, and no value may
 * have more bits than its field. */
int nsx_match_parse_field(const struct nsx_parser *, struct nsx_match *,
                          struct nsx_slice key, struct nsx_slice value,
                          char delimiter);

/* Once all of 'text' is parsed: fails where a template names a field that its
 * protocol doesn't have. */
int nsx_match_resolve(const struct nsx_parser *, struct nsx_match *,
                      struct nsx_slice text);

/* True if 'match' has what a use of 'field' needs. */
bool nsx_match_allows(const struct nsx_match *, const struct nsx_field *);

/* Fails where it hasn't; 'at' is blamed. */
int nsx_match_check_field(const struct nsx_parser *, const struct nsx_match *,
                          const struct nsx_field *, struct nsx_slice at);

/* The Ethernet type that 'match' asks for, in its packet_type if that has it;
 * 0 for none. */
uint16_t nsx_match_eth_type(const struct nsx_match *);

/* Appends 'struct ofp_match' (type OXM, length, fields in Open vSwitch's
 * order, padded to 8 bytes) and notes the holes. The parser may be NULL for a
 * match without holes. */
int nsx_match_encode(const struct nsx_parser *, const struct nsx_match *,
                     struct nsx_buf *);

/* Reads a 'struct ofp_match' at the front of the 'n' bytes at 'p' ('position'
 * bytes into the message) and sets '*len' to its padded length. */
int nsx_match_decode(const uint8_t *p, size_t n, size_t position,
                     struct nsx_match *, size_t *len, struct nsx_error *);

/* As in a flow dump: "tcp,reg0=0x1,nw_dst=10.0.0.1,tp_dst=80". */
void nsx_match_format(struct nsx_buf *, const struct nsx_match *);

/* Likewise after a flow's priority, where that isn't the default:
 * "priority=200,tcp". */
void nsx_match_format_priority(struct nsx_buf *, const struct nsx_match *,
                               uint16_t priority);

#endif /* field.h */
