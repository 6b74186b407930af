/* Whole signals without a neuron, in chunks of columns: responses with taps, and sums. */

#include "chunks.h"
#include "step.h"

enum { RESPOND_ROWS = AT_ONCE + 1 };

/* Adds the products of some taps from the k-th on to `many` rows, of which the first reads step `now` with tap 0. Steps and
   taps that are not there are zeros. */
static void add_taps(const Respond *job, const Chunk *chunk, TapRows *all, int64_t now, int64_t k, int many,
                     const float *zeros)
{
    const int rows = job->taps.column != 0;
    const int64_t left = job->num_taps - k, first = now - k - (TAPS - 1);
    for (int64_t j = 0; j < TAPS + many - 1; j++) {
        const int is_there = first + j >= 0 && first + j < job->num_given && (many > 1 || TAPS - 1 - j < left);
        all->x[j] = is_there ? row_of(&job->x, chunk, first + j) : zeros;
    }
    for (int64_t j = 0; j < TAPS; j++)
        all->taps[j] = j < left ? row_at(&job->taps, chunk, k + j, NULL) : zeros;
    spikebridge_rows()->taps[2 * rows + (many > 1)](all);
}

static void respond_chunk(const void *data, Chunk *chunk)
{
    const Respond *job = data;
    const Plan *plan = &job->plan;
    const int past_caches = is_large(plan);
    const Rows *use = spikebridge_rows();
    const int64_t n = chunk->num_columns;
    float *y_rows[AT_ONCE], *y[AT_ONCE], *zeros = take_row(chunk);
    for (int j = 0; j < AT_ONCE; j++)
        y_rows[j] = take_row(chunk);
    fill(zeros, 0.0f, n);

    TapRows all = {.num_columns = n};
    for (int64_t t = 0, many; t < plan->num_steps; t += many) {
        const int64_t now = t + job->offset;
        many = n >= LONG_ROW && t + AT_ONCE <= plan->num_steps ? AT_ONCE : 1;
        if (many == 1 && now + 1 < job->num_given)
            fetch(row_of(&job->x, chunk, now + 1), n);
        for (int64_t j = 0; j < many; j++)
            y[j] = past_caches ? y_rows[j] : row_of(&job->y, chunk, t + j);

        all.begins = 1;
        for (int64_t k = 0; k < job->num_taps; k += TAPS) {
            /* none of these taps meets a step of the signal */
            if (now - k + many - 1 < 0 || now - k - (TAPS - 1) >= job->num_given)
                continue;
            const int64_t at_once = k + TAPS <= job->num_taps ? many : 1; /* rows that share theirs need all taps */
            for (int64_t j = 0; j < many; j += at_once) {
                memcpy(all.y, y + j, (size_t)at_once * sizeof(*y));
                add_taps(job, chunk, &all, now + j, k, (int)at_once, zeros);
            }
            all.begins = 0;
        }

        for (int64_t j = 0; j < many; j++) {
            if (all.begins)
                fill(y[j], 0.0f, n);
            if (past_caches)
                use->write_past_caches(row_of(&job->y, chunk, t + j), y[j], n);
        }
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
