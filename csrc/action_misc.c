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

/* sample(...): probability at 10, collector_set_id at 12, and then:
 *
 *    - subtype 29: obs_domain_id at 16, obs_point_id at 20.
 *    - 38 (SAMPLE2): sampling_port at 24, too, and 41 (SAMPLE3): a direction
 *      at 26.
 *    - 51 (SAMPLE4, since Open vSwitch 3.4): either id may be some bits of a
 *      field.  obs_domain_id's header is at 16, 0 if it is a number, and its
 *      bits or itself at 20, obs_point_id's at 24 and 28, sampling_port at 32
 *      and the direction at 34. */

enum { SAMPLE = 29, SAMPLE2 = 38, SAMPLE3 = 41, SAMPLE4 = 51 };
enum direction { ANY, INGRESS, EGRESS, N_DIRECTIONS };

struct sample_layout {
    uint8_t domain, point;              /* 4 bytes each. */
    uint8_t port, direction;            /* 2 and 1. */
};

static const struct sample_layout *
sample_layout(const uint8_t *a)
{
    static const struct sample_layout old = { 16, 20, 24, 26 };
    static const struct sample_layout new = { 20, 28, 32, 34 };

    return nsx_get16(a + 8) == SAMPLE4 ? &new : &old;
}

static uint16_t
sample_port(const uint8_t *a)
{
    return (nsx_get16(a + 8) == SAMPLE
            ? UINT16_MAX : nsx_get16(a + sample_layout(a)->port));
}

static uint8_t
sample_direction(const uint8_t *a)
{
    return (nsx_get16(a + 8) == SAMPLE || nsx_get16(a + 8) == SAMPLE2
            ? ANY : a[sample_layout(a)->direction]);
}

static bool
is_observation(struct nsx_slice key)
{
    return (nsx_slice_equals(key, "obs_domain_id")
            || nsx_slice_equals(key, "obs_point_id"));
}

/* True of what can only be a field's name. */
static bool
is_subfield(struct nsx_slice value)
{
    struct nsx_slice hole;

    return (value.n && (*value.s < '0' || *value.s > '9')
            && !nsx_is_hole(value, &hole));
}

/* True if an id in a sample's 'arg' is some bits of a field. */
static bool
samples_a_field(struct nsx_slice arg)
{
    struct nsx_slice key, value;
    char delimiter;

    while (nsx_next_key_value(&arg, &key, &value, &delimiter)) {
        if (is_observation(key) && is_subfield(value)) {
            return true;
        }
    }
    return false;
}

/* Reads bits of a field for the id whose number would be at 'offset' of the
 * action at 'start'. */
static int
parse_observation(struct nsx_action_list *list, struct nsx_slice value,
                  size_t start, size_t offset)
{
    uint8_t *a = list->buf->data + start;
    struct nsx_subfield sf;
    int error = nsx_subfield_parse(list->parser, value, &sf);

    if (error) {
        return error;
    } else if (sf.n_bits > 32) {
        return nsx_parse_error(list->parser, value, "more than 32 bits");
    }
    nsx_set32(a + offset, 0);
    return nsx_set_subfield(list->parser, value, &sf, a + offset,
                            a + offset - 4);
}

static int
parse_sample_option(struct nsx_action_list *list, struct nsx_slice key,
                    struct nsx_slice value, size_t start)
{
    uint8_t *a = list->buf->data + start;
    const struct sample_layout *layout = sample_layout(a);
    const struct {
        const char *name;
        uint8_t offset, width;
    } numbers[] = {
        { "probability", 10, 2 },
        { "collector_set_id", 12, 4 },
        { "obs_domain_id", layout->domain, 4 },
        { "obs_point_id", layout->point, 4 },
    };

    for (size_t i = 0; i < NSX_ARRAY_SIZE(numbers); i++) {
        if (!nsx_slice_equals(key, numbers[i].name)) {
            continue;
        } else if (is_observation(key) && is_subfield(value)) {
            return parse_observation(list, value, start, numbers[i].offset);
        }
        return nsx_parse_number_or_hole(
            list->parser, value, numbers[i].name,
            UINT64_MAX >> (64 - 8 * numbers[i].width), list->buf,
            start + numbers[i].offset, numbers[i].width);
    }
    if (nsx_slice_equals(key, "sampling_port")) {
        uint16_t port;
        int error = nsx_parse_port16(list->parser, value, &port);

        if (!error) {
            nsx_set16(a + layout->port, port);
        }
        return error;
    } else if (nsx_slice_equals(key, "ingress")) {
        a[layout->direction] = INGRESS;
    } else if (nsx_slice_equals(key, "egress")) {
        a[layout->direction] = EGRESS;
    } else {
        return nsx_parse_error(list->parser, key, "unknown word in sample");
    }
    return 0;
}

