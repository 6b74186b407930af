/* Chunks shared out between the threads of a team. */

#include <stdlib.h>

#include "chunks.h"
#include "team.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

/* A job of any kind. */
typedef struct {
    const void *job;
    const Plan *plan;
    void (*run)(const void *job, Chunk *chunk);
    int64_t scratch, num_chunks;
    int64_t next; /* the next free chunk */
    int failed;
} Shared;

static int64_t chunks_of_group(const Plan *plan)
{
    return (plan->num_columns + plan->chunk - 1) / plan->chunk;
}

/* The part of one thread: takes chunks until none is left. */
static void work(void *data)
{
    Shared *shared = data;
    const Plan *plan = shared->plan;
    float *memory = malloc((size_t)(shared->scratch + LINE) * sizeof(float));
    if (memory == NULL) {
        shared->failed = 1;
        return;
    }

    float *aligned = (float *)(((uintptr_t)memory + 63) & ~(uintptr_t)63); /* to a cache line */
    for (int64_t index; (index = take_next(&shared->next)) < shared->num_chunks;) {
        const int64_t of_group = chunks_of_group(plan), group = index / of_group;
        const int64_t first = index % of_group * plan->chunk, left = plan->num_columns - first;
        Chunk chunk = {plan, index, group, first, left < plan->chunk ? left : plan->chunk, aligned};
        shared->run(shared->job, &chunk);
    }

    free(memory);
#if defined(__SSE2__)
    _mm_sfence(); /* what was written past the caches is there for all threads */
#endif
}

int spikebridge_share_out(const Plan *plan, const void *job, void (*run)(const void *job, Chunk *chunk), int64_t scratch)
{
    Shared shared = {.job = job, .plan = plan, .run = run, .scratch = scratch};
    shared.num_chunks = plan->num_groups * chunks_of_group(plan);
    const int64_t num_threads = plan->num_threads < shared.num_chunks ? plan->num_threads : shared.num_chunks;
    run_together(plan->team, num_threads, work, &shared);
    return shared.failed;
}
