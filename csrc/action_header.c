/* action_header.c: actions that set a field of a packet's headers and that
 * OpenFlow 1.5 has as set_field, or still in their own older form. */

#include "action_verbs.h"

/* Older forms have their argument at 4. */

#define DEFINE_NUMBER_FORMAT(VERB, TEXT, GET)                           \
    void                                                                \
    nsx_format_##VERB(struct nsx_buf *buf, const uint8_t *a,            \
                      size_t n __attribute__((unused)),                 \
                      nsx_tables tables __attribute__((unused)))        \
    {                                                                   \
        nsx_printf(buf, TEXT, GET(a + 4));                              \
    }

static uint8_t
get8(const void *p)
{
    return *(const uint8_t *) p;
}

static int
check_number(const struct nsx_action_check *check, const uint8_t *a, size_t n,
             size_t position, uint32_t max, const char *name)
{
    uint32_t x = n == 1 ? a[4] : n == 2 ? nsx_get16(a + 4) : nsx_get32(a + 4);

    if (x > max) {
        return nsx_decode_error(check->error, NSX_OFPBAC_BAD_ARGUMENT,
                                position + 4, "bad %s %u", name, x);
    }
    return 0;
}

#define DEFINE_NUMBER_CHECK(VERB, BYTES, MAX)                           \
    int                                                                 \
    nsx_check_##VERB(const struct nsx_action_check *check,              \
                     const uint8_t *a,                                  \
                     size_t n __attribute__((unused)), size_t position) \
    {                                                                   \
        return check_number(check, a, BYTES, position, MAX, #VERB);     \
    }

static int
put_number(struct nsx_action_list *list, uint16_t type, struct nsx_slice arg,
           const char *what, size_t width, uint64_t max)
{
    size_t start = nsx_put_action(list->buf, type, 8);

    return nsx_parse_number_or_hole(list->parser, arg, what, max, list->buf,
                                    start + 4, width);
}

/* set_field of the one-byte, or wider, 'field', whose value is the number
 * 'arg' shifted right by 'shift'. */
static int
put_field(struct nsx_action_list *list, enum nsx_field_id id,
          struct nsx_slice arg, const char *what, uint64_t max,
          unsigned int shift)
{
    uint64_t number;
    int error = nsx_parse_number(list->parser, arg, what, max, &number);

    if (!error) {
        nsx_put_set_field(list->buf, id, number >> shift);
    }
    return error;
}

/* set_field of the two-byte 'field', whose value is the number 'arg' or a hole
 * for it.  Returns, in '*value', where that is in the buffer. */
static int
put_field16(struct nsx_action_list *list, enum nsx_field_id id,
            struct nsx_slice arg, const char *what, uint64_t max,
            size_t *value)
{
    size_t start = nsx_put_action(list->buf, 25, 4);

    nsx_oxm_put_header(list->buf, nsx_field_from_id(id), false);
    *value = list->buf->size;
    nsx_put16(list->buf, 0);
    nsx_finish_action(list->buf, start);
    return nsx_parse_number_or_hole(list->parser, arg, what, max, list->buf,
                                    *value, 2);
}

/* VLANs.  'mod_vlan_*' push a tag if there is none. */

static int
put_vlan(struct nsx_action_list *list, struct nsx_slice word, bool push)
{
    bool has_vlan = list->match && list->n_vlans;

    if (!push) {
        if (nsx_require(list, has_vlan, word, "a VLAN tag (or push_vlan)")) {
            return EINVAL;
        }
    } else if (!has_vlan) {
        size_t start = nsx_put_action(list->buf, 17, 8);

        nsx_set16(list->buf->data + start + 4, 0x8100);
        list->n_vlans = 1;
    }
    return 0;
}

static int
put_vlan_vid(struct nsx_action_list *list, struct nsx_slice word,
             struct nsx_slice arg, bool push)
{
    const uint8_t present = 0x10;
    size_t vid;
    int error = put_vlan(list, word, push);

    if (!error) {
        error = put_field16(list, NSX_F_VLAN_VID, arg, "VLAN VID", 0xfff,
                            &vid);
    }
    if (!error) {
        list->buf->data[vid] |= present;
    }
    return error;
}

int
nsx_parse_mod_vlan_vid(struct nsx_action_list *list, struct nsx_slice word,
                       struct nsx_slice arg)
{
    return put_vlan_vid(list, word, arg, true);
}

int
nsx_parse_set_vlan_vid(struct nsx_action_list *list, struct nsx_slice word,
                       struct nsx_slice arg)
{
    return put_vlan_vid(list, word, arg, false);
}

static int
put_vlan_pcp(struct nsx_action_list *list, struct nsx_slice word,
             struct nsx_slice arg, bool push)
{
    int error = put_vlan(list, word, push);

    return (error ? error
            : put_field(list, NSX_F_VLAN_PCP, arg, "VLAN PCP", 7, 0));
}

int
nsx_parse_mod_vlan_pcp(struct nsx_action_list *list, struct nsx_slice word,
                       struct nsx_slice arg)
{
    return put_vlan_pcp(list, word, arg, true);
}

int
nsx_parse_set_vlan_pcp(struct nsx_action_list *list, struct nsx_slice word,
                       struct nsx_slice arg)
{
    return put_vlan_pcp(list, word, arg, false);
}

DEFINE_NUMBER_CHECK(set_vlan_vid, 2, 0xfff)
DEFINE_NUMBER_FORMAT(set_vlan_vid, "set_vlan_vid:%u", nsx_get16)
DEFINE_NUMBER_CHECK(set_vlan_pcp, 1, 7)
DEFINE_NUMBER_FORMAT(set_vlan_pcp, "set_vlan_pcp:%u", get8)

/* Ethernet and IPv4 addresses. */

#define DEFINE_NO_CHECK(VERB)                                           \
    int                                                                 \
    nsx_check_##VERB(                                                   \
        const struct nsx_action_check *check __attribute__((unused)),   \
        const uint8_t *a __attribute__((unused)),                       \
        size_t n __attribute__((unused)),                               \
        size_t position __attribute__((unused)))                        \
    {                                                                   \
        return 0;                                                       \
    }

