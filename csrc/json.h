/* json.h: reading JSON (RFC 8259) straight into what it is for, without a
 * tree of values in between. */
#ifndef NSX_JSON_H
#define NSX_JSON_H 1

#include "core.h"

/* A place in a JSON text.  After the first error nothing more can be read. */
struct nsx_json {
    const char *text;           /* Start of the whole text: for positions. */
    const char *p, *end;        /* What is left of it. */
    struct nsx_error *error;
};

void nsx_json_init(struct nsx_json *, const char *text, size_t len,
                   struct nsx_error *);

/* Writes an error about 'at', a place in the text, and returns EPROTO. */
int nsx_json_error(const struct nsx_json *, const char *at,
                   const char *format, ...) NSX_PRINTF(3, 4);

/* Passes over white space and returns the character that follows; it stays
 * unread.  0: the text ends. */
char nsx_json_peek(struct nsx_json *);

/* Reads 'c', which must come next. */
int nsx_json_expect(struct nsx_json *, char c);

/* The members of an array or an object, which ends with 'close':
 *
 *      nsx_json_expect(json, '[');
 *      for (bool first = true; ; first = false) {
 *          error = nsx_json_next(json, ']', first, &more);
 *          if (error || !more) break;
 *          ...read the member...
 *      }
 */
int nsx_json_next(struct nsx_json *, char close, bool first, bool *more);

/* Appends a string's UTF-8 to 'b'. */
int nsx_json_string(struct nsx_json *, struct nsx_buf *b);

/* Reads a string that is the name of an object's member, with the colon after
 * it.  'b' is emptied first. */
int nsx_json_name(struct nsx_json *, struct nsx_buf *b);

/* A number: whether it is an integer of 64 bits, and as a real in any case. */
struct nsx_json_number {
    bool is_integer;
    int64_t integer;
    double real;
};

int nsx_json_number(struct nsx_json *, struct nsx_json_number *);

/* Reads true or false. */
int nsx_json_boolean(struct nsx_json *, bool *);

/* Passes over any value. */
int nsx_json_skip(struct nsx_json *);

/* Fails unless the text ends here. */
int nsx_json_end(struct nsx_json *);

#endif /* json.h */
