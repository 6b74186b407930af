/* Replays recorded calls of the native library: memory is put back at its addresses, so that pointers hold, and is written
   out after each call. Ends with BUSY where an address is taken in this process; another run has other addresses.

       replay CALLS RESULTS

   A call is a Call, then each part of the memory: its address, its length, its bytes. */
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

enum { BUSY = 3, MAX_ARGUMENTS = 8, MAX_PARTS = 512 };

typedef struct {
    char name[64];
    int64_t arguments[MAX_ARGUMENTS];
    int64_t num_parts;
} Call;

typedef int (*Function)(int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t);

#define KERNELS(K)                                                                                                       \
    K(forward) K(backward) K(sum) K(respond) K(pool_forward) K(pool_backward) K(events_step_float)                       \
    K(events_step_double) K(linear_weights) K(convolution_weights) K(spike_convolution) K(event_image) K(count_near)     \
    K(correlate) K(template_fits) K(sample_patches) K(sample_moved) K(orientation) K(places) K(align) K(search_region)   \
    K(fixed_convolutions) K(pathway_step)
#define DECLARE(name) int spikebridge_##name();
#define ENTRY(name) {"spikebridge_" #name, (Function)spikebridge_##name},

KERNELS(DECLARE)

static const struct {
    const char *name;
    Function function;
} table[] = {KERNELS(ENTRY)};

static Function find(const char *name)
{
    for (size_t k = 0; k < sizeof table / sizeof *table; k++)
        if (strcmp(table[k].name, name) == 0)
            return table[k].function;
    return NULL;
}

int main(int count, char **words)
{
    if (count != 3)
        return 1;
    FILE *calls = fopen(words[1], "rb");
    FILE *results = fopen(words[2], "wb");
    if (calls == NULL || results == NULL)
        return 1;

    static int64_t parts[MAX_PARTS][2];
    Call call;
    while (fread(&call, sizeof call, 1, calls) == 1) {
        const Function function = find(call.name);
        if (function == NULL || call.num_parts > MAX_PARTS)
            return 1;

        for (int64_t k = 0; k < call.num_parts; k++) {
            if (fread(parts[k], sizeof parts[k], 1, calls) != 1)
                return 1;
            /* without MAP_FIXED: nothing of this process, or of the emulator, is overwritten */
            void *wanted = (void *)parts[k][0];
            if (mmap(wanted, parts[k][1], PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != wanted)
                return BUSY;
            if (fread(wanted, 1, parts[k][1], calls) != (size_t)parts[k][1])
                return 1;
        }

        const int64_t *a = call.arguments;
        function(a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7]);
        for (int64_t k = 0; k < call.num_parts; k++) {
            fwrite((void *)parts[k][0], 1, parts[k][1], results);
            munmap((void *)parts[k][0], parts[k][1]);
        }
    }

    return fclose(results) != 0;
}
