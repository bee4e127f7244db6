/* table.h: what fields.def says, for the files that read it. */
#ifndef NSX_TABLE_H
#define NSX_TABLE_H 1

#include "field.h"

/* A header's class and field number: the 23 bits that name a field, above
 * them the experimenter's number. */
#define NSX_HEADER(CLASS, N) ((uint64_t) (CLASS) << 7 | (N))
#define NSX_EXPERIMENTER(VENDOR, N)                                         \
    (UINT64_C(VENDOR) << 32 | NSX_HEADER(NSX_OXM_EXPERIMENTER, N))

#define NSX_NXM0(N) NSX_HEADER(0x0000, N)
#define NSX_NXM1(N) NSX_HEADER(0x0001, N)
#define NSX_ERICOXM(N) NSX_HEADER(0x1000, N)
#define NSX_OXM(N) NSX_HEADER(0x8000, N)
#define NSX_PKT_REG(N) NSX_HEADER(0x8001, N)
#define NSX_NXOXM(N) NSX_EXPERIMENTER(0x00002320, N)
#define NSX_NSHOXM(N) NSX_EXPERIMENTER(0x005ad650, N)
#define NSX_ONFOXM(N) NSX_EXPERIMENTER(0x4f4e4600, N)

#define NSX_OXM_EXPERIMENTER 0xffff
#define NSX_NO_HEADER (UINT64_C(1) << 23)       /* No header has this bit. */

enum nsx_format {
    NSX_FMT_DECIMAL,
    NSX_FMT_HEX,
    NSX_FMT_MAC,
    NSX_FMT_IPV4,
    NSX_FMT_IPV6,
    NSX_FMT_PORT,
    NSX_FMT_PACKET_TYPE,
    NSX_FMT_FRAG,
    NSX_FMT_CT_STATE,
    NSX_FMT_TCP_FLAGS,
    NSX_FMT_TUN_FLAGS,
};

enum nsx_prereq {
    NSX_PRE_NONE,
    NSX_PRE_ETHERNET,           /* A packet_type of Ethernet, the default. */
    NSX_PRE_VLAN,               /* A VLAN tag. */
    NSX_PRE_MPLS,
    NSX_PRE_ARP,                /* ARP or RARP. */
    NSX_PRE_IPV4,
    NSX_PRE_IPV6,
    NSX_PRE_IP,                 /* Either. */
    NSX_PRE_NSH,
    NSX_PRE_TCP,                /* Over either. */
    NSX_PRE_UDP,
    NSX_PRE_SCTP,
    NSX_PRE_ICMP,
    NSX_PRE_ICMPV6,
    NSX_PRE_ND,                 /* icmpv6_type 135 or 136, code 0. */
    NSX_PRE_ND_SOLICIT,
    NSX_PRE_ND_ADVERT,
    NSX_PRE_CT,                 /* A ct_state that has a connection. */
};

struct nsx_field {
    const char *name, *alias, *oxm_name, *nxm_name;
    uint64_t oxm, nxm;          /* With NSX_NO_HEADER: none. */
    uint16_t n_bits;
    uint8_t id, slot;           /* enum nsx_field_id. */
    uint8_t n_bytes;
    uint8_t format;             /* enum nsx_format. */
    uint8_t prereq;             /* enum nsx_prereq. */
    bool maskable, writable;
};

extern const struct nsx_field nsx_fields[NSX_N_FIELDS];

/* The field of a header of the class, number and experimenter 'header'. */
const struct nsx_field *nsx_field_from_header(uint64_t header);

/* As nsx_oxm_put(), of 'len' bytes. */
size_t nsx_oxm_put_part(struct nsx_buf *, const struct nsx_field *, size_t len,
                        const uint8_t *value, const uint8_t *mask);

/* True if the 'n' bytes at 'p' are all 'byte'. */
static inline bool
nsx_is_all(const uint8_t *p, size_t n, uint8_t byte)
{
    for (size_t i = 0; i < n; i++) {
        if (p[i] != byte) {
            return false;
        }
    }
    return true;
}

/* Bit 'i' from the least significant of the 'n' bytes at 'p'. */
static inline bool
nsx_get_bit(const uint8_t *p, size_t n, size_t i)
{
    return p[n - 1 - i / 8] >> i % 8 & 1;
}

#endif /* table.h */
