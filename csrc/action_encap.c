/* action_encap.c: headers of any kind pushed and popped: encap, decap, and the
 * TTL of NSH. */

#include "action_verbs.h"

/* Packet types: a namespace and a type of 16 bits each. */
#define PT_ETHERNET 0x00000000u
#define PT_NEXT_PROTO 0x0000fffeu       /* decap: what the header says. */
#define PT_UNKNOWN 0xffffffffu
#define PT_MPLS 0x00018847u
#define PT_MPLS_MC 0x00018848u
#define PT_NSH 0x0001894fu

#define NS_ETHERTYPE 1
#define N_NAMESPACES 5

static const struct header {
    const char *name;
    uint32_t packet_type;
} headers[] = {
    { "ethernet", PT_ETHERNET },
    { "nsh", PT_NSH },
    { "mpls", PT_MPLS },
    { "mpls_mc", PT_MPLS_MC },
};

/* encap(HEADER(PROPERTIES)): subtype 46, the header's size (0) at 10, the
 * packet type at 12, from 16 on properties: a class of 16 bits, a type and a
 * length of 8 bits, padded to 8 bytes. */

#define CLASS_NSH 4
#define MD_TYPE 1                       /* The type at 4; its length is 5. */
#define TLV 2                           /* A class of 16 bits at 4, a type at
                                         * 6, a length at 7, from 8 on data. */

static int
put_md_type(struct nsx_action_list *list, struct nsx_slice value)
{
    uint64_t type;
    int error = nsx_parse_number(list->parser, value, "md_type", 2, &type);

    if (!error && !type) {
        error = nsx_parse_error(list->parser, value, "md_type is 1 or 2");
    }
    if (!error) {
        uint8_t *p = nsx_put_zeros(list->buf, 8);

        nsx_set16(p, CLASS_NSH);
        p[2] = MD_TYPE;
        p[3] = 5;
        p[4] = (uint8_t) type;
    }
    return error;
}

/* tlv(0xCLASS,TYPE,0xDATA) */
static int
put_tlv(struct nsx_action_list *list, struct nsx_slice value)
{
    static const char syntax[] = "the syntax is tlv(0xCLASS,TYPE,0xDATA)";
    const size_t max_len = 125;
    const struct nsx_parser *parser = list->parser;
    struct nsx_slice rest = value;
    struct nsx_slice class_s, type_s, data;
    uint64_t class, type;

    if (!nsx_next_word(&rest, ",", &class_s)
        || !nsx_next_word(&rest, ",", &type_s)
        || !nsx_next_word(&rest, ",", &data) || rest.n
        || !nsx_slice_starts_with(class_s, "0x")
        || !nsx_slice_starts_with(data, "0x")) {
        return nsx_parse_error(parser, value, "%s", syntax);
    }

    int error = nsx_parse_number(parser, class_s, "class", UINT16_MAX, &class);
    if (!error) {
        error = nsx_parse_decimal(parser, type_s, "type", UINT8_MAX, &type);
    }
    if (error) {
        return error;
    }

    size_t start = list->buf->size;
    nsx_put_zeros(list->buf, 8);
    data = nsx_slice_trim((struct nsx_slice) { data.s + 2, data.n - 2 });
    error = nsx_parse_hex(parser, data, list->buf);
    size_t len = list->buf->size - start - 8;
    if (!error && (!len || data.n != 2 * len)) {
        error = nsx_parse_error(parser, value, "%s", syntax);
    } else if (!error && len > max_len) {
        error = nsx_parse_error(parser, data, "more than %zu bytes", max_len);
    }
    if (!error) {
        nsx_pad(list->buf, start, 8);

        uint8_t *p = list->buf->data + start;
        nsx_set16(p, CLASS_NSH);
        p[2] = TLV;
        p[3] = (uint8_t) (list->buf->size - start);
        nsx_set16(p + 4, (uint16_t) class);
        p[6] = (uint8_t) type;
        p[7] = (uint8_t) len;
    }
    return error;
}

