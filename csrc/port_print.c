/* port_print.c: ports and queues: what they are and what they have done. */
#include "message_print.h"

#define OFPQ_ALL 0xffffffff
#define INTEL 0x0000aa01
#define RATE_UNKNOWN 0xffff
enum { MIN_RATE = 1, MAX_RATE = 2 };            /* Properties of a queue. */

enum { PORT_LEN = 40, PORT_STATS_LEN = 80, QUEUE_STATS_LEN = 48,
       QUEUE_DESC_LEN = 16 };

static const char *const config_names[] = {
    "PORT_DOWN", NULL, "NO_RECV", NULL, NULL, "NO_FWD", "NO_PACKET_IN",
};
#define ALL_CONFIG 0x65

static const char *const state_names[] = { "LINK_DOWN", "BLOCKED", "LIVE" };
#define ALL_STATE 0x7

static const char *const feature_names[] = {
    "10MB-HD", "10MB-FD", "100MB-HD", "100MB-FD", "1GB-HD", "1GB-FD",
    "10GB-FD", "40GB-FD", "100GB-FD", "1TB-FD", "OTHER", "COPPER", "FIBER",
    "AUTO_NEG", "AUTO_PAUSE", "AUTO_PAUSE_ASYM",
};
#define ALL_FEATURES 0xffff

/* Refuses a port number that OpenFlow doesn't have. */
static int
check_port(struct nsx_print *p, const uint8_t *port)
{
    if (nsx_port_is_valid(nsx_get32(port))) {
        return 0;
    }
    p->p = port;
    return nsx_print_fail(p, NSX_OFPBAC_BAD_OUT_PORT, "there is no port 0x%x",
                          nsx_get32(port));
}

/* A list is printed in the order of its ports, as OpenFlow 1.0 numbered
 * them. */
static uint16_t
short_port(uint32_t port)
{
    return (uint16_t) (port < 0xff00 ? port : port - 0xffff0000);
}

/* Puts 'entry' into the sorted list of 'n' pointers that 'list' has. */
static void
insert_sorted(struct nsx_buf *list, const uint8_t *entry,
              uint64_t (*key)(const uint8_t *))
{
    size_t i = list->size / sizeof entry;

    nsx_put_uninit(list, sizeof entry);
    for (; i; i--) {
        const uint8_t *other;

        memcpy(&other, list->data + (i - 1) * sizeof other, sizeof other);
        if (key(other) <= key(entry)) {
            break;
        }
        memcpy(list->data + i * sizeof other, &other, sizeof other);
    }
    memcpy(list->data + i * sizeof entry, &entry, sizeof entry);
}

static void
print_bits_line(struct nsx_buf *out, const char *title, uint32_t bits,
                const char *const *names, size_t n_names)
{
    nsx_puts(out, title);
    nsx_print_bits(out, bits, names, n_names);
    nsx_puts(out, "\n");
}

/* Descriptions. */

/* Finds the Ethernet property of the description 'entry', if any. */
static int
ethernet_property(const struct nsx_print *entry, const uint8_t **ethernet)
{
    struct nsx_print p = *entry;
    struct nsx_property property;

    *ethernet = NULL;
    nsx_print_pull(&p, PORT_LEN);
    while (p.n) {
        int retval = nsx_print_property(&p, &property);

        if (!retval && !property.type) {
            retval = nsx_property_check(&p, &property, 28, false);
            *ethernet = property.value + 4;
        }
        if (retval) {
            return retval;
        }
    }
    return 0;
}

static void
print_port(struct nsx_print *p, const uint8_t *port, const uint8_t *ethernet)
{
    static const char *const titles[] = {
        "     current:    ", "     advertised: ", "     supported:  ",
        "     peer:       ",
    };
    const uint8_t *name = port + 16;

    nsx_puts(p->out, " ");
    nsx_format_port(p->out, nsx_get32(port));
    nsx_puts(p->out, "(");
    for (size_t i = 0; i < 15 && name[i] >= 0x20 && name[i] < 0x7f; i++) {
        nsx_put8(p->out, name[i]);
    }
    nsx_puts(p->out, "): addr:");
    nsx_print_mac(p->out, port + 8);
    nsx_puts(p->out, "\n");
    print_bits_line(p->out, "     config:     ",
                    nsx_get32(port + 32) & ALL_CONFIG, config_names,
                    NSX_ARRAY_SIZE(config_names));
    print_bits_line(p->out, "     state:      ",
                    nsx_get32(port + 36) & ALL_STATE, state_names,
                    NSX_ARRAY_SIZE(state_names));
    for (size_t i = 0; ethernet && i < NSX_ARRAY_SIZE(titles); i++) {
        uint32_t features = nsx_get32(ethernet + 4 * i) & ALL_FEATURES;

        if (features) {
            print_bits_line(p->out, titles[i], features, feature_names,
                            NSX_ARRAY_SIZE(feature_names));
        }
    }
    nsx_printf(p->out, "     speed: %u Mbps now, %u Mbps max\n",
               ethernet ? nsx_get32(ethernet + 16) / 1000 : 0,
               ethernet ? nsx_get32(ethernet + 20) / 1000 : 0);
}

