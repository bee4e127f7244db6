/* action_misc.c: actions with little or no argument that are no family's, and
 * sample. */

#include "action_verbs.h"

/* Actions that are nothing but a header: pop_queue (subtype 5), exit (17),
 * ct_clear (43), dec_nsh_ttl (48), and two that Open vSwitch's own tests use
 * and a switch refuses (254 and 255). */

static const struct {
    const char *name;
    uint16_t subtype;
} plain[] = {
    { "pop_queue", 5 },
    { "exit", 17 },
    { "ct_clear", 43 },
    { "dec_nsh_ttl", 48 },
    { "debug_slow", 254 },
    { "debug_recirc", 255 },
};

int
nsx_parse_plain(struct nsx_action_list *list, struct nsx_slice word,
                struct nsx_slice arg __attribute__((unused)))
{
    size_t i = 0;

    while (!nsx_is_word(word, plain[i].name)) {
        i++;
    }
    nsx_put_nx_action(list->buf, plain[i].subtype, 16);
    return 0;
}

int
nsx_check_plain(const struct nsx_action_check *check __attribute__((unused)),
                const uint8_t *a __attribute__((unused)),
                size_t n __attribute__((unused)),
                size_t position __attribute__((unused)))
{
    return 0;
}

void
nsx_format_plain(struct nsx_buf *buf, const uint8_t *a,
                 size_t n __attribute__((unused)),
                 nsx_tables tables __attribute__((unused)))
{
    for (size_t i = 0; i < NSX_ARRAY_SIZE(plain); i++) {
        if (plain[i].subtype == nsx_get16(a + 8)) {
            nsx_puts(buf, plain[i].name);
        }
    }
}

/* fin_timeout(idle_timeout=N,hard_timeout=N): subtype 19, they at 10 and 12.
 */

int
nsx_parse_fin_timeout(struct nsx_action_list *list, struct nsx_slice word,
                      struct nsx_slice arg)
{
    size_t start = nsx_put_nx_action(list->buf, 19, 16);
    struct nsx_slice key, value;
    char delimiter;
    int error = nsx_require(list, nsx_action_list_ip_proto(list) == 6, word,
                            "tcp");

    while (!error && nsx_next_key_value(&arg, &key, &value, &delimiter)) {
        bool idle = nsx_slice_equals(key, "idle_timeout");

        error = (idle || nsx_slice_equals(key, "hard_timeout")
                 ? nsx_parse_number_or_hole(list->parser, value, "timeout",
                                            UINT16_MAX, list->buf,
                                            start + (idle ? 10 : 12), 2)
                 : nsx_parse_error(list->parser, key, "fin_timeout takes "
                                   "idle_timeout and hard_timeout"));
    }
    return error;
}

int
nsx_check_fin_timeout(
    const struct nsx_action_check *check __attribute__((unused)),
    const uint8_t *a __attribute__((unused)),
    size_t n __attribute__((unused)), size_t position __attribute__((unused)))
{
    return 0;
}

void
nsx_format_fin_timeout(struct nsx_buf *buf, const uint8_t *a,
                       size_t n __attribute__((unused)),
                       nsx_tables tables __attribute__((unused)))
{
    uint16_t idle = nsx_get16(a + 10);
    uint16_t hard = nsx_get16(a + 12);

    nsx_puts(buf, "fin_timeout(");
    if (idle) {
        nsx_printf(buf, "idle_timeout=%u%s", idle, hard ? "," : "");
    }
    if (hard) {
        nsx_printf(buf, "hard_timeout=%u", hard);
    }
    nsx_put8(buf, ')');
}

/* sample(...): subtype 29; probability at 10, collector_set_id at 12,
 * obs_domain_id at 16, obs_point_id at 20.  38, with sampling_port at 24, and
 * 41, with a direction at 26 too, are 8 bytes longer. */

enum direction { ANY, INGRESS, EGRESS, N_DIRECTIONS };

static int
parse_sample_option(struct nsx_action_list *list, struct nsx_slice key,
                    struct nsx_slice value, size_t start)
{
    static const struct {
        const char *name;
        uint8_t offset, width;
    } numbers[] = {
        { "probability", 10, 2 },
        { "collector_set_id", 12, 4 },
        { "obs_domain_id", 16, 4 },
        { "obs_point_id", 20, 4 },
    };
    uint8_t *a = list->buf->data + start;