int
nsx_parse_sample(struct nsx_action_list *list, struct nsx_slice word,
                 struct nsx_slice arg)
{
    bool fields = samples_a_field(arg);
    size_t start = nsx_put_nx_action(list->buf, fields ? SAMPLE4 : SAMPLE3,
                                     fields ? 40 : 32);
    size_t port = sample_layout(list->buf->data + start)->port;
    struct nsx_slice key, value, hole;
    bool has_probability = false;
    char delimiter;
    int error = 0;

    nsx_set16(list->buf->data + start + port, UINT16_MAX);
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
    if (!fields && !sample_direction(a)) {
        bool with_port = sample_port(a) != UINT16_MAX;

        nsx_set16(a + 8, with_port ? SAMPLE2 : SAMPLE);
        list->buf->size -= with_port ? 0 : 8;
    }
    nsx_finish_action(list->buf, start);
    return 0;
}

/* Checks the id whose number is at 'offset' of a SAMPLE4. */
static int
check_observation(const struct nsx_action_check *check, const uint8_t *a,
                  size_t offset, size_t position)
{
    struct nsx_subfield sf;

    if (!nsx_get32(a + offset - 4)) {
        return 0;
    } else if (!nsx_get_subfield(a + offset, a + offset - 4, &sf)) {
        return nsx_check_subfield(check, &sf, NSX_OFPBAC_BAD_SET_TYPE,
                                  position + offset - 4);
    } else if (sf.n_bits > 32) {
        return nsx_decode_error(check->error, NSX_OFPBAC_BAD_ARGUMENT,
                                position + offset, "an id of %u bits in "
                                "sample", sf.n_bits);
    }
    return 0;
}

int
nsx_check_sample(const struct nsx_action_check *check, const uint8_t *a,
                 size_t n, size_t position)
{
    const struct sample_layout *layout = sample_layout(a);
    uint16_t subtype = nsx_get16(a + 8);
    int error = 0;

    if (subtype == SAMPLE3 || subtype == SAMPLE4) {
        size_t zeros = layout->direction + 1u;

        error = nsx_check_zeros(check, NSX_NXBRC_MUST_BE_ZERO, a + zeros,
                                n - zeros, position + zeros);
    }
    if (error) {
        return error;
    } else if (sample_direction(a) >= N_DIRECTIONS) {
        return nsx_decode_error(check->error, NSX_OFPBAC_BAD_ARGUMENT,
                                position + layout->direction,
                                "bad direction of sample");
    } else if (!nsx_get16(a + 10)) {
        return nsx_decode_error(check->error, NSX_OFPBAC_BAD_ARGUMENT,
                                position + 10, "sample with probability 0");
    } else if (subtype == SAMPLE4) {
        error = check_observation(check, a, layout->domain, position);
        if (!error) {
            error = check_observation(check, a, layout->point, position);
        }
    }
    return error;
}

static void
format_observation(struct nsx_buf *buf, const uint8_t *a, size_t offset)
{
    struct nsx_subfield sf;

    if (nsx_get16(a + 8) == SAMPLE4 && nsx_get32(a + offset - 4)) {
        nsx_get_subfield(a + offset, a + offset - 4, &sf);
        nsx_subfield_format(buf, &sf);
    } else {
        nsx_printf(buf, "%u", nsx_get32(a + offset));
    }
}

void
nsx_format_sample(struct nsx_buf *buf, const uint8_t *a,
                  size_t n __attribute__((unused)),
                  nsx_tables tables __attribute__((unused)))
{
    const struct sample_layout *layout = sample_layout(a);

    nsx_printf(buf, "sample(probability=%u,collector_set_id=%u,"
               "obs_domain_id=", nsx_get16(a + 10), nsx_get32(a + 12));
    format_observation(buf, a, layout->domain);
    nsx_puts(buf, ",obs_point_id=");
    format_observation(buf, a, layout->point);
    if (sample_port(a) != UINT16_MAX) {
        nsx_puts(buf, ",sampling_port=");
        nsx_format_port(buf, nsx_port_from_16(sample_port(a)));
    }
    if (sample_direction(a)) {
        nsx_puts(buf, (sample_direction(a) == INGRESS
                       ? ",ingress" : ",egress"));
    }
    nsx_put8(buf, ')');
}
