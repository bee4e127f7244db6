/* meter_print.c: meters, as ovs-ofctl prints them. */
#include "message_print.h"

enum { KBPS = 1, PKTPS = 2, BURST = 4, STATS = 8 };
enum { BAND_DROP = 1, BAND_DSCP_REMARK = 2 };
enum { BAND_LEN = 16, CONFIG_LEN = 8, STATS_LEN = 40, BAND_STATS_LEN = 16 };

static const char *const flag_names[] = { "kbps", "pktps", "burst", "stats" };

static void
print_meter_id(struct nsx_buf *out, uint32_t meter, char separator)
{
    nsx_printf(out, "meter%c", separator);
    if (meter <= 0xffff0000) {
        nsx_printf(out, "%u", meter);
    } else {
        nsx_puts(out, (meter == 0xfffffffd ? "slowpath"
                       : meter == 0xfffffffe ? "controller"
                       : meter == 0xffffffff ? "all" : "unknown"));
    }
}

/* Prints a meter with its 'flags' and the bands that 'p' has. */
static int
print_meter(struct nsx_print *p, uint32_t meter, uint16_t flags)
{
    print_meter_id(p->out, meter, '=');
    nsx_puts(p->out, " ");
    for (size_t i = 0; i < NSX_ARRAY_SIZE(flag_names); i++) {
        if (flags & 1 << i) {
            nsx_printf(p->out, "%s ", flag_names[i]);
        }
    }
    if (flags & ~(KBPS | PKTPS | BURST | STATS)) {
        nsx_printf(p->out, "flags:0x%x ",
                   flags & ~(KBPS | PKTPS | BURST | STATS));
    }
    nsx_puts(p->out, "bands=");
    while (p->n) {
        const uint8_t *band = p->p;
        uint16_t type = p->n < BAND_LEN ? 0 : nsx_get16(band);

        if (p->n < BAND_LEN || nsx_get16(band + 2) != BAND_LEN) {
            return nsx_print_fail(p, NSX_OFPBRC_BAD_LEN,
                                  "meter band of a wrong length");
        } else if (type != BAND_DROP && type != BAND_DSCP_REMARK) {
            return nsx_print_fail(p, NSX_OFPMMFC_BAD_BAND,
                                  "meter band of unknown type %u", type);
        }
        nsx_printf(p->out, "\ntype=%s rate=%u",
                   type == BAND_DROP ? "drop" : "dscp_remark",
                   nsx_get32(band + 4));
        if (flags & BURST) {
            nsx_printf(p->out, " burst_size=%u", nsx_get32(band + 8));
        }
        if (type == BAND_DSCP_REMARK) {
            nsx_printf(p->out, " prec_level=%u", band[12]);
        }
        nsx_print_pull(p, BAND_LEN);
    }
    nsx_puts(p->out, "\n");
    return 0;
}

int
nsx_print_meter_mod(struct nsx_print *p)
{
    static const char *const commands[] = { " ADD ", " MOD ", " DEL " };
    enum { DELETE = 2 };
    const uint8_t *mod = nsx_print_pull(p, 8);
    uint16_t command = nsx_get16(mod);
    uint16_t flags = nsx_get16(mod + 2);

    if (command >= NSX_ARRAY_SIZE(commands)) {
        p->p = mod;
        return nsx_print_fail(p, NSX_OFPMMFC_BAD_COMMAND,
                              "unknown meter command %u", command);
    }
    if (command == DELETE) {
        flags = 0;
        p->n = 0;
    } else if (flags & KBPS && flags & PKTPS) {
        p->p = mod + 2;
        return nsx_print_fail(p, NSX_OFPMMFC_BAD_FLAGS,
                              "a meter of both kbps and pktps");
    }
    nsx_puts(p->out, commands[command]);
    return print_meter(p, nsx_get32(mod + 4), flags);
}

int
nsx_print_meter_request(struct nsx_print *p)
{
    nsx_puts(p->out, " ");
    print_meter_id(p->out, nsx_get32(p->p), '=');
    return 0;
}

int
nsx_print_meter_config_reply(struct nsx_print *p)
{
    while (p->n) {
        struct nsx_print entry;
        int retval = nsx_print_entry(p, 0, CONFIG_LEN, &entry);

        if (!retval) {
            const uint8_t *config = nsx_print_pull(&entry, CONFIG_LEN);

            nsx_puts(p->out, "\n");
            retval = print_meter(&entry, nsx_get32(config + 4),
                                 nsx_get16(config + 2));
        }
        if (retval) {
            return retval;
        }
        nsx_print_keep(p);
    }
    return 0;
}

int
nsx_print_meter_stats_reply(struct nsx_print *p)
{
    while (p->n) {
        struct nsx_print entry;
        int retval = nsx_print_entry(p, 4, STATS_LEN, &entry);

        if (retval) {
            return retval;
        }

        const uint8_t *stats = nsx_print_pull(&entry, STATS_LEN);
        if (entry.n % BAND_STATS_LEN) {
            return nsx_print_fail(&entry, NSX_OFPBRC_BAD_LEN,
                                  "meter's statistics are cut off");
        }
        nsx_puts(p->out, "\n");
        print_meter_id(p->out, nsx_get32(stats), ':');
        nsx_printf(p->out, " flow_count:%u packet_in_count:%llu "
                   "byte_in_count:%llu duration:", nsx_get32(stats + 12),
                   (unsigned long long) nsx_get64(stats + 16),
                   (unsigned long long) nsx_get64(stats + 24));
        nsx_print_duration(p->out, nsx_get32(stats + 32),
                           nsx_get32(stats + 36));
        nsx_puts(p->out, " bands:\n");
        for (unsigned int i = 0; entry.n; i++) {
            const uint8_t *band = nsx_print_pull(&entry, BAND_STATS_LEN);

            nsx_printf(p->out, "%u: packet_count:%llu byte_count:%llu\n", i,
                       (unsigned long long) nsx_get64(band),
                       (unsigned long long) nsx_get64(band + 8));
        }
        nsx_print_keep(p);
    }
    return 0;
}

int
nsx_print_meter_features(struct nsx_print *p)
{
    static const char *const bands[] = { NULL, "drop", "dscp_remark" };
    const uint8_t *f = p->p;

    nsx_printf(p->out, "\nmax_meter:%u max_bands:%u max_color:%u\n"
               "band_types: ", nsx_get32(f), f[12], f[13]);
    nsx_print_bits(p->out, nsx_get32(f + 4), bands, NSX_ARRAY_SIZE(bands));
    nsx_puts(p->out, "\ncapabilities: ");
    nsx_print_bits(p->out, nsx_get32(f + 8), flag_names,
                   NSX_ARRAY_SIZE(flag_names));
    return 0;
}
