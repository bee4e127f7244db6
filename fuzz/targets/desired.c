/* desired.c: the desired set, driven by a program of bytes, and a switch that
 * does as it is told.
 *
 * After each delta the switch has what is desired: what it shows differs in
 * nothing.  Bytes that are no messages are refused and change nothing. */
#include "fuzz.h"

#include "flow.h"
#include "group.h"

#define PREFIX 0x6e01
#define MAX_STEPS 40
#define N_OWNERS 4

struct input {
    const uint8_t *data;
    size_t size;
};

static uint8_t
next(struct input *in)
{
    return in->size ? (in->size--, *in->data++) : 0;
}

static void
parse(const char *text, struct nsx_buf *buf)
{
    struct nsx_error error = fuzz_error();
    size_t len = strlen(text);

    int retval = (strncmp(text, "group_id=", 9)
                  ? nsx_flow_parse(text, len, NSX_FLOW_ADD, NULL, buf, &error)
                  : nsx_group_parse(text, len, NSX_GROUP_ADD_OR_MOD, NULL, buf,
                                    &error));
    if (retval) {
        fprintf(stderr, "%s: %s\n", text, error.message);
        FUZZ_ASSERT(!"a text of the target's own");
    }
}

/* Appends one of few flows, so that owners want the same ones. */
static void
put_flow(struct input *in, struct nsx_buf *buf)
{
    static const char *const matches[] = {
        "", "ip", "tcp,tp_dst=80", "reg0=5,ip,nw_dst=10.0.0.0/8"
    };
    static const char *const actions[] = {
        "drop", "output:1", "group:3", "load:5->NXM_NX_REG1[],resubmit(,9)"
    };
    static const char *const timeouts[] = { "", ",idle_timeout=9" };
    char text[200];
    uint8_t key = next(in), value = next(in);

    snprintf(text, sizeof text, "table=%d,priority=%d,%s%s actions=%s",
             key & 1, key >> 1 & 3, matches[key >> 3 & 3],
             timeouts[value >> 2 & 1], actions[value & 3]);
    parse(text, buf);
}

/* Appends one of few groups, with up to three buckets. */
static void
put_group(struct input *in, struct nsx_buf *buf)
{
    static const char *const types[] = {
        "all", "select", "select,selection_method=dp_hash", "ff"
    };
    uint8_t key = next(in);
    char text[400];
    int n;

    n = snprintf(text, sizeof text, "group_id=%d,type=%s", 1 + (key & 3),
                 types[key >> 2 & 3]);
    for (int i = 0; i < (key >> 4 & 3); i++) {
        uint8_t bucket = next(in);

        n += snprintf(text + n, sizeof text - (size_t) n,
                      ",bucket=bucket_id:%d%s,actions=output:%d",
                      10 * i + (bucket & 3),
                      ((key >> 2 & 3) == 3 ? ",watch_port:7"
                       : (key >> 2 & 3) && bucket & 4 ? ",weight:5" : ""),
                      1 + (bucket >> 3 & 3));
    }
    parse(text, buf);
}

/* Appends the input's own bytes. */
static void
put_raw(struct input *in, struct nsx_buf *buf)
{
    size_t n = next(in);

    if (n > in->size) {
        n = in->size;
    }
    nsx_put(buf, in->data, n);
    in->data += n;
    in->size -= n;
}

/* A message of what is desired, as an OFPMP_FLOW_DESC or OFPMP_GROUP_DESC
 * reply. */