static int
put_properties(struct nsx_action_list *list, struct nsx_slice text,
               uint32_t packet_type)
{
    struct nsx_slice key, value;
    char delimiter;
    int error = 0;

    while (!error && nsx_next_key_value(&text, &key, &value, &delimiter)) {
        if (packet_type != PT_NSH) {
            error = nsx_parse_error(list->parser, key,
                                    "this header has no properties");
        } else if (nsx_slice_equals(key, "md_type")) {
            error = put_md_type(list, value);
        } else if (nsx_slice_equals(key, "tlv")) {
            error = put_tlv(list, value);
        } else {
            error = nsx_parse_error(list->parser, key,
                                    "nsh has md_type and tlv");
        }
    }
    return error;
}

int
nsx_parse_encap(struct nsx_action_list *list, struct nsx_slice word,
                struct nsx_slice arg)
{
    struct nsx_slice rest = arg;
    struct nsx_slice key, value;
    char delimiter;

    if (!nsx_next_key_value(&rest, &key, &value, &delimiter)) {
        return nsx_parse_error(list->parser, word, "missing header");
    }

    size_t i = 0;
    while (i < NSX_ARRAY_SIZE(headers)
           && !nsx_slice_equals(key, headers[i].name)) {
        i++;
    }
    if (i >= NSX_ARRAY_SIZE(headers)) {
        return nsx_parse_error(list->parser, key,
                               "headers are ethernet, nsh, mpls and mpls_mc");
    }

    uint32_t packet_type = headers[i].packet_type;
    size_t start = nsx_put_nx_action(list->buf, 46, 16);
    nsx_set32(list->buf->data + start + 12, packet_type);
    int error = put_properties(list, value, packet_type);
    if (error) {
        return error;
    }
    nsx_finish_action(list->buf, start);

    nsx_action_list_set_packet_type(list, packet_type);
    if (packet_type >> 16 == NS_ETHERTYPE) {
        nsx_action_list_set_eth_type(list, packet_type & UINT16_MAX);
    }
    if (!nsx_action_list_is_ip(list)) {
        nsx_action_list_forget_ip_proto(list);
    }
    return 0;
}

static int
check_property(const struct nsx_action_check *check, const uint8_t *p,
               size_t n, size_t position)
{
    size_t len = p[3];

    if (len < 4 || NSX_ROUND_UP(len, 8) > n) {
        return nsx_decode_error(check->error, NSX_OFPBAC_BAD_LEN, position + 3,
                                "a property of encap has %zu of %zu bytes",
                                len, n);
    } else if (nsx_get16(p) != CLASS_NSH || (p[2] != MD_TYPE && p[2] != TLV)) {
        return nsx_decode_error(check->error, NSX_NXBAC_UNKNOWN_ED_PROP,
                                position, "unknown property of encap");
    } else if (p[2] == MD_TYPE
               ? len > 8
               : len < 8 || len != 8 + NSX_ROUND_UP((size_t) p[7], 8)) {
        return nsx_decode_error(check->error, NSX_NXBAC_BAD_ED_PROP, position,
                                "bad property of encap");
    }
    return 0;
}

int
nsx_check_encap(const struct nsx_action_check *check, const uint8_t *a,
                size_t n, size_t position)
{
    uint32_t packet_type = nsx_get32(a + 12);
    int error = 0;

    if (packet_type != PT_ETHERNET && packet_type != PT_NSH
        && packet_type != PT_MPLS && packet_type != PT_MPLS_MC) {
        return nsx_decode_error(check->error, NSX_NXBAC_BAD_HEADER_TYPE,
                                position + 12, "unknown header of encap");
    }
    for (size_t i = 16; !error && i < n; i += NSX_ROUND_UP(a[i + 3], 8u)) {
        error = check_property(check, a + i, n - i, position + i);
    }
    return error;
}

