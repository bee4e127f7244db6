/* json.c: a reader of JSON, a writer of its strings, and where objects end in
 * a stream of it. */

#include "json.h"

#include <locale.h>
#include <stdio.h>
#include <stdlib.h>

/* Arrays and objects within each other that are passed over. */
#define MAX_DEPTH 128

/* Characters of a number: more than any that makes a difference needs. */
#define MAX_NUMBER 400

#define ONES UINT64_C(0x0101010101010101)
#define HIGH UINT64_C(0x8080808080808080)

void
nsx_json_init(struct nsx_json *json, const char *text, size_t len,
              struct nsx_error *error)
{
    *json = (struct nsx_json) { text, text, text + len, error };
}

int
nsx_json_error(const struct nsx_json *json, const char *at,
               const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(json->error->message, sizeof json->error->message, format,
              args);
    va_end(args);
    json->error->position = (size_t) (at - json->text);
    return EPROTO;
}

char
nsx_json_peek(struct nsx_json *json)
{
    while (json->p < json->end) {
        switch (*json->p) {
        case ' ': case '\t': case '\n': case '\r':
            json->p++;
            break;
        default:
            return *json->p;
        }
    }
    return 0;
}

int
nsx_json_expect(struct nsx_json *json, char c)
{
    if (nsx_json_peek(json) != c) {
        return nsx_json_error(json, json->p, "'%c' expected", c);
    }
    json->p++;
    return 0;
}

int
nsx_json_next(struct nsx_json *json, char close, bool first, bool *more)
{
    char c = nsx_json_peek(json);

    *more = c != close;
    if (!*more) {
        json->p++;
        return 0;
    }
    return first ? 0 : nsx_json_expect(json, ',');
}

/* Whether each of eight characters stands for itself in a string: none is a
 * control character, a quote, a backslash or a part of a longer one. */
static bool
are_plain(const char *p)
{
    uint64_t w;

    memcpy(&w, p, sizeof w);
    uint64_t quote = w ^ '"' * ONES, backslash = w ^ '\\' * ONES;
    return !((w | (w - 0x20 * ONES) | ((quote - ONES) & ~quote)
              | ((backslash - ONES) & ~backslash)) & HIGH);
}

/* The length of the UTF-8 sequence at 'p' (RFC 3629); 0 where it is none. */
static size_t
utf8_len(const uint8_t *p, size_t left)
{
    size_t n = (p[0] < 0x80 ? 1 : p[0] < 0xc2 ? 0 : p[0] < 0xe0 ? 2
                : p[0] < 0xf0 ? 3 : p[0] < 0xf5 ? 4 : 0);

    if (!n || n > left) {
        return 0;
    }
    for (size_t i = 1; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    /* Longer than needed, half of a surrogate pair, beyond U+10FFFF. */
    bool wrong = n > 2 && ((p[0] == 0xe0 && p[1] < 0xa0)
                           || (p[0] == 0xed && p[1] >= 0xa0)
                           || (p[0] == 0xf0 && p[1] < 0x90)
                           || (p[0] == 0xf4 && p[1] >= 0x90));
    return wrong ? 0 : n;
}

static void
put_utf8(struct nsx_buf *b, uint32_t c)
{
    if (c < 0x80) {
        nsx_put8(b, (uint8_t) c);
        return;
    }
    if (c < 0x800) {
        nsx_put8(b, (uint8_t) (0xc0 | c >> 6));
    } else {
        if (c < 0x10000) {
            nsx_put8(b, (uint8_t) (0xe0 | c >> 12));
        } else {
            nsx_put8(b, (uint8_t) (0xf0 | c >> 18));
            nsx_put8(b, (uint8_t) (0x80 | (c >> 12 & 0x3f)));
        }
        nsx_put8(b, (uint8_t) (0x80 | (c >> 6 & 0x3f)));
    }
    nsx_put8(b, (uint8_t) (0x80 | (c & 0x3f)));
}

/* Reads the four digits of a "\u". */
static int
read_unit(struct nsx_json *json, uint32_t *unit)
{
    *unit = 0;
    for (int i = 0; i < 4; i++, json->p++) {
        int digit = json->p < json->end ? nsx_hex_digit(*json->p) : -1;
        if (digit < 0) {
            return nsx_json_error(json, json->p,
                                  "four hexadecimal digits expected");
        }
        *unit = *unit << 4 | (uint32_t) digit;
    }
    return 0;
}

/* Reads what follows "\u"; beyond the basic plane that is two of them. */
static int
read_code_point(struct nsx_json *json, struct nsx_buf *b)
{
    const char *start = json->p - 2;
    uint32_t c, low;

    int error = read_unit(json, &c);
    if (error) {
        return error;
    }
    if (c >= 0xd800 && c < 0xe000) {
        if (c >= 0xdc00 || json->end - json->p < 2 || json->p[0] != '\\'
            || json->p[1] != 'u') {
            return nsx_json_error(json, start, "half of a surrogate pair");
        }
        json->p += 2;
        error = read_unit(json, &low);
        if (error) {
            return error;
        }
        if (low < 0xdc00 || low >= 0xe000) {
            return nsx_json_error(json, start, "half of a surrogate pair");
        }
        c = 0x10000 + ((c & 0x3ff) << 10 | (low & 0x3ff));
    }
    if (!c) {
        return nsx_json_error(json, start,
                              "a null character, which no string can hold");
    }
    put_utf8(b, c);
    return 0;
}

/* Reads what follows a backslash. */
static int
read_escape(struct nsx_json *json, struct nsx_buf *b)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";

    if (json->p == json->end) {
        return nsx_json_error(json, json->p, "a string without an end");
    }
    char c = *json->p++;
    if (c == 'u') {
        return read_code_point(json, b);
    }
    const char *found = c ? strchr(from, c) : NULL;
    if (!found) {
        return nsx_json_error(json, json->p - 1,
                              "no character to put a backslash before");
    }
    nsx_put8(b, (uint8_t) to[found - from]);
    return 0;
}