/* Reads the description at the front and checks it. */
static int
pull_port(struct nsx_print *p, struct nsx_print *entry,
          const uint8_t **ethernet)
{
    int retval = nsx_print_entry(p, 4, PORT_LEN, entry);

    if (!retval) {
        retval = check_port(entry, entry->p);
    }
    return retval ? retval : ethernet_property(entry, ethernet);
}

static uint64_t
port_key(const uint8_t *port)
{
    return short_port(nsx_get32(port));
}

int
nsx_print_port_desc_reply(struct nsx_print *p)
{
    struct nsx_buf ports = NSX_BUF_INITIALIZER;
    struct nsx_print entry;
    const uint8_t *ethernet;
    int retval = 0;

    nsx_puts(p->out, "\n");
    while (p->n && !retval) {
        const uint8_t *port = p->p;

        retval = pull_port(p, &entry, &ethernet);
        if (!retval) {
            insert_sorted(&ports, port, port_key);
        }
    }
    struct nsx_error ignored;
    entry = *p;
    entry.error = &ignored;
    for (size_t i = 0; i < ports.size / sizeof p->p; i++) {
        memcpy(&entry.p, ports.data + i * sizeof p->p, sizeof p->p);
        entry.n = nsx_get16(entry.p + 4);
        ethernet_property(&entry, &ethernet);
        print_port(p, entry.p, ethernet);
    }
    nsx_print_keep(p);
    nsx_buf_uninit(&ports);
    return retval;
}

int
nsx_print_port_desc_request(struct nsx_print *p)
{
    nsx_puts(p->out, " port=");
    nsx_format_port(p->out, nsx_get32(p->p));
    return check_port(p, p->p);
}

int
nsx_print_port_status(struct nsx_print *p)
{
    static const char *const reasons[] = { " ADD:", " DEL:", " MOD:" };
    uint8_t reason = *nsx_print_pull(p, 8);
    const uint8_t *ethernet;
    struct nsx_print entry;
    int retval;

    if (reason >= NSX_ARRAY_SIZE(reasons)) {
        return nsx_print_fail(p, NSX_NXBRC_BAD_REASON,
                              "port status for reason %u", reason);
    }
    retval = pull_port(p, &entry, &ethernet);
    if (!retval) {
        nsx_puts(p->out, reasons[reason]);
        print_port(p, entry.p, ethernet);
    }
    return retval;
}

int
nsx_print_port_mod(struct nsx_print *p)
{
    const uint8_t *mod = nsx_print_pull(p, 24);
    uint32_t advertise = 0;
    struct nsx_property property;
    int retval = check_port(p, mod);

    if (retval) {
        return retval;
    }
    while (p->n) {
        retval = nsx_print_property(p, &property);
        if (!retval && !property.type) {
            retval = nsx_property_check(p, &property, 4, false);
        }
        if (retval) {
            return retval;
        } else if (!property.type) {
            advertise = nsx_get32(property.value) & ALL_FEATURES;
        }
    }
    nsx_puts(p->out, " port: ");
    nsx_format_port(p->out, nsx_get32(mod));
    nsx_puts(p->out, ": addr:");
    nsx_print_mac(p->out, mod + 8);
    nsx_puts(p->out, "\n");
    print_bits_line(p->out, "     config: ",
                    nsx_get32(mod + 16) & nsx_get32(mod + 20) & ALL_CONFIG,
                    config_names, NSX_ARRAY_SIZE(config_names));
    print_bits_line(p->out, "     mask:   ", nsx_get32(mod + 20) & ALL_CONFIG,
                    config_names, NSX_ARRAY_SIZE(config_names));
    if (advertise) {
        print_bits_line(p->out, "     advertise: ", advertise, feature_names,
                        NSX_ARRAY_SIZE(feature_names));
    } else {
        nsx_puts(p->out, "     advertise: UNCHANGED\n");
    }
    return 0;
}

/* Statistics of ports. */

