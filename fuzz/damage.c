/* damage.c: runs a target on every truncation of its seeds, and with every
 * byte of them changed in a few ways.
 *
 * Each argument is a file with one seed.  A message is cut off as it is, and
 * so that it says its new length.  Prints how many inputs there were.  If one
 * fails, it is shown in hexadecimal after what the sanitizer says. */
#include <sanitizer/common_interface_defs.h>

#include "targets/fuzz.h"

static struct {
    const char *seed;
    const uint8_t *data;
    size_t size;
} now;

static unsigned long n_inputs;

static void
show_input(void)
{
    fprintf(stderr, "%s, changed to: ", now.seed);
    for (size_t i = 0; i < now.size; i++) {
        fprintf(stderr, "%02x", now.data[i]);
    }
    fprintf(stderr, "\n");
}

/* Runs the target on a copy, after which not one byte can be read. */
static void
run(const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size ? size : 1);

    FUZZ_ASSERT(copy);
    if (size) {
        memcpy(copy, data, size);
    }
    now.data = copy;
    now.size = size;
    LLVMFuzzerTestOneInput(copy, size);
    n_inputs++;
    free(copy);
}

static void
truncate(uint8_t *data, size_t size)
{
    bool is_message = size >= 8 && data[0] == 6 && nsx_get16(data + 2) == size;

    for (size_t n = 0; n < size; n++) {
        run(data, n);
        if (is_message && n >= 8) {
            nsx_set16(data + 2, (uint16_t) n);
            run(data, n);
            nsx_set16(data + 2, (uint16_t) size);
        }
    }
}

static void
change(uint8_t *data, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        const uint8_t right = data[i];
        const uint8_t wrong[] = {
            0, 0xff, right ^ 0x80, right ^ 1, right + 1,
        };

        for (size_t j = 0; j < NSX_ARRAY_SIZE(wrong); j++) {
            data[i] = wrong[j];
            if (wrong[j] != right) {
                run(data, size);
            }
        }
        data[i] = right;
    }
}

/* What targets with a mutator of their own refer to. */
size_t
LLVMFuzzerMutate(uint8_t *data __attribute__((unused)), size_t size,
                 size_t max_size __attribute__((unused)))
{
    return size;
}

int
main(int argc, char *argv[])
{
    static uint8_t data[1 << 16];

    __sanitizer_set_death_callback(show_input);
    for (int i = 1; i < argc; i++) {
        FILE *file = fopen(argv[i], "rb");

        FUZZ_ASSERT(file);
        size_t size = fread(data, 1, sizeof data, file);
        fclose(file);
        now.seed = argv[i];
        run(data, size);
        truncate(data, size);
        change(data, size);
    }
    printf("%lu\n", n_inputs);
    return 0;
}