int
nsx_json_string(struct nsx_json *json, struct nsx_buf *b)
{
    int error = nsx_json_expect(json, '"');

    while (!error) {
        const char *start = json->p;
        while (json->end - json->p >= 8 && are_plain(json->p)) {
            json->p += 8;
        }
        while (json->p < json->end && *json->p != '"' && *json->p != '\\') {
            size_t n = utf8_len((const uint8_t *) json->p,
                                (size_t) (json->end - json->p));
            if (!n || (uint8_t) *json->p < 0x20) {
                return nsx_json_error(json, json->p, n
                                      ? "a control character in a string"
                                      : "a string that isn't UTF-8");
            }
            json->p += n;
        }
        nsx_put(b, start, (size_t) (json->p - start));
        if (json->p == json->end) {
            return nsx_json_error(json, json->p, "a string without an end");
        }
        if (*json->p++ == '"') {
            return 0;
        }
        error = read_escape(json, b);
    }
    return error;
}

int
nsx_json_name(struct nsx_json *json, struct nsx_buf *b)
{
    b->size = 0;
    int error = nsx_json_string(json, b);
    return error ? error : nsx_json_expect(json, ':');
}

/* Passes over digits, of which there must be one. */
static const char *
pass_digits(const char *p, const char *end)
{
    const char *start = p;

    while (p < end && *p >= '0' && *p <= '9') {
        p++;
    }
    return p > start ? p : NULL;
}

/* The end of the number that begins at 'p', or NULL; '*real': it has a
 * fraction or an exponent. */
static const char *
number_end(const char *p, const char *end, bool *real)
{
    *real = false;
    if (p < end && *p == '-') {
        p++;
    }
    if (p < end && *p == '0') {
        p++;
    } else {
        p = pass_digits(p, end);
    }
    if (p && p < end && *p == '.') {
        *real = true;
        p = pass_digits(p + 1, end);
    }
    if (p && p < end && (*p == 'e' || *p == 'E')) {
        *real = true;
        p++;
        if (p < end && (*p == '+' || *p == '-')) {
            p++;
        }
        p = pass_digits(p, end);
    }
    return p;
}