int
nsx_print_port_stats_request(struct nsx_print *p)
{
    nsx_puts(p->out, " port_no=");
    nsx_format_port(p->out, nsx_get32(p->p));
    return check_port(p, p->p);
}

enum { STATS_ETHERNET };
enum { INTEL_RFC2819 = 1, INTEL_CUSTOM = 2 };

/* The counters of INTEL_RFC2819, in their order: to which side each belongs,
 * and its name. */
static const struct {
    char side;
    const char *name;
} rfc2819[] = {
    { 'r', "1_to_64_packets=" },
    { 'r', "65_to_127_packets=" },
    { 'r', "128_to_255_packets=" },
    { 'r', "256_to_511_packets=" },
    { 'r', "512_to_1023_packets=" },
    { 'r', "1024_to_1522_packets=" },
    { 'r', "1523_to_max_packets=" },
    { 't', "1_to_64_packets=" },
    { 't', "65_to_127_packets=" },
    { 't', "128_to_255_packets=" },
    { 't', "256_to_511_packets=" },
    { 't', "512_to_1023_packets=" },
    { 't', "1024_to_1522_packets=" },
    { 't', "1523_to_max_packets=" },
    { 't', "multicast_packets=" },
    { 'r', "broadcast_packets=" },
    { 't', "broadcast_packets=" },
    { 'r', "undersized_errors=" },
    { 'r', "oversize_errors=" },
    { 'r', "rx_fragmented_errors=" },
    { 'r', "rx_jabber_errors=" },
};

/* Bytes of the property's value: of whom it is, padding, counters. */
#define RFC2819_LEN (12 + 8 * NSX_ARRAY_SIZE(rfc2819))

static void
print_rfc2819(struct nsx_buf *out, const uint8_t *counters, char side)
{
    bool any = false;

    for (size_t i = 0; i < NSX_ARRAY_SIZE(rfc2819); i++) {
        uint64_t x = nsx_get64(counters + 8 * i);

        if (rfc2819[i].side == side && x != UINT64_MAX) {
            if (!any) {
                nsx_printf(out, "           %cx rfc2819 ", side);
            }
            any = true;
            nsx_printf(out, "%s%llu, ", rfc2819[i].name,
                       (unsigned long long) x);
        }
    }
    if (any) {
        nsx_puts(out, "\n");
    }
}

/* Prints (or, without 'out', only checks) the named counters of the property
 * 'custom'. */
static bool
print_custom(struct nsx_buf *out, const struct nsx_property *custom)
{
    const uint8_t *p = custom->value + 12;
    size_t n = custom->n - 12;
    size_t n_counters = nsx_get16(custom->value + 10);

    if (out && n_counters) {
        nsx_puts(out, "           CUSTOM Statistics");
    }
    for (size_t i = 0; i < n_counters; i++) {
        size_t len = n ? *p : 0;

        if (!n || n < 1 + len + 8) {
            return false;
        }
        if (out && len && p[1]) {
            nsx_puts(out, i % 3 ? " " : "\n                      ");
            nsx_print_text(out, p + 1, len < 63 ? len : 63);
            nsx_printf(out, "=%llu,",
                       (unsigned long long) nsx_get64(p + 1 + len));
        }
        p += 1 + len + 8;
        n -= 1 + len + 8;
    }
    if (out && n_counters) {
        nsx_puts(out, "\n");
    }
    return true;
}

struct port_stats {
    const uint8_t *fixed;
    const uint8_t *ethernet;            /* Its four counters, or NULL. */
    const uint8_t *rfc2819;             /* Likewise. */
    struct nsx_property custom;         /* Or n is 0. */
};

static int
pull_port_stats(struct nsx_print *p, struct port_stats *stats)
{
    struct nsx_property property;
    struct nsx_print entry;
    int retval = nsx_print_entry(p, 0, PORT_STATS_LEN, &entry);

    if (retval) {
        return retval;
    }
    *stats = (struct port_stats) { .fixed = entry.p };
    retval = check_port(&entry, entry.p + 4);
    if (retval) {
        return retval;
    }
    nsx_print_pull(&entry, PORT_STATS_LEN);
    while (!retval && entry.n) {
        uint32_t type = 0;

        retval = nsx_print_property(&entry, &property);
        if (retval) {
            return retval;
        } else if (property.type == STATS_ETHERNET) {
            retval = nsx_property_check(&entry, &property, 36, false);
            stats->ethernet = property.value + 4;
        } else if (property.type == NSX_EXPERIMENTER_PROPERTY
                   && nsx_get32(property.value) == INTEL) {
            type = nsx_get32(property.value + 4);
        }

        if (type == INTEL_RFC2819) {
            retval = nsx_property_check(&entry, &property, RFC2819_LEN,
                                        false);
            stats->rfc2819 = property.value + 12;
        } else if (type == INTEL_CUSTOM) {
            retval = nsx_property_check(&entry, &property, 12, true);
            if (!retval && !print_custom(NULL, &property)) {
                retval = nsx_property_fail(&entry, &property,
                                           NSX_OFPBPC_BAD_LEN,
                                           "counters that are cut off");
            }
            stats->custom = property;
        }
    }
    return retval;
}