    for (size_t i = 0; i < NSX_ARRAY_SIZE(numbers); i++) {
        if (nsx_slice_equals(key, numbers[i].name)) {
            return nsx_parse_number_or_hole(
                list->parser, value, numbers[i].name,
                UINT64_MAX >> (64 - 8 * numbers[i].width), list->buf,
                start + numbers[i].offset, numbers[i].width);
        }
    }
    if (nsx_slice_equals(key, "sampling_port")) {
        uint16_t port;
        int error = nsx_parse_port16(list->parser, value, &port);

        if (!error) {
            nsx_set16(a + 24, port);
        }
        return error;
    } else if (nsx_slice_equals(key, "ingress")) {
        a[26] = INGRESS;
    } else if (nsx_slice_equals(key, "egress")) {
        a[26] = EGRESS;
    } else {
        return nsx_parse_error(list->parser, key, "unknown word in sample");
    }
    return 0;
}

int
nsx_parse_sample(struct nsx_action_list *list, struct nsx_slice word,
                 struct nsx_slice arg)
{
    size_t start = nsx_put_nx_action(list->buf, 41, 32);
    struct nsx_slice key, value, hole;
    bool has_probability = false;
    char delimiter;
    int error = 0;

    nsx_set16(list->buf->data + start + 24, UINT16_MAX);
    while (!error && nsx_next_key_value(&arg, &key, &value, &delimiter)) {
        error = parse_sample_option(list, key, value, start);
        if (!error && nsx_slice_equals(key, "probability")) {
            has_probability = (nsx_is_hole(value, &hole)
                               || nsx_get16(list->buf->data + start + 10));
            if (!has_probability) {
                error = nsx_parse_error(list->parser, value,
                                        "probability is 0");
            }
        }
    }
    if (error) {
        return error;
    } else if (!has_probability) {
        return nsx_parse_error(list->parser, word, "missing probability");
    }

    uint8_t *a = list->buf->data + start;
    if (!a[26] && nsx_get16(a + 24) == UINT16_MAX) {
        nsx_set16(a + 8, 29);
        list->buf->size -= 8;
    } else if (!a[26]) {
        nsx_set16(a + 8, 38);
    }
    nsx_finish_action(list->buf, start);
    return 0;
}

int
nsx_check_sample(const struct nsx_action_check *check, const uint8_t *a,
                 size_t n, size_t position)
{
    if (!nsx_get16(a + 10)) {
        return nsx_decode_error(check->error, NSX_OFPBAC_BAD_ARGUMENT,
                                position + 10, "sample with probability 0");
    } else if (nsx_get16(a + 8) == 41 && a[26] >= N_DIRECTIONS) {
        return nsx_decode_error(check->error, NSX_OFPBAC_BAD_ARGUMENT,
                                position + 26, "bad direction of sample");
    }
    return (nsx_get16(a + 8) == 41
            ? nsx_check_zeros(check, NSX_NXBRC_MUST_BE_ZERO, a + 27, n - 27,
                              position + 27) : 0);
}

void
nsx_format_sample(struct nsx_buf *buf, const uint8_t *a,
                  size_t n __attribute__((unused)),
                  nsx_tables tables __attribute__((unused)))
{
    uint16_t subtype = nsx_get16(a + 8);

    nsx_printf(buf, "sample(probability=%u,collector_set_id=%u,"
               "obs_domain_id=%u,obs_point_id=%u", nsx_get16(a + 10),
               nsx_get32(a + 12), nsx_get32(a + 16), nsx_get32(a + 20));
    if (subtype != 29 && nsx_get16(a + 24) != UINT16_MAX) {
        nsx_puts(buf, ",sampling_port=");
        nsx_format_port(buf, nsx_port_from_16(nsx_get16(a + 24)));
    }
    if (subtype == 41 && a[26]) {
        nsx_puts(buf, a[26] == INGRESS ? ",ingress" : ",egress");
    }
    nsx_put8(buf, ')');
}
