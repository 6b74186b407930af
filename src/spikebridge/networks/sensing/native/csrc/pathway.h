/* One step of a pathway of two branches, driven by events, summed with a leak:

       sum = leak sum + linear(events) + out(spikes),    spikes of LIF neurons whose current is conv(events)

   Channels are last: channel c of row y and column x is at (y * width + x) * channels + c. Only the events have them
   first. The caller (pathway.py) owns all memory and vouches for every size. */
#ifndef SPIKEBRIDGE_PATHWAY_H
#define SPIKEBRIDGE_PATHWAY_H

#include "native.h"

enum { MAX_CHANNELS = 256 };

typedef struct {
    int64_t num_inputs, height, width;         /* size of the events */
    int64_t channels, out_height, out_width;   /* size of everything else */
    int64_t kernel_y, kernel_x, stride, pad_y, pad_x;   /* the convolutions of events */
    int64_t kernel_out_y, kernel_out_x;        /* the convolution of spikes, odd: outputs have the size of inputs */
    float threshold;
    const float *weights; /* [input][ky][kx][2 channels]: the linear branch, then the current */
    const float *bias;    /* [2 channels] */
    const float *out;     /* [ky][kx][channel of a spike][channel] */
    const float *decay, *leak; /* factors of membranes and of the sum, one a channel */
} Pathway;

void spikebridge_pathway_step(const Pathway *pathway, const float *events, const float *v_before, float *v,
                              const float *sum_before, float *sum);

#endif