static void
print_counters(struct nsx_buf *out, const uint8_t *const *counters,
               const char *const *names, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        nsx_print_count(out, names[i],
                        counters[i] ? nsx_get64(counters[i]) : UINT64_MAX);
        nsx_puts(out, i < n - 1 ? ", " : "\n");
    }
}

static void
print_port_stats(struct nsx_print *p, const struct port_stats *stats)
{
    static const char *const rx_names[] = {
        "pkts=", "bytes=", "drop=", "errs=", "frame=", "over=", "crc=",
    };
    static const char *const tx_names[] = {
        "pkts=", "bytes=", "drop=", "errs=", "coll=",
    };
    const uint8_t *f = stats->fixed;
    const uint8_t *e = stats->ethernet;
    const uint8_t *rx[] = {
        f + 16, f + 32, f + 48, f + 64, e, e ? e + 8 : NULL,
        e ? e + 16 : NULL,
    };
    const uint8_t *tx[] = {
        f + 24, f + 40, f + 56, f + 72, e ? e + 24 : NULL,
    };

    nsx_puts(p->out, "  port ");
    if (short_port(nsx_get32(f + 4)) < 10) {
        nsx_puts(p->out, " ");
    }
    nsx_format_port(p->out, nsx_get32(f + 4));
    nsx_puts(p->out, ": rx ");
    print_counters(p->out, rx, rx_names, NSX_ARRAY_SIZE(rx));
    nsx_puts(p->out, "           tx ");
    print_counters(p->out, tx, tx_names, NSX_ARRAY_SIZE(tx));
    if (nsx_get32(f + 8) != UINT32_MAX) {
        nsx_puts(p->out, "           duration=");
        nsx_print_duration(p->out, nsx_get32(f + 8), nsx_get32(f + 12));
        nsx_puts(p->out, "\n");
    }
    if (stats->rfc2819) {
        print_rfc2819(p->out, stats->rfc2819, 'r');
        print_rfc2819(p->out, stats->rfc2819, 't');
    }
    if (stats->custom.n) {
        print_custom(p->out, &stats->custom);
    }
}

int
nsx_print_port_stats_reply(struct nsx_print *p)
{
    struct nsx_print counted = *p;
    struct port_stats stats;
    size_t n = 0;

    while (counted.n && !pull_port_stats(&counted, &stats)) {
        n++;
    }
    nsx_printf(p->out, " %zu ports\n", n);
    nsx_print_keep(p);
    while (p->n) {
        int retval = pull_port_stats(p, &stats);
        if (retval) {
            return retval;
        }
        print_port_stats(p, &stats);
        nsx_print_keep(p);
    }
    return 0;
}

/* Queues. */

static void
print_queue_id(struct nsx_buf *out, uint32_t queue)
{
    if (queue == OFPQ_ALL) {
        nsx_puts(out, "ALL");
    } else {
        nsx_printf(out, "%u", queue);
    }
}

int
nsx_print_queue_stats_request(struct nsx_print *p)
{
    nsx_puts(p->out, " port=");
    nsx_format_port(p->out, nsx_get32(p->p));
    nsx_puts(p->out, " queue=");
    print_queue_id(p->out, nsx_get32(p->p + 4));
    return check_port(p, p->p);
}

int
nsx_print_queue_desc_request(struct nsx_print *p)
{
    uint32_t queue = nsx_get32(p->p + 4);

    nsx_puts(p->out, " port=");
    nsx_format_port(p->out, nsx_get32(p->p));
    if (queue != OFPQ_ALL) {
        nsx_printf(p->out, " queue=%u", queue);
    }
    return check_port(p, p->p);
}

static int
pull_queue_stats(struct nsx_print *p, struct nsx_print *entry)
{
    int retval = nsx_print_entry(p, 0, QUEUE_STATS_LEN, entry);

    return retval ? retval : check_port(entry, entry->p + 8);
}

