/* action_hash.c: multipath, bundle and bundle_load, which choose among several
 * by a hash of the packet. */

#include "action_verbs.h"

#define NXM_IN_PORT 0x00000002u         /* The header of in_port. */

static const char *const hash_fields[] = {
    "eth_src", "symmetric_l4", "symmetric_l3l4", "symmetric_l3l4+udp",
    "nw_src", "nw_dst", "symmetric_l3",
};

static const char *const path_algorithms[] = {
    "modulo_n", "hash_threshold", "hrw", "iter_hash",
};

static const char *const bundle_algorithms[] = {
    "active_backup", "hrw",
};

static int
parse_name(const struct nsx_parser *parser, struct nsx_slice text,
           const char *const names[], size_t n, const char *what, uint8_t *p)
{
    for (size_t i = 0; i < n; i++) {
        if (nsx_is_word(text, names[i])) {
            nsx_set16(p, (uint16_t) i);
            return 0;
        }
    }
    return nsx_parse_error(parser, text, "unknown %s", what);
}

/* Splits the arguments at the front of 'rest' off.  Fails, blaming 'all', if
 * there are fewer than 'n'. */
static int
take_arguments(const struct nsx_parser *parser, struct nsx_slice all,
               struct nsx_slice *rest, struct nsx_slice *args, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (!nsx_next_word(rest, ", ", &args[i])) {
            return nsx_parse_error(parser, all, "not enough arguments");
        }
    }
    return 0;
}

/* Fails where the flow has no such field to write. */
static int
check_result(const struct nsx_action_list *list,
             const struct nsx_field *field, struct nsx_slice at)
{
    int error = nsx_check_read_only(list, field, at);

    return error ? error : nsx_check_source(list, field, at);
}

/* multipath(FIELDS,BASIS,ALGORITHM,N_LINKS,ARG,DST): subtype 10; fields at 10,
 * basis at 12, algorithm at 16, N_LINKS - 1 at 18, ARG at 20, DST's bits at 26
 * and its header at 28. */

int
nsx_parse_multipath(struct nsx_action_list *list, struct nsx_slice word,
                    struct nsx_slice arg)
{
    const struct nsx_parser *parser = list->parser;
    size_t start = nsx_put_nx_action(list->buf, 10, 32);
    uint8_t *a = list->buf->data + start;
    struct nsx_slice rest = arg;
    struct nsx_slice args[6];
    struct nsx_subfield dst;
    uint64_t basis, n_links, number;
    int error = take_arguments(parser, arg.n ? arg : word, &rest, args, 6);

    if (!error) {
        error = parse_name(parser, args[0], hash_fields,
                           NSX_ARRAY_SIZE(hash_fields), "fields", a + 10);
    }
    if (!error) {
        error = nsx_parse_decimal(parser, args[1], "basis", UINT16_MAX,
                                  &basis);
    }
    if (!error) {
        error = parse_name(parser, args[2], path_algorithms,
                           NSX_ARRAY_SIZE(path_algorithms), "algorithm",
                           a + 16);
    }
    if (!error) {
        error = nsx_parse_decimal(parser, args[3], "number of links", 65536,
                                  &n_links);
    }
    if (!error && !n_links) {
        error = nsx_parse_error(parser, args[3], "there must be a link");
    }
    if (!error) {
        error = nsx_parse_decimal(parser, args[4], "argument", INT32_MAX,
                                  &number);
    }
    if (!error) {
        error = nsx_subfield_parse(parser, args[5], &dst);
    }
    if (!error) {
        error = nsx_set_subfield(parser, args[5], &dst, a + 26, a + 28);
    }
    if (error) {
        return error;
    } else if (dst.n_bits < 16 && n_links > 1u << dst.n_bits) {
        return nsx_parse_error(parser, args[5], "%u bits are too few for %u "
                               "links", dst.n_bits, (unsigned int) n_links);
    }
    nsx_set16(a + 12, (uint16_t) basis);
    nsx_set16(a + 18, (uint16_t) (n_links - 1));
    nsx_set32(a + 20, (uint32_t) number);
    return list->match ? check_result(list, dst.field, args[5]) : 0;
}

