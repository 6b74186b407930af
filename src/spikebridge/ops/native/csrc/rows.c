/* The rows of `rows.h`, for each set of instructions that a processor may have; the widest is chosen at run time. */

#include <string.h>

#include "instructions.h"
#include "step.h"

#if defined(__SSE2__)
#include <immintrin.h>
#endif

#define FOUR(F, rows) F(rows, 0) F(rows, 1) F(rows, 2) F(rows, 3)
#define EVERY_PAIR(F) FOUR(F, 0) FOUR(F, 1)
#define RESETS(F, rows, current, adapts) \
    F(rows, current, adapts, 0) F(rows, current, adapts, 1) F(rows, current, adapts, 2) F(rows, current, adapts, 3)
#define NEURONS(F, rows) RESETS(F, rows, 0, 0) RESETS(F, rows, 0, 1) RESETS(F, rows, 1, 0) RESETS(F, rows, 1, 1)
#define EVERY_NEURON(F) NEURONS(F, 0) NEURONS(F, 1)
#define LEANS(F, rows, current) \
    FOUR_OF(F, rows, current, 0) FOUR_OF(F, rows, current, 1) FOUR_OF(F, rows, current, 2) FOUR_OF(F, rows, current, 3)
#define FOUR_OF(F, rows, current, reset) \
    F(rows, current, reset, 0) F(rows, current, reset, 1) F(rows, current, reset, 2) F(rows, current, reset, 3)
#define EVERY_LEAN(F) LEANS(F, 0, 0) LEANS(F, 0, 1) LEANS(F, 1, 0) LEANS(F, 1, 1)
#define FORMS(F, rows) FOUR(F, rows) F(rows, 4) F(rows, 5) F(rows, 6) F(rows, 7) F(rows, 8)
#define EVERY_FORM(F) FORMS(F, 0) FORMS(F, 1)

#if defined(__GNUC__)
#define INLINE static inline __attribute__((always_inline))
#else
#define INLINE static inline
#endif

/* Each column of a step, while what the next step reads is asked for little by little: the processor has few places for
   what waits for memory, and whoever finds none waits too. */
#define EACH_COLUMN(step)                                                                               \
    for (int64_t from = 0, to; from < (step)->num_columns && (to = ask((step)->soon, from, (step)->num_columns)); \
         from = to)                                                                                     \
    INDEPENDENT for (int64_t c = from; c < to; c++)

#if defined(__clang__)
#define INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#elif defined(__GNUC__)
#define INDEPENDENT _Pragma("GCC ivdep")
#else
#define INDEPENDENT
#endif

enum { ONLY_SPIKES = NUM_SURROGATES, FIRED };

enum { PIECE = 128 }; /* columns */

enum { PIECE_OF_ROWS = 64 }; /* columns of each row that is written past the caches with others */

/* Prefetches a piece of the rows that the next step reads; returns its end. */
static inline int64_t ask(const float *const *soon, int64_t from, int64_t num_columns)
{
    const int64_t size = num_columns - from < PIECE ? num_columns - from : PIECE;
    for (int k = 0; k < 2; k++)
        if (soon[k] != NULL)
            fetch(soon[k] + from, size);
    return from + size;
}

/* A row in scratch memory: rows that stand at the same place of a page are in each other's way in the nearest cache. */
static float *copy_of(const float *row, Chunk *chunk)
{
    return memcpy(take_row(chunk), row, (size_t)chunk->num_columns * sizeof(float));
}

/* The same of a value, where all steps have one. */
static float *as_row(const Value *value, Chunk *chunk)
{
    if (value->column != 0)
        return copy_of(row_at(value, chunk, 0, NULL), chunk);
    float *row = take_row(chunk);
    fill(row, *value->at, chunk->num_columns);
    return row;
}

/* Whether the sums of a step of the signal begin with nothing before them. */
static inline int begins_anew(const LeakySum *job, int64_t t)
{
    return job->anew != NULL && t >= 0 && job->anew[t] != 0;
}

/* The step at which the sums of a step began, or the first of all. */
static inline int64_t beginning(const LeakySum *job, int64_t t)
{
    if (job->anew == NULL)
        return 0;
    while (t > 0 && !job->anew[t])
        t--;
    return t;
}

/* Whether some steps from the t-th that is run on follow each other: none but the first begins with nothing before it. */
static inline int follow(const LeakySum *job, int64_t t, int64_t many, int backwards)
{
    if (t + many > job->plan.num_steps)
        return 0;
    for (int64_t k = t; k + 1 < t + many; k++)
        if (begins_anew(job, backwards ? job->plan.num_steps - 1 - k : k + 1))
            return 0;
    return 1;
}

/* A slope is no memory: it is summed over all steps. */
static inline void forget(const SumRows *row, int form)
{
    fill(row->first, 0.0f, row->num_columns);
    if (form == ALPHA || form == ALPHA_BACKWARD)
        fill(row->second, 0.0f, row->num_columns);
}

/* Gives a row out where somebody wants it. */
static inline void give(float *memory, const float *row, const Chunk *chunk)
{
    if (memory != NULL)
        memcpy(memory + place(chunk), row, (size_t)chunk->num_columns * sizeof(float));
}

/* Gives rows of some steps out, first to last as they were found: backwards, and so in the order in which they lie in
   memory. A processor sees where short rows lead only if they go up. */
static void give_block(const Signal *y, const float *rows, const Chunk *chunk, int64_t first, int64_t last)
{
    for (int64_t t = last; t >= first; t--)
        memcpy(row_of(y, chunk, t), rows + (t - first) * chunk->num_columns, (size_t)chunk->num_columns * sizeof(float));
}

/* What is written past the caches goes there LANES numbers at once: best a whole line. */
#define NAME(name) name##_plain
#if defined(__SSE2__)
#define LANES 4
#define STORE_PAST_CACHES(to, from) _mm_stream_ps(to, _mm_loadu_ps(from))
#else
#define LANES 1
#define STORE_PAST_CACHES(to, from) *(to) = *(from)
#endif
#include "rows.h"

#if defined(__x86_64__) && defined(__clang__)
#define WIDE 1
#pragma clang attribute push(__attribute__((target("avx2"))), apply_to = function)
#elif defined(__x86_64__) && defined(__GNUC__)
#define WIDE 1
#pragma GCC push_options
#pragma GCC target("avx2")
#endif

#ifdef WIDE
#define NAME(name) name##_avx2
#define LANES 8
#define STORE_PAST_CACHES(to, from) _mm256_stream_ps(to, _mm256_loadu_ps(from))
#include "rows.h"
#ifdef __clang__
#pragma clang attribute pop
#pragma clang attribute push(__attribute__((target("avx512f,avx512vl,avx512bw,avx512dq"))), \
                             apply_to = function)
#else
#pragma GCC pop_options
#pragma GCC push_options
#pragma GCC target("avx512f,avx512vl,avx512bw,avx512dq,prefer-vector-width=512")
#endif
#define NAME(name) name##_avx512
#define LANES 16
#define STORE_PAST_CACHES(to, from) _mm512_stream_ps(to, _mm512_loadu_ps(from))
#include "rows.h"
#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif

static int64_t widest = 2;

void spikebridge_use_at_most(int64_t set)
{
    widest = set;
}

int64_t spikebridge_instruction_set(void)
{
    int64_t found = 0;
#ifdef WIDE
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2"))
        found = 1;
    if (found && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq"))
        found = 2;
#endif
    return found < widest ? found : widest;
}

const Rows *spikebridge_rows(void)
{
#ifdef WIDE
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
