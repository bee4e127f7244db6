/* packet_print.c: an Ethernet frame as a flow, as ovs-ofctl prints it.
 *
 * What is cut off, or has lengths that can't be, is zeros. */
#include "message_print.h"

#include <netinet/in.h>
#include <stdio.h>

#include "match.h"

enum { ETH_IPV4 = 0x0800, ETH_ARP = 0x0806, ETH_RARP = 0x8035,
       ETH_VLAN = 0x8100, ETH_QINQ = 0x88a8, ETH_MPLS = 0x8847,
       ETH_MPLS_MCAST = 0x8848, ETH_IPV6 = 0x86dd, ETH_NONE = 0x05ff,
       ETH_LEAST = 0x0600 };
enum { ND_SOLICIT = 135, ND_ADVERT = 136 };
enum { FRAG_ANY = 1, FRAG_LATER = 2 };

struct packet {
    const uint8_t *p;                   /* What isn't read yet... */
    size_t n;                           /* ...and its size. */
    const uint8_t *l4;                  /* NULL: none was found... */
    size_t l4_len;                      /* ...or its size. */
    uint8_t protocol;
    struct nsx_match match;
    bool other;                         /* Two numbers of a protocol of which
                                         * a match has no fields. */
    uint16_t numbers[2];
    bool tagged;                        /* It has a VLAN tag... */
    const uint8_t *inner_tci;           /* ...and a second one, or NULL. */
};

static void
set_bytes(struct packet *k, enum nsx_field_id id, const void *value)
{
    uint8_t mask[NSX_FIELD_MAX];

    memset(mask, 0xff, sizeof mask);
    nsx_match_set(&k->match, nsx_field_from_id(id), value, mask);
}

static void
set(struct packet *k, enum nsx_field_id id, uint32_t value)
{
    size_t n = nsx_field_n_bytes(nsx_field_from_id(id));
    uint8_t bytes[4];

    nsx_set32(bytes, value);
    set_bytes(k, id, bytes + 4 - n);
}

/* Returns the 'n' bytes at the front, which are there, and goes behind
 * them. */
static const uint8_t *
pull(struct packet *k, size_t n)
{
    const uint8_t *data = k->p;

    k->p += n;
    k->n -= n;
    return data;
}

/* Ethernet, with the VLAN tags: returns the type of what follows. */
static uint16_t
read_ethernet(struct packet *k)
{
    static const uint8_t snap[] = { 0xaa, 0xaa, 0x03, 0, 0, 0 };
    const uint8_t *addresses = pull(k, 12);
    uint16_t tci = 0, type;

    set_bytes(k, NSX_F_ETH_DST, addresses);
    set_bytes(k, NSX_F_ETH_SRC, addresses + 6);
    for (int i = 0; i < 2; i++) {
        type = nsx_get16(k->p);
        if ((type != ETH_VLAN && type != ETH_QINQ) || k->n < 6) {
            break;
        }
        if (!i) {
            tci = nsx_get16(k->p + 2) | VLAN_CFI;
            k->tagged = true;
        } else {
            k->inner_tci = k->p + 2;
        }
        pull(k, 4);
    }
    set(k, NSX_F_VLAN_TCI, tci);

    type = nsx_get16(pull(k, 2));
    if (type < ETH_LEAST) {
        bool is_snap = k->n >= 8 && !memcmp(k->p, snap, sizeof snap);

        type = is_snap ? nsx_get16(k->p + 6) : ETH_NONE;
        if (is_snap) {
            pull(k, 8);
        }
        type = type < ETH_LEAST ? ETH_NONE : type;
    }
    return type;
}

