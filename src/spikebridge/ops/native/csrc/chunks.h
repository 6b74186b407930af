/* Chunks of columns: each runs through all steps while its memory stays near the processor, and threads share them. */
#ifndef SPIKEBRIDGE_CHUNKS_H
#define SPIKEBRIDGE_CHUNKS_H

#include <stddef.h>
#include <string.h>

#include "native.h"

enum {
    LINE = 16,              /* floats in a cache line */
    LONG_ROW = 1024,        /* floats in a page; a processor prefetches longer rows itself, and some are run at once */
    AT_ONCE = 4,            /* steps of long rows */
    LARGE = 4 * 1024 * 1024 /* bytes; a larger result is written past the caches: it is gone from them when it is read */
};

/* A chunk of the columns of a group; `scratch` is the part of its scratch memory that is free. */
typedef struct {
    const Plan *plan;
    int64_t index, group, first, num_columns;
    float *scratch;
} Chunk;

/* Runs all chunks of a plan, each with space for `scratch` numbers; 1 where there was not enough memory. */
int spikebridge_share_out(const Plan *plan, const void *job, void (*run)(const void *job, Chunk *chunk), int64_t scratch);

/* A row of scratch memory. */
static inline float *take_row(Chunk *chunk)
{
    float *row = chunk->scratch;
    chunk->scratch += chunk->plan->chunk;
    return row;
}

/* Whether a signal of the plan's size is written past the caches. */
static inline int is_large(const Plan *plan)
{
    return plan->num_steps * plan->num_groups * plan->num_columns * (int64_t)sizeof(float) > LARGE;
}

/* The row of a chunk at step t of a signal; NULL for no signal. */
static inline float *row_of(const Signal *signal, const Chunk *chunk, int64_t t)
{
    return signal->at == NULL ? NULL : signal->at + t * signal->step + chunk->group * signal->group + chunk->first;
}

/* The place of a chunk's first column in a state. */
static inline int64_t place(const Chunk *chunk)
{
    return chunk->group * chunk->plan->num_columns + chunk->first;
}

/* The row of a chunk in a state; NULL for no state. */
static inline float *in_state(float *state, const Chunk *chunk)
{
    return state == NULL ? NULL : state + place(chunk);
}

/* Prefetches a row before it is needed: rows are too short, and too far apart, for the processor to do so by itself. */
static inline void fetch(const float *row, int64_t n)
{
#if defined(__GNUC__)
    for (int64_t c = 0; c < n; c += LINE)
        __builtin_prefetch(row + c);
#else
    (void)row, (void)n;
#endif
}

static inline void fill(float *row, float number, int64_t n)
{
    for (int64_t c = 0; c < n; c++)
        row[c] = number;
}

/* Fills a row that changes over the steps with a chunk's part of a state, or with zeros where there is none. */
static inline float *begin(float *row, const float *state, const Chunk *chunk)
{
    if (state == NULL)
        fill(row, 0.0f, chunk->num_columns);
    else
        memcpy(row, state + place(chunk), (size_t)chunk->num_columns * sizeof(float));
    return row;
}

/* A value at step t as a row: the caller's own, or its number in each column of `filled`; without that, the number. */
static inline const float *row_at(const Value *value, const Chunk *chunk, int64_t t, float *filled)
{
    const float *at = value->at + t * value->step + chunk->group * value->group;
    if (value->column != 0)
        return at + chunk->first;
    if (filled == NULL)
        return at;
    /* a number that is the same at all steps was filled in before */
    if (value->step != 0)
        fill(filled, *at, chunk->num_columns);
    return filled;
}

#endif