int
nsx_check_multipath(const struct nsx_action_check *check, const uint8_t *a,
                    size_t n __attribute__((unused)), size_t position)
{
    struct nsx_subfield dst;

    if (nsx_get16(a + 10) >= NSX_ARRAY_SIZE(hash_fields)
        || nsx_get16(a + 16) >= NSX_ARRAY_SIZE(path_algorithms)) {
        return nsx_decode_error(check->error, NSX_OFPBAC_BAD_ARGUMENT,
                                position + 10,
                                "bad fields or algorithm of multipath");
    } else if (!nsx_get_subfield(a + 26, a + 28, &dst)) {
        return nsx_check_subfield(check, &dst, NSX_OFPBAC_BAD_SET_TYPE,
                                  position + 26);
    } else if (!nsx_field_writable(dst.field)) {
        return nsx_decode_error(check->error, NSX_OFPBAC_BAD_SET_ARGUMENT,
                                position + 28, "%s is read-only",
                                nsx_field_name(dst.field));
    } else if (dst.n_bits < 16 && nsx_get16(a + 18) >= 1u << dst.n_bits) {
        return nsx_decode_error(check->error, NSX_OFPBAC_BAD_ARGUMENT,
                                position + 26, "%u bits for %u links",
                                dst.n_bits, nsx_get16(a + 18) + 1u);
    }
    return 0;
}

void
nsx_format_multipath(struct nsx_buf *buf, const uint8_t *a,
                     size_t n __attribute__((unused)),
                     nsx_tables tables __attribute__((unused)))
{
    struct nsx_subfield dst;

    if (nsx_get_subfield(a + 26, a + 28, &dst)) {
        nsx_printf(buf, "multipath(%s,%u,%s,%u,%u,",
                   hash_fields[nsx_get16(a + 10)], nsx_get16(a + 12),
                   path_algorithms[nsx_get16(a + 16)],
                   nsx_get16(a + 18) + 1u, nsx_get32(a + 20));
        nsx_subfield_format(buf, &dst);
        nsx_put8(buf, ')');
    }
}

/* bundle(FIELDS,BASIS,ALGORITHM,ofport,members:PORTS), and bundle_load with
 * DST before the members: subtypes 12 and 13; algorithm at 10, fields at 12,
 * basis at 14, the header of in_port at 16, the number of members at 20, DST's
 * bits at 22 and its header at 24, from 32 on 16-bit ports. */

#define BUNDLE_LEN 32
#define MAX_MEMBERS 2048

/* Splits "members:" off what is left of the text. */
static bool
take_members(struct nsx_slice *rest)
{
    struct nsx_slice word;
    size_t n = 0;

    while (rest->n && *rest->s == ' ') {
        rest->s++;
        rest->n--;
    }
    while (n < rest->n && rest->s[n] != ':' && rest->s[n] != ' ') {
        n++;
    }
    word = (struct nsx_slice) { rest->s, n };
    rest->s += n;
    rest->n -= n;
    if (!nsx_is_word(word, "members") && !nsx_is_word(word, "slaves")) {
        return false;
    }
    if (rest->n) {
        rest->s++;
        rest->n--;
    }
    return true;
}

static int
put_members(struct nsx_action_list *list, struct nsx_slice text, size_t start)
{
    size_t n = 0;

    for (;;) {
        while (text.n && strchr(", []", *text.s) && *text.s) {
            text.s++;
            text.n--;
        }
        if (!text.n) {
            break;
        }

        struct nsx_slice member = { text.s, 0 };
        while (text.n && (!strchr(", []", *text.s) || !*text.s)) {
            text.s++;
            text.n--;
            member.n++;
        }

        uint16_t port;
        int error = nsx_parse_port16(list->parser, member, &port);
        if (!error && list->match
            && (port == 0xfffd || (port >= 0xff00 && port < 0xfff8))) {
            error = nsx_parse_error(list->parser, member,
                                    "this port can't be a member");
        } else if (!error && n >= MAX_MEMBERS) {
            error = nsx_parse_error(list->parser, member,
                                    "more than %d members", MAX_MEMBERS);
        }
        if (error) {
            return error;
        }
        nsx_put16(list->buf, port);
        n++;
    }
    nsx_set16(list->buf->data + start + 20, (uint16_t) n);
    nsx_finish_action(list->buf, start);
    return 0;
}

static int
parse_bundle(struct nsx_action_list *list, struct nsx_slice word,
             struct nsx_slice arg, bool load)
{
    const struct nsx_parser *parser = list->parser;
    size_t start = nsx_put_nx_action(list->buf, load ? 13 : 12, BUNDLE_LEN);
    uint8_t *a = list->buf->data + start;
    struct nsx_slice rest = arg;
    struct nsx_slice args[5];
    uint64_t basis = 0;
    int error = take_arguments(parser, arg.n ? arg : word, &rest, args,
                               load ? 5 : 4);

