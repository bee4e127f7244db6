/* flow_file.c: files of flows, as parse_ofp_flow_mod_file() in Open vSwitch's
 * lib/ofp-flow.c reads them. */

#include "flow.h"

/* Splits the name of a command off the front of 'line'.  Returns the command,
 * or 'otherwise' where there is none. */
static enum nsx_flow_command
take_command(struct nsx_slice *line, enum nsx_flow_command otherwise)
{
    static const char *const names[] = {
        [NSX_FLOW_ADD] = "add",
        [NSX_FLOW_MODIFY] = "modify",
        [NSX_FLOW_MODIFY_STRICT] = "modify_strict",
        [NSX_FLOW_DELETE] = "delete",
        [NSX_FLOW_DELETE_STRICT] = "delete_strict",
    };

    for (size_t i = 0; i < NSX_ARRAY_SIZE(names); i++) {
        size_t n = strlen(names[i]);

        if (nsx_slice_starts_with(*line, names[i])
            && (line->n == n || strchr(", \t\r", line->s[n]))) {
            line->s += n;
            line->n -= n;
            return (enum nsx_flow_command) i;
        }
    }
    return otherwise;
}

/* Splits the next line off the front of 'rest': without its end, and what is
 * a comment. */
static struct nsx_slice
take_line(struct nsx_slice *rest)
{
    const char *end = memchr(rest->s, '\n', rest->n);
    struct nsx_slice line = *rest;

    if (end) {
        line.n = (size_t) (end - line.s);
    }
    rest->s += line.n + (end != NULL);
    rest->n -= line.n + (end != NULL);

    const char *comment = memchr(line.s, '#', line.n);
    if (comment) {
        line.n = (size_t) (comment - line.s);
    }
    return nsx_slice_trim(line);
}

int
nsx_flows_parse(const char *text, size_t len, enum nsx_flow_command otherwise,
                nsx_tables tables, struct nsx_buf *buf,
                struct nsx_error *error)
{
    struct nsx_parser parser = {
        .text = text,
        .tables = tables,
        .error = error,
    };
    struct nsx_slice rest = { text, len };
    size_t start = buf->size;

    while (rest.n) {
        struct nsx_slice line = take_line(&rest);
        if (!line.n) {
            continue;
        }

        enum nsx_flow_command command = take_command(&line, otherwise);
        parser.origin = buf->size;
        int retval = nsx_flow_parse__(&parser, line, command, buf);
        if (retval) {
            buf->size = start;
            return retval;
        }
    }
    return 0;
}