static void
read_arp(struct packet *k)
{
    static const uint8_t ipv4_over_ethernet[] = { 0, 1, 8, 0, 6, 4 };
    static const uint8_t zeros[6];
    bool good = (k->n >= 28
                 && !memcmp(k->p, ipv4_over_ethernet, 6));
    uint16_t op = good ? nsx_get16(k->p + 6) : 0;

    set(k, NSX_F_ARP_OP, op <= 0xff ? op : 0);
    set_bytes(k, NSX_F_ARP_SHA, good ? k->p + 8 : zeros);
    set_bytes(k, NSX_F_ARP_SPA, good ? k->p + 14 : zeros);
    set_bytes(k, NSX_F_ARP_THA, good ? k->p + 18 : zeros);
    set_bytes(k, NSX_F_ARP_TPA, good ? k->p + 24 : zeros);
}

static void
read_mpls(struct packet *k)
{
    uint32_t lse = k->n >= 4 ? nsx_get32(k->p) : 0;

    set(k, NSX_F_MPLS_LABEL, lse >> 12);
    set(k, NSX_F_MPLS_TC, lse >> 9 & 7);
    set(k, NSX_F_MPLS_TTL, lse & 0xff);
    set(k, NSX_F_MPLS_BOS, lse >> 8 & 1);
}

/* Neighbour discovery: 'nd' is what follows its 8 bytes of header. */
static void
read_nd(struct packet *k, const uint8_t *nd, size_t n)
{
    static const uint8_t zeros[16];
    const uint8_t *target = n >= 16 ? nd : zeros;
    const uint8_t *lla[2] = { zeros, zeros };

    for (size_t at = 16; n >= 16 && n - at >= 8;) {
        size_t len = (size_t) nd[at + 1] * 8;

        if (!len || len > n - at) {
            break;
        }
        if (len == 8 && (nd[at] == 1 || nd[at] == 2)) {
            const uint8_t **this = &lla[nd[at] - 1];

            if (memcmp(*this, zeros, 6)) {      /* Twice: all is void. */
                target = lla[0] = lla[1] = zeros;
                break;
            }
            *this = nd + at + 2;
        }
        at += len;
    }
    set_bytes(k, NSX_F_ND_TARGET, target);
    set_bytes(k, NSX_F_ND_SLL, lla[0]);
    set_bytes(k, NSX_F_ND_TLL, lla[1]);
}

/* A type and a code, which are printed like ports. */
static void
set_other(struct packet *k, const uint8_t *p)
{
    k->other = true;
    k->numbers[0] = p ? p[0] : 0;
    k->numbers[1] = p ? p[1] : 0;
}

static void
read_transport(struct packet *k, bool ipv6)
{
    const uint8_t *p = k->l4;
    size_t n = p ? k->l4_len : 0;
    bool good;

    switch (k->protocol) {
    case IPPROTO_TCP:
        good = n >= 20 && p[12] >> 4 >= 5 && n >= (size_t) (p[12] >> 4) * 4;
        set(k, NSX_F_TCP_SRC, good ? nsx_get16(p) : 0);
        set(k, NSX_F_TCP_DST, good ? nsx_get16(p + 2) : 0);
        set(k, NSX_F_TCP_FLAGS, good ? nsx_get16(p + 12) & 0xfff : 0);
        break;
    case IPPROTO_UDP:
        set(k, NSX_F_UDP_SRC, n >= 8 ? nsx_get16(p) : 0);
        set(k, NSX_F_UDP_DST, n >= 8 ? nsx_get16(p + 2) : 0);
        break;
    case IPPROTO_SCTP:
        set(k, NSX_F_SCTP_SRC, n >= 12 ? nsx_get16(p) : 0);
        set(k, NSX_F_SCTP_DST, n >= 12 ? nsx_get16(p + 2) : 0);
        break;
    case IPPROTO_IGMP:
        set_other(k, n >= 8 ? p : NULL);
        break;
    case IPPROTO_ICMP:
        if (ipv6) {
            set_other(k, n >= 8 ? p : NULL);
        } else {
            set(k, NSX_F_ICMP_TYPE, n >= 8 ? p[0] : 0);
            set(k, NSX_F_ICMP_CODE, n >= 8 ? p[1] : 0);
        }
        break;
    case IPPROTO_ICMPV6:
        if (!ipv6) {
            set_other(k, n >= 8 ? p : NULL);
        } else {
            set(k, NSX_F_ICMPV6_TYPE, n >= 8 ? p[0] : 0);
            set(k, NSX_F_ICMPV6_CODE, n >= 8 ? p[1] : 0);
            if (n >= 8 && !p[1] && (p[0] == ND_SOLICIT || p[0] == ND_ADVERT)) {
                read_nd(k, p + 8, n - 8);
            }
        }
        break;
    }
}

