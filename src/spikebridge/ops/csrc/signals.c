/* Whole signals without a neuron, in chunks of columns: responses with taps, and sums. */

#include "chunks.h"
#include "step.h"

enum { RESPOND_ROWS = 2 };

static void respond_chunk(const void *data, Chunk *chunk)
{
    const Respond *job = data;
    const Plan *plan = &job->plan;
    const int past = is_large(plan), rows = job->taps.column != 0;
    const Rows *use = spikebridge_rows();
    void (*add)(float *, const float *const *, const float *const *, int64_t) = use->add_taps[rows];
    const int64_t n = chunk->num_columns;
    float *y_row = take_row(chunk), *zeros = take_row(chunk);
    fill(zeros, 0.0f, n);
    for (int64_t t = 0; t < plan->num_steps; t++) {
        const int64_t now = t + job->offset;
        float *y = past ? y_row : row_of(&job->y, chunk, t);
        if (now + 1 < job->num_given)
            fetch(row_of(&job->x, chunk, now + 1), n);
        fill(y, 0.0f, n);
        const int64_t first = now < job->num_given ? 0 : now - job->num_given + 1;
        const int64_t end = now < job->num_taps ? now + 1 : job->num_taps;
        for (int64_t k = first; k < end; k += 4) {
            const float *given[4], *taps[4];
            for (int64_t j = 0; j < 4; j++) {
                const int there = k + j < end;
                given[j] = there ? row_of(&job->x, chunk, now - k - j) : zeros;
                taps[j] = there ? row_at(&job->taps, chunk, k + j, NULL) : zeros;
            }
            add(y, given, taps, n);
        }
        if (past)
            use->write_past_caches(row_of(&job->y, chunk, t), y, n);
    }
}

int spikebridge_respond(const Respond *job)
{
    return spikebridge_share_out(&job->plan, job, respond_chunk, RESPOND_ROWS * job->plan.chunk);
}

enum { SUMS_ROWS = 5 };

static void sums_chunk(const void *data, Chunk *chunk)
{
    const LeakySum *job = data;
    const int rows = job->decay.column != 0 || job->factor.column != 0;
    spikebridge_rows()->sums[rows * NUM_FORMS + job->form](job, chunk);
}

int spikebridge_sum(const LeakySum *job)
{
    return spikebridge_share_out(&job->plan, job, sums_chunk, SUMS_ROWS * job->plan.chunk + BLOCK_OF_SUMS);
}