int
nsx_json_number(struct nsx_json *json, struct nsx_json_number *number)
{
    nsx_json_peek(json);

    const char *start = json->p;
    bool real;
    const char *end = number_end(start, json->end, &real);
    if (!end) {
        return nsx_json_error(json, start, "a number expected");
    }
    size_t n = (size_t) (end - start);
    if (n > MAX_NUMBER) {
        return nsx_json_error(json, start, "a number of %zu characters", n);
    }
    json->p = end;

    char text[MAX_NUMBER + 1];
    memcpy(text, start, n);
    text[n] = '\0';
    errno = 0;
    number->integer = strtoll(text, NULL, 10);
    number->is_integer = !real && !errno;
    if (number->is_integer) {
        number->real = (double) number->integer;
        return 0;
    }
    /* strtod() wants the point that people have where we are. */
    char *point = strchr(text, '.');
    if (point) {
        *point = *localeconv()->decimal_point;
    }
    number->real = strtod(text, NULL);
    if (number->real - number->real != 0) {
        return nsx_json_error(json, start, "a number too large");
    }
    return 0;
}

static bool
read_word(struct nsx_json *json, const char *word)
{
    size_t n = strlen(word);

    if ((size_t) (json->end - json->p) < n || memcmp(json->p, word, n)) {
        return false;
    }
    json->p += n;
    return true;
}

int
nsx_json_boolean(struct nsx_json *json, bool *value)
{
    nsx_json_peek(json);
    *value = read_word(json, "true");
    if (!*value && !read_word(json, "false")) {
        return nsx_json_error(json, json->p, "true or false expected");
    }
    return 0;
}

static int
skip(struct nsx_json *json, struct nsx_buf *scratch, int depth)
{
    struct nsx_json_number number;
    char c = nsx_json_peek(json);

    scratch->size = 0;
    if (c == '"') {
        return nsx_json_string(json, scratch);
    }
    if (c != '[' && c != '{') {
        return (read_word(json, "true") || read_word(json, "false")
                || read_word(json, "null")
                ? 0 : nsx_json_number(json, &number));
    }
    if (depth == MAX_DEPTH) {
        return nsx_json_error(json, json->p, "nested too deeply");
    }
    json->p++;
    for (bool first = true; ; first = false) {
        bool more;
        int error = nsx_json_next(json, c == '[' ? ']' : '}', first, &more);
        if (!error && more && c == '{') {
            error = nsx_json_name(json, scratch);
        }
        if (error || !more) {
            return error;
        }
        error = skip(json, scratch, depth + 1);
        if (error) {
            return error;
        }
    }
}

int
nsx_json_skip(struct nsx_json *json)
{
    struct nsx_buf scratch = NSX_BUF_INITIALIZER;
    int error = skip(json, &scratch, 0);

    nsx_buf_uninit(&scratch);
    return error;
}

int
nsx_json_end(struct nsx_json *json)
{
    return nsx_json_peek(json) || json->p < json->end
           ? nsx_json_error(json, json->p, "the text goes on after its end")
           : 0;
}

/* Whether a byte of a string stands in JSON as it is. */
static bool
stands(char c)
{
    return (uint8_t) c >= ' ' && c != '"' && c != '\\';
}

void
nsx_json_put_string(struct nsx_buf *b, const char *s, size_t len)
{
    const char *end = s + len;

    nsx_put8(b, '"');
    for (;;) {
        const char *start = s;
        while (s < end && stands(*s)) {
            s++;
        }
        nsx_put(b, start, (size_t) (s - start));
        if (s == end) {
            break;
        } else if ((uint8_t) *s >= ' ') {
            nsx_put8(b, '\\');
            nsx_put8(b, (uint8_t) *s++);
        } else {
            nsx_printf(b, "\\u%04x", (unsigned int) *s++);
        }
    }
    nsx_put8(b, '"');
}

size_t
nsx_json_scan(struct nsx_json_scan *scan, const void *data, size_t n,
              bool *ended)
{
    const char *start = data, *p = start, *end = start + n;

    *ended = false;
    while (p < end) {
        if (scan->escaped) {
            scan->escaped = false;
        } else if (scan->in_string) {
            while (end - p >= 8 && are_plain(p)) {
                p += 8;
            }
            while (p < end && *p != '"' && *p != '\\') {
                p++;
            }
            if (p == end) {
                break;
            }
            scan->escaped = *p == '\\';
            scan->in_string = scan->escaped;
        } else if (*p == '"') {
            scan->in_string = true;
        } else if (*p == '{') {
            scan->depth++;
        } else if (*p == '}' && !--scan->depth) {
            *ended = true;
            return (size_t) (p + 1 - start);
        }
        p++;
    }
    return n;
}