static void
put_reply(const uint8_t *msg, struct nsx_buf *reply)
{
    size_t length = nsx_get16(msg + 2);
    bool is_flow = msg[1] == OFPT_FLOW_MOD;

    nsx_put8(reply, OFP_VERSION);
    nsx_put8(reply, OFPT_MULTIPART_REPLY);
    nsx_put16(reply, 0);
    nsx_put32(reply, 0);
    nsx_put16(reply, is_flow ? 1 : 7);
    nsx_put16(reply, 0);
    nsx_put32(reply, 0);

    size_t start = reply->size;
    if (is_flow) {
        size_t match_len = NSX_ROUND_UP(nsx_get16(msg + FM_LEN + 2), 8u);
        uint8_t *p = nsx_put_zeros(reply, FD_LEN);

        p[FD_TABLE_ID] = msg[FM_TABLE_ID];
        memcpy(p + FD_PRIORITY, msg + FM_PRIORITY, 2);
        memcpy(p + FD_IDLE_TIMEOUT, msg + FM_IDLE_TIMEOUT, 4);
        memcpy(p + FD_FLAGS, msg + FM_FLAGS, 4);
        memcpy(p + FD_COOKIE, msg + FM_COOKIE, 8);
        nsx_put(reply, msg + FM_LEN, match_len);
        nsx_put32(reply, 4);
        nsx_put32(reply, 0);
        nsx_put(reply, msg + FM_LEN + match_len, length - FM_LEN - match_len);
    } else {
        nsx_put16(reply, 0);
        nsx_put8(reply, msg[10]);
        nsx_put8(reply, 0);
        nsx_put(reply, msg + 12, 4);
        nsx_put(reply, msg + 16, 2);
        nsx_put_zeros(reply, 6);
        nsx_put(reply, msg + NSX_GROUP_MOD_LEN, length - NSX_GROUP_MOD_LEN);
    }
    nsx_set16(reply->data + start, (uint16_t) (reply->size - start));
    nsx_set16(reply->data + 2, (uint16_t) reply->size);
}

/* Begins a reconciliation in which the messages in 'state', but the 'skip'th,
 * are shown. */
static void
show(struct nsx_desired *desired, const struct nsx_buf *state, bool verify,
     size_t skip)
{
    struct nsx_error error = fuzz_error();

    nsx_desired_begin(desired, verify, NULL, 0);
    for (size_t i = 0, n = 0; i < state->size; n++) {
        struct nsx_buf reply = NSX_BUF_INITIALIZER;

        if (n != skip) {
            put_reply(state->data + i, &reply);
            FUZZ_ASSERT(!nsx_desired_installed(desired, reply.data, reply.size,
                                               &error));
            nsx_buf_uninit(&reply);
        }
        i += nsx_get16(state->data + i + 2);
    }
}

static void
check_messages(const struct nsx_buf *msgs)
{
    struct nsx_error error = fuzz_error();
    size_t n, used;

    FUZZ_ASSERT(!nsx_stream_split(msgs->data, msgs->size, &n, &used, &error));
    FUZZ_ASSERT(used == msgs->size);
    for (size_t i = 0; i < msgs->size;) {
        const uint8_t *msg = msgs->data + i;
        size_t length = nsx_get16(msg + 2);
        enum nsx_flow_command command;
        struct nsx_group_view group;
        struct nsx_flow_view flow;

        FUZZ_ASSERT(msg[1] == OFPT_FLOW_MOD
                    ? !nsx_flow_mod_decode(msg, length, &command, &flow,
                                           &error)
                    : !nsx_group_mod_decode(msg, length, &group, &error));
        i += length;
    }
}

/* What is desired, shown, needs nothing; shown but for one piece, it needs
 * something, and the same when asked twice. */
static void
check_diffs(struct nsx_desired *desired, struct input *in)
{
    struct nsx_buf dump = NSX_BUF_INITIALIZER;
    struct nsx_buf first = NSX_BUF_INITIALIZER;
    struct nsx_buf second = NSX_BUF_INITIALIZER;
    struct nsx_error error = fuzz_error();
    struct nsx_changes changes;
    struct nsx_diff diff;
    bool verify = next(in) & 1;
    size_t skip = next(in) % 8;

    nsx_desired_dump(desired, &dump);
    check_messages(&dump);

    struct nsx_desired_size has;
    size_t n, used;
    nsx_stream_split(dump.data, dump.size, &n, &used, &error);
    nsx_desired_size(desired, &has);
    FUZZ_ASSERT(has.flows + has.groups == n);
    show(desired, &dump, verify, SIZE_MAX);
    FUZZ_ASSERT(!nsx_desired_diff(desired, false, &first, &diff,
                                  &changes, &error));
    FUZZ_ASSERT(!first.size && !changes.messages);
    FUZZ_ASSERT(diff.flows_right + diff.groups_right == n);

    show(desired, &dump, verify, skip);
    FUZZ_ASSERT(!nsx_desired_diff(desired, false, &first, &diff,
                                  &changes, &error));
    FUZZ_ASSERT((first.size != 0) == (skip < n));
    FUZZ_ASSERT(diff.flows_missing + diff.groups_missing == (skip < n));
    check_messages(&first);
    show(desired, &dump, verify, skip);
    FUZZ_ASSERT(!nsx_desired_diff(desired, false, &second, NULL,
                                  NULL, &error));
    FUZZ_ASSERT(fuzz_same(&first, &second));

    nsx_buf_uninit(&dump);
    nsx_buf_uninit(&first);
    nsx_buf_uninit(&second);
}

