/* The rows of `rows.h`, for each set of instructions that a processor may have; the widest is chosen at run time. */

#include <string.h>

#include "instructions.h"
#include "step.h"

#if defined(__SSE2__)
#include <immintrin.h>
#endif

#define REAL float

#define FOUR(F, rows) F(rows, 0) F(rows, 1) F(rows, 2) F(rows, 3)
#define EVERY_PAIR(F) FOUR(F, 0) FOUR(F, 1)
#define RESETS(F, rows, current, adapts) \
    F(rows, current, adapts, 0) F(rows, current, adapts, 1) F(rows, current, adapts, 2) F(rows, current, adapts, 3)
#define NEURONS(F, rows) RESETS(F, rows, 0, 0) RESETS(F, rows, 0, 1) RESETS(F, rows, 1, 0) RESETS(F, rows, 1, 1)
#define EVERY_NEURON(F) NEURONS(F, 0) NEURONS(F, 1)
#define SURROGATES(F, rows, current, reset) \
    F(rows, current, reset, 0) F(rows, current, reset, 1) F(rows, current, reset, 2) F(rows, current, reset, 3)
#define FOUR_RESETS(F, rows, current)                                     \
    SURROGATES(F, rows, current, 0) SURROGATES(F, rows, current, 1)       \
    SURROGATES(F, rows, current, 2) SURROGATES(F, rows, current, 3)
#define EVERY_BACKWARD_ONLY(F) FOUR_RESETS(F, 0, 0) FOUR_RESETS(F, 0, 1) FOUR_RESETS(F, 1, 0) FOUR_RESETS(F, 1, 1)
#define FORMS(F, rows) FOUR(F, rows) F(rows, 4) F(rows, 5) F(rows, 6) F(rows, 7) F(rows, 8)
#define EVERY_FORM(F) FORMS(F, 0) FORMS(F, 1)

#if defined(__clang__)
#define INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#elif defined(__GNUC__)
#define INDEPENDENT _Pragma("GCC ivdep")
#else
#define INDEPENDENT
#endif

enum { ONLY_SPIKES = NUM_SURROGATES, FIRED };

enum {
    PIECE = 128,        /* columns whose rows are prefetched together */
    PIECE_OF_ROWS = 64, /* columns of each row that is written past the caches with others */
    MANY = 8            /* vectors of columns whose state stays in registers through all steps */
};

/* Prefetches a piece of the rows that the next step reads; returns its end. */
static inline int64_t fetch_piece(const float *const *next, int64_t from, int64_t num_columns)
{
    const int64_t size = num_columns - from < PIECE ? num_columns - from : PIECE;
    for (int k = 0; k < 2; k++)
        if (next[k] != NULL)
            fetch(next[k] + from, size);
    return from + size;
}

/* Each column of a step, while the rows of the next step are prefetched piece by piece: a processor waits for few lines of
   memory at once, and a prefetch that finds no place stops it. */
#define EACH_COLUMN(step)                                                             \
    for (int64_t from = 0, to; from < (step)->num_columns &&                          \
                               (to = fetch_piece((step)->next, from, (step)->num_columns)); \
         from = to)                                                                   \
    INDEPENDENT for (int64_t c = from; c < to; c++)

/* A copy in scratch memory: rows at the same place of a page push each other out of the nearest cache. */
static float *copy_of(const float *row, Chunk *chunk)
{
    return memcpy(take_row(chunk), row, (size_t)chunk->num_columns * sizeof(float));
}

/* The same of a value that is one for all steps. */
static float *as_row(const Value *value, Chunk *chunk)
{
    if (value->column != 0)
        return copy_of(row_at(value, chunk, 0, NULL), chunk);
    float *row = take_row(chunk);
    fill(row, *value->at, chunk->num_columns);
    return row;
}

/* Whether the sums of step t of the signal start from zero. */
static inline int is_reset(const LeakySum *job, int64_t t)
{
    return job->resets != NULL && t >= 0 && job->resets[t] != 0;
}

/* The step at which the sums of a step began: the last reset before it, or the first step of all. */
static inline int64_t beginning(const LeakySum *job, int64_t t)
{
    if (job->resets == NULL)
        return 0;
    while (t > 0 && !job->resets[t])
        t--;
    return t;
}

/* Whether `many` steps from the t-th that is run on can be run at once: there is no reset between them. */
static inline int is_unbroken(const LeakySum *job, int64_t t, int64_t many, int is_backward)
{
    if (t + many > job->plan.num_steps)
        return 0;
    for (int64_t k = t; k + 1 < t + many; k++)
        if (is_reset(job, is_backward ? job->plan.num_steps - 1 - k : k + 1))
            return 0;
    return 1;
}

/* Clears the state of a sum; a slope is no state, since it is summed over all steps. */
static inline void clear_state(const SumRows *row, int form)
{
    fill(row->first, 0.0f, row->num_columns);
    if (form == ALPHA || form == ALPHA_BACKWARD)
        fill(row->second, 0.0f, row->num_columns);
}

/* Copies a row to a state, where it is wanted. */
static inline void write_state(float *state, const float *row, const Chunk *chunk)
{
    if (state != NULL)
        memcpy(state + place(chunk), row, (size_t)chunk->num_columns * sizeof(float));
}

/* Copies the rows of some steps, the last one first, and so in the order in which they lie in memory where a sum runs
   backward: a processor prefetches short rows by itself only if they go up. */
static void write_block(const Signal *y, const float *rows, const Chunk *chunk, int64_t first, int64_t last)
{
    for (int64_t t = last; t >= first; t--)
        memcpy(row_of(y, chunk, t), rows + (t - first) * chunk->num_columns, (size_t)chunk->num_columns * sizeof(float));
}

/* Rows that are written past the caches go there LANES numbers at once: best a whole line. */
#define NAME(name) name##_plain
#if defined(__SSE2__)
#define LANES 4
#define STORE_PAST_CACHES(to, from) _mm_stream_ps(to, _mm_loadu_ps(from))
#else
#define LANES 1
#define STORE_PAST_CACHES(to, from) *(to) = *(from)
#endif
#include "rows.h"

#ifdef SEVERAL_SETS
BEGIN_AVX2
#define NAME(name) name##_avx2
#define LANES 8
#define STORE_PAST_CACHES(to, from) _mm256_stream_ps(to, _mm256_loadu_ps(from))
#include "rows.h"
END_SET
BEGIN_AVX512
#define NAME(name) name##_avx512
#define LANES 16
#define STORE_PAST_CACHES(to, from) _mm512_stream_ps(to, _mm512_loadu_ps(from))
#include "rows.h"
END_SET
#endif

static int64_t widest = 2;

void spikebridge_use_at_most(int64_t set)
{
    widest = set;
}

int64_t spikebridge_instruction_set(void)
{
    int64_t set = 0;
#ifdef SEVERAL_SETS
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2"))
        set = 1;
    if (set && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq"))
        set = 2;
#endif
    return set < widest ? set : widest;
}

const Rows *spikebridge_rows(void)
{
#ifdef SEVERAL_SETS
    const Rows *every[] = {&all_rows_plain, &all_rows_avx2, &all_rows_avx512};
    return every[spikebridge_instruction_set()];
#else
    return &all_rows_plain;
#endif
}

const char *spikebridge_instructions(void)
{
    const char *names[] = {"plain C", "AVX2", "AVX-512"};
    return names[spikebridge_instruction_set()];
}
