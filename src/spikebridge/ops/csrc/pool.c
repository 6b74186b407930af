/* Pooling, picture by picture: forward reads everything once, backward writes everything once. */

#include <stddef.h>

#include "pool.h"
#include "team.h"

/* One source for several sets of instructions, chosen when the library is loaded, where the loader can do that. */
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && defined(__GLIBC__)
#define CLONES __attribute__((target_clones("avx2", "default")))
#else
#define CLONES
#endif

CLONES static void take_largest(const Pool *job, int64_t picture)
{
    const int64_t channels = job->channels, line = job->width * channels;
    const int64_t out_height = job->height / job->size_y, out_width = job->width / job->size_x;
    for (int64_t y = 0; y < out_height; y++)
        for (int64_t x = 0; x < out_width; x++) {
            const int64_t out = ((picture * out_height + y) * out_width + x) * channels;
            const float *window = job->full + (picture * job->height + y * job->size_y) * line + x * job->size_x * channels;
            float *restrict largest = job->pooled + out;
            uint8_t *restrict place = job->places + out;
            for (int64_t c = 0; c < channels; c++) {
                largest[c] = window[c];
                place[c] = 0;
            }
            for (int64_t k = 1; k < job->size_y * job->size_x; k++) {
                const float *restrict value = window + k / job->size_x * line + k % job->size_x * channels;
                for (int64_t c = 0; c < channels; c++) {
                    /* what is not a number is taken, as PyTorch does */
                    const int larger = value[c] > largest[c] || value[c] != value[c];
                    largest[c] = larger ? value[c] : largest[c];
                    place[c] = larger ? (uint8_t)k : place[c];
                }
            }
        }
}

CLONES static void give_back(const Pool *job, int64_t picture)
{
    const int64_t channels = job->channels, line = job->width * channels;
    const int64_t out_height = job->height / job->size_y, out_width = job->width / job->size_x;
    for (int64_t y = 0; y < out_height; y++)
        for (int64_t x = 0; x < out_width; x++) {
            const int64_t out = ((picture * out_height + y) * out_width + x) * channels;
            float *window = job->full + (picture * job->height + y * job->size_y) * line + x * job->size_x * channels;
            const float *restrict gradient = job->pooled + out;
            const uint8_t *restrict place = job->places + out;
            for (int64_t k = 0; k < job->size_y * job->size_x; k++) {
                float *restrict value = window + k / job->size_x * line + k % job->size_x * channels;
                for (int64_t c = 0; c < channels; c++)
                    value[c] = place[c] == k ? gradient[c] : 0.0f;
            }
        }
}

/* A job and the picture that nobody has taken yet. */
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
#if defined(__GNUC__)
    const Pool *job = shared->job;
    const int64_t most = job->num_threads < job->num_pictures ? job->num_threads : job->num_pictures;
    if (job->team != NULL && most > 1) {
        job->team(work, shared, (unsigned)most, 0);
        return;
    }
#endif
    work(shared);
}

void spikebridge_pool_forward(const Pool *job)
{
    Shared shared = {job, take_largest, 0};
    share_out(&shared);
}

void spikebridge_pool_backward(const Pool *job)
{
    Shared shared = {job, give_back, 0};
    share_out(&shared);
}
