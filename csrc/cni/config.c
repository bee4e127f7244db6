/* Reads the outermost members of a network configuration, as far as it can be
 * read: whether it is one, the agent says. */

#include "config.h"

#include "json.h"

/* The most that "timeout" may say, in seconds. */
#define MAX_TIMEOUT 600

static int read_member(struct nsx_json *, struct nsx_buf *name,
                       struct config *);

/* Reads 'text' into 'config', which the caller has initialized. */
void
config_read(struct config *config, const struct nsx_buf *text)
{
    struct nsx_error ignored;
    struct nsx_json json;
    struct nsx_buf name;
    bool more = true;
    int error;

    nsx_buf_init(&name);
    nsx_json_init(&json, (const char *) text->data, text->size, &ignored);
    error = nsx_json_expect(&json, '{');
    for (bool first = true; !error; first = false) {
        error = nsx_json_next(&json, '}', first, &more);
        if (error || !more) {
            break;
        }
        error = nsx_json_name(&json, &name);
        if (!error) {
            error = read_member(&json, &name, config);
        }
    }
    nsx_buf_uninit(&name);
}

static int
read_member(struct nsx_json *json, struct nsx_buf *name,
            struct config *config)
{
    char kind = nsx_json_peek(json);
    struct nsx_buf *string = NULL;

    if (kind == '"' && buf_is(name, "cniVersion")) {
        string = &config->version;
    } else if (kind == '"' && buf_is(name, "socket")) {
        string = &config->socket;
    } else if (kind >= '1' && kind <= '9' && buf_is(name, "timeout")) {
        struct nsx_json_number number;
        int error = nsx_json_number(json, &number);

        if (!error && number.is_integer && number.integer <= MAX_TIMEOUT) {
            config->timeout = (unsigned int) number.integer;
        }
        return error;
    } else {
        return nsx_json_skip(json);
    }
    string->size = 0;
    return nsx_json_string(json, string);
}