void
nsx_format_encap(struct nsx_buf *buf, const uint8_t *a, size_t n,
                 nsx_tables tables __attribute__((unused)))
{
    nsx_puts(buf, "encap(");
    for (size_t i = 0; i < NSX_ARRAY_SIZE(headers); i++) {
        if (headers[i].packet_type == nsx_get32(a + 12)) {
            nsx_puts(buf, headers[i].name);
        }
    }
    for (size_t i = 16; i < n; i += NSX_ROUND_UP(a[i + 3], 8u)) {
        const uint8_t *p = a + i;

        nsx_put8(buf, i == 16 ? '(' : ',');
        if (p[2] == MD_TYPE) {
            nsx_printf(buf, "md_type=%u", p[4]);
        } else {
            nsx_printf(buf, "tlv(0x%04x,%u,", nsx_get16(p + 4), p[6]);
            nsx_put_hex_bytes(buf, p + 8, p[7]);
            nsx_put8(buf, ')');
        }
    }
    nsx_puts(buf, n > 16 ? "))" : ")");
}

/* decap(packet_type(ns=NS,type=TYPE)): subtype 47, the packet type of the
 * result at 12. */

static int
parse_packet_type(struct nsx_action_list *list, struct nsx_slice text,
                  uint32_t *packet_type)
{
    struct nsx_slice rest = text;
    struct nsx_slice key, value;
    uint64_t ns, type;
    char delimiter;
    int error;

    if (!nsx_next_key_value(&rest, &key, &value, &delimiter)
        || !nsx_slice_equals(key, "ns")) {
        return nsx_parse_error(list->parser, text, "missing ns=");
    }
    error = nsx_parse_number(list->parser, value, "ns", N_NAMESPACES - 1, &ns);
    if (error) {
        return error;
    }
    if (!nsx_next_key_value(&rest, &key, &value, &delimiter)
        || !nsx_slice_equals(key, "type")) {
        return nsx_parse_error(list->parser, text, "missing type=");
    }
    error = nsx_parse_number(list->parser, value, "type", UINT16_MAX, &type);
    if (!error) {
        *packet_type = (uint32_t) (ns << 16 | type);
    }
    return error;
}

int
nsx_parse_decap(struct nsx_action_list *list,
                struct nsx_slice word __attribute__((unused)),
                struct nsx_slice arg)
{
    uint32_t packet_type = PT_NEXT_PROTO;
    struct nsx_slice key, value;
    char delimiter;

    if (nsx_next_key_value(&arg, &key, &value, &delimiter)) {
        int error = (nsx_slice_equals(key, "packet_type")
                     ? parse_packet_type(list, value, &packet_type)
                     : nsx_parse_error(list->parser, key,
                                       "decap takes packet_type"));
        if (error) {
            return error;
        }
    }

    size_t start = nsx_put_nx_action(list->buf, 47, 16);
    nsx_set32(list->buf->data + start + 12, packet_type);
    if (list->packet_type == PT_ETHERNET) {
        nsx_action_list_set_packet_type(
            list, NS_ETHERTYPE << 16 | nsx_action_list_eth_type(list));
    } else {
        nsx_action_list_set_packet_type(list, PT_UNKNOWN);
        nsx_action_list_set_eth_type(list, UINT16_MAX);
    }
    return 0;
}

int
nsx_check_decap(const struct nsx_action_check *check __attribute__((unused)),
                const uint8_t *a __attribute__((unused)),
                size_t n __attribute__((unused)),
                size_t position __attribute__((unused)))
{
    return 0;
}

void
nsx_format_decap(struct nsx_buf *buf, const uint8_t *a,
                 size_t n __attribute__((unused)),
                 nsx_tables tables __attribute__((unused)))
{
    nsx_puts(buf, "decap(");
    if (nsx_get32(a + 12) != PT_NEXT_PROTO) {
        nsx_printf(buf, "packet_type(ns=%u,type=%#x)", nsx_get16(a + 12),
                   nsx_get16(a + 14));
    }
    nsx_put8(buf, ')');
}

/* dec_nsh_ttl: subtype 48. */

int
nsx_parse_dec_nsh_ttl(struct nsx_action_list *list, struct nsx_slice word,
                      struct nsx_slice arg __attribute__((unused)))
{
    const uint32_t nsh = PT_NSH & UINT16_MAX;
    bool ok = (list->packet_type == PT_NSH
               || (list->match
                   && nsx_match_exact(list->match, NSX_F_ETH_TYPE) == nsh));
    int error = nsx_require(list, ok, word, "nsh (or encap(nsh))");

    if (!error) {
        nsx_put_nx_action(list->buf, 48, 16);
    }
    return error;
}