static void
set_ip(struct packet *k, uint8_t tos, uint8_t ttl, uint8_t protocol,
       uint8_t frag, bool ipv6)
{
    k->protocol = protocol;
    set(k, NSX_F_IP_PROTO, protocol);
    set(k, NSX_F_IP_DSCP, tos >> 2);
    set(k, NSX_F_IP_ECN, tos & 3);
    set(k, NSX_F_IP_TTL, ttl);
    set(k, NSX_F_IP_FRAG, frag);
    if (!(frag & FRAG_LATER)) {
        read_transport(k, ipv6);
    }
}

static void
read_ipv4(struct packet *k)
{
    static const uint8_t zeros[4];
    const uint8_t *ip = k->p;
    size_t header = k->n >= 20 ? (size_t) (ip[0] & 15) * 4 : 0;
    size_t total = k->n >= 20 ? nsx_get16(ip + 2) : 0;

    if (header < 20 || header > total || total > k->n) {
        set_bytes(k, NSX_F_IPV4_SRC, zeros);
        set_bytes(k, NSX_F_IPV4_DST, zeros);
        set_ip(k, 0, 0, 0, 0, false);
        return;
    }

    uint16_t fragment = nsx_get16(ip + 6);
    uint8_t frag = 0;
    if (fragment & 0x3fff) {
        frag = FRAG_ANY | (fragment & 0x1fff ? FRAG_LATER : 0);
    }
    k->l4 = ip + header;
    k->l4_len = total - header;
    set_bytes(k, NSX_F_IPV4_SRC, ip + 12);
    set_bytes(k, NSX_F_IPV4_DST, ip + 16);
    set_ip(k, ip[1], ip[8], ip[9], frag, false);
}

/* Goes over IPv6's extension headers; false where they are cut off. */
static bool
skip_extensions(struct packet *k, uint8_t *protocol, uint8_t *frag)
{
    for (;;) {
        size_t len;

        switch (*protocol) {
        case IPPROTO_HOPOPTS:
        case IPPROTO_DSTOPTS:
        case IPPROTO_ROUTING:
            len = k->n < 8 ? SIZE_MAX : ((size_t) k->p[1] + 1) * 8;
            break;
        case IPPROTO_AH:
            len = k->n < 8 ? SIZE_MAX : ((size_t) k->p[1] + 2) * 4;
            break;
        case IPPROTO_FRAGMENT:
            len = 8;
            break;
        default:
            return true;
        }
        if (len > k->n) {
            return false;
        }
        if (*protocol == IPPROTO_FRAGMENT && nsx_get16(k->p + 2)) {
            *frag = FRAG_ANY;
            if (nsx_get16(k->p + 2) & 0xfff8) {
                *frag |= FRAG_LATER;
                pull(k, len);
                return true;
            }
        }
        *protocol = k->p[0];
        pull(k, len);
    }
}