int
nsx_print_queue_stats_reply(struct nsx_print *p)
{
    struct nsx_print counted = *p;
    struct nsx_print entry;
    size_t n = 0;

    while (counted.n && !pull_queue_stats(&counted, &entry)) {
        n++;
    }
    nsx_printf(p->out, " %zu queues\n", n);
    nsx_print_keep(p);
    while (p->n) {
        int retval = pull_queue_stats(p, &entry);
        if (retval) {
            return retval;
        }

        const uint8_t *q = entry.p;
        nsx_puts(p->out, "  port ");
        nsx_format_port(p->out, nsx_get32(q + 8));
        nsx_puts(p->out, " queue ");
        print_queue_id(p->out, nsx_get32(q + 12));
        nsx_print_count(p->out, ": bytes=", nsx_get64(q + 16));
        nsx_print_count(p->out, ", pkts=", nsx_get64(q + 24));
        nsx_print_count(p->out, ", errors=", nsx_get64(q + 32));
        nsx_puts(p->out, ", duration=");
        if (nsx_get32(q + 40) == UINT32_MAX) {
            nsx_puts(p->out, "?");
        } else {
            nsx_print_duration(p->out, nsx_get32(q + 40), nsx_get32(q + 44));
        }
        nsx_puts(p->out, "\n");
        nsx_print_keep(p);
    }
    return 0;
}

static uint64_t
queue_key(const uint8_t *queue)
{
    return ((uint64_t) short_port(nsx_get32(queue)) << 32
            | nsx_get32(queue + 4));
}

/* Reads the rates of a queue: tenths of a percent, for minimum and
 * maximum. */
static int
queue_rates(struct nsx_print *entry, uint16_t rates[2])
{
    struct nsx_property property;

    rates[0] = rates[1] = RATE_UNKNOWN;
    nsx_print_pull(entry, QUEUE_DESC_LEN);
    while (entry->n) {
        int retval = nsx_print_property(entry, &property);
        bool rate = property.type == MIN_RATE || property.type == MAX_RATE;

        if (!retval && rate) {
            retval = nsx_property_check(entry, &property, 2, true);
        }
        if (retval) {
            return retval;
        } else if (rate) {
            rates[property.type - MIN_RATE] = nsx_get16(property.value);
        }
    }
    return 0;
}

static void
print_rate(struct nsx_buf *out, const char *name, uint16_t rate)
{
    if (rate <= 1000) {
        nsx_printf(out, " %s:%u.%u%%", name, rate / 10, rate % 10);
    } else if (rate != RATE_UNKNOWN) {
        nsx_printf(out, " %s:(disabled)", name);
    }
}

int
nsx_print_queue_desc_reply(struct nsx_print *p)
{
    struct nsx_buf queues = NSX_BUF_INITIALIZER;
    struct nsx_print entry;
    uint16_t rates[2];
    int retval = 0;

    while (p->n && !retval) {
        const uint8_t *queue = p->p;

        if (p->n >= QUEUE_DESC_LEN) {
            retval = check_port(p, queue);
        }
        if (!retval) {
            retval = nsx_print_entry(p, 8, QUEUE_DESC_LEN, &entry);
        }
        if (!retval && entry.n % 8) {
            retval = nsx_print_fail(&entry, NSX_OFPBRC_BAD_LEN,
                                    "queue of %zu bytes", entry.n);
        }
        if (!retval) {
            retval = queue_rates(&entry, rates);
        }
        if (!retval) {
            insert_sorted(&queues, queue, queue_key);
        }
    }

    struct nsx_error ignored;
    uint32_t port = 0;

    entry = *p;
    entry.error = &ignored;
    nsx_puts(p->out, queues.size ? " " : "");
    for (size_t i = 0; i < queues.size / sizeof p->p; i++) {
        const uint8_t *queue;

        memcpy(&queue, queues.data + i * sizeof queue, sizeof queue);
        if (nsx_get32(queue) != port) {
            port = nsx_get32(queue);
            nsx_puts(p->out, "port=");
            nsx_format_port(p->out, port);
            nsx_puts(p->out, "\n");
        }
        entry.p = queue;
        entry.n = nsx_get16(queue + 8);
        queue_rates(&entry, rates);
        nsx_printf(p->out, "queue %u:", nsx_get32(queue + 4));
        print_rate(p->out, "min_rate", rates[0]);
        print_rate(p->out, "max_rate", rates[1]);
        nsx_puts(p->out, "\n");
    }
    nsx_print_keep(p);
    nsx_buf_uninit(&queues);
    return retval;
}
