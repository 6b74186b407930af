/* Max pooling, picture by picture: forward reads every value once, backward writes every value once. */

#include <stddef.h>

#include "instructions.h"
#include "pool.h"
#include "team.h"

/* One source for several sets of instructions, chosen when the library is loaded, where the loader can do that. */
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && defined(__GLIBC__)
#define CLONES __attribute__((target_clones("arch=x86-64-v4", "avx2", "default")))
#else
#define CLONES
#endif

enum { LANES = 16, MANY = 64 }; /* channels: floats, and bytes, that fill a vector */

/* The largest values of a row of windows. The compiler has to know the sides to keep the values in registers. */
INLINE void pool_row(const Pool *job, const float *restrict full, float *restrict pooled, uint8_t *restrict places,
                     const int size_y, const int size_x)
{
    const int64_t channels = job->channels, line = job->width * channels;
    for (int64_t x = 0; x < job->width / size_x; x++, full += size_x * channels, pooled += channels, places += channels)
        for (int64_t c = 0; c < channels; c++) {
            float largest = full[c];
            int32_t place = 0;
            for (int k = 1; k < size_y * size_x; k++) {
                const float value = full[k / size_x * line + k % size_x * channels + c];
                /* NaN is the largest, as in PyTorch */
                const int larger = value > largest || value != value;
                largest = larger ? value : largest;
                place = larger ? k : place;
            }
            pooled[c] = largest;
            places[c] = (uint8_t)place;
        }
}

/* The gradients of some channels of a window. */
INLINE void unpool_window(float *restrict full, const float *restrict pooled, const uint8_t *restrict places, int64_t line,
                        int64_t channels, int64_t num, const int size_y, const int size_x)
{
    for (int64_t c = 0; c < num; c++) {
        const int32_t place = places[c];
        const float gradient = pooled[c];
        for (int k = 0; k < size_y * size_x; k++)
            full[k / size_x * line + k % size_x * channels + c] = place == k ? gradient : 0.0f;
    }
}

INLINE void unpool_row(const Pool *job, float *restrict full, const float *restrict pooled,
                     const uint8_t *restrict places, const int size_y, const int size_x)
{
    const int64_t channels = job->channels, line = job->width * channels;
    for (int64_t x = 0; x < job->width / size_x; x++, full += (size_x - 1) * channels) {
        int64_t left = channels;
        for (; left >= MANY; left -= MANY, full += MANY, pooled += MANY, places += MANY)
            unpool_window(full, pooled, places, line, channels, MANY, size_y, size_x);
        /* a number of channels that the compiler knows, or it vectorises for as many as bytes fill a vector */
        for (; left >= LANES; left -= LANES, full += LANES, pooled += LANES, places += LANES)
            unpool_window(full, pooled, places, line, channels, LANES, size_y, size_x);
        unpool_window(full, pooled, places, line, channels, left, size_y, size_x);
        full += left;
        pooled += left;
        places += left;
    }
}

#define FOR_SIZE(run, ...)                                              \
    do {                                                                \
        if (job->size_y == 2 && job->size_x == 2)                       \
            run(__VA_ARGS__, 2, 2);                                     \
        else if (job->size_y == 3 && job->size_x == 3)                  \
            run(__VA_ARGS__, 3, 3);                                     \
        else                                                            \
            run(__VA_ARGS__, (int)job->size_y, (int)job->size_x);       \
    } while (0)

CLONES static void pool_picture(const Pool *job, int64_t picture)
{
    const int64_t rows = job->height / job->size_y, line = job->width / job->size_x * job->channels;
    const float *full = job->full + picture * job->height * job->width * job->channels;
    for (int64_t y = 0; y < rows; y++, full += job->size_y * job->width * job->channels) {
        const int64_t out = (picture * rows + y) * line;
        FOR_SIZE(pool_row, job, full, job->pooled + out, job->places + out);
    }
}

CLONES static void unpool_picture(const Pool *job, int64_t picture)
{
    const int64_t rows = job->height / job->size_y, line = job->width / job->size_x * job->channels;
    float *full = job->full + picture * job->height * job->width * job->channels;
    for (int64_t y = 0; y < rows; y++, full += job->size_y * job->width * job->channels) {
        const int64_t out = (picture * rows + y) * line;
        FOR_SIZE(unpool_row, job, full, job->pooled + out, job->places + out);
    }
}

/* A job and the next free picture. */
typedef struct {
    const Pool *job;
    void (*run)(const Pool *job, int64_t picture);
    int64_t next;
} Shared;

static void work(void *data)
{
    Shared *shared = data;
    for (int64_t picture; (picture = take_next(&shared->next)) < shared->job->num_pictures;)
        shared->run(shared->job, picture);
}

static void share_out(Shared *shared)
{
    const Pool *job = shared->job;
    const int64_t num_threads = job->num_threads < job->num_pictures ? job->num_threads : job->num_pictures;
    run_together(job->team, num_threads, work, shared);
}

void spikebridge_pool_forward(const Pool *job)
{
    Shared shared = {job, pool_picture, 0};
    share_out(&shared);
}

void spikebridge_pool_backward(const Pool *job)
{
    Shared shared = {job, unpool_picture, 0};
    share_out(&shared);
}