/* Owners get new pieces. */
static void
replace(struct nsx_desired *desired, struct input *in)
{
    struct nsx_buf before = NSX_BUF_INITIALIZER;
    struct nsx_buf after = NSX_BUF_INITIALIZER;
    struct nsx_buf msgs = NSX_BUF_INITIALIZER;
    struct nsx_buf delta = NSX_BUF_INITIALIZER;
    struct nsx_error error = fuzz_error();
    uint64_t owners[N_OWNERS], ends[N_OWNERS];
    struct nsx_changes changes;
    size_t n = 1 + next(in) % N_OWNERS;
    bool own = true;

    for (size_t i = 0; i < n; i++) {
        uint8_t what = next(in);

        owners[i] = what % N_OWNERS;
        for (int left = what >> 2 & 3; left > 0; left--) {
            uint8_t kind = next(in);

            if (kind % 8 == 7) {
                put_raw(in, &msgs);
                own = false;
            } else if (kind & 1) {
                put_group(in, &msgs);
            } else {
                put_flow(in, &msgs);
            }
        }
        ends[i] = msgs.size;
    }

    nsx_desired_dump(desired, &before);
    int retval = nsx_desired_replace(desired, n, owners, msgs.data, msgs.size,
                                     ends, &delta, &changes, &error);
    nsx_desired_dump(desired, &after);
    if (retval) {
        fuzz_check_error(&error, msgs.size);
        FUZZ_ASSERT(!delta.size);
        FUZZ_ASSERT(fuzz_same(&before, &after));
    } else {
        check_messages(&delta);
        FUZZ_ASSERT(!delta.size == !changes.messages);

        /* The same again changes nothing, if no owner is named twice. */
        bool twice = false;
        for (size_t i = 0; i < n; i++) {
            for (size_t j = 0; j < i; j++) {
                twice = twice || owners[i] == owners[j];
            }
        }
        if (own && !twice) {
            delta.size = 0;
            FUZZ_ASSERT(!nsx_desired_replace(desired, n, owners, msgs.data,
                                             msgs.size, ends, &delta, NULL,
                                             &error));
            FUZZ_ASSERT(!delta.size);
        }
    }
    nsx_buf_uninit(&before);
    nsx_buf_uninit(&after);
    nsx_buf_uninit(&msgs);
    nsx_buf_uninit(&delta);
}

/* Somebody shows what isn't ours, or nothing that there is. */
static void
show_raw(struct nsx_desired *desired, struct input *in)
{
    struct nsx_buf first = NSX_BUF_INITIALIZER;
    struct nsx_buf second = NSX_BUF_INITIALIZER;
    struct nsx_buf reply = NSX_BUF_INITIALIZER;
    struct nsx_error error = fuzz_error();
    static const uint16_t old[] = { 0x6e00 };
    int retvals[2];

    put_raw(in, &reply);
    for (int i = 0; i < 2; i++) {
        nsx_desired_begin(desired, true, old, 1);
        retvals[i] = nsx_desired_installed(desired, reply.data, reply.size,
                                           &error);
        if (retvals[i]) {
            fuzz_check_error(&error, reply.size);
        }
        FUZZ_ASSERT(!nsx_desired_diff(desired, true, i ? &second : &first,
                                      NULL, NULL, &error));
    }
    FUZZ_ASSERT(retvals[0] == retvals[1]);
    FUZZ_ASSERT(fuzz_same(&first, &second));
    check_messages(&first);
    nsx_buf_uninit(&first);
    nsx_buf_uninit(&second);
    nsx_buf_uninit(&reply);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct nsx_desired *desired = nsx_desired_new(PREFIX, 1, 1000);
    struct input in = { data, size };

    for (int i = 0; in.size && i < MAX_STEPS; i++) {
        switch (next(&in) % 4) {
        case 0:
            check_diffs(desired, &in);
            break;
        case 1:
            show_raw(desired, &in);
            break;
        default:
            replace(desired, &in);
        }
    }
    nsx_desired_free(desired);
    return 0;
}
