/* words.h: words of a table by their name.
 *
 * A text has a word for every dozen bytes, and some tables have hundreds of
 * rows.  A table's index is filled when the core is loaded, by a constructor
 * of the table's file. */
#ifndef NSX_WORDS_H
#define NSX_WORDS_H 1

#include "core.h"

#define NSX_NO_ROW SIZE_MAX

struct nsx_word {
    const char *name;           /* NULL: nothing is here. */
    size_t n;                   /* strlen(name). */
    size_t row;
};

/* A hash table with open addressing. */
struct nsx_words {
    struct nsx_word *slots;
    size_t n_slots;             /* A power of 2, and twice the words. */
};

/* Defines the static index 'NAME'. */
#define NSX_WORDS(NAME, N_SLOTS)                                        \
    static struct nsx_word NAME##_slots[N_SLOTS];                       \
    static struct nsx_words NAME = { NAME##_slots, N_SLOTS }

/* Where the search for the 'n' > 0 bytes at 's' starts.  The bytes in the
 * middle and at the end tell apart what most words share the start of. */
static inline size_t
nsx_words_start(const struct nsx_words *words, const char *s, size_t n)
{
    const uint8_t *p = (const uint8_t *) s;
    uint64_t key = (n << 32 | (uint64_t) p[0] << 24
                    | (uint64_t) p[n / 2] << 16
                    | (uint64_t) p[n - 1 - (n > 1)] << 8 | p[n - 1]);

    return key * 0x9e3779b97f4a7c15 >> 40 & (words->n_slots - 1);
}

static inline void
nsx_words_add(struct nsx_words *words, const char *name, size_t row)
{
    size_t n = strlen(name);
    size_t i = nsx_words_start(words, name, n);

    while (words->slots[i].name) {
        i = (i + 1) & (words->n_slots - 1);
    }
    words->slots[i] = (struct nsx_word) { name, n, row };
}

/* Returns the row of 'name', or NSX_NO_ROW. */
static inline size_t
nsx_words_find(const struct nsx_words *words, struct nsx_slice name)
{
    if (!name.n) {
        return NSX_NO_ROW;
    }
    for (size_t i = nsx_words_start(words, name.s, name.n);
         words->slots[i].name; i = (i + 1) & (words->n_slots - 1)) {
        const struct nsx_word *word = &words->slots[i];

        if (word->n == name.n && !memcmp(word->name, name.s, name.n)) {
            return word->row;
        }
    }
    return NSX_NO_ROW;
}

#endif /* words.h */
