/* The arguments of a step's rows, and the tables of functions over rows for one set of instructions. */
#ifndef SPIKEBRIDGE_STEP_H
#define SPIKEBRIDGE_STEP_H

#include "chunks.h"
#include "native.h"

typedef struct {
    int64_t num_columns;
    const float *values[NUM_VALUES]; /* a row, or one number for all columns */
    const float *x;
    const float *next[2]; /* rows that the next step reads, to be prefetched, or NULL */
    float *y, *kept;
    float *v, *i, *a; /* the state, or its gradient */
    /* backward only */
    const float *threshold, *grad_y, *next_leak;
    float *adapted; /* thresholds with the adaptation of the step */
    float *spikes, *derivatives; /* derivatives of the surrogate */
    float *leaking; /* what the decay of the step after multiplies */
    float *grad_x, *grad_u, *grad_threshold, *grad_decayed; /* of input, membrane before the reset, threshold, adaptation */
    float width, slope, through_reset;
} Step;

enum { BLOCK_OF_SUMS = 8192 }; /* numbers that a chunk of sums gathers, where its rows are short */

/* The same for sums, of one step or of some that follow each other. */
typedef struct {
    int64_t num_columns;
    const float *x[AT_ONCE], *before[AT_ONCE];
    const float *decay, *factor;
    const float *next[2];
    float *y[AT_ONCE], *first, *second;
    float steps[AT_ONCE]; /* since the sum began */
} SumRows;

enum { TAPS = 4 }; /* at once */

/* And for responses: rows that follow each other, one or AT_ONCE, each of which adds products of some taps with rows of
   the signal that follow each other, too; the last tap of the first reads the first of them. */
typedef struct {
    int64_t num_columns;
    const float *x[TAPS + AT_ONCE - 1], *taps[TAPS];
    float *y[AT_ONCE];
    int begins; /* with nothing in y */
} TapRows;

typedef struct {
    void (*forward[32])(const Step *);     /* by rows, current, adapts, reset */
    void (*backward[32])(const Step *);
    void (*backward_only[64])(const Step *); /* by rows, current, reset, surrogate; nothing for parameters */
    void (*fire[8])(const Step *);         /* by rows, surrogate */
    void (*spikes[2])(const Step *);       /* by rows */
    void (*leaking[8])(const Step *);      /* by rows, reset */
    void (*threshold)(const Step *, const float *);
    void (*adaptation)(const Step *, const float *, float *);
    void (*current)(const Step *, const float *, float *);
    void (*pool)(const Pooling *, const float *spikes, float *pooled);
    void (*unpool)(const Pooling *, const float *spikes, const float *gradient, float *grad_y);
    void (*add_row)(float *, const float *, int64_t);
    void (*add_product)(float *, const float *, const float *, int64_t);
    void (*add_leaked)(float *, const float *, const float *, int64_t);
    void (*taps[4])(const TapRows *);      /* by rows, many */
    void (*write_past_caches)(float *to, const float *from, int64_t num_columns);
    void (*const *sums)(const LeakySum *, Chunk *); /* whole chunks, by rows, form */
} Rows;

/* The widest rows that this processor can run. */
const Rows *spikebridge_rows(void);

#endif
