/* What a caller tells the native steps. A column is one neuron of one sample. Columns come in groups: those of a group lie
   side by side, groups may lie anywhere, as the windows of a signal do. Memory is dense, group after group. The scheme is
   the one of spec.py. */
#ifndef SPIKEBRIDGE_NATIVE_H
#define SPIKEBRIDGE_NATIVE_H

#include <stdint.h>

/* Incremented with every change of the structures of these headers; the caller compares it with its own. */
#define SPIKEBRIDGE_VERSION 8

/* The parameters of neurons. BASE is added where the membrane leaks: V_LEAK itself, or -0 where nothing is added. */
enum { DECAY, V_THRESHOLD, V_RESET, V_LEAK, R, DECAY_SYN, DECAY_ADAPTATION, JUMP, BASE, NUM_VALUES };

enum { NEVER, TO_ZERO, TO_VALUE, BY_THRESHOLD, NUM_RESETS };

enum { ARCTAN, RECTANGLE, TRIANGLE, FAST_SIGMOID, NUM_SURROGATES };

/* The number of step t, group g and column c is at[t * step + g * group + c]; at may be NULL for nothing. */
typedef struct {
    float *at;
    int64_t step, group;
} Signal;

/* The same with c * column, where column is 0 or 1. */
typedef struct {
    const float *at;
    int64_t step, group, column;
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
    int64_t num_steps, num_groups, num_columns; /* columns of a group */
    int64_t chunk;        /* columns of a group that are run through all steps at once */
    int64_t reset;        /* NEVER where the neuron does not fire */
    int64_t surrogate;
    int64_t through_reset; /* 0 where no gradient goes through the reset */
    float width;
    int64_t num_threads;
    Team team; /* NULL for one thread */
    Value values[NUM_VALUES];
} Plan;

/* Max pooling behind the spikes of pictures that lie channels last, each a group, with windows side by side. Then a chunk
   is a row of windows, `size_y` rows of a picture; what is left over has no window. */
typedef struct {
    Signal pooled; /* forward, and its gradient backward; nothing where nothing is pooled */
    int64_t channels, width, size_y, size_x;
} Pooling;

/* Memory before and after; i and a are NULL where the neuron has none. */
typedef struct {
    Plan plan;
    Signal x, y, kept; /* y and kept may be nothing, and kept may be in the place of x */
    const float *start_v, *start_i, *start_a;
    float *v, *i, *a;
    Pooling pooling;
} Forward;

/* The memory before, start_v only where its decay is asked for; and the gradients of the memory after, NULL for zeros,
   and before, NULL where not wanted. */
typedef struct {
    Plan plan;
    Signal x; /* nothing where not needed */
    Signal kept;
    const float *start_v, *start_i, *start_a;
    const float *end_v, *end_i, *end_a;
    Value grad_y; /* at is NULL for zeros, and where there is pooling */
    Pooling pooling;
    Signal grad_x; /* nothing where not wanted */
    float *grad_v, *grad_i, *grad_a;
    Share shares[NUM_VALUES];
} Backward;

/* y[t] = sum_k taps[k] x[t + offset - k], over those steps that x has. The steps of the plan are those of y; of its
   numbers none is read. */
typedef struct {
    Plan plan;
    Signal x, y;
    int64_t num_given, offset, num_taps; /* steps of x */
    Value taps;                          /* a step is a tap */
} Respond;

/* Sums without a neuron: what is remembered, `first` and `second`, and given at a step, y, with d for the decay and k for
   the factor. Forms "backward" are their gradients, from the last step to the first: signals have negative strides. */
enum {
    SUM, /* first = d first + x, which is given */
    SUM_BACKWARD,
    SUM_BACKWARD_AND_SLOPE, /* the same; second is the gradient of d in each column */
    LAST,           /* the same sum from zeros, and nothing is given */
    LAST_AND_SLOPE, /* the same; second is the derivative of first by d */
    MEAN,           /* first = first + x, given over the number of steps, of which k were before */
    MEAN_BACKWARD,
    ALPHA, /* second = d (second + first), given k times; then first = d first + x */
    ALPHA_BACKWARD,
    NUM_FORMS
};

/* Memory before the first step that is run, NULL for zeros, and after the last, NULL where not wanted. */
typedef struct {
    Plan plan; /* of its numbers none is read */
    int64_t form;
    Signal x, y; /* x may be nothing, for zeros */
    const float *start_first, *start_second;
    float *first, *second;
    Value decay, factor; /* of the first step, and so of all */
    Signal before;       /* for the slope of a sum: the sums one step before, which the first step finds in `start` */
    const float *start;  /* NULL for zeros */
    const unsigned char *anew; /* a flag a step of the signal: whether its memory before is zeros; NULL where none is */
} LeakySum;

int spikebridge_version(void);
void spikebridge_sizes(int64_t *sizes); /* of Forward, Backward, Respond and LeakySum, to compare with the caller's */

/* 0, or 1 where there was not enough memory. */
int spikebridge_forward(const Forward *job);
int spikebridge_backward(const Backward *job);
int spikebridge_respond(const Respond *job);
int spikebridge_sum(const LeakySum *job);

#endif