    if (!error && rest.n) {
        rest.s++;
        rest.n--;
    }
    if (!error) {
        error = parse_name(parser, args[0], hash_fields,
                           NSX_ARRAY_SIZE(hash_fields), "fields", a + 12);
    }
    if (!error) {
        error = nsx_parse_decimal(parser, args[1], "basis", UINT16_MAX,
                                  &basis);
    }
    if (!error) {
        error = parse_name(parser, args[2], bundle_algorithms,
                           NSX_ARRAY_SIZE(bundle_algorithms), "algorithm",
                           a + 10);
    }
    if (!error && !nsx_is_word(args[3], "ofport")) {
        error = nsx_parse_error(parser, args[3], "members are of type ofport");
    }
    if (!error && load) {
        struct nsx_subfield dst;

        error = nsx_subfield_parse(parser, args[4], &dst);
        if (!error) {
            error = nsx_set_subfield(parser, args[4], &dst, a + 22, a + 24);
        }
        if (!error && list->match) {
            error = check_result(list, dst.field, args[4]);
        }
    }
    if (error) {
        return error;
    }

    nsx_set16(a + 14, (uint16_t) basis);
    nsx_set32(a + 16, NXM_IN_PORT);
    return (take_members(&rest)
            ? put_members(list, rest, start)
            : nsx_parse_error(parser, rest.n ? rest : arg,
                              "missing members"));
}

int
nsx_parse_bundle(struct nsx_action_list *list, struct nsx_slice word,
                 struct nsx_slice arg)
{
    return parse_bundle(list, word, arg, false);
}

int
nsx_parse_bundle_load(struct nsx_action_list *list, struct nsx_slice word,
                      struct nsx_slice arg)
{
    return parse_bundle(list, word, arg, true);
}

int
nsx_check_bundle(const struct nsx_action_check *check, const uint8_t *a,
                 size_t n, size_t position)
{
    bool load = nsx_get16(a + 8) == 13;
    size_t n_members = nsx_get16(a + 20);
    struct nsx_subfield dst;

    if (nsx_get16(a + 12) >= NSX_ARRAY_SIZE(hash_fields)
        || nsx_get16(a + 10) >= NSX_ARRAY_SIZE(bundle_algorithms)) {
        return nsx_decode_error(check->error, NSX_OFPBAC_BAD_ARGUMENT,
                                position + 10,
                                "bad fields or algorithm of bundle");
    } else if (nsx_get32(a + 16) != NXM_IN_PORT
               || n_members > MAX_MEMBERS) {
        return nsx_decode_error(check->error, NSX_OFPBAC_BAD_ARGUMENT,
                                position + 16, "bad members of bundle");
    } else if (load
               ? (!nsx_get_subfield(a + 22, a + 24, &dst) || dst.n_bits < 16
                  || !nsx_field_writable(dst.field))
               : nsx_get16(a + 22) || nsx_get32(a + 24)) {
        return nsx_decode_error(check->error, NSX_OFPBAC_BAD_ARGUMENT,
                                position + 22, "bad field of bundle");
    }
    if (n_members * 2 > n - BUNDLE_LEN) {
        return nsx_decode_error(check->error, NSX_OFPBAC_BAD_LEN,
                                position + 20, "%zu members of bundle in %zu "
                                "bytes", n_members, n - BUNDLE_LEN);
    }
    for (size_t i = 0; i < n_members; i++) {
        uint16_t port = nsx_get16(a + BUNDLE_LEN + 2 * i);

        if (port == 0xfffd || (port >= 0xff00 && port < 0xfff8)) {
            return nsx_decode_error(check->error, NSX_OFPBAC_BAD_ARGUMENT,
                                    position + BUNDLE_LEN + 2 * i,
                                    "bad member of bundle");
        }
    }
    return nsx_check_zeros(check, NSX_OFPBAC_BAD_ARGUMENT, a + 28, 4,
                           position + 28);
}

void
nsx_format_bundle(struct nsx_buf *buf, const uint8_t *a,
                  size_t n __attribute__((unused)),
                  nsx_tables tables __attribute__((unused)))
{
    bool load = nsx_get16(a + 8) == 13;
    struct nsx_subfield dst;

    nsx_printf(buf, "%s(%s,%u,%s,ofport,", load ? "bundle_load" : "bundle",
               hash_fields[nsx_get16(a + 12)], nsx_get16(a + 14),
               bundle_algorithms[nsx_get16(a + 10)]);
    if (load && nsx_get_subfield(a + 22, a + 24, &dst)) {
        nsx_subfield_format(buf, &dst);
        nsx_put8(buf, ',');
    }
    nsx_puts(buf, "members:");
    for (size_t i = 0; i < nsx_get16(a + 20); i++) {
        if (i) {
            nsx_put8(buf, ',');
        }
        nsx_format_port(buf,
                        nsx_port_from_16(nsx_get16(a + BUNDLE_LEN + 2 * i)));
    }
    nsx_put8(buf, ')');
}
