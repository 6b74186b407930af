/* Jobs that a caller gives the native steps. A column is one neuron of one sample. Columns come in groups: those of a group
   lie side by side, groups may lie anywhere, as the windows of a signal do. States are dense, group after group. The
   equations are those of spec.py. */
#ifndef SPIKEBRIDGE_NATIVE_H
#define SPIKEBRIDGE_NATIVE_H

#include <stdint.h>

/* Incremented with every change of the structures of these headers; the caller compares it with its own. */
#define SPIKEBRIDGE_VERSION 8

/* The parameters of neurons. BASE is added where the membrane leaks: V_LEAK itself, or -0 where nothing is added. */
enum { DECAY, V_THRESHOLD, V_RESET, V_LEAK, R, DECAY_SYN, DECAY_ADAPTATION, JUMP, BASE, NUM_VALUES };

/* The reset of a neuron; NEVER for one that does not fire. */
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

/* Memory for the gradient of a parameter: one sum a chunk, one sum a column, or each step on its own. */
typedef struct {
    double *chunks;
    float *columns;
    float *steps;
} Share;

/* A function that a team of threads runs (GOMP_parallel). */
typedef void (*Team)(void (*work)(void *), void *data, unsigned num_threads, unsigned flags);

typedef struct {
    int64_t num_steps, num_groups, num_columns; /* columns of a group */
    int64_t chunk;         /* columns of a group that run through all steps at once */
    int64_t reset;
    int64_t surrogate;
    int64_t through_reset; /* 0 where no gradient goes through the reset */
    float width;           /* of the surrogate */
    int64_t num_threads;
    Team team;             /* NULL for one thread */
    Value values[NUM_VALUES];
} Plan;

/* Max pooling behind the spikes of pictures that lie channels last, each a group, with windows side by side. Then a chunk
   is a row of windows, `size_y` rows of a picture; rows and columns left over have no window. */
typedef struct {
    Signal pooled; /* forward, and its gradient backward; nothing where nothing is pooled */
    int64_t channels, width, size_y, size_x;
} Pooling;

/* States before and after; i and a are NULL where the neuron has none. */
typedef struct {
    Plan plan;
    Signal x, y, kept; /* y and kept may be nothing, and kept may take the place of x */
    const float *start_v, *start_i, *start_a;
    float *v, *i, *a;
    Pooling pooling;
} Forward;

/* The state before, start_v only where the gradient of the decay is wanted; and the gradients of the state after, NULL for
   zeros, and before, NULL where not wanted. */
typedef struct {
    Plan plan;
    Signal x;    /* nothing where not needed */
    Signal kept; /* membranes before the reset */
    const float *start_v, *start_i, *start_a;
    const float *end_v, *end_i, *end_a;
    Value grad_y; /* at is NULL for zeros, and where there is pooling */
    Pooling pooling;
    Signal grad_x; /* nothing where not wanted */
    float *grad_v, *grad_i, *grad_a;
    Share shares[NUM_VALUES];
} Backward;

/* y[t] = sum_k taps[k] x[t + offset - k], over those steps that x has. The steps of the plan are those of y; its values
   are not read. */
typedef struct {
    Plan plan;
    Signal x, y;
    int64_t num_given, offset, num_taps; /* num_given: steps of x */
    Value taps;                          /* a step is a tap */
} Respond;

/* Sums without a neuron: the state is `first` and `second`, the output of a step y, with d for the decay and k for the
   factor. Forms "backward" are their gradients, from the last step to the first: signals have negative strides. */
enum {
    SUM, /* first = d first + x, which is the output */
    SUM_BACKWARD,
    SUM_BACKWARD_AND_SLOPE, /* the same; second is the gradient of d in each column */
    LAST,                   /* the same sum from zeros, without outputs */
    LAST_AND_SLOPE,         /* the same; second is the derivative of first by d */
    MEAN,                   /* first = first + x; the output is first over the number of steps, of which k were before */
    MEAN_BACKWARD,
    ALPHA, /* second = d (second + first), the output is k second; then first = d first + x */
    ALPHA_BACKWARD,
    NUM_FORMS
};

/* State before the first step that is run, NULL for zeros, and after the last, NULL where not wanted. */
typedef struct {
    Plan plan; /* its values are not read */
    int64_t form;
    Signal x, y; /* x may be nothing, for zeros */
    const float *start_first, *start_second;
    float *first, *second;
    Value decay, factor; /* those of the first step serve all */
    Signal before;       /* for the slope of a sum: the sums one step before, which the first step reads from `start` */
    const float *start;  /* NULL for zeros */
    const unsigned char *resets; /* a flag a step of the signal: whether its state before is zeros; NULL for no reset */
} LeakySum;

int spikebridge_version(void);
void spikebridge_sizes(int64_t *sizes); /* of Forward, Backward, Respond and LeakySum, to compare with the caller's */

/* 0, or 1 where there was not enough memory. */
int spikebridge_forward(const Forward *job);
int spikebridge_backward(const Backward *job);
int spikebridge_respond(const Respond *job);
int spikebridge_sum(const LeakySum *job);

#endif