#define DEFINE_ADDRESS_FORMAT(VERB, FIELD)                              \
    void                                                                \
    nsx_format_##VERB(struct nsx_buf *buf, const uint8_t *a,            \
                      size_t n __attribute__((unused)),                 \
                      nsx_tables tables __attribute__((unused)))        \
    {                                                                   \
        nsx_puts(buf, #VERB ":");                                       \
        nsx_field_format_value(buf, nsx_field_from_id(NSX_F_##FIELD),   \
                               a + 4, NULL);                            \
    }

DEFINE_NO_CHECK(mod_dl_src)
DEFINE_ADDRESS_FORMAT(mod_dl_src, ETH_SRC)
DEFINE_NO_CHECK(mod_dl_dst)
DEFINE_ADDRESS_FORMAT(mod_dl_dst, ETH_DST)
DEFINE_NO_CHECK(mod_nw_src)
DEFINE_ADDRESS_FORMAT(mod_nw_src, IPV4_SRC)
DEFINE_NO_CHECK(mod_nw_dst)
DEFINE_ADDRESS_FORMAT(mod_nw_dst, IPV4_DST)

/* IP's TOS (its 6 upper bits), ECN and TTL. */

static int
require_ip(struct nsx_action_list *list, struct nsx_slice word)
{
    return nsx_require(list, nsx_action_list_is_ip(list), word, "ip or ipv6");
}

int
nsx_parse_mod_nw_tos(struct nsx_action_list *list, struct nsx_slice word,
                     struct nsx_slice arg)
{
    uint64_t tos;
    int error = require_ip(list, word);

    if (!error) {
        error = nsx_parse_number(list->parser, arg, "TOS", UINT8_MAX, &tos);
    }
    if (!error && tos & 3) {
        error = nsx_parse_error(list->parser, arg,
                                "the lowest 2 bits of nw_tos are nw_ecn's");
    }
    return (error ? error
            : put_field(list, NSX_F_IP_DSCP, arg, "TOS", UINT8_MAX, 2));
}

int
nsx_check_mod_nw_tos(const struct nsx_action_check *check, const uint8_t *a,
                     size_t n __attribute__((unused)), size_t position)
{
    return (a[4] & 3
            ? nsx_decode_error(check->error, NSX_OFPBAC_BAD_ARGUMENT,
                               position + 4, "bad TOS %u", a[4])
            : 0);
}

DEFINE_NUMBER_FORMAT(mod_nw_tos, "mod_nw_tos:%u", get8)

int
nsx_parse_mod_nw_ecn(struct nsx_action_list *list, struct nsx_slice word,
                     struct nsx_slice arg)
{
    int error = require_ip(list, word);

    return error ? error : put_field(list, NSX_F_IP_ECN, arg, "ECN", 3, 0);
}

DEFINE_NUMBER_CHECK(mod_nw_ecn, 1, 3)
DEFINE_NUMBER_FORMAT(mod_nw_ecn, "mod_nw_ecn:%u", get8)

int
nsx_parse_mod_nw_ttl(struct nsx_action_list *list, struct nsx_slice word,
                     struct nsx_slice arg)
{
    int error = require_ip(list, word);

    return (error ? error
            : put_number(list, 23, arg, "TTL", 1, UINT8_MAX));
}

DEFINE_NO_CHECK(mod_nw_ttl)
DEFINE_NUMBER_FORMAT(mod_nw_ttl, "mod_nw_ttl:%u", get8)

/* Ports: of the protocol that the flow matches, and where nothing is known of
 * that, in the older form. */

static int
parse_mod_tp(struct nsx_action_list *list, struct nsx_slice word,
             struct nsx_slice arg, bool dst)
{
    enum { FRAG_LATER = 2 };
    uint32_t proto = nsx_action_list_ip_proto(list);
    const struct nsx_match *match = list->match;
    enum nsx_field_id id = (proto == 6 ? NSX_F_TCP_SRC
                            : proto == 17 ? NSX_F_UDP_SRC : NSX_F_SCTP_SRC);

    bool known = proto == 6 || proto == 17 || proto == 132;
    if (match && (!known || !nsx_action_list_is_ip(list)
                  || match->fields[NSX_F_IP_FRAG].value[0] & FRAG_LATER)
        && nsx_require(list, false, word, "tcp, udp or sctp")) {
        return EINVAL;
    } else if (!known) {
        return put_number(list, dst ? 10 : 9, arg, "port", 2, UINT16_MAX);
    }

    if (dst) {
        id = (id == NSX_F_TCP_SRC ? NSX_F_TCP_DST
              : id == NSX_F_UDP_SRC ? NSX_F_UDP_DST : NSX_F_SCTP_DST);
    }

    size_t port;
    return put_field16(list, id, arg, "port", UINT16_MAX, &port);
}

int
nsx_parse_mod_tp_src(struct nsx_action_list *list, struct nsx_slice word,
                     struct nsx_slice arg)
{
    return parse_mod_tp(list, word, arg, false);
}

int
nsx_parse_mod_tp_dst(struct nsx_action_list *list, struct nsx_slice word,
                     struct nsx_slice arg)
{
    return parse_mod_tp(list, word, arg, true);
}

DEFINE_NO_CHECK(mod_tp_src)
DEFINE_NUMBER_FORMAT(mod_tp_src, "mod_tp_src:%u", nsx_get16)
DEFINE_NO_CHECK(mod_tp_dst)
DEFINE_NUMBER_FORMAT(mod_tp_dst, "mod_tp_dst:%u", nsx_get16)

/* MPLS. */

static bool
is_mpls_type(uint32_t type)
{
    return type == 0x8847 || type == 0x8848;
}

static int
require_mpls(struct nsx_action_list *list, struct nsx_slice word)
{
    return nsx_require(list, is_mpls_type(nsx_action_list_eth_type(list)),
                       word, "mpls or mplsm (or push_mpls)");
}

int
nsx_parse_set_mpls_label(struct nsx_action_list *list, struct nsx_slice word,
                         struct nsx_slice arg)
{
    int error = require_mpls(list, word);

    return (error ? error
            : put_field(list, NSX_F_MPLS_LABEL, arg, "MPLS label", 0xfffff,
                        0));
}

DEFINE_NO_CHECK(set_mpls_label)
DEFINE_NUMBER_FORMAT(set_mpls_label, "set_mpls_label(%u)", nsx_get32)

int
nsx_parse_set_mpls_tc(struct nsx_action_list *list, struct nsx_slice word,
                      struct nsx_slice arg)
{
    int error = require_mpls(list, word);

    return (error ? error
            : put_field(list, NSX_F_MPLS_TC, arg, "MPLS TC", 7, 0));
}

DEFINE_NO_CHECK(set_mpls_tc)
DEFINE_NUMBER_FORMAT(set_mpls_tc, "set_mpls_tc(%u)", get8)

int
nsx_parse_set_mpls_ttl(struct nsx_action_list *list, struct nsx_slice word,
                       struct nsx_slice arg)
{
    int error = require_mpls(list, word);

    return (error ? error
            : put_number(list, 15, arg, "MPLS TTL", 1, UINT8_MAX));
}

DEFINE_NO_CHECK(set_mpls_ttl)
DEFINE_NUMBER_FORMAT(set_mpls_ttl, "set_mpls_ttl(%u)", get8)

int
nsx_parse_dec_mpls_ttl(struct nsx_action_list *list, struct nsx_slice word,
                       struct nsx_slice arg __attribute__((unused)))
{
    int error = require_mpls(list, word);

    if (!error) {
        nsx_put_action(list->buf, 16, 8);
    }
    return error;
}

DEFINE_NO_CHECK(dec_mpls_ttl)

void
nsx_format_dec_mpls_ttl(struct nsx_buf *buf,
                        const uint8_t *a __attribute__((unused)),
                        size_t n __attribute__((unused)),
                        nsx_tables tables __attribute__((unused)))
{
    nsx_puts(buf, "dec_mpls_ttl");
}

int
nsx_parse_push_mpls(struct nsx_action_list *list, struct nsx_slice word,
                    struct nsx_slice arg)
{
    int error = nsx_require(list, !list->packet_type, word,
                            "an Ethernet packet");

    if (!error) {
        error = put_number(list, 19, arg, "ethertype", 2, UINT16_MAX);
    }
    if (!error) {
        const uint8_t *end = list->buf->data + list->buf->size;

        nsx_action_list_set_eth_type(list, nsx_get16(end - 4));
        nsx_action_list_forget_ip_proto(list);
    }
    return error;
}

int
nsx_check_push_mpls(const struct nsx_action_check *check, const uint8_t *a,
                    size_t n __attribute__((unused)), size_t position)
{
    return (is_mpls_type(nsx_get16(a + 4)) ? 0
            : nsx_decode_error(check->error, NSX_OFPBAC_BAD_ARGUMENT,
                               position + 4, "bad ethertype 0x%x of MPLS",
                               nsx_get16(a + 4)));
}

DEFINE_NUMBER_FORMAT(push_mpls, "push_mpls:0x%04x", nsx_get16)

int
nsx_parse_pop_mpls(struct nsx_action_list *list, struct nsx_slice word,
                   struct nsx_slice arg)
{
    int error = (list->packet_type
                 ? nsx_require(list, false, word, "an Ethernet packet")
                 : require_mpls(list, word));

    if (!error) {
        error = put_number(list, 20, arg, "ethertype", 2, UINT16_MAX);
    }
    if (!error) {
        const uint8_t *end = list->buf->data + list->buf->size;

        nsx_action_list_set_eth_type(list, nsx_get16(end - 4));
    }
    return error;
}

DEFINE_NO_CHECK(pop_mpls)
DEFINE_NUMBER_FORMAT(pop_mpls, "pop_mpls:0x%04x", nsx_get16)

/* Tunnels: set_tunnel is set_field of tun_id; older: Nicira's subtypes 2, with
 * 32 bits at 12, and 9, with 64 at 16. */

int
nsx_parse_set_tunnel(struct nsx_action_list *list,
                     struct nsx_slice word __attribute__((unused)),
                     struct nsx_slice arg)
{
    return put_field(list, NSX_F_TUN_ID, arg, "tunnel id", UINT64_MAX, 0);
}

DEFINE_NO_CHECK(set_tunnel)

void
nsx_format_set_tunnel(struct nsx_buf *buf, const uint8_t *a,
                      size_t n __attribute__((unused)),
                      nsx_tables tables __attribute__((unused)))
{
    nsx_printf(buf, "set_tunnel:%#x", nsx_get32(a + 12));
}

DEFINE_NO_CHECK(set_tunnel64)

void
nsx_format_set_tunnel64(struct nsx_buf *buf, const uint8_t *a,
                        size_t n __attribute__((unused)),
                        nsx_tables tables __attribute__((unused)))
{
    nsx_printf(buf, "set_tunnel64:%#llx",
               (unsigned long long) nsx_get64(a + 16));
}

/* Queues. */

int
nsx_parse_set_queue(struct nsx_action_list *list,
                    struct nsx_slice word __attribute__((unused)),
                    struct nsx_slice arg)
{
    return put_number(list, 21, arg, "queue", 4, UINT32_MAX);
}

DEFINE_NO_CHECK(set_queue)
DEFINE_NUMBER_FORMAT(set_queue, "set_queue:%u", nsx_get32)
