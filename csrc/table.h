/* table.h: what fields.def says, for the files that read it. */
#ifndef NSX_TABLE_H
#define NSX_TABLE_H 1

#include "field.h"

/* A header's class and field number: the 23 bits that name a field. */
#define NSX_NXM0(N) (0x0000u << 7 | (N))
#define NSX_NXM1(N) (0x0001u << 7 | (N))
#define NSX_OXM(N) (0x8000u << 7 | (N))
#define NSX_PKT_REG(N) (0x8001u << 7 | (N))
#define NSX_NO_HEADER (1u << 23)        /* No header is this, nor higher. */

enum nsx_format {
    NSX_FMT_DECIMAL,
    NSX_FMT_HEX,
    NSX_FMT_MAC,
    NSX_FMT_IPV4,
    NSX_FMT_IPV6,
    NSX_FMT_PORT,
    NSX_FMT_FRAG,
    NSX_FMT_CT_STATE,
    NSX_FMT_TCP_FLAGS,
};

enum nsx_prereq {
    NSX_PRE_NONE,
    NSX_PRE_VLAN,               /* A VLAN tag. */
    NSX_PRE_MPLS,
    NSX_PRE_ARP,                /* ARP or RARP. */
    NSX_PRE_IPV4,
    NSX_PRE_IPV6,
    NSX_PRE_IP,                 /* Either. */
    NSX_PRE_TCP,                /* Over either. */
    NSX_PRE_UDP,
    NSX_PRE_SCTP,
    NSX_PRE_ICMP,
    NSX_PRE_ICMPV6,
    NSX_PRE_ND,                 /* icmpv6_type 135 or 136, code 0. */
    NSX_PRE_ND_SOLICIT,
    NSX_PRE_ND_ADVERT,
    NSX_PRE_CT,                 /* A ct_state that has a connection. */
    NSX_PRE_CT_IPV4,
    NSX_PRE_CT_IPV6,
    NSX_PRE_CT_PROTO,           /* ct_nw_proto. */
};

enum nsx_family {
    NSX_FAM_NONE,
    NSX_FAM_NW_SRC,
    NSX_FAM_NW_DST,
    NSX_FAM_NW_PROTO,
    NSX_FAM_TP_SRC,
    NSX_FAM_TP_DST,
    NSX_FAM_ICMP_TYPE,
    NSX_FAM_ICMP_CODE,
};

struct nsx_field {
    const char *name, *alias, *oxm_name, *nxm_name;
    uint32_t oxm, nxm;          /* NSX_NO_HEADER or more: none. */
    uint8_t id;
    uint8_t n_bytes, n_bits;
    uint8_t format;             /* enum nsx_format. */
    uint8_t prereq;             /* enum nsx_prereq. */
    uint8_t family;             /* enum nsx_family. */
    bool maskable, writable;
};

extern const struct nsx_field nsx_fields[NSX_N_FIELDS];

/* True if the 'n' bytes at 'p' are all 'byte'. */
bool nsx_is_all(const uint8_t *p, size_t n, uint8_t byte);

/* Bit 'i' from the least significant of the 'n' bytes at 'p'. */
static inline bool
nsx_get_bit(const uint8_t *p, size_t n, size_t i)
{
    return p[n - 1 - i / 8] >> i % 8 & 1;
}

#endif /* table.h */
