/* What a caller tells the native steps. Every matrix is (steps, columns), contiguous; a column is one neuron of one
   sample. The scheme is the one of scheme.py. */
#ifndef SPIKEBRIDGE_NATIVE_H
#define SPIKEBRIDGE_NATIVE_H

#include <stdint.h>

/* Goes up with every change of the structures below; the caller compares it with its own. */
#define SPIKEBRIDGE_VERSION 2

/* The numbers of the scheme. BASE is added where the membrane leaks: V_LEAK itself, or -0 where nothing is added. */
enum { DECAY, V_THRESHOLD, V_RESET, V_LEAK, R, DECAY_SYN, DECAY_ADAPTATION, JUMP, BASE, NUM_VALUES };

enum { NEVER, TO_ZERO, TO_VALUE, BY_THRESHOLD, NUM_RESETS };

enum { ARCTAN, RECTANGLE, TRIANGLE, FAST_SIGMOID, NUM_SURROGATES };

/* The number of step t and column c is at[t * step + c * column]; column is 0 or 1. */
typedef struct {
    const float *at;
    int64_t step, column;
} Value;

/* Where the gradient of a value goes: one sum a chunk, one sum a column, or each step on its own. */
typedef struct {
    double *chunks;
    float *columns;
    float *steps;
} Share;

/* How a team of threads runs a function (GOMP_parallel). */
typedef void (*Team)(void (*work)(void *), void *data, unsigned num_threads, unsigned flags);

typedef struct {
    int64_t num_steps, num_columns;
    int64_t chunk;        /* columns that are run through all steps at once */
    int64_t reset;        /* NEVER where the neuron does not fire */
    int64_t surrogate;
    int64_t through_reset; /* 0 where no gradient goes through the reset */
    float width;
    int64_t num_threads;
    Team team; /* NULL for one thread */
    Value values[NUM_VALUES];
} Plan;

/* Memory is in place: before, then after. i and a are NULL where the neuron has none; kept may be NULL. */
typedef struct {
    Plan plan;
    const float *x;
    float *y, *kept;
    float *v, *i, *a;
} Forward;

/* The gradients of the memory are in place: of the last, then of the first. */
typedef struct {
    Plan plan;
    const float *x; /* NULL where not needed */
    const float *kept;
    const float *start_v, *start_i, *start_a;
    Value grad_y; /* at is NULL for zeros */
    float *grad_x; /* NULL where not wanted */
    float *grad_v, *grad_i, *grad_a;
    Share shares[NUM_VALUES];
} Backward;

int spikebridge_version(void);
void spikebridge_sizes(int64_t *sizes); /* of Forward and Backward, to compare with the caller's */
/* The set of instructions that this processor runs; and, for tests, the widest to use: 0 is plain C. */
const char *spikebridge_instructions(void);
void spikebridge_use_at_most(int64_t set);

/* 0, or 1 where there was not enough memory. */
int spikebridge_forward(const Forward *job);
int spikebridge_backward(const Backward *job);

#endif