static void
read_ipv6(struct packet *k)
{
    static const uint8_t zeros[16];
    const uint8_t *ip = k->p;
    bool good = k->n >= 40 && (size_t) nsx_get16(ip + 4) + 40 <= k->n;
    uint8_t protocol = good ? ip[6] : 0;
    uint8_t frag = 0;

    set_bytes(k, NSX_F_IPV6_SRC, good ? ip + 8 : zeros);
    set_bytes(k, NSX_F_IPV6_DST, good ? ip + 24 : zeros);
    if (good) {
        pull(k, 40);
        k->n = nsx_get16(ip + 4);
        good = skip_extensions(k, &protocol, &frag);
    }
    set(k, NSX_F_IPV6_LABEL, good ? nsx_get32(ip) & 0xfffff : 0);
    if (good) {
        k->l4 = k->p;
        k->l4_len = k->n;
        set_ip(k, (uint8_t) (nsx_get16(ip) >> 4), ip[7], protocol, frag,
               true);
    } else {
        set_ip(k, 0, 0, 0, 0, true);
    }
}

static void
print_checksum(struct nsx_buf *out, const struct packet *k)
{
    static const struct {
        uint8_t protocol, header, at;
        const char *name;
    } sums[] = {
        { IPPROTO_TCP, 20, 16, "tcp" }, { IPPROTO_UDP, 8, 6, "udp" },
        { IPPROTO_ICMP, 8, 2, "icmp" }, { IPPROTO_ICMPV6, 4, 2, "icmp6" },
    };

    if (k->l4 && k->protocol == IPPROTO_SCTP && k->l4_len >= 12) {
        nsx_printf(out, " sctp_csum:%x", nsx_get32(k->l4 + 8));
    }
    for (size_t i = 0; k->l4 && i < NSX_ARRAY_SIZE(sums); i++) {
        if (k->protocol == sums[i].protocol && k->l4_len >= sums[i].header) {
            nsx_printf(out, " %s_csum:%x", sums[i].name,
                       nsx_get16(k->l4 + sums[i].at));
        }
    }
}

/* Prints the match.  A match has one VLAN tag: a second one, or that there is
 * none, is put where Open vSwitch has it. */
static void
print_match(struct nsx_buf *out, const struct packet *k)
{
    size_t start = out->size;
    uint16_t inner = k->inner_tci ? nsx_get16(k->inner_tci) | VLAN_CFI : 0;
    char text[64];

    nsx_match_format(out, &k->match);
    if (!k->tagged) {
        return;
    }
    if (inner) {
        snprintf(text, sizeof text, "dl_vlan1=%d,dl_vlan_pcp1=%d,",
                 inner & VLAN_VID, inner >> 13);
    } else {
        snprintf(text, sizeof text, "vlan_tci1=0x0000,");
    }

    /* The source's address comes next. */
    for (size_t at = start; at + 7 <= out->size; at++) {
        if (!memcmp(out->data + at, "dl_src=", 7)) {
            size_t n = strlen(text);

            nsx_put_uninit(out, n);
            memmove(out->data + at + n, out->data + at,
                    out->size - n - at);
            memcpy(out->data + at, text, n);
            return;
        }
    }
}

void
nsx_print_packet(struct nsx_buf *out, const uint8_t *data, size_t n)
{
    struct packet k = { .p = data, .n = n };
    uint16_t type = 0;

    nsx_match_init(&k.match);
    if (n >= 14) {
        type = read_ethernet(&k);
    } else {
        static const uint8_t zeros[6];

        set_bytes(&k, NSX_F_ETH_DST, zeros);
        set_bytes(&k, NSX_F_ETH_SRC, zeros);
        set(&k, NSX_F_VLAN_TCI, 0);
    }
    set(&k, NSX_F_ETH_TYPE, type);
    switch (type) {
    case ETH_IPV4:
        read_ipv4(&k);
        break;
    case ETH_IPV6:
        read_ipv6(&k);
        break;
    case ETH_ARP:
    case ETH_RARP:
        read_arp(&k);
        break;
    case ETH_MPLS:
    case ETH_MPLS_MCAST:
        read_mpls(&k);
        break;
    }
    print_match(out, &k);
    if (k.other) {
        nsx_printf(out, ",tp_src=%u,tp_dst=%u", k.numbers[0], k.numbers[1]);
    }
    print_checksum(out, &k);
    nsx_puts(out, "\n");
}
