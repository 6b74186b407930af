/* One step of a prepared network, one sample, driven by events.

   A signal is a list of the values that are not zero, or a full array, or both. Arrays are laid out channels last: the value
   at channel c of row y and column x is at (y * width + x) * channels + c. A vector is one place of many channels.

   The caller (records.py) owns all memory and vouches for every size in here. */
#ifndef SPIKEBRIDGE_EVENTS_H
#define SPIKEBRIDGE_EVENTS_H

#include <stdint.h>

#include "native.h"

/* Incremented with every change of the structure below; the caller compares it with its own. */
#define SPIKEBRIDGE_EVENTS_VERSION 4

enum { CONVOLVE, MULTIPLY, TAKE_LARGEST, TAKE_MEAN, REORDER, FIRE };

enum { NUM_PARAMETERS = BASE }; /* in the order of native.h */

typedef struct {
    int32_t y, x, c;
} Place;

typedef struct {
    int64_t kind;
    int64_t channels, height, width;             /* of the input */
    int64_t out_channels, out_height, out_width; /* of the output */
    int64_t kernel_y, kernel_x, stride_y, stride_x, pad_y, pad_x, dilation_y, dilation_x, groups;
    int64_t padded_width;           /* of the input of a dense convolution */
    int64_t count_padding, divisor; /* of a mean; divisor 0 is the size of the window */
    int64_t max_events;             /* with more of them every place is computed */
    int64_t reset;                  /* of native.h, but for TO_ZERO */
    int64_t has_current, has_adaptation, refractory;
    int64_t varied;      /* parameters are one a neuron, else one for all */
    int64_t first_state; /* place of the layer's first state in the lists of states */
    const void *weight;  /* of a convolution [in][ky][kx backward][out of the group], of a product [in][out] */
    const void *blocks;  /* the same as [block of 64 bytes of out][in][ky][kx backward][in the block], or NULL */
    const void *bias;    /* NULL without one */
    const void *parameters[NUM_PARAMETERS];
    const Place *places;   /* of every input of a convolution, or of a pool whose windows overlap */
    /* The output that an input goes to: in a new order; that of its only window; and of a convolution with blocks the output
       of each tap, as [place][tap]. Without an output it is the place behind the last, whose flag is always 1. */
    const int32_t *target;
    void *full;            /* space for all outputs and one place more */
    void *cleared;         /* space for all outputs, zero between steps */
    void *padded;          /* space for the input of a dense convolution with its padding, zero between steps */
    int32_t *index;        /* space for a list of all outputs, and 64 more */
    void *values;          /* the same for the values of the list */
    uint8_t *flags;        /* space for a flag an output, and 64 more */
} Layer;

int64_t spikebridge_events_version(void);
int64_t spikebridge_events_layer_size(void);

/* The last of the layers is no layer: its channels, height and width are those of the input of the network, and its
   buffers serve it. before and after hold the states of all neurons, y takes the outputs. Returns 0, or one more than the
   number of the first layer whose membranes are not finite. */
int64_t spikebridge_events_step_float(const Layer *layers, int64_t num_layers, const float *x, int64_t channels_last,
                                      const void *const *before, void *const *after, float *y);
int64_t spikebridge_events_step_double(const Layer *layers, int64_t num_layers, const double *x, int64_t channels_last,
                                       const void *const *before, void *const *after, double *y);

#endif
