/* One step of a pathway of two branches, driven by events, summed with a leak:

       sum = leak sum + linear(events) + out(spikes),    spikes of LIF neurons whose current is conv(events)

   All that lies at a place stands side by side: channel c of row y and column x at (y * width + x) * channels + c. Only
   the events come channels first. The caller (pathway.py) owns all memory and vouches for every size. */
#ifndef SPIKEBRIDGE_PATHWAY_H
#define SPIKEBRIDGE_PATHWAY_H

#include "native.h"

enum { MOST_CHANNELS = 256 };

typedef struct {
    int64_t num_inputs, height, width;         /* of the events */
    int64_t channels, out_height, out_width;   /* of all the rest */
    int64_t kernel_y, kernel_x, stride, pad_y, pad_x;   /* of the convolutions of events */
    int64_t kernel_out_y, kernel_out_x;        /* of that of spikes, odd; as many rows come out as go in */
    float threshold;
    const float *weights; /* [input][ky][kx][2 channels]: of the linear branch, then of the current */
    const float *bias;    /* [2 channels] */
    const float *out;     /* [ky][kx][channel of a spike][channel] */
    const float *decay, *leak; /* of membranes and of the sum, one a channel */
} Pathway;

void spikebridge_pathway_step(const Pathway *pathway, const float *events, const float *v_before, float *v,
                              const float *sum_before, float *sum);

#endif
